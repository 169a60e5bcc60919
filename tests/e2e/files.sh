#!/bin/bash
# Models and adapters as files: fcil export, eval, stats and merge.
. "$(dirname "$0")/lib.sh"

# refused CODE MESSAGE WORD...: fcil WORD... fails with that exit code and a sentence.
refused() {
    local code=$1 message=$2
    shift 2
    expect "$code" "$FCIL" "$@"
    grep -q "^fcil: .*$message" err || fail "message: $(cat err)"
}

write_config tiny.yaml
expect 0 "$FCIL" run tiny.yaml
run=$(run_dir results)

say "export: the model, and an adapter for each task"
before=$(ls -lR "$run" | sha256sum)
expect 0 "$FCIL" export "$run" --to timm -o model.safetensors
[ "$(cat out)" = model.safetensors ] || fail "stdout: $(cat out)"
expect 0 "$FCIL" export "$run" --to peft -o adapters
[ "$(cat out)" = "$(printf 'adapters/%s\n' task01 task02 task03 base.safetensors)" ] || fail "stdout: $(cat out)"
[ "$(ls -lR "$run" | sha256sum)" = "$before" ] || fail "export changes the run"
grep -q '"lora_alpha": 4' adapters/task02/adapter_config.json || fail "alpha is not the rank"
grep -aq '"classes":"\[2, 3\]"' adapters/task02/adapter_model.safetensors || fail "classes of task 2"
[ "$(tensor model.safetensors blocks.0.norm1.weight)" = "$(tensor adapters/base.safetensors blocks.0.norm1.weight)" ] ||
    fail "a tensor that LoRA does not touch"
[ "$(tensor model.safetensors blocks.0.attn.qkv.weight)" != "$(tensor adapters/base.safetensors blocks.0.attn.qkv.weight)" ] ||
    fail "the model is the backbone"

# counts FILE: task, correct, masked correct, images of each row of what fcil eval prints.
counts() { awk 'NR > 1 && $1 != "all" { print $1, $4, $3 }' "$1"; }
# last_counts RUN_DIR: the same of the run's last test.
last_counts() { awk -F, '{ row[$1] = row[$1] $2 " " $3 " " $4 "\n"; last = $1 } END { printf "%s", row[last] }' "$1/tasks.csv"; }

say "eval: the counts of the run, of every method, for any number of threads, without a config"
for method in $(names methods); do
    expect 0 "$FCIL" run tiny.yaml method.name="$method" tasks.class_order=seed:7 --out "all/$method"
    dir=$(run_dir "all/$method")
    expect 0 "$FCIL" export "$dir" --to timm -o "$method.safetensors"
    expect 0 "$FCIL" eval "$method.safetensors" --threads 1
    diff <(counts out) <(last_counts "$dir") || fail "$method: other counts than those of the run"
    cp out one
    expect 0 "$FCIL" eval "$method.safetensors" --threads 3
    cmp one out || fail "$method: 3 threads"
done

say "an adapter on its backbone: on the classes of its task; JSON"
expect 0 "$FCIL" eval adapters/task02 --json
grep -q '"total":40,' out || fail "images of one task: $(cat out)"
cp out found
expect 0 "$FCIL" eval adapters/task02 --base adapters/base.safetensors --json
cmp found out || fail "--base with the same file"
expect 0 "$FCIL" eval adapters/task02 data.synth_test=5
grep -q '^  all        2       10 ' out || fail "an option: $(cat out)"

say "the confusion matrix"
expect 0 "$FCIL" eval model.safetensors -o matrix
cp out table
[ "$(head -n 1 matrix/confusion.csv)" = task,class,0,1,2,3,4,5 ] || fail "header: $(head -n 1 matrix/confusion.csv)"
right=$(awk -F, 'NR > 1 { n += $(NR + 1); for (i = 3; i <= NF; i++) all += $i } END { print n, all }' matrix/confusion.csv)
[ "$right" = "$(awk '$1 == "all" { print $4, $3 }' table)" ] || fail "diagonal and sum: $right"
grep -q '</svg>' matrix/confusion.svg || fail "no picture"

say "stats: the same bytes for any number of threads"
expect 0 "$FCIL" stats model.safetensors -o stats1 --samples 50 --threads 1
[ "$(cat out)" = 'stats1: 50 images' ] || fail "stdout: $(cat out)"
expect 0 "$FCIL" stats model.safetensors -o stats3 --samples 50 --threads 3
cmp stats1 stats3 || fail "3 threads: other statistics"
expect 0 "$FCIL" stats adapters/task02 -o stats2 --only grams --samples 0
[ "$(cat out)" = 'stats2: 60 images' ] || fail "training images of one task: $(cat out)"
grep -aq '"gram.head.weight"' stats2 || fail "no Gram of the head"
! grep -aq '"fisher.head.weight"' stats2 || fail "Fisher information that was not asked for"
refused 2 "\-\-only: found 'gram', expected both, grams or fisher" stats model.safetensors -o x --only gram
refused 2 "\-\-fisher: found 'true', expected expected" stats model.safetensors -o x --fisher true
refused 2 "\-\-samples: found '1k'" stats model.safetensors -o x --samples 1k
refused 2 'stats: which model, and where to' stats model.safetensors

say "a model of somebody else: tasks and data of a config"
backbone foreign.safetensors
expect 0 "$FCIL" eval foreign.safetensors pretrain.yaml tasks.count=4
grep -Eq '^  all       12 +120 ' out || fail "12 classes: $(cat out)"
holds "$(awk '$1 == "all" { print $5 }' out) > 20" || fail "no better than chance: $(cat out)"
refused 3 'a head for 12 classes, expected 6' eval foreign.safetensors tiny.yaml

say "merge: files give the bytes of the run that merges its tasks by the same rule"
for setting in ties "tsv task_merge.space=core" opcm; do
    read -r rule space <<< "$setting"
    expect 0 "$FCIL" run tiny.yaml method.name=lora_merge tasks.merge="$rule" ${space:+"$space"} --out "merged/$rule"
    dir=$(run_dir "merged/$rule")
    expect 0 "$FCIL" export "$dir" --to timm -o want.safetensors
    expect 0 "$FCIL" export "$dir" --to peft -o "$rule"
    expect 0 "$FCIL" merge --rule "$rule" ${space:+"${space#task_merge.}"} --base "$rule/base.safetensors" "$rule"/task* -o got.safetensors
    cmp want.safetensors got.safetensors || fail "$setting: another model"
    grep -Eq "^merge $rule: 3 inputs, 8 tensors, [0-9.]+ MiB" err || fail "memory: $(cat err)"
done

say "eval: numbers that overflow are no result"
cp got.safetensors next.safetensors
for _ in 1 2 3 4 5 6 7; do
    expect 0 "$FCIL" merge --rule task_arithmetic lambda=1000 --base ties/base.safetensors next.safetensors -o next.safetensors
done
refused 3 'next.safetensors: its answers have a loss of -\?[in][na][fn]' eval next.safetensors

say "merge: random masks, and images, are those of the run with the same seed"
export XDG_CACHE_HOME=$work/cache
cat > tasks.yaml <<'YAML'
base: tiny.yaml
run: {name: tasks}
data: {hold_out_per_class: 5}
tasks: {merge: average}
fed: {clients: 1, rounds: 1}
method: {name: fedavg_lora}
YAML
cat > again.yaml <<'YAML'
base: tasks.yaml
tasks: {from: tasks.yaml}
task_merge: {samples: 9}
YAML
expect 0 "$FCIL" run again.yaml --out images
expect 0 "$FCIL" export "$(run_dir images)" --to peft -o held
for setting in dare smile adamerging\ steps=3 wemoe\ steps=3 "wemoe steps=3 router_layers=1 batch_reduce=true" regmean_pp regmean fisher; do
    read -ra options <<< "$setting"
    rule=${options[0]} options=("${options[@]:1}") samples=()
    case $rule in dare | smile) ;; *) samples=(--samples 9) ;; esac
    rm -rf images
    expect 0 "$FCIL" run again.yaml tasks.merge="$rule" "${options[@]/#/task_merge.}" --out images
    dir=$(run_dir images)
    expect 0 "$FCIL" export "$dir" --to timm -o want.safetensors
    expect 0 "$FCIL" merge --rule "$rule" seed=1 "${options[@]}" "${samples[@]}" --base held/base.safetensors held/task* -o got.safetensors --threads 3
    cmp want.safetensors got.safetensors || fail "$setting: another model"
    expect 0 "$FCIL" eval got.safetensors
    diff <(counts out) <(last_counts "$dir") || fail "$setting: other counts than those of the run"
done
expect 0 "$FCIL" run tiny.yaml method.name=lora_merge tasks.merge=adamerging task_merge.steps=2 --out training
dir=$(run_dir training)
expect 0 "$FCIL" export "$dir" --to timm -o want.safetensors
expect 0 "$FCIL" export "$dir" --to peft -o trained
expect 0 "$FCIL" merge --rule adamerging seed=1 steps=2 --base trained/base.safetensors trained/task* -o got.safetensors
cmp want.safetensors got.safetensors || fail "adamerging on training images: another model"
expect 0 "$FCIL" merge --rule adamerging seed=1 steps=2 --base trained/base.safetensors trained/task* -o as_adapter
expect 0 "$FCIL" eval as_adapter --base trained/base.safetensors
cp out adapter
expect 0 "$FCIL" eval got.safetensors
cmp adapter out || fail "adapter and model test otherwise"
expect 0 "$FCIL" merge --rule adamerging steps=0 --base trained/base.safetensors trained/task* -o untrained.safetensors
expect 0 "$FCIL" merge --rule task_arithmetic --base trained/base.safetensors trained/task* -o sum.safetensors
expect 0 "$FCIL" eval sum.safetensors
cp out sum
expect 0 "$FCIL" eval untrained.safetensors
cmp sum out || fail "adamerging without steps is not task arithmetic"
expect 0 "$FCIL" merge --rule adamerging steps=1 --base trained/base.safetensors got.safetensors want.safetensors -o both.safetensors
expect 0 "$FCIL" eval both.safetensors

say "merge: into an adapter, of all ranks or the best few"
expect 0 "$FCIL" merge --rule average ties/task* -o mean
grep -Eq '^mean: rank 12, relative error [0-9.]+e-1[0-9]$' out || fail "three adapters of rank 4: $(cat out)"
expect 0 "$FCIL" eval mean --base ties/base.safetensors
cp out adapter
expect 0 "$FCIL" merge --rule average --base ties/base.safetensors ties/task* -o mean.safetensors
expect 0 "$FCIL" eval mean.safetensors
cmp adapter out || fail "adapter and model test otherwise"
expect 0 "$FCIL" merge --rule average ties/task* -o cut --rank 3
holds "$(sed -n 's/^cut: rank 3, relative error //p' out) > 0.01" || fail "rank 3: $(cat out)"
expect 0 "$FCIL" merge --rule average ties/task02 -o alone
expect 0 "$FCIL" merge --rule average alone -o again
cmp alone/adapter_config.json again/adapter_config.json || fail "one adapter: another config"

say "merge: whole models; statistics"
expect 0 "$FCIL" merge --rule average --base ties/base.safetensors want.safetensors mean.safetensors -o both.safetensors
grep -Eq "^merge average: 2 inputs, 30 tensors, 0.[0-9] MiB for their sum" err || fail "memory: $(cat err)"
expect 0 "$FCIL" eval both.safetensors
for task in 1 2 3; do
    expect 0 "$FCIL" stats "ties/task0$task" -o "stats$task" --samples 40
done
for rule in regmean fisher; do
    expect 0 "$FCIL" merge --rule $rule --base ties/base.safetensors ties/task* -o $rule.safetensors --stats stats1 --stats stats2 --stats stats3
    expect 0 "$FCIL" eval $rule.safetensors
    [ "$(tensor $rule.safetensors blocks.0.attn.qkv.weight)" != "$(tensor mean.safetensors blocks.0.attn.qkv.weight)" ] || fail "$rule is the mean"
done

if names merges | grep -qx smile; then
    say "merge: inputs kept as experts, which eval runs"
    for rule in smile "smile k=-1 gate_k=2 top_k=2" emr; do
        # shellcheck disable=SC2086 # a rule and its options
        expect 0 "$FCIL" merge --rule $rule --base ties/base.safetensors ties/task* -o experts.safetensors
        expect 0 "$FCIL" eval experts.safetensors --threads 1 -o with_experts
        cp out one
        expect 0 "$FCIL" eval experts.safetensors --threads 3
        cmp one out || fail "$rule: 3 threads"
        grep -q '^  all        6      120 ' out || fail "$rule: $(cat out)"
    done
    expect 0 "$FCIL" eval ties/task02
    cp out alone.txt
    for rule in "smile k=-1" emr; do
        # shellcheck disable=SC2086
        expect 0 "$FCIL" merge --rule $rule --base ties/base.safetensors ties/task02 -o one.safetensors
        expect 0 "$FCIL" eval one.safetensors
        cmp out alone.txt || fail "$rule of one adapter is not that adapter"
    done
    expect 0 "$FCIL" merge --rule smile k=-1 --base ties/base.safetensors ties/task02 ties/task02 -o one.safetensors
    expect 0 "$FCIL" eval one.safetensors
    cmp out alone.txt || fail "twice the same expert"
    refused 3 'have the same classes, expected classes of their own' merge --rule emr --base ties/base.safetensors ties/task02 ties/task02 -o x.safetensors
    refused 2 'smile keeps its inputs apart' merge --rule smile ties/task01 -o x
    refused 2 'a model with experts' stats experts.safetensors -o x
fi

say "what cannot be merged"
refused 2 'merge: which rule' merge ties/task01 -o x
refused 2 "\-\-rule 'tie', did you mean ties?" merge --rule tie ties/task01 -o x
refused 2 "ties has no option 'top_l', did you mean top_k?" merge --rule ties top_l=3 ties/task01 -o x
refused 2 'merge: top_k: found .200.' merge --rule ties top_k=200 ties/task01 -o x
refused 2 'merge: what, and where to' merge --rule ties ties/task01
refused 2 'x.safetensors is a whole model, which needs --base' merge --rule ties ties/task01 -o x.safetensors
refused 2 "\-\-rank: found 'all'" merge --rule ties ties/task01 -o x --rank all
refused 2 'regmean needs statistics' merge --rule regmean ties/task01 -o x
images=(--rule adamerging steps=1 --base ties/base.safetensors)
refused 2 'adamerging needs images, and the network' merge --rule adamerging ties/task01 -o x
refused 2 "\-\-samples: found '0', expected a whole number from 1" merge "${images[@]}" ties/task* -o x --samples 0
refused 2 '\-\-stats: ties takes no statistics' merge --rule ties ties/task01 -o x --stats stats1
refused 2 'isotropise works in the spaces core and knots only' merge --rule ties isotropise=true ties/task01 -o x
( ulimit -f 4 && expect 1 "$FCIL" merge --rule ties --base ties/base.safetensors ties/task* -o x.safetensors )
grep -q 'x.safetensors: cannot write .* File too large' err || fail "a file that grows too large: $(cat err)"
refused 2 '\-\-samples: ties takes no images' merge --rule ties ties/task01 -o x --samples 5
refused 2 '\-\-samples: regmean takes no images beside --stats' merge --rule regmean ties/task01 -o x --samples 5 --stats stats1
refused 2 'data.synth_clases' merge "${images[@]}" ties/task* -o x data.synth_clases=4
refused 2 'data.synth_clases' merge --rule ties ties/task01 -o x data.synth_clases=4
refused 2 'individual works on the tasks of a run only' merge --rule individual --base ties/base.safetensors ties/task* -o x.safetensors
refused 2 'adamerging works in full space only' merge "${images[@]}" space=core ties/task* -o x
refused 3 'base.safetensors: no head' merge "${images[@]}" ties/base.safetensors -o x
refused 3 'task01: metadata: data.hold_out_per_class is .0., and not so in every input' merge "${images[@]}" ties/task01 held/task02 -o x
refused 3 'nowhere: no cifar100 data in this folder' merge "${images[@]}" ties/task* -o x data.name=cifar100 --data nowhere
refused 3 'experts.safetensors is a model with experts' merge --rule wemoe steps=1 --base experts.safetensors ties/task* -o x.safetensors
refused 3 'base.safetensors: tensor pos_embed: found 1 x 544 numbers, expected 1 x 160' merge "${images[@]}" got.safetensors -o x data.image_size=8
cp -r ties/task01 anonymous
sed -i 's/"classes"/"klasses"/; s/"tasks"/"tusks"/' anonymous/adapter_model.safetensors
refused 3 'anonymous: adamerging needs images of its classes, and its metadata do not name them' merge "${images[@]}" anonymous -o x
refused 2 '1 files of statistics for 3 inputs' merge --rule regmean ties/task* -o x --stats stats1
expect 0 "$FCIL" stats ties/task01 -o grams --samples 10 --only grams
refused 3 'grams: no Fisher information of tensor blocks.0.attn.qkv.weight' merge --rule fisher ties/task01 -o x --stats grams
refused 2 'works in full space only' merge --rule fisher space=core ties/task01 -o x --stats stats1
refused 2 'lorm does not merge' merge --rule lorm ties/task01 -o x --stats stats1
refused 2 'is there as a whole, which needs --base' merge --rule ties mean.safetensors -o x
expect 0 "$FCIL" run tiny.yaml backbone.width=16 method.name=fedavg tasks.count=1 fed.rounds=1 --out thin
expect 0 "$FCIL" export "$(run_dir thin)" --to timm -o narrow.safetensors
refused 3 'blocks.0.attn.qkv.weight has shape (96, 32), in the base it is (48, 16)' merge --rule ties --base narrow.safetensors ties/task01 -o x
[ ! -e x ] || fail "left something behind"

say "what cannot be tested"
refused 2 'eval: which model' eval
refused 3 'nothing.safetensors' eval nothing.safetensors
refused 3 'base.safetensors: no head, expected head.weight' eval adapters/base.safetensors
refused 2 'a whole model needs no --base' eval model.safetensors --base foreign.safetensors
refused 2 'class order: entry 4 is class 4, expected 0 to 3' eval model.safetensors data.synth_classes=4
refused 2 'data.synth_clases' eval model.safetensors data.synth_clases=4
cp -r adapters/task01 lonely
refused 3 "lonely: which backbone? '../base.safetensors'" eval lonely
sed -i 's/blocks.1.mlp.fc2/blocks.7.mlp.fc2/g' lonely/adapter_model.safetensors
refused 3 'lonely: blocks.7.mlp.fc2.weight: the backbone has no such tensor' eval lonely --base adapters/base.safetensors
expect 0 "$FCIL" run tiny.yaml backbone.width=16 tasks.count=1 fed.rounds=1 --out narrow
expect 0 "$FCIL" export "$(run_dir narrow)" --to peft -o small
refused 3 'the head is for 16 features, the backbone gives 32' eval small/task01 --base adapters/base.safetensors

say "a backbone in a file is named, not written"
backbone weights.safetensors train.epochs=1
expect 0 "$FCIL" run tiny.yaml backbone.weights=weights.safetensors tasks.count=1 fed.rounds=1 --out loaded
expect 0 "$FCIL" export "$(run_dir loaded)" --to peft -o named
[ "$(ls named)" = task01 ] || fail "found: $(ls named)"
grep -q '"base_model_name_or_path": "weights.safetensors"' named/task01/adapter_config.json || fail "name of the base"

say "what cannot be exported"
refused 2 'usage: fcil export' export
refused 2 'usage: fcil export' export "$run" --to peft
refused 2 "\-\-to: found 'onnx', expected peft or timm" export "$run" --to onnx -o x
refused 3 'adapters: no config.yaml there' export adapters --to timm -o x
refused 1 'nowhere/x' export "$run" --to timm -o nowhere/x
cp -r "$run" broken
rm broken/ckpt/*
refused 3 'broken: no checkpoint there' export broken --to timm -o x
refused 4 'config_hash' export "$run" train.lr=1 --to timm -o x
expect 0 "$FCIL" run tiny.yaml method.name=fedavg tasks.count=1 fed.rounds=1 --out full
refused 2 'the tasks of method fedavg leave no LoRA' export "$(run_dir full)" --to peft -o x
[ ! -e x ] || fail "left something behind"
