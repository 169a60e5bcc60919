#!/bin/bash
# Merging of LoRA products in rounds and of deltas across tasks: every rule runs, equal ways agree,
# senseless pairs are refused before anything is trained, kill + resume and threads change nothing.
. "$(dirname "$0")/lib.sh"

write_config tiny.yaml

# run OUT WORD...: a run, its directory in $d.
run() {
    local out=$1
    shift
    expect 0 "$FCIL" run tiny.yaml --out "$out" "$@"
    d=$(run_dir "$out")
}
same_tasks() { cmp "$1/tasks.csv" "$2/tasks.csv" || fail "tasks.csv of $1 and $2"; }
# kill -9 after a moment, then resume until it is done.
kill_and_resume() {
    local out=$1 wait
    shift
    wait=0.$((RANDOM % 8 + 1))
    "$FCIL" run tiny.yaml --out "$out" "$@" run.checkpoint_s=0 > out 2> err &
    sleep "$wait"
    kill -9 $! 2> /dev/null || true
    wait $! 2> /dev/null || true
    expect 0 "$FCIL" run tiny.yaml --out "$out" --resume "$@" run.checkpoint_s=0
    say "  killed after $wait s"
}
refuse() {
    local text=$1
    shift
    expect 2 "$FCIL" run tiny.yaml --out refused "$@"
    grep -q -- "$text" err || fail "$* says '$(cat err)', expected '$text'"
}

say "every rule merges products, in each space it works in"
"$FCIL" list merges --json > merges.json
rules=$(grep -o '"name": "[a-z_]*"' merges.json | cut -d'"' -f4)
for rule in $rules; do # names of rules, one word each
    expect 0 "$FCIL" config show tiny.yaml method.name=lora_merge merge.rule="$rule" tasks.merge="$rule"
    cp out dump.yaml
    expect 0 "$FCIL" config check dump.yaml # no option of a rule is called like one of its section
    case $rule in lorm | regmean_pp | adamerging | smile | emr | wemoe | individual) continue ;; esac # not of rounds
    for space in full core knots; do
        args=(method.name=lora_merge merge.rule="$rule" merge.space="$space" fed.rounds=2 "tasks.sizes=2,4")
        if "$FCIL" run tiny.yaml --out "r$rule$space" "${args[@]}" > out 2> err; then
            [ -s "$(run_dir "r$rule$space")/summary.json" ] || fail "$rule in $space"
        else
            grep -q "merge.rule: $rule works in full space only" err || fail "$rule in $space: $(tail -n 1 err)"
        fi
    done
done

say "FLoRA and FlexLoRA are the average with either carry"
run flora method.name=flora
run fold method.name=lora_merge method.carry=fold
same_tasks "$(run_dir flora)" "$d"
# Down in round 2: A (1792 numbers), head (198) and the stacked pairs of 4 clients (16384); fewer than the
# layers themselves (24576).
down=$(awk -F, '$1 == 1 && $2 == 2 && $3 == 0 { print $11 }' "$(run_dir flora)/clients.csv")
{ [ "$down" -ge 73496 ] && [ "$down" -lt 74200 ]; } || fail "FLoRA sends $down bytes to a client"
run flex method.name=flexlora
run cut method.name=lora_merge
same_tasks "$(run_dir flex)" "$d"
grep -q '"truncated".*cut to rank 4' "$d/events.jsonl" || fail "no word of what the cut lost"

say "FisherAvg: what clients send, and that it counts"
federated=(merge.rule=fisher merge.normalise=false merge.epsilon=1e-12)
# up DIR: bytes that the first client of the run sends.
up() { column "$1/clients.csv" bytes_up | head -n 1; }
run mean4 method.name=fedavg
mean=$d
run fisheravg method.name=fedavg "${federated[@]}"
cmp -s "$mean/tasks.csv" "$d/tasks.csv" && fail "FisherAvg is the average"
holds "$(up "$d") > 1.99 * $(up "$mean") && $(up "$d") < 2 * $(up "$mean")" || fail "FisherAvg sends $(up "$d") bytes, the average $(up "$mean")"
run plain4 method.name=lora_merge
plain=$d
for options in merge.fisher=labels merge.fisher=expected merge.samples=3 merge.weighted=false; do
    run "fisher-$options" method.name=lora_merge "${federated[@]}" $options
    # the weights of 2 layers of 12288 numbers each, and the head
    more=$(($(up "$d") - $(up "$plain")))
    { [ $more -ge 99096 ] && [ $more -lt 99200 ]; } || fail "$options: Fisher information of $more bytes"
    column "$d/rounds.csv" loss | sha256sum >> kinds
done
[ "$(sort -u kinds | wc -l)" -eq 4 ] || fail "two kinds of Fisher information give one model"

say "across tasks: the method's own way by another name"
run own method.name=lorm
run named method.name=lorm tasks.merge=lorm
same_tasks "$(run_dir own)" "$d"
run mean method.name=fedavg_lora
run average method.name=fedavg_lora tasks.merge=average
same_tasks "$(run_dir mean)" "$d"

say "full fine-tuning leaves dense deltas; kill + resume and threads change nothing"
for args in "method.name=fedavg method.start=pretrained tasks.merge=ties merge.rule=dare" \
    "method.name=lora_merge method.carry=fold merge.rule=tsv tasks.merge=opcm" \
    "method.name=fedavg merge.rule=fisher" \
    "method.name=lora_merge merge.rule=fisher merge.fisher=expected merge.samples=7"; do
    read -ra words <<< "$args"
    rm -rf whole three killed
    run whole "${words[@]}" --threads 1
    whole=$d
    run three "${words[@]}" --threads 3
    same_run "$whole" "$d"
    kill_and_resume killed "${words[@]}"
    same_run "$whole" "$(run_dir killed)"
done

say "refused before training"
refuse "merge.rule: opcm works in full space only: its updates come one by one" method.name=lora_merge merge.rule=opcm merge.space=core
refuse "merge.rule: lorm does not merge the products" method.name=lora_merge merge.rule=lorm
refuse "merge.ties merges LoRA updates B A.*method lora_merge does" method.name=fedavg_lora merge.rule=ties
refuse "merge.rule: isotropise works in the spaces core and knots only" method.name=lora_merge merge.rule=ties merge.isotropise=true
refuse "tasks.merge: isotropise works in the spaces core and knots only" tasks.merge=ties task_merge.isotropise=true
refuse "merge.space: it is made of LoRA factors" method.name=fedavg merge.rule=ties merge.space=core
refuse "merge.rule: fisher works in full space only: Fisher" method.name=lora_merge merge.rule=fisher merge.space=core
refuse "merge.fisher merges LoRA updates B A.*method lora_merge does" method.name=fedavg_lora merge.rule=fisher
refuse "merge.fisher: found 'mean', expected" method.name=fedavg merge.rule=fisher merge.fisher=mean
for rule in smile emr wemoe individual; do
    for method in fedavg lora_merge; do
        refuse "merge.rule: $rule keeps the updates apart: there is no one model to go on from" method.name=$method merge.rule=$rule
    done
done
for rule in regmean_pp adamerging; do
    for method in fedavg lora_merge; do
        refuse "merge.rule: $rule needs images, which the server of a round has not" method.name=$method merge.rule=$rule
    done
done
refuse "tasks.merge: method head_only leaves no delta" method.name=head_only tasks.merge=ties
refuse "tasks.merge: lorm needs the Grams of each task" method.name=fedavg_lora tasks.merge=lorm
refuse "tasks.merge: a space is made of LoRA factors" method.name=fedavg tasks.merge=ties task_merge.space=core
refuse "tasks.merge: found 'tie', expected one of .*did you mean ties" tasks.merge=tie
refuse "task_merge.p is an option of dare, but the rule of tasks.merge is ties" tasks.merge=ties task_merge.p=0.5
[ ! -e refused ] || fail "a refused run left files"

say "tasks.from: one training, many merges; experts, rules with images, any order"
export XDG_CACHE_HOME=$work/cache
cat > tasks.yaml <<'YAML'
base: tiny.yaml
run: {name: tasks}
data: {hold_out_per_class: 5}
tasks: {merge: average}
fed: {clients: 1, rounds: 1}
train: {epochs: 4}
method: {name: fedavg_lora}
YAML
cat > again.yaml <<'YAML'
base: tasks.yaml
tasks: {from: tasks.yaml}
task_merge: {samples: 10}
YAML
# again OUT WORD...: a merge of the tasks, its directory in $d.
again() {
    local out=$1
    shift
    expect 0 "$FCIL" run again.yaml --out "$out" "$@"
    d=$(run_dir "$out")
}
expect 0 "$FCIL" run tasks.yaml --out trained
printf 'name: plan\nconfig: again.yaml\naxes: {tasks.merge: [average, ties]}\n' > plan.yaml
for plan in "run again.yaml --dry-run" "sweep plan plan.yaml"; do
    read -ra words <<< "$plan"
    expect 0 "$FCIL" "${words[@]}"
    grep -q "learnt before" out || fail "$plan says nothing of the tasks: $(cat out)"
done
[ -z "$(find . -name 'tasks-*')" ] || fail "a prediction has trained"
again same
same_tasks "$(run_dir trained)" "$d"
[ "$(find cache/fcil -name 'tasks-*' -type d | wc -l)" -eq 1 ] || fail "not one run in the cache"
for rule in regmean regmean_pp fisher smile emr individual "wemoe task_merge.steps=3" "adamerging task_merge.steps=3" "tsv task_merge.space=knots"; do
    read -ra words <<< "tasks.merge=$rule"
    rm -rf one three
    again one "${words[@]}" --threads 1
    one=$d
    again three "${words[@]}" --threads 3
    same_run "$one" "$d"
    case $rule in
        smile | emr | individual | wemoe*) [[ $(tail -n 1 "$d/rounds.csv") =~ ,1\.000000,[1-9][0-9]*$ ]] ;;
        *) [[ $(tail -n 1 "$d/rounds.csv") =~ ,0$ ]] ;;
    esac || fail "$rule: numbers beside the backbone: $(tail -n 1 "$d/rounds.csv")"
    [ "$(find cache/fcil -name 'tasks-*' -type d | wc -l)" -eq 1 ] || fail "$rule trained again"
done
again natural tasks.merge=task_arithmetic task_merge.scales=0.2,1
[[ $(tail -n 1 "$d/rounds.csv") =~ ,(0\.200000|1\.000000),0$ ]] || fail "no scale, or numbers beside the backbone: $(tail -n 1 "$d/rounds.csv")"

again turned tasks.merge=task_arithmetic tasks.order=2,0,1
again plain tasks.merge=task_arithmetic
[ "$(awk -F, '$1 == 3 { c += $3 } END { print c }' "$d/tasks.csv")" = "$(awk -F, '$1 == 3 { c += $3 } END { print c }' "$(run_dir turned)/tasks.csv")" ] ||
    fail "the sum of all tasks depends on their order"
again last tasks.merge=task_arithmetic eval.tasks=last log.report=true
cmp <(grep '^3,' "$d/tasks.csv") <(grep '^3,' "$(run_dir plain)/tasks.csv") || fail "the last task's test"
grep -q '^1,1,0,0,,$' "$d/tasks.csv" || fail "the first task was tested"
grep -q '"aia": null' "$d/summary.json" || fail "an average over what was not tested"
grep -q 'acc curve: \[-, -, [0-9.]*\]  AIA=-  FAA=' out || fail "the curve: $(cat out)"
grep -q nan "$d"/*.csv "$d"/*.json* "$d/report.html" && fail "a nan in a file: $(grep -l nan "$d"/*)"
expect 0 "$FCIL" report "$d" "$(run_dir plain)" -o both.html
refuse_again() {
    local text=$1
    shift
    expect 2 "$FCIL" run again.yaml --out refused "$@"
    grep -q -- "$text" err || fail "$* says '$(cat err)', expected '$text'"
}
refuse_again "its deltas have another form or rank" train.lora_rank=3
refuse_again "none of its tasks has the classes of task" tasks.class_order=seed:3
refuse_again "it has another backbone" backbone.depth=3
refuse_again "there is nothing to scale" tasks.merge=emr task_merge.scale=2
refuse_again "task_merge.scales: found '1,x'" task_merge.scales=1,x
refuse_again "data.hold_out_per_class is 0" task_merge.scales=1,2 data.hold_out_per_class=0
refuse_again "task order: entry 1 is task 0" tasks.order=0,0,1
[ ! -e refused ] || fail "a refused run left files"
