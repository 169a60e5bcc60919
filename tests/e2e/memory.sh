#!/bin/bash
# What --dry-run says of the peak of memory is within 10 % of what the run then takes (30 % where tasks
# are merged); and that peak hardly depends on the number of clients.
. "$(dirname "$0")/lib.sh"

cat > config.yaml <<'YAML'
run: {name: memory, threads: 2}
data: {name: synth, synth_classes: 4, synth_train: 24, synth_test: 8}
tasks: {count: 2}
fed: {clients: 4, rounds: 1, min_samples: 1}
backbone: {patch: 4, width: 192, depth: 4}
train: {epochs: 1, lora_rank: 16}
YAML

for options in "" "run.precision=bf16" "method.name=fedavg" "method.name=fedavg_lora run.isa=blas run.threads=1" \
    "method.name=lora_merge" "method.name=lora_merge merge.rule=ties fed.rounds=2" \
    "method.name=fedavg merge.rule=fisher fed.rounds=2" "method.name=lora_merge merge.rule=fisher fed.clients=8 data.synth_train=80" \
    "method.name=lora_merge merge.rule=ties method.carry=fold fed.rounds=2 fed.clients=10 data.synth_train=100 data.synth_size=16" \
    "method.name=fedavg_lora tasks.merge=ties tasks.count=4" "method.name=fedavg tasks.merge=average tasks.count=4" \
    "method.name=fedavg_lora tasks.merge=regmean tasks.count=4" "method.name=fedavg_lora tasks.merge=fisher tasks.count=4"; do
    # shellcheck disable=SC2086
    expect 0 "$FCIL" run config.yaml $options --dry-run --json
    predicted=$(sed -E 's/.*"memory_mib": ?([0-9.]+).*/\1/' out)
    rm -rf runs
    # shellcheck disable=SC2086
    expect 0 "$FCIL" run config.yaml $options --out runs --quiet
    measured=$(sed -nE 's/.*"rss_mib": ?([0-9.]+).*/\1/p' runs/*/*/summary.json)
    off=0.1
    [[ $options != *tasks.merge* ]] || off=0.3
    holds "(1 - $off) * $measured < $predicted && $predicted < (1 + $off) * $measured" ||
        fail "${options:-as it is}: $predicted MiB predicted, $measured MiB taken"
    say "${options:-as it is}: $predicted MiB predicted, $measured MiB taken"
done

say "10,000 clients, 100 of them per round, and 100 clients with the same data: peak of memory"
small=(backbone.patch=4 backbone.width=48 backbone.depth=2 train.epochs=1 fed.rounds=2 eval.rounds=none)
# peak WORD...: MiB of a run of the config with 10,000 clients.
peak() {
    rm -rf runs
    expect 0 "$FCIL" run "$FCIL_ROOT/configs/tiny/synth_10000_clients.yaml" "${small[@]}" --out runs --quiet "$@"
    peak=$(number runs/*/*/summary.json rss_mib)
}
peak
many=$peak
[ "$(column runs/*/*/rounds.csv clients_ok | sort -g | tail -n 1)" -eq 100 ] || fail "not 100 clients in a round"
peak fed.clients=100 fed.participation=1
say "  $many MiB and $peak MiB"
holds "$many < 1.3 * $peak" || fail "10,000 clients take $many MiB, 100 take $peak MiB"
