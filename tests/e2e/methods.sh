#!/bin/bash
# Every method learns something, and every method bears the smallest settings.
. "$(dirname "$0")/lib.sh"

write_config tiny.yaml
say "pretraining a small backbone"
backbone backbone.safetensors
methods=$(names methods)
[ "$(say "$methods" | wc -l)" -ge 6 ] || fail "fcil list methods: $methods"

# run METHOD NAME key=value ...: a run with a label.
run() {
    local method=$1 name=$2
    shift 2
    expect 0 "$FCIL" run tiny.yaml method.name="$method" --out "$method-$name" "$@"
    d=$(run_dir "$method-$name")
    # every count is possible, and no loss is missing or infinite
    awk -F, 'FNR > 1 && !($3 >= 0 && $3 <= $4 && $4 > 0) { exit 1 }' "$d/tasks.csv" || fail "$method-$name: counts of tasks.csv"
    ! grep -Eiq 'nan|inf' "$d"/*.csv || fail "$method-$name: not a number in $(grep -Eil 'nan|inf' "$d"/*.csv)"
}

for method in $methods; do
    run "$method" plain backbone.weights=backbone.safetensors tasks.sizes='[3, 3]' train.epochs=4
    faa=$(number "$d/summary.json" faa)
    learned=$(number "$d/summary.json" learning_accuracy)
    say "$method: faa $faa %, learning accuracy $learned % (chance 16.7 %)"
    holds "$faa > 30" || fail "$method: final accuracy is near chance"

    run "$method" one-client fed.clients=1 tasks.count=2 fed.rounds=2 train.epochs=1
    run "$method" one-task tasks.count=1 fed.rounds=1 train.epochs=1
    run "$method" one-class-per-task tasks.count=6 fed.rounds=1 train.epochs=1
    run "$method" batch-1 train.batch=1 tasks.count=2 fed.rounds=2 train.epochs=1
    run "$method" big-batch train.batch=1000 tasks.count=2 fed.rounds=2 train.epochs=1
    run "$method" half fed.participation=0.5 fed.participation_draw=round tasks.count=2 fed.rounds=2 train.epochs=1
    clients=$(column "$d/rounds.csv" clients_ok | sort -u | grep -v '^0$')
    [ "$method" = joint ] || [ "$clients" = 2 ] || fail "$method: half of 4 clients are $clients"
    run "$method" one-image-each data.synth_train=1 data.synth_test=1 fed.clients=2 fed.partition=iid fed.min_samples=0 tasks.count=2 fed.rounds=1 train.epochs=1
done

say "every partition and optimiser runs"
for partition in $(names partitions); do
    [ "$partition" = file ] || run lorm "$partition" fed.partition="$partition" tasks.count=2 fed.rounds=1 train.epochs=1
    [ "$partition" = file ] || cp "$d/partition.csv" partition.csv
done
run lorm replay fed.partition=file fed.partition_file=partition.csv tasks.count=2 fed.rounds=1 train.epochs=1
cmp partition.csv "$d/partition.csv" || fail "the replayed partition is another one"
for optimizer in adamw adam sgd; do
    run fedavg_lora "$optimizer" train.optimizer=$optimizer train.weight_decay=0.01 train.clip_norm=1 train.schedule=cosine train.warmup=0.1 tasks.count=2 fed.rounds=2 train.epochs=1
done
for augment in none flip crop pad rrc; do
    run head_only "$augment" data.augment=$augment tasks.count=2 fed.rounds=1 train.epochs=1
done
