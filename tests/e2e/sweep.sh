#!/bin/bash
# Sweeps: plan, run, what happens when it is called again, failures, conditions, duplicates, halving.
. "$(dirname "$0")/lib.sh"

write_config tiny.yaml
cat > s.yaml <<'YAML'
name: demo
config: tiny.yaml
set: {fed.rounds: 1, train.epochs: 1, backbone.width: 16, backbone.depth: 1, backbone.heads: 2}
axes:
  method.name: [lorm, fedavg_lora]
  fed.beta: [1, 0.5]
  method.alpha_head: [0.25, 0.5]
seeds: 2
where: ["fed.beta == 1 or run.seed == 0"]
YAML
# 2 betas x 2 alphas x 2 seeds of lorm without those of beta 0.5 and seed 1, and as many of
# fedavg_lora, which has no alpha: 6 + 3

published() { ls -d "$1"/demo/*/ 2> /dev/null | wc -l; }
ids() { sed -n 's/^ *"id": "\(.*\)",*$/\1/p'; }

say "plan: ids, values, duplicates, what a condition excludes, time and memory"
expect 0 "$FCIL" sweep plan s.yaml
cp out plan.txt
[ "$(grep -Ec '^[0-9a-f]{8} ' plan.txt)" = 9 ] || fail "not 9 runs: $(cat plan.txt)"
grep -q '^9 runs of 6 settings, 4 excluded by where, 3 left out that are the same' plan.txt || fail "$(cat plan.txt)"
grep -Eq '^about .* on this machine .* MiB per job' plan.txt || fail "$(cat plan.txt)"
expect 0 "$FCIL" sweep plan s.yaml --json
ids < out > plan_ids.txt
diff <(grep -Eo '^[0-9a-f]{8} ' plan.txt | tr -d ' ') plan_ids.txt || fail "other ids in JSON"

say "run: each run once, named by its id, as fcil run would do it"
expect 0 "$FCIL" sweep run s.yaml --out one --jobs 2
[ "$(grep -c '^finished ' err)" = 9 ] || fail "$(cat err)"
[ "$(published one)" = 9 ] || fail "$(ls one/demo)"
while read -r id; do
    [ -e "$(echo one/demo/*-"$id")/DONE" ] || fail "$id is not there"
done < plan_ids.txt
[ -z "$(ls one/demo/.sweep/*/* 2> /dev/null)" ] || fail "left behind: $(ls one/demo/.sweep/*)"
settings=(fed.rounds=1 train.epochs=1 backbone.width=16 backbone.depth=1 method.name=fedavg_lora fed.beta=0.5 run.seed=0 run.name=demo)
expect 0 "$FCIL" run tiny.yaml "${settings[@]}" --dir alone
for twin in one/demo/fedavg_lora-s0-*; do
    if grep -q 'beta: 0.5' "$twin/config.yaml"; then same_run alone "$twin"; fi
done

say "again: nothing is done"
before=$(cd one && find . -type f -exec sha256sum {} + | sort)
expect 0 "$FCIL" sweep run s.yaml --out one
grep -q '^9 runs: 9 done, 0 failed' err || fail "$(cat err)"
[ "$before" = "$(cd one && find . -type f -exec sha256sum {} + | sort)" ] || fail "files have changed"

say "shards: three parts, each by itself, make the whole; one run alone"
for i in 1 2 3; do
    expect 0 "$FCIL" sweep run s.yaml --out part$i --shard $i/3 --threads 1
    [ "$(published part$i)" = 3 ] || fail "part $i of 3: $(ls part$i/demo)"
done
for d in one/demo/*/; do same_run "$d" part?/demo/"$(basename "$d")"; done
first=$(head -n 1 plan_ids.txt)
expect 0 "$FCIL" sweep run s.yaml --out only --only "$first"
[ "$(published only)" = 1 ] || fail "$(ls only/demo)"
expect 2 "$FCIL" sweep run s.yaml --out only --only 00000000
expect 2 "$FCIL" sweep run s.yaml --out only --shard 0/3
expect 2 "$FCIL" sweep run s.yaml --out only --shard 4/3

say "report.html knows where the run is published; a worker killed before it does is made good"
sed 's/^set: {/&log.report: true, /' s.yaml > pages.yaml
expect 0 "$FCIL" sweep run pages.yaml --out pages --only "$first"
d=$(echo pages/demo/*-"$first")
grep -qF "<code>$d</code>" "$d/report.html" || fail "$d/report.html is about another folder"
! sed '/<summary>Manifest/,$d' "$d/report.html" | grep -F '.sweep/' || fail "the page shows the work folder"
sed "s|$d|pages/demo/.sweep/work/$first.0|g" "$d/report.html" > old.html
cp "$d/report.html" page.html
cp old.html "$d/report.html"
: > "pages/demo/.sweep/claims/$first.0"
expect 0 "$FCIL" sweep run pages.yaml --out pages --only "$first"
diff <(grep -v 'as of' page.html) <(grep -v 'as of' "$d/report.html") || fail "the page was not made again"
[ -z "$(ls pages/demo/.sweep/*/* 2> /dev/null)" ] || fail "left behind: $(ls pages/demo/.sweep/*)"

say "print: a shell command for each unfinished run; status: what became of each"
expect 0 "$FCIL" sweep print s.yaml --out only "data.root=it's"
[ "$(wc -l < out)" = 8 ] || fail "$(cat out)"
! grep -q "$first" out || fail "a finished run is printed"
head -n 1 out > line.sh
bash line.sh 2> err || fail "$(cat line.sh err)"
second=$(sed 's/.*--only \([0-9a-f]*\).*/\1/' line.sh)
grep -q "root: \"it's\"" only/demo/*-"$second"/config.yaml || fail "the words of the command line are lost"
expect 0 "$FCIL" sweep status s.yaml --out only
grep -Eq "^$first .* done +[0-9.]+$" out || fail "$(cat out)"
tail -n 1 out | grep -q '^2 done, 7 waiting$' || fail "$(cat out)"
expect 0 "$FCIL" sweep status s.yaml --out nowhere --watch # no terminal: once
tail -n 1 out | grep -q '^9 waiting$' || fail "$(cat out)"
[ ! -e nowhere ] || fail "status has made a folder"
if command -v script > /dev/null; then # on a terminal of 8 lines: counts, and no row that does not fit
    script -qec "stty rows 8 cols 60; '$FCIL' sweep status s.yaml --out one --watch" screen > out
    grep -q '9 done' out || fail "$(cat out)"
    [ "$(wc -l < out)" -le 7 ] || fail "more lines than fit: $(cat out)"
fi

say "a run that fails is listed with its reason, and tried again on request only"
cat > bad.yaml <<'YAML'
name: demo
config: tiny.yaml
set: {tasks.count: 1, fed.rounds: 1, train.epochs: 1}
axes:
  fed.clients: [4, 1000]
YAML
expect 1 "$FCIL" sweep run bad.yaml --out bad
grep -q '^fcil: 1 of 2 runs failed' err || fail "$(cat err)"
grep -q '^ *.*clients.*' err || fail "no reason: $(cat err)"
expect 1 "$FCIL" sweep run bad.yaml --out bad
! grep -Eq '^(started|resumed) ' err || fail "tried again: $(cat err)"
grep -q 'clients' err || fail "no reason: $(cat err)"
expect 1 "$FCIL" sweep run bad.yaml --out bad --retry-failed
[ "$(grep -Ec '^(started|resumed) ' err)" = 1 ] || fail "not tried once: $(cat err)"

expect 0 "$FCIL" sweep status bad.yaml --out bad --json
grep -q '"reason": ".*clients' out || fail "$(cat out)"
expect 0 "$FCIL" sweep print bad.yaml --out bad
[ ! -s out ] || fail "a failed run is printed without being asked for: $(cat out)"
expect 0 "$FCIL" sweep print bad.yaml --out bad --retry-failed
[ "$(wc -l < out)" = 1 ] || fail "$(cat out)"

say "successive halving: the best half of four settings, then the best of two"
cat > halving.yaml <<'YAML'
name: demo
config: tiny.yaml
set: {tasks.count: 1, train.epochs: 1, data.validation_per_class: 5}
axes:
  train.lr: [1e-6, 0.01, 1e-7, 0.003]
seeds: 2
search: {halving: {budget: fed.rounds, values: [1, 2, 3]}}
YAML
expect 0 "$FCIL" sweep plan halving.yaml
grep -q '^then, with fed.rounds=3, the best 1 of all settings by faa: 2 runs' out || fail "$(cat out)"
"$FCIL" sweep run halving.yaml --out half --threads 1 2> other.txt &
other=$!
expect 0 "$FCIL" sweep run halving.yaml --out half --threads 1
wait $other || fail "the other worker: $(cat other.txt)"
[ "$(cat err other.txt | grep -Ec '^(started|resumed) ')" = 14 ] || fail "runs were done twice: $(cat err other.txt)"
[ "$(published half)" = 14 ] || fail "not 8 + 4 + 2 runs: $(ls half/demo)"
rung() { cat half/demo/*/config.yaml | awk -v r="$1" '/^[a-z]/ { s = $1 } /^  rounds: [0-9]/ { k = $2 } /^  lr: / { if (k == r && s == "train:") print $2 }' | sort | uniq -c; }
[ "$(rung 2 | wc -l)" = 2 ] || fail "rung 2: $(rung 2)"
[ "$(rung 3 | wc -l)" = 1 ] || fail "rung 3: $(rung 3)"
! { rung 2; rung 3; } | grep -q 'e-0' || fail "a learning rate that learns nothing went on: $(rung 2)"
expect 0 "$FCIL" sweep run halving.yaml --out half
grep -q '^14 runs: 14 done' err || fail "$(cat err)"

say "usage"
expect 2 "$FCIL" sweep run no.yaml
expect 2 "$FCIL" sweep rnu s.yaml
grep -q 'did you mean run' err || fail "$(cat err)"
expect 0 "$FCIL" sweep --help
