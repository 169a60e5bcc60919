#!/bin/bash
# Do two builds of fcil write the same bytes? Runs a fixed list of cases with both, one after the other in the
# same folder, and compares every file and all that was printed (scripts/same_bytes.py says what is left
# out: times, versions). Exit code 0: no difference but those named at the end; 1: others; 2: usage.
# Where $FCIL_DATA is set, with CIFAR-100 and timm's ViT-Tiny in it, these are used as well.
# usage: scripts/same_bytes.sh [--list] [--only PATTERN] [--jobs N] [--keep DIR] OLD_FCIL NEW_FCIL
#   --only PATTERN   cases whose names match, e.g. 'tasks/*'; may be repeated
#   --jobs N         so many cases at the same time; default 1
#   --keep DIR       keep DIR/old/CASE and DIR/new/CASE; DIR must not exist
# shellcheck disable=SC2317  # cases are called by name
set -euo pipefail

usage() {
    sed -n '6,9s/^# //p' "$0" >&2
    exit 2
}
die() {
    echo "same_bytes.sh: $*" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
only=() jobs=1 keep='' list=''
while [[ ${1-} == -* ]]; do
    case $1 in
    --list) list=1 ;;
    --only) only+=("${2-}") && shift ;;
    --jobs) jobs=${2-} && shift ;;
    --keep) keep=$(realpath -m -- "${2-}") && shift ;;
    *) usage ;;
    esac
    [[ $# -gt 0 ]] || usage
    shift
done
[[ $# -eq 2 && $jobs =~ ^[1-9][0-9]*$ ]] || usage
for tool in python3 gnuplot; do
    command -v $tool >/dev/null || die "$tool is not installed"
done

# --- where -----------------------------------------------------------------------------------------
# First all cases with OLD, then all with NEW, each case in $work/here/CASE and with the program called $work/fcil,
# so that no path differs. $work/here then becomes $work/old or $work/new.

data=${FCIL_DATA-}
unset FCIL_DATA OMP_NUM_THREADS COLUMNS
export LC_ALL=C TZ=UTC NO_COLOR=1 OMP_WAIT_POLICY=passive # small runs spend their time waiting otherwise

if [[ $keep ]]; then
    [[ ! -e $keep ]] || die "$keep exists"
    mkdir -p "$keep"
    work=$keep
else
    # in memory, where there is room: most of the time would go to waiting for a disk
    if [[ -z ${TMPDIR-} && -w /dev/shm && $(df --output=avail /dev/shm | tail -n 1) -gt 1000000 ]]; then
        TMPDIR=/dev/shm
    fi
    work=$(mktemp -d -p "${TMPDIR:-/tmp}" same_bytes.XXXXXX)
    trap 'rm -rf "$work"' EXIT
fi
old=$(realpath "$1") new=$(realpath "$2")
# names WHAT: what OLD's `fcil list WHAT` lists.
names() { "$old" list "$1" --json | sed -n 's/^    "name": "\(.*\)",*$/\1/p'; }
mapfile -t methods < <(names methods)
mapfile -t rules < <(names merges)
for side in old new; do
    "${!side}" config explain >"$work/$side.explained" || die "${!side} does not run"
    for method in "${methods[@]}"; do "${!side}" config show "method.name=$method"; done >"$work/$side.shown"
done

# --- what a case can say ---------------------------------------------------------------------------
# Programs other than fcil cost more than fcil does here: as few as can be.

# fcil WORD...: one call; its words, output and exit code go to the file `log`, what it says on stderr to `log.err`.
# `want` says which exit codes are right: a case that does not do what it should compares nothing.
want=0
fcil() {
    local code=0
    echo "\$ fcil $*" >>log
    echo "\$ fcil $*" >>log.err
    "$work/fcil" "$@" >>log 2>>log.err </dev/null || code=$?
    echo "exit code $code" >>log
    [[ $code =~ ^($want)$ ]] || unexpected "fcil $*: exit code $code: $(tail -n 1 log.err)"
}
unexpected() { echo "$name: $*" >>"$work/unexpected"; }
# run WORD...: a run of tiny.yaml. dry WORD...: its prediction.
run() { fcil run tiny.yaml --threads 2 "$@"; }
dry() { fcil run tiny.yaml --threads 2 --dry-run --json "$@"; }
# listing FILE WORD...: what one call prints. FILE list-...: more of it in NEW is a named difference; help-...: any.
listing() { "$work/fcil" "${@:2}" >"$1" 2>&1 || true; }
run_dir() { echo "$1"/*/*/; }

# The files that each case begins with. Three tasks of two classes over three clients: LoRM trains B and A once
# in each task.
template() {
    cat >tiny.yaml <<'YAML'
run: {name: same, seed: 1, threads: 2}
data: {name: synth, synth_classes: 6, synth_train: 16, synth_test: 8, synth_size: 16, synth_difficulty: 0.2, augment: pad, test_resize: plain}
tasks: {count: 3}
fed: {clients: 3, rounds: 2, beta: 1, min_samples: 2}
backbone: {patch: 4, width: 16, depth: 2, heads: 2, mlp_ratio: 2}
train: {epochs: 1, batch: 4, lr: 0.01, lora_rank: 2}
log: {report: false}
YAML
    cat >pretrain.yaml <<'YAML'
run: {name: pretrain, seed: 1, threads: 2}
data: {name: synth, synth_classes: 8, synth_first_class: 100, synth_train: 20, synth_test: 4, synth_size: 16, synth_difficulty: 0.2, augment: none, test_resize: plain}
backbone: {patch: 4, width: 16, depth: 2, heads: 2, mlp_ratio: 2}
train: {epochs: 3, batch: 16, lr: 0.003, schedule: cosine}
pretrain: {hold_out: 4, out: backbone.safetensors}
YAML
    cat >tasks.yaml <<'YAML'
base: tiny.yaml
run: {name: tasks}
data: {hold_out_per_class: 4}
tasks: {merge: average}
fed: {clients: 1, rounds: 1}
method: {name: fedavg_lora}
YAML
    cat >again.yaml <<'YAML'
base: tasks.yaml
tasks: {from: tasks.yaml}
task_merge: {samples: 6}
YAML
    cat >trace.csv <<'CSV'
client,gflops,up_mbit,down_mbit,available_from_s,available_to_s
0,0.05,0.5,2,0,0.3
0,0.02,0.5,2,0.5,0.9
1,0.03,0.3,1,0.1,0.8
2,0.04,0.2,1.5,0,1
CSV
}

# --- cases that are one run: a name, and what it sets ------------------------------------------------
runs() {
    local m r rule_words space
    for m in "${methods[@]}"; do
        echo "method/$m method.name=$m"
        echo "devices/$m method.name=$m fed.clients=6 fed.deadline_s=0.15 device.model=random device.gflops=0.1 device.availability=0.8 device.dropout=0.2"
        echo "participation/$m-task method.name=$m fed.clients=5 fed.participation=0.5"
        echo "participation/$m-round method.name=$m fed.clients=5 fed.participation=0.5 fed.participation_draw=round log.tensorboard=true"
        echo "bf16/$m method.name=$m run.precision=bf16"
        echo "sgd/$m method.name=$m train.optimizer=sgd train.weight_decay=0.01 train.clip_norm=0.5 train.schedule=cosine train.warmup=0.2 train.lr_A=0.02 train.lr_B=0.03 train.lr_backbone=0.005"
    done
    for m in lorm fedavg joint; do echo "report/$m method.name=$m log.report=true fed.rounds=1"; done
    for m in fedavg_lora ffa_lora rolora lora_merge flora flexlora; do
        for r in run_sum run_mean individual_sum individual_mean; do
            echo "cl_merge/$m-$r method.name=$m method.cl_merge=$r"
        done
    done
    for r in run_sum run_mean individual_sum individual_mean; do
        echo "cl_merge/lora_merge-fold-$r method.name=lora_merge method.carry=fold method.cl_merge=$r merge.rule=ties"
    done
    for r in "${rules[@]}"; do
        rule_words="tasks.merge=$r"
        [[ $r != adamerging && $r != wemoe ]] || rule_words+=" task_merge.steps=3"
        # held-out images for one method, training images for the other
        echo "tasks/lorm-$r $rule_words data.hold_out_per_class=4 task_merge.samples=6"
        echo "tasks/fedavg-$r method.name=fedavg method.start=pretrained fed.rounds=1 task_merge.samples=6 $rule_words"
        for space in full core knots; do
            echo "tasks/lora_merge-$r-$space method.name=lora_merge fed.rounds=1 task_merge.space=$space $rule_words"
        done
    done
    cat <<'RUNS'
method/lorm-A method.train_matrix=A
method/lorm-B method.train_matrix=B
method/lorm-three-rounds fed.rounds=3
method/lorm-trained-grams method.gram_model=trained
method/lorm-gram-passes method.gram_passes=2
method/lorm-full-grams method.alpha_backbone=0.3
method/lorm-full-grams-bf16 method.alpha_backbone=0.5 run.precision=bf16 method.gram_model=trained
method/lorm-full-grams-lost method.alpha_backbone=1 fed.clients=6 fed.deadline_s=0.3 device.model=random device.gflops=0.1 device.dropout=0.2
method/lorm-head-diagonal method.alpha_head=0
method/lorm-head-full method.alpha_head=1
method/lora_merge-fold method.name=lora_merge method.carry=fold
method/fedavg-pretrained method.name=fedavg method.start=pretrained
option/rule-unweighted method.name=lora_merge merge.weighted=false
option/rule-isotropise-core method.name=lora_merge merge.rule=average merge.space=core merge.isotropise=true
option/rule-isotropise-knots method.name=lora_merge merge.rule=task_arithmetic merge.space=knots merge.isotropise=true
option/rule-knots-v method.name=lora_merge merge.rule=ties merge.space=knots merge.knots=v
option/rule-knots-eps method.name=lora_merge merge.rule=ties merge.space=knots merge.knots_eps=0.05
option/rule-task_arithmetic method.name=lora_merge merge.rule=task_arithmetic merge.lambda=0.6
option/rule-ties-mean method.name=lora_merge merge.rule=ties merge.top_k=50 merge.merge_func=mean merge.lambda=1
option/rule-ties-max method.name=lora_merge merge.rule=ties merge.merge_func=max merge.quantile=true
option/rule-c_ties method.name=lora_merge merge.rule=c_ties merge.top_k=50 merge.merge_func=mean merge.lambda=0.7
option/rule-dare method.name=lora_merge merge.rule=dare merge.p=0.2 merge.lambda=1
option/rule-dare-ties method.name=fedavg merge.rule=dare merge.linear_only=true merge.with_ties=true merge.ties_top_k=40 merge.ties_merge_func=max merge.ties_lambda=0.9
option/rule-breadcrumbs-keep method.name=lora_merge merge.rule=breadcrumbs merge.form=keep_first merge.beta=0.4 merge.gamma=0.2 merge.lambda=1
option/rule-breadcrumbs-layer method.name=lora_merge merge.rule=breadcrumbs merge.form=layer
option/rule-pcb method.name=lora_merge merge.rule=pcb merge.ratio=0.4 merge.lambda=0.9
option/rule-fisher-expected method.name=lora_merge merge.rule=fisher merge.fisher=expected merge.samples=3
option/rule-fisher-labels method.name=fedavg merge.rule=fisher merge.fisher=labels merge.weighted=false
option/rule-fisheravg method.name=fedavg merge.rule=fisher merge.normalise=false merge.epsilon=1e-12
option/rule-fisher-partial method.name=lora_merge merge.rule=fisher fed.clients=5 fed.participation=0.5 method.carry=fold
option/rule-regmean merge.rule=regmean merge.off_diagonal=0.5 method.alpha_backbone=0.5
option/rule-tsv method.name=lora_merge merge.rule=tsv merge.lambda=0.5
option/rule-iso_c method.name=lora_merge merge.rule=iso_c merge.lambda=0.5
option/rule-iso_cts method.name=lora_merge merge.rule=iso_cts merge.common_fraction=0.5
option/rule-cart method.name=lora_merge merge.rule=cart merge.residual=0.4 merge.rank_fraction=0.3 merge.lambda=0.8
option/rule-opcm method.name=lora_merge merge.rule=opcm merge.alpha=0.8
option/tasks-scales tasks.merge=task_arithmetic data.hold_out_per_class=4 task_merge.scales=0.03,0.1,0.3,1,2,4,8 train.epochs=6
option/tasks-scales-masked tasks.merge=task_arithmetic data.hold_out_per_class=4 task_merge.scales=0.03,0.1,0.3,1,2,4,8 train.epochs=6 task_merge.criterion=acc_masked
option/tasks-scales-fedavg method.name=fedavg method.start=pretrained tasks.merge=tsv data.hold_out_per_class=4 task_merge.scales=0.2,1
option/tasks-scale tasks.merge=average task_merge.scale=0.5
option/tasks-isotropise method.name=lora_merge tasks.merge=average task_merge.space=core task_merge.isotropise=true
option/tasks-knots method.name=lora_merge tasks.merge=ties task_merge.space=knots task_merge.knots=v task_merge.knots_eps=0.01
option/tasks-adamerging tasks.merge=adamerging task_merge.steps=2 task_merge.layer_wise=false task_merge.batch=4 task_merge.lr=0.01
option/tasks-smile tasks.merge=smile task_merge.k=-1 task_merge.gate_k=2
option/tasks-smile-average tasks.merge=smile task_merge.k=2 task_merge.routing_use_diff=false task_merge.average_experts=true
option/tasks-wemoe-1 tasks.merge=wemoe task_merge.steps=2 task_merge.router_layers=1 task_merge.batch_reduce=true
option/tasks-wemoe-0 tasks.merge=wemoe task_merge.steps=2 task_merge.router_layers=0 task_merge.lr=0.01
option/tasks-regmean method.name=fedavg_lora tasks.merge=regmean task_merge.off_diagonal=0.5 task_merge.samples=5
option/tasks-regmean_pp method.name=fedavg_lora tasks.merge=regmean_pp task_merge.off_diagonal=0.5 data.hold_out_per_class=4
option/tasks-dare tasks.merge=dare task_merge.p=0.3 task_merge.linear_only=true
option/tasks-bf16 tasks.merge=wemoe task_merge.steps=2 run.precision=bf16
option/tasks-order tasks.order=2,0,1 tasks.merge=opcm
option/tasks-order-seed tasks.order=seed:3 method.name=fedavg_lora
option/class-order tasks.class_order=5,3,1,0,2,4
option/class-order-seed tasks.class_order=seed:7 tasks.count=2
option/task-sizes tasks.sizes=1,2,3
option/device-trace device.model=trace device.trace=trace.csv device.trace_period_s=1
option/device-trace-round device.model=trace device.trace=trace.csv device.trace_period_s=1 fed.participation=0.7 fed.participation_draw=round fed.deadline_s=0.5
option/device-over-select device.model=random device.gflops=0.1 fed.clients=8 fed.participation=0.5 fed.over_select=1.5 fed.participation_draw=round
option/device-all-lost device.model=random device.dropout=0.9
option/device-sigma device.model=random device.gflops_sigma=1.5 device.up_mbit=1 device.up_sigma=2 device.down_mbit=3 device.down_sigma=0 seed.device=5 log.report=true
option/eval-last eval.rounds=last
option/eval-none eval.rounds=none method.name=fedavg
option/eval-tasks-last eval.tasks=last eval.rounds=none tasks.merge=ties log.report=true
option/isa-scalar run.isa=scalar
option/isa-blas run.isa=blas method.name=fedavg
option/isa-scalar-bf16 run.isa=scalar run.precision=bf16 method.name=fedavg_lora
option/adam train.optimizer=adam train.weight_decay=0.01 train.beta1=0.8 train.beta2=0.99 method.name=fedavg
option/adamw train.weight_decay=0.05 train.clip_norm=0.3 train.schedule=cosine train.warmup=0.3 train.epochs=2 method.name=fedavg
option/sgd train.optimizer=sgd train.momentum=0.5 train.schedule=cosine train.epochs=2
option/batch-1 train.batch=1 tasks.count=2
option/batch-1000 train.batch=1000 method.name=fedavg_lora
option/rank train.lora_rank=5 method.name=flora
option/one-client fed.clients=1
option/one-task tasks.count=1 log.report=true
option/augment-none data.augment=none
option/augment-flip data.augment=flip data.normalisation=imagenet
option/augment-crop data.augment=crop data.normalisation=cifar
option/augment-rrc data.augment=rrc data.scale_low=0.3 data.normalisation=none data.test_resize=centre
option/image-size data.image_size=20
option/validation data.validation_per_class=3
option/first-images data.max_train_per_class=9 data.max_test_per_class=5 data.validation_per_class=2
option/seed-order seed.order=9 tasks.class_order=seed:2
option/seeds seed.partition=3 seed.init=4 seed.train=5 seed.data=6
option/fewer-files log.partition=false log.clients=false
option/partition-dir-client fed.partition=dir-client fed.samples_per_client=7
option/partition-dir-class fed.beta=0.1 fed.min_samples=1
option/partition-quantity fed.partition=quantity fed.classes_per_client=1
option/partition-shard fed.partition=shard fed.shards_per_client=1
option/partition-iid fed.partition=iid fed.clients=5
option/checkpoints run.checkpoint_s=0 method.name=fedavg
RUNS
}

# --- cases of several calls: case/NAME becomes the function case_NAME ----------------------------------

# Every rule in the rounds of every method, in every space; the refused ones by their messages.
rounds_of() {
    local rule space method=$1
    want='0|2'
    for rule in "${rules[@]}"; do
        for space in "${@:2}"; do
            run "method.name=$method" "merge.rule=$rule" "merge.space=$space" tasks.count=2 fed.clients=4 --out "$rule-$space"
        done
    done
}
case_rounds_lora_merge_full() { rounds_of lora_merge full; }
case_rounds_lora_merge_core() { rounds_of lora_merge core; }
case_rounds_lora_merge_knots() { rounds_of lora_merge knots; }
case_rounds_fedavg() { rounds_of fedavg full; }
case_rounds_others() {
    local method
    for method in "${methods[@]}"; do
        case $method in lora_merge | fedavg) continue ;; esac
        (mkdir "$method" && cd "$method" && cp ../tiny.yaml . && rounds_of "$method" full)
    done
}
case_rounds_late() {
    local rule
    want='0|2'
    for rule in "${rules[@]}"; do
        run method.name=lora_merge "merge.rule=$rule" fed.clients=6 device.model=random device.gflops=0.1 \
            fed.deadline_s=0.3 device.dropout=0.2 device.availability=0.8 --out "$rule"
    done
}

case_dry_run() {
    local m rule
    for m in "${methods[@]}"; do dry "method.name=$m" fed.clients=5 fed.participation=0.5; done
    dry method.alpha_backbone=0.5
    dry fed.clients=20 data.synth_train=100 device.model=random fed.deadline_s=0.2 device.dropout=0.1 fed.over_select=1.3 fed.participation=0.3
    dry device.model=trace device.trace=trace.csv device.trace_period_s=1
    dry run.precision=bf16 train.epochs=3 eval.rounds=last
    want='0|2'
    for rule in "${rules[@]}"; do
        dry method.name=lora_merge "tasks.merge=$rule" data.hold_out_per_class=4 task_merge.scales=0.5,1
        dry method.name=fedavg "merge.rule=$rule"
    done
    want=0
    run --dry-run
    run --dry-run device.model=random fed.deadline_s=0.3
    fcil run again.yaml --dry-run --threads 2
    # a network whose memory counts
    for m in lorm fedavg lora_merge; do dry "method.name=$m" backbone.width=256 backbone.depth=8 backbone.heads=4 data.synth_train=100 fed.clients=20; done
}

case_pretrain() {
    fcil pretrain pretrain.yaml --threads 2
    fcil pretrain pretrain.yaml --threads 2 -o last.safetensors pretrain.hold_out=0 run.precision=bf16
    run backbone.weights=backbone.safetensors --out loaded
    run backbone.weights=backbone.safetensors data.image_size=24 method.name=fedavg --out resampled
    run backbone.pretrain=pretrain.yaml --out cached
    run backbone.pretrain=pretrain.yaml --out cached-again method.name=fedavg_lora
}

case_tasks_from() {
    local rule
    for rule in ties opcm regmean fisher regmean_pp smile emr individual tsv; do
        fcil run again.yaml --threads 2 --out "$rule" "tasks.merge=$rule"
    done
    for rule in adamerging wemoe; do fcil run again.yaml --threads 2 --out "$rule" "tasks.merge=$rule" task_merge.steps=2; done
    fcil run again.yaml --threads 2 --out order tasks.merge=task_arithmetic tasks.order=2,0,1 task_merge.scales=0.1,0.5
    fcil run again.yaml --threads 2 --out two-experts tasks.merge=smile task_merge.top_k=2 eval.tasks=last
    fcil run again.yaml --threads 2 --out last tasks.merge=ties eval.tasks=last log.report=true
}

case_files() {
    local task rule options samples
    run
    fcil export results/*/* --to timm -o model.safetensors
    fcil export results/*/* --to peft -o run
    fcil eval model.safetensors -o matrix
    fcil eval model.safetensors --json data.synth_test=5
    fcil eval run/task02
    fcil stats model.safetensors -o model.stats --samples 20
    fcil stats model.safetensors -o labels.stats --samples 0 --only fisher --fisher labels
    for task in 1 2 3; do fcil stats "run/task0$task" -o "task$task.stats" --samples 10 --fisher weighted; done
    want='0|2'
    for rule in "${rules[@]}"; do
        options=() samples=()
        case $rule in adamerging | wemoe) options=(steps=2) ;; esac
        case $rule in adamerging | wemoe | regmean* | fisher) samples=(--samples 6) ;; esac
        fcil merge --rule "$rule" seed=1 "${options[@]}" "${samples[@]}" --base run/base.safetensors run/task* -o "$rule.safetensors"
        [[ ! -e $rule.safetensors ]] || fcil eval "$rule.safetensors"
        fcil merge --rule "$rule" seed=1 run/task* -o "$rule-adapter" --rank 2
    done
    want=0
    for rule in ties tsv iso_c; do
        fcil merge --rule "$rule" space=core --base run/base.safetensors run/task* -o "$rule-core.safetensors"
        fcil merge --rule "$rule" space=knots run/task* -o "$rule-knots"
    done
    for rule in regmean fisher; do
        fcil merge --rule $rule --base run/base.safetensors run/task* -o "$rule-stats.safetensors" \
            --stats task1.stats --stats task2.stats --stats task3.stats
    done
    fcil merge --rule average --base run/base.safetensors model.safetensors ties.safetensors -o whole.safetensors
    fcil eval whole.safetensors
    fcil merge --rule wemoe steps=2 router_layers=1 batch_reduce=true --base run/base.safetensors run/task* -o wemoe-1.safetensors
    fcil eval wemoe-1.safetensors -o wemoe-1
}

case_export() {
    local m dir
    for m in "${methods[@]}"; do
        run "method.name=$m" tasks.class_order=seed:7 --out "$m"
        dir=$(run_dir "$m")
        fcil export "$dir" --to timm -o "$m.safetensors"
        fcil eval "$m.safetensors"
        want='0|2'
        fcil export "$dir" --to peft -o "$m-adapters"
        want=0
    done
    for m in smile wemoe; do
        run "tasks.merge=$m" --out "$m" task_merge.samples=5
        fcil export "$(run_dir $m)" --to timm -o $m.safetensors
        fcil eval $m.safetensors
    done
}

case_sweep() {
    cat >sweep.yaml <<'YAML'
name: demo
config: tiny.yaml
set: {fed.rounds: 1, log.report: true}
axes:
  method.name: [lorm, fedavg_lora]
  train.lr: {log: [1e-3, 1e-2], n: 2}
  method.alpha_head: [0.25, 0.5]
seeds: 2
where: ["train.lr >= 0.005 or run.seed == 0"]
baseline: {method.name: fedavg_lora}
YAML
    fcil sweep plan sweep.yaml --threads 2
    fcil sweep plan sweep.yaml --threads 2 --json
    fcil sweep print sweep.yaml --out sweep
    fcil sweep slurm sweep.yaml --out sweep --threads 2
    fcil sweep run sweep.yaml --out sweep --threads 2 --shard 1/2
    fcil sweep status sweep.yaml --out sweep --json
    fcil sweep run sweep.yaml --out sweep --threads 2
    fcil sweep status sweep.yaml --out sweep
    fcil sweep collect sweep.yaml --out sweep
    cp -r sweep/demo/table.* .
    fcil sweep collect sweep.yaml --out sweep --metric faa,bwt,bytes_up
}
case_sweep_draws() {
    cat >sweep.yaml <<'YAML'
name: draws
config: tiny.yaml
set: {fed.rounds: 1, tasks.count: 1}
axes:
  "train.lr_A, train.lr_B": [[1e-3, 1e-3], [3e-3, 1e-3]]
  train.lora_rank: {log: [1, 8]}
  fed.beta: {range: [0.5, 1, 0.5]}
draws: {count: 3, seed: 1}
YAML
    fcil sweep plan sweep.yaml --threads 2
    # the order of what two jobs say is chance: not in the log
    "$work/fcil" sweep run sweep.yaml --out sweep --threads 2 --jobs 2 >/dev/null 2>&1
    fcil sweep collect sweep.yaml --out sweep
}
case_sweep_halving() {
    cat >sweep.yaml <<'YAML'
name: halving
config: tiny.yaml
set: {tasks.count: 1, data.validation_per_class: 3}
axes:
  train.lr: [1e-6, 0.01, 1e-7, 0.003]
seeds: 2
search: {halving: {budget: fed.rounds, values: [1, 2, 3]}}
YAML
    fcil sweep plan sweep.yaml --threads 2
    fcil sweep run sweep.yaml --out sweep --threads 2
    fcil sweep status sweep.yaml --out sweep
    fcil sweep collect sweep.yaml --out sweep
}
case_sweep_failed() {
    printf 'name: bad\nconfig: tiny.yaml\nset: {tasks.count: 1}\naxes: {fed.clients: [3, 1000]}\n' >sweep.yaml
    want=1
    fcil sweep run sweep.yaml --out sweep --threads 2
    fcil sweep run sweep.yaml --out sweep --threads 2 --retry-failed
    want=0
    fcil sweep status sweep.yaml --out sweep
}

case_pictures() {
    local m x
    for m in lorm fedavg_lora; do
        run "method.name=$m" --out runs
        run "method.name=$m" --out runs run.seed=2
    done
    for x in tasks rounds bytes; do fcil plot --x $x runs/*/* -o $x.svg; done
    fcil plot runs/*/* --metric acc_task_mean --label lorm=LoRM -o curves.png
    fcil plot runs/*/* --bars faa -o bars.svg
    fcil report runs/*/* -o comparison.html --baseline fedavg_lora
    fcil report "$(find runs -name 'lorm-s1-*')" -o page.html
    fcil data show tiny.yaml -o shown
    fcil data show tiny.yaml tasks.sizes=2,4 fed.clients=7 fed.partition=iid -o shown-json --json
    fcil data check synth
}

case_verify() {
    local m
    cp -r "$root"/{configs,results} .
    want='0|1'
    for m in lorm fedavg_lora; do # the recipes of the synth data, shortened
        fcil verify configs/recipes/synth_$m.yaml --out verified --threads 2 -o $m.md \
            train.epochs=1 fed.rounds=1 backbone.pretrain= backbone.width=16 backbone.depth=1 backbone.heads=2 backbone.patch=4
    done
    fcil verify --recorded configs/recipes/*.yaml -o recorded.md
    fcil verify --recorded configs/recipes/*.yaml --json
    rm -r configs results
}

case_data() {
    cp -r "$root/tests/data" fixtures
    fcil data check cifar10 fixtures/cifar-10-batches-py
    fcil data check npz fixtures/rgb.npz --json
    fcil data check npz fixtures/grey-deflated.npz
    mkdir -p folder/{train,test}/{a,b}
    cp fixtures/images/rgb8.png folder/train/a/1.png
    cp fixtures/images/420.jpg folder/train/a/2.jpg
    cp fixtures/images/palette.png folder/train/b/1.png
    cp fixtures/images/rgb.ppm folder/train/b/2.ppm
    cp fixtures/images/rgb8.png folder/test/a/1.png
    cp fixtures/images/progressive.jpg folder/test/b/1.jpg
    fcil data check imagefolder folder
    run data.name=imagefolder data.path=folder data.image_size=16 tasks.count=1 fed.clients=2 fed.partition=iid fed.min_samples=0
    run data.name=cifar10 data.path=fixtures/cifar-10-batches-py data.image_size=16 tasks.count=2 fed.clients=2 fed.partition=iid fed.min_samples=0 --out cifar
    rm -r fixtures folder
}

case_partition_file() {
    run --out first
    cp first/*/*/partition.csv .
    run fed.partition=file fed.partition_file=partition.csv --out replayed
}

case_listings() {
    local what m
    for what in datasets methods merges partitions metrics; do
        listing list-$what list $what
        listing list-$what.json list $what --json
    done
    listing list-explain config explain
    listing list-show config show
    listing list-show-verbose config show --verbose
    for m in "${methods[@]}"; do listing "list-show-$m" config show tiny.yaml "method.name=$m" tasks.merge=ties merge.rule=dare; done
    listing help-all --help
    for what in run pretrain sweep verify data list config report plot export eval merge stats bench; do
        listing help-$what $what --help
    done
    listing help-wrong-method run tiny.yaml method.name=lrom
    listing help-wrong-verb sweep rnu
    cp -r "$root/configs" .
    fcil config check configs/{base,merging,paper,tiny}/*.yaml
    rm -r configs
    want=2
    fcil run tiny.yaml train.lrr=1
    fcil run tiny.yaml tasks.merge=ties task_merge.p=0.5
    fcil run tiny.yaml tasks.merge=opcm task_merge.space=core
}

# interrupted SIGNAL CODE WORD...: a run that gets the signal after its third row, and is then resumed. What is
# said in between depends on the moment, so only the files count.
interrupted() {
    local signal=$1 code=$2 got tries=0 pid rows
    local call=("$work/fcil" run tiny.yaml --threads 2 train.epochs=10 "${@:3}")
    while true; do
        "${call[@]}" >/dev/null 2>&1 &
        pid=$!
        rows=()
        until [[ ${#rows[@]} -ge 4 ]] || ! kill -0 $pid 2>/dev/null; do
            sleep 0.01
            mapfile -t rows < <(cat results/*/*/rounds.csv 2>/dev/null)
        done
        kill "-$signal" $pid 2>/dev/null || true
        got=0
        wait $pid || got=$?
        [[ $got -eq 0 && $tries -lt 10 ]] || break # it was done before the signal came
        rm -r results
        tries=$((tries + 1))
    done
    [[ $got -eq $code ]] || unexpected "$signal: exit code $got, expected $code"
    "${call[@]}" --resume >/dev/null 2>&1 || unexpected "$signal: --resume: exit code $?"
}
# The shell says who was killed: of no interest.
case_killed() { interrupted KILL 137 run.checkpoint_s=0 2>/dev/null; }
case_killed_fedavg() { interrupted KILL 137 method.name=fedavg method.start=pretrained tasks.merge=opcm log.tensorboard=true 2>/dev/null; }
case_stopped() { interrupted USR1 75 log.report=true; }
case_stopped_lora_merge() { interrupted USR1 75 method.name=lora_merge method.carry=fold merge.rule=tsv; }
case_resumed() { # from the last checkpoint but one, and twice
    local m last
    for m in "${methods[@]}"; do
        run "method.name=$m" --out "$m"
        last=$(printf '%s\n' "$m"/*/*/ckpt/*.safetensors | tail -n 1)
        rm "$last" "${last%.safetensors}.json" "$m"/*/*/DONE
        run "method.name=$m" --out "$m" --resume
        run "method.name=$m" --out "$m" --resume
    done
}

case_ranks() { # where both were built with Open MPI
    [[ $(ldd "$old") == *libmpi* && $(ldd "$new") == *libmpi* ]] || return 0
    mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$work/fcil" run tiny.yaml --threads 1 >/dev/null 2>&1 ||
        unexpected "mpirun: exit code $?"
}

cifar_twin() {
    cp -r "$root/configs" .
    fcil run "configs/tiny/cifar100_vit_tiny_$1_b0.5.yaml" --data "$data" --threads 2 tasks.count=2 data.max_train_per_class=2 \
        data.max_test_per_class=1 fed.clients=3 fed.rounds=2 fed.min_samples=1 train.epochs=1
    rm -r configs
}
case_cifar_lorm() { cifar_twin lorm; }
case_cifar_fedavg_lora() { cifar_twin fedavg_lora; }

# --- all of it -------------------------------------------------------------------------------------------

cases() {
    runs
    declare -F | sed -n 's/^declare -f case_/case\//p' | if [[ $data ]]; then cat; else grep -v cifar; fi
}
# chosen NAME: --only names it, or nothing.
chosen() {
    local pattern
    for pattern in "${only[@]}"; do
        # shellcheck disable=SC2053  # a pattern
        [[ $1 == $pattern ]] && return
    done
    [[ ${#only[@]} -eq 0 ]]
}

# one NAME WORD...: a case, in its folder.
one() {
    local name=$1
    shift
    cp -r "$work/template" "$work/here/$name"
    cd "$work/here/$name"
    export XDG_CACHE_HOME=$PWD/cache
    case $name in
    case/*) "case_${name#case/}" ;;
    tasks/*) want='0|2' && run "$@" ;; # pairs that make no sense are refused
    *) run "$@" ;;
    esac || unexpected "the case itself fails"
}

chosen=()
while read -r line; do
    ! chosen "${line%% *}" || chosen+=("$line")
done < <(cases)
[[ ${#chosen[@]} -gt 0 ]] || die "no case has such a name: ${only[*]}"
if [[ $list ]]; then
    printf '%s\n' "${chosen[@]}"
    exit 0
fi

mkdir "$work/template"
(cd "$work/template" && template)
start=$SECONDS
for side in old new; do
    cp "${!side}" "$work/fcil"
    printf '%s\n' "${chosen[@]%%/*}" | sort -u | (mkdir "$work/here" && cd "$work/here" && xargs mkdir)
    running=0
    for line in "${chosen[@]}"; do
        if [[ $running -ge $jobs ]]; then
            wait -n || true
            running=$((running - 1))
        fi
        read -ra words <<<"$line"
        one "${words[@]}" </dev/null &
        running=$((running + 1))
    done
    wait
    mv "$work/here" "$work/$side"
done

status=0
python3 "$root/scripts/same_bytes.py" "$work" || status=1
if [[ -e $work/unexpected ]]; then
    echo "cases that do not do what they should:"
    sort -u "$work/unexpected"
    status=1
fi
echo "${#chosen[@]} cases in $((SECONDS - start)) s"
exit $status
