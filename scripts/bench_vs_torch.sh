#!/usr/bin/env bash
# Training steps and evaluation of fcil against a PyTorch program on the same cores, in turn: A B A B ...
#   scripts/bench_vs_torch.sh [--seconds S] [--rounds N] [--threads T] [--shapes "a b c d"] [--what "lora full eval"]
#       [--fcil FILE] [PEER.py]
# Prints a Markdown table: images per second, median (lowest - highest) over the rounds, and their ratio.
# PEER.py (or $FCIL_PEER) trains a Vision Transformer of the size asked for and prints a JSON line with "img_s":
#   --img --patch --dim --depth --heads --mode lora-mat|full --train B --phase train|eval --dtype f32|bf16
#   --batch --rank --threads --steps --seconds
# Exit 77: no PEER.py, or no PyTorch (Debian: python3-torch).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
fcil=$root/build/fcil seconds=5 rounds=3 threads=$(nproc) shapes="a b c d" what="lora full eval" peer=${FCIL_PEER:-} python=/usr/bin/python3
usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --rounds | --threads | --shapes | --what | --fcil)
        [ $# -ge 2 ] || usage
        printf -v "${1#--}" %s "$2"
        shift 2
        ;;
    -*) usage ;;
    *) peer=$1 && shift ;;
    esac
done
[[ $rounds =~ ^[1-9][0-9]*$ ]] || usage
[ -x "$fcil" ] || { echo "bench_vs_torch.sh: $fcil: no such program; build it first (README)" >&2; exit 2; }
missing() {
    echo "bench_vs_torch.sh: $*" >&2
    exit 77
}
[ -n "$peer" ] || missing "no PyTorch program to compare with: name it, or set FCIL_PEER"
[ -r "$peer" ] || missing "$peer: cannot read the PyTorch program to compare with"
torch=$("$python" -c 'import torch; print(torch.__version__)' 2> /dev/null) ||
    missing "$python has no torch (Debian: apt install python3-torch)"
openblas=/usr/lib/$(uname -m)-linux-gnu/openblas-openmp # three times faster under torch than the pthread flavour

# number KEY: of the JSON line on standard input
number() { sed -nE 's/.*"'"$1"'": ([-+.0-9eE]+).*/\1/p'; }

run_fcil() { # SHAPE WHAT DTYPE
    local mode=(--mode "$2")
    [ "$2" != eval ] || mode=(--eval)
    "$fcil" bench step --shape "$1" "${mode[@]}" --precision "$3" --train B --batch 16 --rank 16 \
        --threads "$threads" --seconds "$seconds" | number images_per_s
}

run_torch() { # SHAPE WHAT DTYPE
    local size phase=(--phase train --mode full)
    case $1 in
    a) size=(--img 32 --patch 4 --dim 192 --depth 6 --heads 3) ;;
    b) size=(--img 224 --patch 16 --dim 192 --depth 12 --heads 3) ;;
    c) size=(--img 96 --patch 16 --dim 192 --depth 12 --heads 3) ;;
    d) size=(--img 224 --patch 16 --dim 768 --depth 12 --heads 12) ;;
    *) usage ;;
    esac
    [ "$2" != lora ] || phase=(--phase train --mode lora-mat)
    [ "$2" != eval ] || phase=(--phase eval --mode full) # on merged weights, as fcil: the faster way
    LD_LIBRARY_PATH=$openblas "$python" "$peer" "${size[@]}" "${phase[@]}" --train B --dtype "$3" \
        --batch 16 --rank 16 --threads "$threads" --steps 1000000 --seconds "$seconds" | number img_s
}

load=$(cut -d ' ' -f 1 /proc/loadavg)
if awk "BEGIN { exit !($load > 0.5) }"; then
    echo "bench_vs_torch.sh: the machine is busy (load average $load): ratios will be off, PyTorch suffers most" >&2
fi

cat << END
* $(date -u +%Y-%m-%d), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $threads threads on $(nproc) cores, load average before: $load
$("$fcil" --version | sed 's/^/* /')
* PyTorch $torch, $("$python" --version)
* $rounds rounds of $seconds s each, in turn; images/s: median (lowest - highest). Batch 16, LoRA rank 16 on all
  layers, B and head trained. fcil: $threads clients at the same time, data pipeline included; PyTorch: one model on
  random tensors.

| shape | what | fcil images/s | PyTorch images/s | ratio | to PyTorch f32 |
|---|---|---|---|---|---|
END

# row SHAPE WHAT DTYPE FCIL TORCH TORCH_F32: one of the table, from lists of images/s. Prints the median of TORCH to fd 3.
row() {
    LC_ALL=C awk -v what="$1 | $2 $3" -v ours="$4" -v theirs="$5" -v f32="$6" '
    function spread(list,    n, x, i, j, t) { # "median (lowest - highest)", and sets median
        n = split(list, x, " ")
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && x[j] + 0 < x[j - 1] + 0; j--) { t = x[j]; x[j] = x[j - 1]; x[j - 1] = t }
        median = (x[int((n + 1) / 2)] + x[int(n / 2) + 1]) / 2
        return sprintf("%.3g (%.3g - %.3g)", median, x[1], x[n])
    }
    BEGIN {
        us = spread(ours); fast = median
        them = spread(theirs); slow = median
        if (f32 == "") f32 = slow
        printf "| %s | %s | %s | %.2f | %.2f |\n", what, us, them, fast / slow, fast / f32
        print slow > "/dev/fd/3"
    }'
}

median=$(mktemp)
trap 'rm -f "$median"' EXIT
for shape in $shapes; do
    for mode in $what; do
        case $mode in
        lora | full) label="train $mode" ;;
        eval) label='eval' ;;
        *) usage ;;
        esac
        f32=''
        for dtype in f32 bf16; do
            ours='' theirs=''
            for ((round = 1; round <= rounds; round++)); do
                echo "shape $shape, $label, $dtype: round $round of $rounds" >&2
                ours+=" $(run_fcil "$shape" "$mode" "$dtype")"
                theirs+=" $(run_torch "$shape" "$mode" "$dtype")"
            done
            row "$shape" "$label" "$dtype" "$ours" "$theirs" "$f32" 3> "$median"
            [ "$dtype" = bf16 ] || f32=$(< "$median")
        done
    done
done
