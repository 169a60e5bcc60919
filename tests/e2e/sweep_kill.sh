#!/bin/bash
# Two workers of one sweep, and kill -9 of them and of their children at random moments: each run is
# published once, and its files are those of an undisturbed sweep.
# FCIL_E2E_SEED repeats a run of this test.
. "$(dirname "$0")/lib.sh"

RANDOM=${FCIL_E2E_SEED:-$$}
say "FCIL_E2E_SEED=${FCIL_E2E_SEED:-$$}"
workers=(0 0)
cleanup() {
    kill -9 "${workers[@]}" 2> /dev/null || true
    rm -rf "$work"
}
write_config tiny.yaml
cat > s.yaml <<'YAML'
name: kill
config: tiny.yaml
set: {fed.rounds: 2, train.epochs: 6, run.checkpoint_s: 0}
axes:
  method.name: [lorm, fedavg_lora]
seeds: 3
YAML
runs=6

say "an undisturbed sweep"
expect 0 "$FCIL" sweep run s.yaml --out calm --quiet

published() { ls -d stormy/kill/*/ 2> /dev/null | wc -l; }
# once LOG...: no run is finished in these messages that was finished before.
once() {
    cat "$@" | awk '/^finished / && $2 in seen { print $2 " was published twice"; bad = 1 } /^finished / { seen[$2] } END { exit bad }' ||
        fail "$(grep -h '^finished' "$@")"
}
alive() { [ "$1" -gt 0 ] && kill -0 "$1" 2> /dev/null; }
# at_work OUT: wait until the first worker has logged a round after a checkpoint; that run is then $id.
at_work() {
    local rounds
    until rounds=$(find "$1/kill/.sweep/work" -name rounds.csv -print -quit 2> /dev/null) && [ "$rounds" ] &&
        [ "$(wc -l < "$rounds")" -gt 2 ]; do
        alive "${workers[0]}" || fail "it ended by itself: $(cat log)"
        sleep 0.02
    done
    id=$(basename "$(dirname "$rounds")")
    id=${id%.*}
}

# Everything that has a pid here: the workers, or their children.
victims() {
    local pid
    for pid in "${workers[@]}"; do
        if alive "$pid"; then
            if [ "$1" = child ]; then cat "/proc/$pid/task/$pid/children" 2> /dev/null || true; else say "$pid"; fi
        fi
    done
}

say "two workers, killed until all is done"
kills=0 starts=0 steps=0
while [ "$(published)" -lt $runs ]; do
    steps=$((steps + 1))
    [ $steps -lt 400 ] || fail "not done after $kills kills: $(tail -n 5 log.*)"
    for i in 0 1; do
        if ! alive "${workers[i]}"; then
            starts=$((starts + 1))
            "$FCIL" sweep run s.yaml --out stormy --jobs $((1 + RANDOM % 2)) --threads 2 --retry-failed \
                2> "log.$starts" &
            workers[i]=$!
        fi
    done
    sleep "0.$((RANDOM % 6))"
    for d in stormy/kill/*/; do [ ! -e "$d" ] || [ -e "$d/DONE" ] || fail "half of $d is published"; done
    if [ $kills -lt 25 ]; then
        kind=worker
        [ $((RANDOM % 3)) -gt 0 ] || kind=child
        # shellcheck disable=SC2046
        set -- $(victims $kind)
        if [ $# -gt 0 ]; then
            shift $((RANDOM % $#))
            kill -9 "$1" 2> /dev/null || continue
            kills=$((kills + 1))
        fi
    fi
done
for pid in "${workers[@]}"; do wait "$pid" 2> /dev/null || true; done
say "  $kills kills, $starts workers"
[ $kills -gt 2 ] || fail "hardly anything was killed"
expect 0 "$FCIL" sweep run s.yaml --out stormy

say "each run once, with the same files, and nothing left behind"
[ "$(published)" = $runs ] || fail "$(ls stormy/kill)"
once log.*
for d in calm/kill/*/; do same_run "$d" "stormy/kill/$(basename "$d")"; done
left=$(find stormy/kill/.sweep -mindepth 2)
[ -z "$left" ] || fail "left behind: $left"

say "SIGTERM: exit 75, and the next worker goes on at once"
for signal in TERM INT USR1; do
    "$FCIL" sweep run s.yaml --out "$signal" --jobs 2 2> log &
    workers[0]=$!
    at_work "$signal"
    kill -$signal "${workers[0]}"
    code=0
    wait "${workers[0]}" || code=$?
    [ $code -eq 75 ] || fail "SIG$signal: exit code $code, expected 75: $(cat log)"
    kept=$(grep -L '^released' "$signal"/kill/.sweep/claims/*) || true
    [ -z "$kept" ] || fail "not let go of: $kept"
    expect 0 "$FCIL" sweep run s.yaml --out "$signal" --jobs 2
    grep -q '^resumed ' err || fail "it started afresh: $(cat err)"
    for d in calm/kill/*/; do same_run "$d" "$signal/kill/$(basename "$d")"; done
done

say "a killed worker leaves no orphans"
"$FCIL" sweep run s.yaml --out orphans 2> log &
workers[0]=$!
at_work orphans
read -r child <<< "$(victims child)"
kill -9 "${workers[0]}"
wait "${workers[0]}" 2> /dev/null || true
for ((i = 0; i < 50; i++)); do
    kill -0 "$child" 2> /dev/null || break
    sleep 0.1
done
[ $i -lt 50 ] || fail "process $child goes on"
[ ! -e "orphans/kill/.sweep/work/$id.0/DONE" ] || fail "process $child went on to its end"

say "a machine that is gone, whose clock was wrong: taken over after --stale by our clock, from its checkpoint"
claim=orphans/kill/.sweep/claims/$id.0
for hours in -1 +1; do
    sed "s/ host [^ ]*/ host elsewhere/" "$claim" > claim
    cp claim "$claim"
    touch -d "$hours hour" "$claim"
    expect 75 timeout --preserve-status 1 "$FCIL" sweep run s.yaml --out orphans --only "$id" --stale 60
    grep -q '^waiting ' err || fail "it does not wait: $(cat err)"
done
expect 0 "$FCIL" sweep status s.yaml --out orphans
grep -Eq "^$id .* running +elsewhere  task " out || fail "$(cat out)"
tail -n 1 out | grep -Eq '^1 running, 5 waiting; [0-9]+ % of the rounds, .* left$' || fail "no time left: $(cat out)"
before=$SECONDS
expect 0 "$FCIL" sweep run s.yaml --out orphans --only "$id" --stale 2
[ $((SECONDS - before)) -ge 1 ] || fail "taken over at once"
grep -q "^resumed  *$id " err || fail "$(cat err)"
grep -q "work/$id.0\"" orphans/kill/*-"$id"/manifest.json || fail "it started afresh: $(cat orphans/kill/*-"$id"/manifest.json)"
same_run calm/kill/*-"$id" orphans/kill/*-"$id"

say "a worker that is alive keeps its run, however long that takes"
"$FCIL" sweep run s.yaml --out long --stale 2 train.epochs=2000 2> log &
workers[0]=$!
until claim=$(ls long/kill/.sweep/claims/* 2> /dev/null); do sleep 0.02; done
id=$(basename "$claim" .0)
expect 75 timeout --preserve-status 4 "$FCIL" sweep run s.yaml --out long --only "$id" --stale 2 train.epochs=2000
! grep -Eq '^(started|resumed) ' err || fail "taken over: $(cat err)"
kill -9 "${workers[0]}"
wait "${workers[0]}" 2> /dev/null || true

say "a worker that hangs loses its runs, and leaves them alone when it comes back"
"$FCIL" sweep run s.yaml --out hung 2> log &
workers[0]=$!
at_work hung
# shellcheck disable=SC2046
kill -STOP "${workers[0]}" $(victims child)
expect 0 "$FCIL" sweep run s.yaml --out hung --stale 2
cp err log.taken
# shellcheck disable=SC2046
kill -CONT $(victims child) "${workers[0]}"
wait "${workers[0]}" || fail "exit code $? of the one that hung: $(cat log)"
grep -q "^let go  *$id " log || fail "it does not know: $(cat log)"
once log log.taken
left=$(find hung/kill/.sweep -mindepth 2)
[ -z "$left" ] || fail "left behind: $left"
for d in calm/kill/*/; do same_run "$d" "hung/kill/$(basename "$d")"; done
