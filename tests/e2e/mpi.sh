#!/bin/bash
# One run over several processes under mpirun: the files are those of one process.
. "$(dirname "$0")/lib.sh"

command -v mpirun > /dev/null || skip "mpirun is missing (Debian: openmpi-bin)"
launch=(mpirun --oversubscribe --bind-to none)
[ "$(id -u)" -ne 0 ] || launch+=(--allow-run-as-root)
export LSAN_OPTIONS=detect_leaks=0 # the leaks of MPI itself
write_config tiny.yaml

# on RANKS WORD...: `fcil run tiny.yaml` on so many ranks of one thread.
on() {
    local n=$1
    shift
    "${launch[@]}" -n "$n" "$FCIL" run tiny.yaml --threads 1 "$@"
}

pid=
cleanup() {
    [ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || true
    rm -rf "$work"
}

# sentences: how many messages of fcil itself are in err, which also holds what mpirun says.
sentences() { grep -c '^fcil: ' err || true; }

code=0
on 2 --out probe > out 2> err || code=$?
! grep -q 'built without MPI' err || skip "this fcil was built without MPI (Debian: libopenmpi-dev)"
[ $code -eq 0 ] || skip "mpirun starts nothing here: $(head -n 3 err)"

# same_on_ranks NAME WORD...: the run with 1, 2, 3 and 6 ranks and without mpirun.
same_on_ranks() {
    local name=$1 n
    shift
    say "$name: 1, 2, 3 and 6 ranks, 4 clients"
    expect 0 "$FCIL" run tiny.yaml tasks.count=2 fed.rounds=2 "$@" --out "$name"
    for n in 1 2 3 6; do
        expect 0 on $n tasks.count=2 fed.rounds=2 "$@" --out "$name-$n"
        [ "$(grep -c '^results:' out)" -eq 1 ] || fail "not one result: $(cat out)"
        [ "$(grep -c '^task 1/2  round 1/2 ' err)" -eq 1 ] || fail "not one line per round: $(cat err)"
        same_run "$(run_dir "$name")" "$(run_dir "$name-$n")"
        [ "$(number "$(run_dir "$name-$n")/manifest.json" ranks)" = $n ] || fail "manifest.json: ranks is not $n"
    done
}
same_on_ranks lorm method.name=lorm data.augment=rrc
same_on_ranks full-grams method.name=lorm method.alpha_backbone=0.5 fed.participation=0.5 fed.participation_draw=round
same_on_ranks fedavg_lora method.name=fedavg_lora eval.rounds=last
same_on_ranks fedavg method.name=fedavg
same_on_ranks fisher method.name=fedavg merge.rule=fisher

say "slow, late and lost clients: 2 ranks"
devices=(method.name=lorm fed.clients=6 device.model=random device.gflops=0.1 device.availability=0.8 device.dropout=0.2
    fed.deadline_s=0.7 fed.over_select=1.5 fed.participation=0.6)
expect 0 "$FCIL" run tiny.yaml "${devices[@]}" --out slow
expect 0 on 2 "${devices[@]}" --out slow-2
same_run "$(run_dir slow)" "$(run_dir slow-2)"
for status in ok late lost; do
    grep -q ",$status," "$(run_dir slow)/clients.csv" || fail "no $status client"
done

say "ranks with other numbers of threads"
expect 0 "${launch[@]}" -n 1 "$FCIL" run tiny.yaml tasks.count=2 fed.rounds=2 method.name=fedavg --threads 3 --out uneven : \
    -n 1 "$FCIL" run tiny.yaml tasks.count=2 fed.rounds=2 method.name=fedavg --threads 1 --out uneven
same_run "$(run_dir fedavg)" "$(run_dir uneven)"

say "a backbone that is pretrained first, by one rank"
cat > pretrain.yaml <<'YAML'
run: {name: mpi}
data: {name: synth, synth_classes: 4, synth_first_class: 50, synth_train: 20, synth_test: 4, synth_size: 16}
backbone: {patch: 4, width: 32, depth: 2, heads: 2}
train: {epochs: 1, batch: 16}
YAML
XDG_CACHE_HOME=$PWD/cache expect 0 on 3 backbone.pretrain=pretrain.yaml tasks.count=1 fed.rounds=1 --out pretrained
[ "$(grep -c '^pretrained backbone' err)" -eq 1 ] || fail "pretrained by several: $(cat err)"

long=(train.epochs=30)
say "an undisturbed long run"
expect 0 "$FCIL" run tiny.yaml "${long[@]}" --out calm
calm=$(run_dir calm)

# start OUT WORD...: a run on 3 ranks in the background.
start() {
    local out=$1
    shift
    "${launch[@]}" -n 3 "$FCIL" run tiny.yaml "$@" run.checkpoint_s=0 --threads 1 --out "$out" > out 2> err &
    pid=$!
}
# after_rounds N OUT: wait until it has logged N rounds, or has ended.
after_rounds() {
    local files
    while kill -0 $pid 2> /dev/null; do
        files=("$2"/*/*/rounds.csv)
        [ ! -e "${files[0]}" ] || [ "$(wc -l < "${files[0]}")" -le "$1" ] || return 0
        sleep 0.02
    done
}
# signal WHO SIGNAL: mpirun or rank WHO gets a signal.
signal() {
    local target=$pid
    [ "$1" = mpirun ] || target=$(pgrep -P $pid fcil | sed -n $(($1 + 1))p)
    kill "-$2" "$target"
}
# finish: its exit code into $code.
finish() {
    code=0
    wait $pid || code=$?
    pid=
}
# disturbed OUT WHO SIGNAL: a run with a signal in its second round.
disturbed() {
    start "$1" "${long[@]}"
    after_rounds 1 "$1"
    signal "$2" "$3"
    finish
}

say "kill -9 of one rank: the job dies; resumed with 2 ranks"
disturbed killed 1 KILL
[ $code -ne 0 ] || fail "the job ended well"
expect 0 on 2 "${long[@]}" --out killed --resume
same_run "$calm" "$(run_dir killed)"

say "kill -9 of rank 0; resumed without mpirun"
disturbed killed0 0 KILL
[ $code -ne 0 ] || fail "the job ended well"
expect 0 "$FCIL" run tiny.yaml "${long[@]}" --out killed0 --resume
same_run "$calm" "$(run_dir killed0)"

for who in 0 2 mpirun; do
    sig=USR1
    [ $who = mpirun ] || sig=TERM
    say "SIG$sig to $who: exit 75, STOPPED; resumed with 3 ranks"
    disturbed "stopped-$who" $who $sig
    [ $code -eq 75 ] || fail "exit code $code, expected 75: $(cat err)"
    [ "$(sentences)" -eq 1 ] || fail "not one sentence: $(cat err)"
    d=$(run_dir "stopped-$who")
    [ -e "$d/STOPPED" ] || fail "the mark is not STOPPED: $(ls "$d")"
    expect 0 on 3 "${long[@]}" --out "stopped-$who" --resume
    same_run "$calm" "$d"
done

say "SIGTERM to one rank: the others stop within their clients, which would take minutes"
start prompt train.epochs=100000
after_rounds 0 prompt
sleep 0.5
signal 2 TERM
SECONDS=0
finish
[ $code -eq 75 ] || fail "exit code $code, expected 75: $(cat err)"
[ $SECONDS -le 20 ] || fail "it took $SECONDS s"

say "rank 0 alone fails, as its folder of checkpoints is gone: one sentence, exit code 1"
start broken "${long[@]}"
after_rounds 1 broken
d=$(run_dir broken)
until rm -rf "$d/ckpt" && : > "$d/ckpt"; do :; done 2> /dev/null
finish
[ $code -eq 1 ] || fail "exit code $code, expected 1: $(cat err)"
[ "$(sentences)" -eq 1 ] || fail "not one sentence: $(cat err)"
[ -e "$d/FAILED" ] || fail "the mark is not FAILED: $(ls "$d")"

say "SIGTERM to mpirun, which kills its job with a code of its own: resumed"
disturbed terminated mpirun TERM
[ $code -ne 0 ] || fail "the job ended well"
expect 0 on 2 "${long[@]}" --out terminated --resume
same_run "$calm" "$(run_dir terminated)"

say "a run that begins without mpirun goes on with it"
"$FCIL" run tiny.yaml "${long[@]}" run.checkpoint_s=0 --out plain > out 2> err &
pid=$!
sleep 0.7
kill -9 $pid 2> /dev/null || true
wait $pid 2> /dev/null || true
pid=
expect 0 on 2 "${long[@]}" --out plain --resume
same_run "$calm" "$(run_dir plain)"

# Only the largest client takes a second step, where the loss is not finite any more. It goes to
# rank 1, which has more threads.
say "a client that diverges on rank 1: one sentence, exit code 1"
batch=$(($(awk -F, '$1 == 1 && $2 == 1 { print $5 }' "$calm/clients.csv" | sort -n | tail -n 1) - 1))
diverge=(method.name=fedavg train.optimizer=sgd train.lr=1000 train.epochs=1 "train.batch=$batch" --out diverged)
expect 1 "${launch[@]}" -n 1 "$FCIL" run tiny.yaml "${diverge[@]}" --threads 1 : -n 1 "$FCIL" run tiny.yaml "${diverge[@]}" --threads 8
[ "$(sentences)" -eq 1 ] || fail "not one sentence: $(cat err)"
grep -q '^fcil: task 1, round ., client .*step 2: loss is .*(rank 1 on ' err || fail "the message does not say where: $(cat err)"
grep -q 'step 2: loss is' "$(run_dir diverged)/FAILED" || fail "the mark is not FAILED"

say "wrong options, and a folder that is taken: one sentence, exit code 2"
expect 2 on 3 train.lr=-5
[ "$(sentences)" -eq 1 ] || fail "not one sentence: $(cat err)"
expect 2 on 3 "${long[@]}" --out calm
[ "$(sentences)" -eq 1 ] || fail "not one sentence: $(cat err)"

say "ranks of different runs are refused"
expect 1 "${launch[@]}" -n 1 "$FCIL" run tiny.yaml --out differ : -n 1 "$FCIL" run tiny.yaml --out differ run.seed=9
grep -q '^fcil: ranks differ: run .*(rank 1 on ' err || fail "the message does not say so: $(cat err)"

say "a finished run, --help and --dry-run: once"
expect 0 on 3 "${long[@]}" --out calm --resume
[ "$(cat out err | grep -c 'done already')" -eq 1 ] || fail "not once: $(cat out err)"
expect 0 on 3 --help
[ "$(grep -c '^usage:' out)" -eq 1 ] || fail "not once: $(cat out)"
expect 0 on 3 --dry-run --json
[ "$(wc -l < out)" -eq 1 ] || fail "not once: $(cat out)"
