#!/bin/bash
# The script of fcil sweep slurm, run by hand as Slurm would: USR1, requeueing, exit codes, quoting.
# What Slurm itself does with it: slurm.sh.
. "$(dirname "$0")/lib.sh"

pid=
cleanup() {
    [ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || true
    rm -rf "$work"
}
mkdir bin
printf '#!/bin/sh\necho "$@" >> "%s/scontrol"\n' "$work" > bin/scontrol
chmod +x bin/scontrol
export PATH=$work/bin:$PATH SLURM_ARRAY_JOB_ID=7 SLURM_CPUS_PER_TASK=1

# element N: job.sh as that element of the array, in the background.
element() {
    : > scontrol
    SLURM_ARRAY_TASK_ID=$1 bash job.sh > out 2> err &
    pid=$!
}
# ended: its exit code into $code.
ended() {
    code=0
    wait "$pid" 2> /dev/null || code=$?
    pid=
}
# working ID: wait until this run has logged a round.
working() {
    until [ "$(cat "$out/s/.sweep/work/$1".*/rounds.csv 2> /dev/null | wc -l)" -gt 2 ]; do
        kill -0 "$pid" 2> /dev/null || fail "the job has ended: $(cat out err)"
        sleep 0.01
    done
}

write_config tiny.yaml
out="it's out"
printf '%s\n' 'name: s' 'config: tiny.yaml' 'set: {train.epochs: 20}' 'seeds: 3' > sweep.yaml

say "what the script asks of Slurm"
expect 0 "$FCIL" sweep slurm sweep.yaml --out "$out" --threads 5 --time 1:00:00 --mem 2G --partition long
for option in --array=1-3 --cpus-per-task=5 --time=\'1:00:00\' --mem=\'2G\' --partition=\'long\' \
    --signal=B:USR1@120 --requeue --open-mode=append; do
    grep -Eq -- "^#SBATCH (.* )?$option( |\$)" out || fail "there is no $option: $(cat out)"
done
expect 0 "$FCIL" sweep slurm sweep.yaml --out "$out" --shards 2 train.epochs=21 -o job.sh
grep -Eq -- "^#SBATCH --array=1-2 " job.sh || fail "not two elements: $(cat job.sh)"
grep -Eq -- "^#SBATCH --time='[6-9]'" job.sh || fail "no prediction of time: $(cat job.sh)"
grep -Eq -- "^#SBATCH --mem='[12]..M'" job.sh || fail "no prediction of memory: $(cat job.sh)"
sed 's/^seeds: 3$/seeds: 3\nsearch: {halving: {budget: fed.rounds, values: [1, 2]}}/' sweep.yaml > search.yaml
expect 0 "$FCIL" sweep slurm search.yaml --out "$out"
grep -q -- '^#SBATCH --array=1-3 ' out || fail "not an element per run of the first rung: $(cat out)"
! grep -q -- --shard out || fail "the parts of a search would wait for each other: $(cat out)"

say "what no script can say is refused"
expect 2 "$FCIL" sweep slurm sweep.yaml --out "$out" --shards 0
expect 2 "$FCIL" sweep slurm sweep.yaml --out "$out" --shards 1001
expect 2 "$FCIL" sweep slurm sweep.yaml --out 'a\b'
grep -q -- "'.*a.b.*' cannot be sbatch's --output" err || fail "$(cat err)"
expect 2 "$FCIL" sweep slurm sweep.yaml --out "$out" --time $'1\n#SBATCH --mem=1'
expect 1 "$FCIL" sweep slurm sweep.yaml --out "$out" -o no/job.sh

say "USR1 at any moment: 75 or not yet there, and the element is requeued; then it goes on"
first=$("$FCIL" sweep plan sweep.yaml train.epochs=21 --json | sed -n 's/^ *"id": "\(.*\)",*$/\1/p' | head -n 1)
element 1
working "$first"
kill -USR1 $pid
ended
[ $code -eq 75 ] || fail "exit code $code, expected 75: $(cat out err)"
[ "$(cat scontrol)" = "requeue 7_1" ] || fail "it asked for: $(cat scontrol)"
grep -q '^stopped ' err || fail "$(cat err)"
for ms in 0 10 20 40 80 160; do
    element 1
    until grep -q 'SigCgt:.*[2367abef]..$' /proc/$pid/status; do :; done # the shell listens to USR1
    sleep "$(awk -v ms=$ms 'BEGIN { print ms / 1000 }')"
    kill -USR1 $pid
    ended
    case $code in
    75 | 138) [ "$(cat scontrol)" = "requeue 7_1" ] || fail "it asked for: $(cat scontrol)" ;;
    0) break ;; # it has got through
    *) fail "exit code $code after $ms ms: $(cat out err)" ;;
    esac
done
element 1
ended
[ $code -eq 0 ] || fail "exit code $code: $(cat out err)"
grep -q '1 job on 1 thread$' err || fail "not as many threads as CPUs: $(cat err)"
[ ! -s scontrol ] || fail "a job that is done asked for: $(cat scontrol)"
dirs=("$out"/s/*/)
[ ${#dirs[@]} -eq 2 ] || fail "part 1 of 2 of 3 runs are not 2 runs: ${dirs[*]}"
expect 0 "$FCIL" sweep run sweep.yaml --out calm --shard 1/2 train.epochs=21
for dir in "${dirs[@]}"; do same_run "calm/s/$(basename "$dir")" "${dir%/}"; done

say "not for ever, and not without a reason"
export SLURM_RESTART_COUNT=100
: > err # of the last one
element 2
until grep -q '^started' err; do sleep 0.01; done
kill -USR1 $pid
ended
[ $code -eq 75 ] || fail "exit code $code, expected 75: $(cat out err)"
[ ! -s scontrol ] || fail "after 100 restarts it asked for: $(cat scontrol)"
unset SLURM_RESTART_COUNT
expect 0 "$FCIL" sweep slurm sweep.yaml --out bad fed.clients=1000 --time 1 --mem 1G -o job.sh
element 1
ended
[ $code -eq 1 ] || fail "exit code $code, expected 1: $(cat out err)"
[ ! -s scontrol ] || fail "a job that failed asked for: $(cat scontrol)"
