#!/bin/bash
# The same bytes for 1, 2, 3, 5 and 8 threads.
. "$(dirname "$0")/lib.sh"

write_config tiny.yaml
for method in lorm fedavg joint; do
    say "$method: 1, 2, 3, 5 and 8 threads"
    for n in 1 2 3 5 8; do
        expect 0 "$FCIL" run tiny.yaml method.name=$method data.augment=rrc tasks.count=2 fed.rounds=2 --threads $n --out $method-$n
        same_run "$(run_dir $method-1)" "$(run_dir $method-$n)"
    done
done

say "one client, products long enough for BLAS to split: 1, 2 and 3 threads"
for n in 1 2 3; do
    expect 0 "$FCIL" run tiny.yaml method.name=fedavg fed.clients=1 fed.min_samples=1 tasks.count=1 fed.rounds=1 \
        data.synth_size=32 backbone.weights= backbone.pretrain= backbone.width=192 backbone.depth=1 backbone.heads=3 \
        --threads $n --out long-$n
    same_run "$(run_dir long-1)" "$(run_dir long-$n)"
done

say "fcil pretrain and a run on its weights: 1 and 3 threads"
for n in 1 3; do
    backbone pretrained-$n.safetensors train.epochs=2 --threads $n
    expect 0 "$FCIL" run tiny.yaml backbone.weights=pretrained-1.safetensors tasks.count=2 fed.rounds=1 --threads $n --out weights-$n
done
cmp pretrained-1.safetensors pretrained-3.safetensors || fail "fcil pretrain gives other bytes"
same_run "$(run_dir weights-1)" "$(run_dir weights-3)"

say "the comparison can fail: another seed gives another run"
expect 0 "$FCIL" run tiny.yaml method.name=lorm data.augment=rrc tasks.count=2 fed.rounds=2 run.seed=2 --out other
if (same_run "$(run_dir lorm-1)" "$(run_dir other)") > /dev/null; then
    fail "runs of two seeds are the same"
fi
