#!/bin/bash
# fcil pretrain: the file it writes, which epoch it keeps, the cache of backbone.pretrain.
. "$(dirname "$0")/lib.sh"
export XDG_CACHE_HOME=$work/cache

write_config tiny.yaml
sed -i 's/count: 3/count: 2/; s/rounds: 3/rounds: 1/' tiny.yaml

say "a file that a run loads"
backbone weights.safetensors train.epochs=3
expect 0 "$FCIL" run tiny.yaml backbone.weights=weights.safetensors --out loaded
grep -qF "\"weights_sha256\": \"$(sha256sum < weights.safetensors | cut -d ' ' -f 1)\"" "$(run_dir loaded)/manifest.json" ||
    fail "weights_sha256 of manifest.json"
for name in cls_token blocks.1.mlp.fc2.weight head.weight; do
    grep -aqF "\"$name\"" weights.safetensors || fail "no tensor $name"
done
expect 0 "$FCIL" run tiny.yaml --out random
! cmp -s "$(run_dir loaded)/acc_matrix.csv" "$(run_dir random)/acc_matrix.csv" || fail "the weights change nothing"

say "-o wins over pretrain.out; the same bytes for 1 and 3 threads, and without test images"
backbone weights.safetensors train.epochs=3 -o other.safetensors --threads 1
cmp weights.safetensors other.safetensors || fail "1 thread: other bytes"
backbone weights.safetensors train.epochs=3 -o other.safetensors --threads 3 data.synth_test=3
cmp weights.safetensors other.safetensors || fail "3 threads, other test images: other bytes"
backbone weights.safetensors train.epochs=3 -o other.safetensors run.seed=2
! cmp -s weights.safetensors other.safetensors || fail "another seed: the same bytes"

# best: epoch and accuracy of the first best line of the last pretraining.
best() {
    sed -n 's|.*epoch \([0-9]*\)/.*held-out acc \([0-9.]*\) %.*|\1 \2|p' err |
        awk 'NR == 1 || $2 > acc { e = $1; acc = $2 } END { print e, acc }'
}

say "the epoch with the best held-out accuracy is kept"
E=6
for seed in 1 2 3 4 5 6 7 8; do # one in which the last epoch is not the best
    backbone chosen.safetensors train.epochs=$E train.schedule=constant train.lr=0.02 run.seed=$seed
    read -r epoch acc < <(best)
    [ "$(grep -c 'held-out acc.*%$' err)" -eq $E ] || fail "one line per epoch: $(cat err)"
    grep -qF "held-out acc $acc % (epoch $epoch of $E)" err || fail "expected epoch $epoch: $(cat err)"
    [ "$epoch" -eq $E ] || break
done
[ "$epoch" -lt $E ] || fail "the last epoch is the best for every seed"
say "  epoch $epoch of $E"
backbone short.safetensors train.epochs="$epoch" train.schedule=constant train.lr=0.02 run.seed="$seed"
cmp chosen.safetensors short.safetensors || fail "the file is not that of epoch $epoch"

say "the first of equals is kept; held-out images are not learnt by heart"
backbone equal.safetensors train.epochs=3 train.lr=1e-12
grep -qF "(epoch 1 of 3)" err || fail "expected epoch 1: $(cat err)"
backbone heart.safetensors train.epochs=60 train.schedule=constant data.synth_train=8 pretrain.hold_out=4 data.synth_difficulty=0.9
read -r epoch acc < <(best)
holds "$acc < 90" || fail "$acc % of images that it has not seen"

say "hold_out 0 keeps the last epoch; too large is refused"
backbone last.safetensors train.epochs=2 pretrain.hold_out=0
! grep -q 'held-out' err || fail "held-out images: $(cat err)"
expect 2 "$FCIL" pretrain pretrain.yaml pretrain.hold_out=60 -o none.safetensors
grep -q '^fcil: pretrain.hold_out: 60' err || fail "message: $(cat err)"
expect 2 "$FCIL" pretrain
grep -q '^fcil: pretrain: which config' err || fail "message: $(cat err)"
expect 1 "$FCIL" pretrain pretrain.yaml train.epochs=1 -o absent/none.safetensors
grep -q '^fcil: .*absent/none.safetensors' err || fail "message: $(cat err)"
expect 1 "$FCIL" pretrain pretrain.yaml train.optimizer=sgd train.lr=1000 -o none.safetensors
grep -Eq '^fcil: pretraining, epoch [0-9]+, step [0-9]+: loss' err || fail "message: $(cat err)"
[ ! -e none.safetensors ] || fail "a file of a failed pretraining"

say "weight decay: matrices are halved in every step, vectors, class token and positions are not"
# norm FILE TENSOR: root of the mean square of its numbers.
norm() { numbers "$1" "$2" | awk '{ s += $1 * $1 } END { print sqrt(s / NR) }'; }
halving=(train.epochs=1 train.lr=5e-4 train.schedule=constant pretrain.hold_out=0)
backbone before.safetensors "${halving[@]}"
backbone after.safetensors "${halving[@]}" train.weight_decay=1000
for name in patch_embed.proj.weight blocks.0.attn.qkv.weight blocks.1.mlp.fc2.weight head.weight; do
    holds "$(norm after.safetensors $name) < 0.2 * $(norm before.safetensors $name)" || fail "$name does not decay"
done
for name in cls_token pos_embed norm.weight blocks.0.norm1.weight head.bias; do
    holds "$(norm after.safetensors $name) > 0.5 * $(norm before.safetensors $name)" || fail "$name decays"
done

say "backbone.pretrain: made once, then taken from the cache"
[ ! -e cache ] || fail "fcil pretrain used the cache"
sed -i 's/epochs: 8/epochs: 3/' pretrain.yaml
expect 0 "$FCIL" run tiny.yaml backbone.pretrain=pretrain.yaml --threads 1 --out first
grep -q 'pretrained backbone' err || fail "nothing was pretrained: $(cat err)"
file=$(echo cache/fcil/backbone-*.safetensors)
cmp weights.safetensors "$file" || fail "the cache holds another backbone"
before=$(stat -c '%i %y' "$file")
expect 0 "$FCIL" run tiny.yaml backbone.pretrain=pretrain.yaml --out second
! grep -q 'pretrain' err || fail "pretrained again: $(cat err)"
[ "$(stat -c '%i %y' "$file")" = "$before" ] || fail "the cached file was written again"
same_run "$(run_dir first)" "$(run_dir second)"
cmp "$(run_dir first)/acc_matrix.csv" "$(run_dir loaded)/acc_matrix.csv" || fail "not the results of the file itself"

say "another pretraining config, another file"
sed -i 's/epochs: 3/epochs: 2/' pretrain.yaml
expect 0 "$FCIL" run tiny.yaml backbone.pretrain=pretrain.yaml --out third
[ "$(find cache -name 'backbone-*.safetensors' | wc -l)" -eq 2 ] || fail "cache: $(ls cache/fcil)"
! find cache -name '*.tmp' | grep . || fail "temporary files are left"
