#!/bin/bash
# What --dry-run says of the peak of memory is within 10 % of what the run then takes.
. "$(dirname "$0")/lib.sh"

cat > config.yaml <<'YAML'
run: {name: memory, threads: 2}
data: {name: synth, synth_classes: 4, synth_train: 24, synth_test: 8}
tasks: {count: 2}
fed: {clients: 4, rounds: 1, min_samples: 1}
backbone: {patch: 4, width: 192, depth: 4}
train: {epochs: 1, lora_rank: 16}
YAML

for options in "" "run.precision=bf16" "method.name=fedavg" "method.name=fedavg_lora run.isa=blas run.threads=1"; do
    # shellcheck disable=SC2086
    expect 0 "$FCIL" run config.yaml $options --dry-run --json
    predicted=$(sed -E 's/.*"memory_mib": ?([0-9.]+).*/\1/' out)
    rm -rf runs
    # shellcheck disable=SC2086
    expect 0 "$FCIL" run config.yaml $options --out runs --quiet
    measured=$(sed -nE 's/.*"rss_mib": ?([0-9.]+).*/\1/p' runs/*/*/summary.json)
    awk -v p="$predicted" -v m="$measured" 'BEGIN { exit !(p > 0.9 * m && p < 1.1 * m) }' ||
        fail "${options:-as it is}: $predicted MiB predicted, $measured MiB taken"
    say "${options:-as it is}: $predicted MiB predicted, $measured MiB taken"
done
