#!/bin/bash
# fcil bench: every verb runs and prints JSON lines with finite positive numbers. How fast is not tested.
. "$(dirname "$0")/lib.sh"

# value KEY LINE: a number or word of a JSON line.
value() { sed -nE 's/.*"'"$1"'": "?([^",}]*)"?[,}].*/\1/p' <<< "$2"; }

# bench N KEY WORD...: prints N lines, in each of which 0 < p10 <= KEY <= p90.
bench() {
    local n=$1 key=$2 line low high
    shift 2
    expect 0 "$FCIL" bench "$@" --seconds 0
    [ "$(wc -l < out)" -eq "$n" ] || fail "bench $*: $(wc -l < out) lines, expected $n"
    while read -r line; do
        [[ $line == '{"bench": "'"$1"'", '*'}' && $line != *nan* && $line != *inf* ]] || fail "bench $*: $line"
        low=$(value p10 "$line") high=$(value p90 "$line")
        holds "0 < $low && $low <= $(value "$key" "$line") && $(value "$key" "$line") <= $high" || fail "bench $*: $line"
    done < out
}

# is KEY VALUE...: of the last line printed.
is() {
    local line
    line=$(tail -n 1 out)
    while [ $# -gt 0 ]; do
        [ "$(value "$1" "$line")" = "$2" ] || fail "$1 is not $2: $line"
        shift 2
    done
}

say "steps"
for precision in f32 bf16; do
    bench 1 images_per_s step --shape c --precision $precision --batch 4 --rank 2
    is shape c mode lora phase train train B precision $precision threads 2 clients 2 batch 4 rank 2
done
bench 1 images_per_s step --shape=c --threads=1 --clients=3 --train=AB --isa=blas --batch=1
is train AB threads 1 clients 3 batch 1 isa blas
bench 1 images_per_s step --shape a --mode full --clients 1 --batch 9
is mode full clients 1 batch 9
for share in gemm packing normalisation gelu softmax bias optimiser data other; do
    part=$(value $share "$(cat out)")
    holds "-1 < $part && $part < 1" || fail "share of $share: $(cat out)"
    sum=${sum:-0}+$part
done
holds "0.999 < $sum && $sum < 1.001" || fail "the shares do not add up to 1: $(cat out)"
for key in gflops mflop_per_image peak_mib gemm optimiser data; do
    holds "$(value $key "$(cat out)") > 0" || fail "$key: $(cat out)"
done
holds "1e3 * $(value gflops "$(cat out)") / ($(value images_per_s "$(cat out)") * $(value mflop_per_image "$(cat out)")) - 1 < 1e-3 &&
    1e3 * $(value gflops "$(cat out)") / ($(value images_per_s "$(cat out)") * $(value mflop_per_image "$(cat out)")) - 1 > -1e-3" ||
    fail "GFLOP/s are not images/s times the work of one: $(cat out)"
bench 1 images_per_s step --shape c --eval
is phase eval rank 0

say "images per second x seconds = images, and a little more to start, warm up and for the shares"
# images PER_TURN WORD...: fcil bench step, with so many images in each turn; again on a busy machine.
images() {
    local per_turn=$1 begin end line
    shift
    for _ in 1 2 3 4 5; do
        begin=$EPOCHREALTIME
        expect 0 "$FCIL" bench step --seconds 1 "$@"
        end=$EPOCHREALTIME
        line="$(value images_per_s "$(cat out)") * ($end - $begin) / ($per_turn * $(value turns "$(cat out)"))"
        say "  $line = $(awk "BEGIN { print $line }")"
        ! holds "$line > 1 && $line < 5" || return 0
    done
    fail "bench step $*: $(cat out)"
}
images 25 --shape c --threads 1 --clients 5 --batch 5
images 8 --shape c --threads 1 --eval

say "products, kernels, merges, data"
bench 6 gflops gemm --shape a --isa blas
is isa blas precision f32 product 'p v'
bench 10 ns_per_element kernel --shape c --isa blas
bench 14 ns_per_element kernel --shape c --isa scalar
bench 5 seconds merge --shape a --rank 1
is rule lorm grams full trained A clients 10
bench 1 seconds merge --shape a --rank 2 --rule tsv --space core --updates 3 --threads 1
is rule tsv space core grams none trained AB rank 2 clients 3 threads 1 shape a
bench 1 seconds merge --shape a --rank 1 --rule regmean --updates 2
is rule regmean grams diagonal clients 2
for dense in true false; do
    bench 1 seconds merge --rows 30 --cols 20 --rank 2 --rule iso_c --space knots --updates 4 --dense=$dense
    is rule iso_c space knots rank 2 clients 4 rows 30 cols 20 dense $dense
    holds "$(value cpu_s "$(cat out)") > 0 && $(value scratch_mib "$(cat out)") >= 0" || fail "$(cat out)"
done
bench 1 us_per_image data --shape a
holds "0 < $(value share_of_step "$(cat out)") && $(value share_of_step "$(cat out)") < 1" || fail "$(cat out)"

say "wrong words: exit code 2 and one sentence"
refuse() { # PATTERN WORD...
    local pattern=$1
    shift
    expect 2 "$FCIL" bench "$@"
    [ "$(grep -c '^fcil: bench' err) $(wc -l < err)" = '1 1' ] || fail "not one sentence: $* :: $(cat err)"
    grep -Eq -- "$pattern" err || fail "$*: message does not match '$pattern': $(cat err)"
    [ ! -s out ] || fail "$*: something on standard output: $(cat out)"
}
refuse 'expected step, gemm, kernel, merge or data$'
refuse 'did you mean gemm' gem
refuse 'shape.*found .e.*a, b, c, d or all' step --shape e
refuse 'did you mean --shape' step --shap a
refuse 'unknown option .--rank' gemm --rank 3
refuse 'unknown option .a.' step a
refuse 'seconds needs a value' step --seconds
refuse 'seconds.*nan' step --seconds nan
refuse 'batch.*found .0' step --batch 0
refuse 'eval.*maybe' step --eval=maybe
refuse 'isa.*none' kernel --isa none
refuse 'unknown option .--rows' step --rows 3
refuse "rule: found 'tie'" merge --rule tie
refuse 'need --rule' merge --space core
refuse 'go together' merge --rule ties --rows 30
refuse 'dense needs them' merge --rule ties --dense
refuse 'opcm works in full space only' merge --rule opcm --space core --rows 30 --cols 20
refuse 'lorm does not merge the products' merge --rule lorm --shape a
expect 0 "$FCIL" bench --help
[ -s out ] || fail "no help"

say "the comparison with PyTorch: exit code 77 without a program to compare with"
expect 77 env -u FCIL_PEER "$FCIL_ROOT/scripts/bench_vs_torch.sh" --fcil "$FCIL"
expect 77 "$FCIL_ROOT/scripts/bench_vs_torch.sh" --fcil "$FCIL" absent.py
expect 2 "$FCIL_ROOT/scripts/bench_vs_torch.sh" --fcil "$FCIL" --rounds 0
[ ! -s out ] || fail "half a table: $(cat out)"
