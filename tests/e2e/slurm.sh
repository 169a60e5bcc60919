#!/bin/bash
# fcil sweep slurm on a real Slurm: two nodes on this machine (slurmctld, slurmd, munged, all of it in
# the temporary directory). An array of 12 runs; a node is drained, jobs get USR1, are requeued, and
# lose their node: every run is done exactly once. Skipped where Slurm is not installed or does not start.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for program in munged slurmctld slurmd sbatch scontrol squeue sinfo scancel; do
    command -v $program > /dev/null || skip "no $program here (Debian: slurm-wlm)"
done
export SLURM_CONF=$work/slurm.conf
daemons=()
cleanup() {
    if [ ${#daemons[@]} -gt 0 ]; then
        timeout 5 scancel --user="$(id -un)" > /dev/null 2>&1 || true
        soon 10 no_jobs || true
        kill "${daemons[@]}" 2> /dev/null || true
        wait "${daemons[@]}" 2> /dev/null || true
    fi
    rm -rf "$work"
}

# soon SECONDS COMMAND...: is the command true within this time?
soon() {
    local until=$((SECONDS + $1))
    shift
    while ! "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.1
    done
}
no_jobs() { [ -z "$(squeue --noheader 2>&1)" ]; }
node_is() { [ "$(sinfo --noheader --nodes="$1" --format=%T 2> /dev/null)" = "$2" ]; }

# Three ports in a row that nobody listens on.
free_ports() {
    local port i
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 10000))
        for i in 0 1 2; do
            ! (: <> "/dev/tcp/127.0.0.1/$((port + i))") 2> /dev/null || continue 2
        done
        printf '%s\n' "$port"
        return
    done
    return 1
}

# daemon NAME WORD...: start one in the background.
daemon() {
    local name=$1
    shift
    nice "$@" > "log/$name" 2>&1 &
    daemons+=($!)
}

start_slurm() {
    local host user port
    host=$(uname -n)
    host=${host%%.*}
    user=$(id -un)
    port=$(free_ports) || skip "no free ports"
    chmod 711 "$work" # munged wants its socket to be within everybody's reach
    mkdir -p log state spool/n1 spool/n2
    (umask 077 && head -c 1024 /dev/urandom > munge.key)
    cat > slurm.conf <<CONF
ClusterName=e2e
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# a requeued job starts again after cred_expire seconds (120 unless told)
AuthInfo=socket=$work/munge.socket,cred_expire=5
StateSaveLocation=$work/state
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmdSpoolDir=$work/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=0
KillWait=5
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1 RealMemory=500
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1 RealMemory=500
PartitionName=all Nodes=n1,n2 Default=YES
CONF
    daemon munged munged --foreground --socket="$work/munge.socket" --key-file="$work/munge.key" \
        --pid-file="$work/munged.pid" --log-file="$work/log/munge" --seed-file="$work/munge.seed"
    soon 10 test -S munge.socket || skip "munged does not start: $(tail -n 2 log/munge*)"
    daemon slurmctld slurmctld -D -f slurm.conf
    daemon n1 slurmd -D -N n1 -f slurm.conf
    daemon n2 slurmd -D -N n2 -f slurm.conf
    soon 30 node_is n1 idle && soon 30 node_is n2 idle ||
        skip "Slurm does not start: $(tail -n 2 log/slurmctld log/n1 log/n2)"
}

# in_job ELEMENT KEY: what Slurm knows of an element of the array.
in_job() { scontrol show job --oneliner "${job}_$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | tail -n 1; }
# on NODE: the element that runs there and has done some rounds, into $element.
on() {
    local id
    element=$(squeue --noheader --states=RUNNING --nodelist="$1" --format=%K)
    [ -n "$element" ] || return 1
    id=${ids[$((element - 1))]}
    [ "$(cat "$out"/s/.sweep/work/"$id".*/rounds.csv 2> /dev/null | wc -l)" -gt 2 ]
}
restarted() { [ "$(in_job "$1" Restarts)" -ge "$2" ]; }
# requeued_by NODE COMMAND...: the command makes Slurm requeue what runs on that node.
requeued_by() {
    local node=$1 before
    shift
    for _ in 1 2 3; do # again, if the run has ended just before
        soon 60 on "$node" || fail "nothing runs on $node: $(squeue)"
        before=$(in_job "$element" Restarts)
        "$@"
        ! soon 10 restarted "$element" $((before + 1)) || return 0
    done
    fail "element $element was not requeued: $(cat "$out"/s/.sweep/slurm/*_"$element".log)"
}
# What Slurm does two minutes before the time is up. 22.05 delivers the signal, calls that a failure,
# and scancel would go on trying.
signal() { timeout 2 scancel --batch --signal=USR1 "${job}_$element" > /dev/null 2>&1 || true; }
requeue() { scontrol requeue "${job}_$element"; }
fail_node() {
    scontrol update nodename=n2 state=down reason=test
    scontrol update nodename=n2 state=resume
}

say "two nodes of Slurm on this machine"
start_slurm

say "12 runs, undisturbed"
write_config tiny.yaml
out="it's out"
cat > sweep.yaml <<'YAML'
name: s
config: tiny.yaml
set: {train.epochs: 40}
axes: {method.name: [lorm, fedavg_lora], fed.beta: [0.5, 5]}
seeds: 3
YAML
expect 0 "$FCIL" sweep run sweep.yaml --out calm --jobs 2
calm=(calm/s/*/)
[ ${#calm[@]} -eq 12 ] || fail "${#calm[@]} runs, expected 12: ${calm[*]}"
mapfile -t ids < <("$FCIL" sweep plan sweep.yaml --json | sed -n 's/^ *"id": "\(.*\)",*$/\1/p')
[ ${#ids[@]} -eq 12 ] || fail "fcil sweep plan --json names ${#ids[@]} runs, expected 12"

say "the same as an array of jobs"
expect 0 "$FCIL" sweep slurm sweep.yaml --out "$out" --threads 1 --time 10 --mem 200M -o job.sh
job=$(sbatch --parsable job.sh 2> err) || fail "sbatch: $(cat err job.sh)"

say "a node is drained: its job goes on, no other comes; meanwhile a job gets USR1"
soon 60 on n2 || fail "nothing runs on n2: $(squeue)"
drained=$element
scontrol update nodename=n2 state=drain reason=test
requeued_by n1 signal
soon 60 node_is n2 drained || fail "n2 is not drained: $(sinfo)"
[ "$(in_job "$drained" JobState) $(in_job "$drained" Restarts)" = "COMPLETED 0" ] ||
    fail "element $drained did not go on: $(scontrol show job "${job}_$drained")"
soon 60 on n1 || fail "nothing runs on n1: $(squeue)"
[ -z "$(squeue --noheader --nodelist=n2)" ] || fail "a job came to the drained node: $(squeue)"

say "a running job is requeued"
requeued_by n1 requeue

say "a node fails"
scontrol update nodename=n2 state=resume
requeued_by n2 fail_node

say "all runs are done, each exactly once"
soon 200 no_jobs || fail "jobs are left: $(squeue)"
for element in {1..12}; do
    state="$(in_job "$element" JobState) $(in_job "$element" ExitCode)"
    [ "$state" = "COMPLETED 0:0" ] || fail "element $element: $state: $(cat "$out"/s/.sweep/slurm/*_"$element".log)"
done
cat "$out"/s/.sweep/slurm/*.log > log/jobs
[ "$(grep -c '^finished' log/jobs)" -eq 12 ] || fail "not 12 runs were finished: $(cat log/jobs)"
[ "$(grep -c '^started' log/jobs)" -eq 12 ] || fail "not 12 runs were started: $(cat log/jobs)"
[ "$(grep -c '^resumed' log/jobs)" -ge 3 ] || fail "not 3 runs were resumed: $(cat log/jobs)"
for dir in "${calm[@]}"; do
    same_run "${dir%/}" "$out/s/$(basename "$dir")"
done
