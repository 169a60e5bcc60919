#!/bin/bash
# The main job on built-in data, from nothing, in about a minute on two cores: builds fcil, pretrains a small
# Vision Transformer (kept for the next time), then lets virtual clients learn task after task, once with LoRM
# and once with FedAvg of LoRA, on the same split; prints and draws both.
# usage: [BUILD=DIR] scripts/demo.sh [--seed N] [--out DIR]      default seed 0, results/demo/
set -euo pipefail

die() {
    echo "demo.sh: $*" >&2
    exit 1
}

root=$(cd "$(dirname "$0")/.." && pwd)
seed=0 out=$root/results/demo
while [[ $# -gt 0 ]]; do
    case $1 in
    --seed | --out)
        [[ $# -gt 1 ]] || die "$1 wants a value"
        if [[ $1 == --seed ]]; then seed=$2; else out=$(realpath -m -- "$2"); fi
        shift 2
        ;;
    *)
        sed -n '2,5s/^# //p' "$0" >&2
        [[ $1 == --help || $1 == -h ]] && exit 0
        exit 2
        ;;
    esac
done
[[ $seed =~ ^[0-9]{1,15}$ ]] || die "--seed $seed: expected a whole number"

export BUILD=${BUILD:-$root/build}
"$root/scripts/setup.sh"
"$root/scripts/build.sh"
fcil=$BUILD/fcil

# Same seed, same bytes: a run of this script replaces the one before it.
results=$out/seed$seed
if ! { rm -rf "$results/runs" && mkdir -p "$results"; } 2>/dev/null; then
    die "cannot write to $results: choose another folder with --out DIR"
fi

# matrix RUN_DIR: the accuracy on each task (columns) after each task (rows)
matrix() {
    LC_ALL=C awk -F , '
        { sub(/\r$/, "") }
        NR == 1 {
            printf "  after task"
            for (i = 2; i <= NF - 2; i++) printf "%7d", i - 1
            print "      all"
            next
        }
        {
            printf "  %10d", $1
            for (i = 2; i <= NF - 2; i++) printf $i == "" ? "%7s" : "%7.1f", $i
            printf "  %7.1f\n", $(NF - 1)
        }' "$1/acc_matrix.csv"
}

# train TITLE CONFIG: runs it, prints what came out, and sets $dir to its run directory
train() {
    echo
    echo "== $1"
    "$fcil" run "$root/configs/tiny/$2.yaml" run.seed="$seed" run.name=runs --out "$results" >"$results/out" || {
        status=$?
        cat "$results/out"
        exit $status
    }
    dir=$(sed -n 's/^results: //p' "$results/out")
    echo
    echo "accuracy (%) on each task"
    matrix "$dir"
    echo
    grep '^acc curve:' "$results/out"
}

train LoRM demo_lorm
lorm=$dir
train 'FedAvg of LoRA' demo_fedavg_lora
fedavg=$dir
rm "$results/out"

# number KEY RUN_DIR: this number of summary.json
number() {
    sed -nE 's/^ *"'"$1"'": ([-+.0-9eE]+),?$/\1/p' "$2/summary.json"
}

echo
printf '%-34s %14s %14s\n' '== The two, side by side' LoRM 'FedAvg of LoRA'
while IFS='|' read -r key scale text; do
    LC_ALL=C awk -v text="$text" -v scale="$scale" -v a="$(number "$key" "$lorm")" -v b="$(number "$key" "$fedavg")" \
        'function cell(x) { return x == "" ? "-" : sprintf("%.1f", x / scale) }
        BEGIN { printf "%-34s %14s %14s\n", text, cell(a), cell(b) }'
done <<'ROWS'
faa|1|final accuracy, % (FAA)
aia|1|mean accuracy over time, % (AIA)
forgetting_max|1|forgetting, points
bytes_up|1e6|sent by the clients, MB
bytes_down|1e6|sent to the clients, MB
wall_s|1|time, s
ROWS

picture=$("$fcil" plot -o "$results/curves.svg" --label lorm=LoRM --label 'fedavg_lora=FedAvg of LoRA' "$lorm" "$fedavg")
"$fcil" report -o "$results/report.html" "$lorm" "$fedavg"
echo
echo "runs       $results/runs"
echo "page       $results/report.html"
echo "picture    $picture"
