#!/bin/bash
# kill -9 at random moments and --resume: the files are those of an undisturbed run.
# FCIL_E2E_SEED repeats a run of this test.
. "$(dirname "$0")/lib.sh"

RANDOM=${FCIL_E2E_SEED:-$$}
say "FCIL_E2E_SEED=${FCIL_E2E_SEED:-$$}"
write_config tiny.yaml
settings=(train.epochs=4 fed.clients=5 log.tensorboard=true)
pid=
cleanup() {
    [ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || true
    rm -rf "$work"
}

# A number of seconds between low and high (both in ms).
random_s() { awk -v ms=$(($1 + RANDOM % ($2 - $1))) 'BEGIN { print ms / 1000 }'; }

# start WORD...: run in the background.
start() {
    "$FCIL" run tiny.yaml "${settings[@]}" "$@" > out 2> err &
    pid=$!
}
# finish: its exit code into $code.
finish() {
    code=0
    wait "$pid" 2> /dev/null || code=$?
    pid=
}

# after_rounds N OUT: wait until the run below OUT has logged N rounds, or has ended.
after_rounds() {
    local files
    while kill -0 "$pid" 2> /dev/null; do
        files=("$2"/*/*/rounds.csv)
        if [ -e "${files[0]}" ] && [ "$(wc -l < "${files[0]}")" -gt "$1" ]; then
            return
        fi
        sleep 0.01
    done
}

# killed OUT WORD...: kill and resume until it finishes. At most 25 kills, then it may run through.
killed() {
    local out=$1 kills=0
    shift
    while true; do
        start --resume --out "$out" "$@"
        if [ $kills -eq 0 ]; then
            after_rounds 1 "$out"
            kill -9 "$pid" 2> /dev/null || true
        elif [ $kills -lt 25 ]; then
            sleep "$(random_s 20 $((span * 2 / 3)))"
            kill -9 "$pid" 2> /dev/null || true
        fi
        finish
        [ "$code" -eq 137 ] || break
        kills=$((kills + 1))
    done
    [ "$code" -eq 0 ] || fail "exit code $code after $kills kills: $(tail -n 3 err)"
    say "  $kills kills"
    [ $kills -gt 0 ] || fail "it was never killed"
}

# signalled OUT SIGNAL...: a run that gets the signals somewhere after its second round.
signalled() {
    local out=$1 signal tries=0
    shift
    code=0
    while [ $code -eq 0 ]; do # again, if it was quicker than the signal
        tries=$((tries + 1))
        [ $tries -le 10 ] || fail "the run always ends before the signal"
        rm -rf "$out"
        start --out "$out"
        after_rounds 2 "$out"
        sleep "$(random_s 1 100)"
        for signal in "$@"; do
            kill "-$signal" "$pid" 2> /dev/null || true
        done
        finish
    done
}

say "an undisturbed run"
begin=$(date +%s%N)
expect 0 "$FCIL" run tiny.yaml "${settings[@]}" --out calm
span=$((($(date +%s%N) - begin) / 1000000))
calm=$(run_dir calm)
say "  took $span ms"

say "kill -9 until it finishes (--resume without a checkpoint starts afresh)"
killed one
same_run "$calm" "$(run_dir one)"

say "the same, saving the message of every client inside the rounds"
killed two run.checkpoint_s=0
same_run "$calm" "$(run_dir two)"

say "the same with other numbers of threads"
killed three run.checkpoint_s=0 --threads $((1 + RANDOM % 4))
same_run "$calm" "$(run_dir three)"

for signal in INT TERM USR1; do
    say "SIG$signal: exit 75, STOPPED, resumed"
    signalled "stop-$signal" $signal
    [ "$code" -eq 75 ] || fail "exit code $code, expected 75: $(tail -n 3 err)"
    d=$(run_dir "stop-$signal")
    if [ ! -e "$d/STOPPED" ] || [ -e "$d/DONE" ]; then
        fail "the mark is not STOPPED: $(ls "$d")"
    fi
    expect 0 "$FCIL" run tiny.yaml "${settings[@]}" --out "stop-$signal" --resume
    same_run "$calm" "$d"
done

say "a second SIGINT stops at once"
signalled twice INT INT
[ "$code" -eq 130 ] || [ "$code" -eq 75 ] || fail "exit code $code, expected 130 (75 if it saw both as one)"
expect 0 "$FCIL" run tiny.yaml "${settings[@]}" --out twice --resume
same_run "$calm" "$(run_dir twice)"

say "resuming a finished run does nothing and says so"
before=$(cd "$calm" && find . -type f -exec sha256sum {} + | sort)
expect 0 "$FCIL" run tiny.yaml "${settings[@]}" --out calm --resume
[ "$before" = "$(cd "$calm" && find . -type f -exec sha256sum {} + | sort)" ] || fail "files have changed"
[ -s out ] || [ -s err ] || fail "it says nothing"

say "a damaged last checkpoint: the one before is used"
signalled damaged KILL
d=$(run_dir damaged)
last=$(printf '%s\n' "$d"/ckpt/state-*.safetensors | tail -n 1)
[ -e "$last" ] || fail "no checkpoint yet: $(ls "$d" "$d/ckpt")"
printf x | dd of="$last" bs=1 seek=$(($(stat -c %s "$last") - 9)) conv=notrunc status=none
expect 0 "$FCIL" run tiny.yaml "${settings[@]}" --out damaged --resume
same_run "$calm" "$d"

say "a checkpoint of another config is refused with exit code 4"
expect 0 "$FCIL" run tiny.yaml "${settings[@]}" --out other run.seed=5
d=$(run_dir damaged)
rm "$d/DONE" "$d"/ckpt/*
cp "$(run_dir other)"/ckpt/* "$d/ckpt"
expect 4 "$FCIL" run tiny.yaml "${settings[@]}" --out damaged --resume
grep -q 'config_hash' err || fail "the message does not say what differs: $(cat err)"

say "lost rows are refused with exit code 4"
d=$(run_dir one)
rm "$d/DONE"
head -n 2 "$d/rounds.csv" > short && cp short "$d/rounds.csv"
expect 4 "$FCIL" run tiny.yaml "${settings[@]}" --out one --resume
grep -q 'rounds.csv' err || fail "the message does not name the file: $(cat err)"

say "two processes in one run directory: the second is refused"
start --out shared
after_rounds 1 shared
kill -STOP "$pid"
expect 1 "$FCIL" run tiny.yaml "${settings[@]}" --out shared --resume
grep -q 'another process' err || fail "the message does not say so: $(cat err)"
kill -CONT "$pid"
finish
[ "$code" -eq 0 ] || fail "the first one failed: exit code $code"
same_run "$calm" "$(run_dir shared)"

say "without --resume, a finished run is not overwritten"
before=$(contents "$calm")
expect 2 "$FCIL" run tiny.yaml "${settings[@]}" --out calm
grep -q -- '--resume' err || fail "the message does not name --resume: $(cat err)"
[ "$before" = "$(contents "$calm")" ] || fail "files have changed"
