#!/bin/bash
# What methods and options own of a round (arrays of the server and of clients, statistics, steps of
# the server) survives everything: the same bytes for any number of threads, after kill -9 and after
# a stop, and on two ranks. FCIL_E2E_SEED repeats a run of this test.
# Some thousand files are flushed, which no disk is needed for.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
. "$(dirname "$0")/lib.sh"

RANDOM=${FCIL_E2E_SEED:-$$}
say "FCIL_E2E_SEED=${FCIL_E2E_SEED:-$$}"
write_config tiny.yaml
small=(tasks.count=2 fed.rounds=3 train.epochs=1)
sgd=(train.optimizer=sgd train.schedule=constant train.momentum=0.5 train.lr=0.05)
pid=
cleanup() {
    [ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || true
    rm -rf "$work"
}
launch=(mpirun --oversubscribe --bind-to none -n 2)
[ "$(id -u)" -ne 0 ] || launch+=(--allow-run-as-root)
export LSAN_OPTIONS=detect_leaks=0 # the leaks of MPI itself
ranks=no
if command -v mpirun > /dev/null && "${launch[@]}" "$FCIL" run tiny.yaml tasks.count=1 fed.rounds=1 train.epochs=1 \
    --threads 1 --out probe > out 2> err && ! grep -q 'built without MPI' err; then
    ranks=yes
fi

# same A B...: all output folders hold the same run as A: the files without times, every tensor of the
# last checkpoint but for times and places in files, and the arrays of the clients.
same() {
    python3 - "$@" <<'PY' || fail "runs differ"
import csv, glob, hashlib, json, os, struct, sys
timing = {"train_s", "merge_s", "eval_s", "wall_s", "cpu_s", "rss_mib"}
def hold(folder):
    dirs = glob.glob(folder + "/*/*/")
    assert len(dirs) == 1, (folder, dirs)
    d, said = dirs[0], {}
    for name in ("rounds.csv", "clients.csv"):
        for i, row in enumerate(csv.DictReader(open(d + name))):
            said[name, i] = {k: v for k, v in row.items() if k not in timing}
    for name in ("tasks.csv", "acc_matrix.csv", "events.jsonl", "partition.csv", "DONE"):
        said[name] = open(d + name).read() if name != "DONE" else os.path.exists(d + name)
    said["summary.json"] = {k: v for k, v in json.load(open(d + "summary.json")).items() if k not in timing}
    states = sorted(glob.glob(d + "ckpt/state-*.safetensors"))
    said["ckpt"] = sorted(os.listdir(d + "ckpt"))
    b = open(states[-1], "rb").read()
    n, = struct.unpack("<Q", b[:8])
    for name, t in json.loads(b[8:8 + n]).items():
        if name not in ("__metadata__", "clock", "log"):
            first, end = t["data_offsets"]
            said[name] = t["shape"], hashlib.sha256(b[8 + n + first:8 + n + end]).hexdigest()
    if os.path.exists(d + "ckpt/clients.bin"):
        said["clients.bin"] = hashlib.sha256(open(d + "ckpt/clients.bin", "rb").read()).hexdigest()
    return said
want = hold(sys.argv[1])
for folder in sys.argv[2:]:
    got = hold(folder)
    for key in list(want) + list(got):
        if want.get(key) != got.get(key):
            sys.exit("%s: %s: %s, expected %s" % (folder, key, got.get(key), want.get(key)))
PY
}

# disturbed OUT SIGNAL WORD...: a run that gets a signal somewhere ; its exit code into $code.
disturbed() {
    local out=$1 sig=$2 rounds=$((RANDOM % 5)) files
    shift 2
    "$FCIL" run tiny.yaml "$@" run.checkpoint_s=0 --threads 1 --out "$out" > out 2> err &
    pid=$!
    while kill -0 "$pid" 2> /dev/null; do
        files=("$out"/*/*/rounds.csv)
        [ ! -e "${files[0]}" ] || [ "$(wc -l < "${files[0]}")" -le $rounds ] || break
        sleep 0.01
    done
    sleep "0.00$((RANDOM % 8))"
    kill "-$sig" "$pid" 2> /dev/null || true
    code=0
    wait "$pid" 2> /dev/null || code=$?
    pid=
}

kills=0 stops=0
# check NAME WORD...: one run, however it is made.
check() {
    local name=$1 runs
    shift
    rm -rf calm two three killed stopped ranks
    say "$name"
    expect 0 "$FCIL" run tiny.yaml "${small[@]}" "$@" --threads 1 --out calm
    expect 0 "$FCIL" run tiny.yaml "${small[@]}" "$@" --threads 2 --out two
    expect 0 "$FCIL" run tiny.yaml "${small[@]}" "$@" --threads 3 --out three
    disturbed killed KILL "${small[@]}" "$@"
    [ "$code" -eq 0 ] || kills=$((kills + 1))
    [ "$code" -eq 0 ] || [ "$code" -eq 137 ] || fail "exit code $code, expected 137 or 0: $(cat err)"
    expect 0 "$FCIL" run tiny.yaml "${small[@]}" "$@" --threads 2 --out killed --resume
    disturbed stopped USR1 "${small[@]}" "$@"
    [ "$code" -eq 0 ] || stops=$((stops + 1))
    [ "$code" -eq 0 ] || [ "$code" -eq 75 ] || fail "exit code $code, expected 75 or 0: $(cat err)"
    expect 0 "$FCIL" run tiny.yaml "${small[@]}" "$@" --threads 1 --out stopped --resume
    runs=(calm two three killed stopped)
    if [ $ranks = yes ]; then
        expect 0 "${launch[@]}" "$FCIL" run tiny.yaml "${small[@]}" "$@" --threads 1 --out ranks
        runs+=(ranks)
    fi
    same "${runs[@]}"
}

for method in $(names methods); do
    [ "$method" = scaffold ] || check "$method" "method.name=$method"
done
check "scaffold, LoRA" method.name=scaffold "${sgd[@]}"
check "scaffold, full, control variates kept" method.name=scaffold method.train=full method.control=keep "${sgd[@]}"
check "scaffold, option 1, adamw" method.name=scaffold method.option=1
check "feddyn, full, drift kept" method.name=feddyn method.train=full method.drift=keep method.model=cloud
# 6 of 12 clients, others in each round
small=(tasks.count=2 fed.rounds=3 train.epochs=1 fed.clients=12 fed.min_samples=1 fed.participation=0.5 fed.participation_draw=round)
check "scaffold, half of 12 clients" method.name=scaffold "${sgd[@]}"
small=(tasks.count=2 fed.rounds=2 train.epochs=1)
check "fedprox" method.name=fedavg_lora train.prox_mu=0.1 train.batch=4
for optimizer in fedavgm fedadam fedyogi fedadagrad; do
    for method in fedavg_lora fedavg; do
        check "$optimizer, $method" "method.name=$method" "server.optimizer=$optimizer" server.moments=keep
    done
done
say "$kills killed, $stops stopped; 2 ranks: $ranks"
[ $kills -gt 0 ] || fail "no run was killed before its end"
[ $stops -gt 0 ] || fail "no run was stopped before its end"

say "the comparison can fail: a part of the state that differs is seen"
rm -rf calm other
expect 0 "$FCIL" run tiny.yaml "${small[@]}" server.optimizer=fedadam --threads 1 --out calm
expect 0 "$FCIL" run tiny.yaml "${small[@]}" server.optimizer=fedadam server.bias=adam --threads 1 --out other
if (same calm other) > /dev/null 2>&1; then
    fail "runs with two options are the same"
fi

say "prox_mu 0 and server.optimizer fedavgm without momentum change nothing but the name"
# unnamed RUN: what is said about it, without the options that name it.
unnamed() {
    local dir
    dir=$(run_dir "$1")
    contents "$dir" | grep -Ev '^(config.yaml|events.jsonl|manifest.json|ckpt): |config_hash|name'
}
rm -rf calm other
expect 0 "$FCIL" run tiny.yaml "${small[@]}" method.name=fedavg --threads 1 --out calm
for option in train.prox_mu=0 "server.optimizer=fedavgm server.beta1=0" "train.prox_mu=1e-30"; do
    rm -rf other
    # shellcheck disable=SC2086
    expect 0 "$FCIL" run tiny.yaml "${small[@]}" method.name=fedavg $option --threads 1 --out other
    unnamed calm > a.txt
    unnamed other > b.txt
    grep -q '^clients.csv: .' a.txt || fail "nothing is compared"
    diff a.txt b.txt > differences || fail "$option changes the run: $(head -n 5 differences)"
done
rm -rf other
expect 0 "$FCIL" run tiny.yaml "${small[@]}" method.name=fedavg train.prox_mu=1 --threads 1 --out other
unnamed other > b.txt
! cmp -s a.txt b.txt || fail "prox_mu 1 changes nothing"

say "one local step from what was received: prox_mu has no effect"
one=("${small[@]}" method.name=fedavg_lora train.batch=1000)
rm -rf calm other
expect 0 "$FCIL" run tiny.yaml "${one[@]}" --threads 1 --out calm
expect 0 "$FCIL" run tiny.yaml "${one[@]}" train.prox_mu=10 --threads 1 --out other
unnamed calm > a.txt
unnamed other > b.txt
diff a.txt b.txt > differences || fail "it has: $(head -n 5 differences)"

say "scaffold: bytes of messages, and refusals"
# total NAME WORD...: bytes down and up of a run with SGD into $down and $up.
total() {
    rm -rf calm
    expect 0 "$FCIL" run tiny.yaml tasks.count=1 fed.rounds=2 train.epochs=1 "${sgd[@]}" "$@" --threads 1 --out calm
    down=$(column "$(run_dir calm)/rounds.csv" bytes_down_cum | tail -n 1)
    up=$(column "$(run_dir calm)/rounds.csv" bytes_up_cum | tail -n 1)
}
total method.name=fedavg
once_down=$down once_up=$up
total method.name=scaffold method.train=full
holds "$down > 1.98 * $once_down && $down < 2.02 * $once_down" || fail "$down bytes down, fedavg $once_down"
holds "$up > 1.98 * $once_up && $up < 2.02 * $once_up" || fail "$up bytes up, fedavg $once_up"
expect 2 "$FCIL" run tiny.yaml method.name=scaffold method.option=2 --out refused
grep -q 'SCAFFOLD option 2 needs train.optimizer=sgd' err || fail "the message does not say so: $(cat err)"
expect 2 "$FCIL" run tiny.yaml method.name=scaffold method.option=2 train.optimizer=sgd train.schedule=cosine --out refused
grep -q 'constant learning rate' err || fail "the message does not say so: $(cat err)"
expect 2 "$FCIL" run tiny.yaml method.name=scaffold method.option=2 train.optimizer=sgd train.warmup=0.5 --out refused
[ ! -e refused ] || fail "a refused run leaves a folder"

say "full fine-tuning with arrays of clients, and the tasks merged"
rm -rf calm
expect 0 "$FCIL" run tiny.yaml "${small[@]}" method.name=scaffold method.train=full method.cl_merge=run_sum tasks.merge=ties "${sgd[@]}" --out calm

say "2,000 clients, 20 of them per round: memory, and the file of clients"
many=(data.synth_classes=2 data.synth_train=2000 data.synth_test=4 tasks.count=1 fed.clients=2000 fed.partition=iid fed.min_samples=1 fed.participation=0.01
    fed.participation_draw=round fed.rounds=3 train.epochs=1 train.lora_rank=16 backbone.width=96 backbone.depth=4 backbone.heads=3 eval.rounds=none run.threads=1)
# peak WORD...: MiB of such a run into $peak; what --dry-run says into $predicted.
peak() {
    rm -rf calm
    expect 0 "$FCIL" run tiny.yaml "${many[@]}" "$@" --out calm --dry-run --json
    predicted=$(sed -E 's/.*"memory_mib": ?([0-9.]+).*/\1/' out)
    expect 0 "$FCIL" run tiny.yaml "${many[@]}" "$@" --out calm --quiet
    peak=$(number "$(run_dir calm)/summary.json" rss_mib)
}
peak method.name=fedavg_lora "${sgd[@]}"
plain=$peak
peak method.name=scaffold "${sgd[@]}"
d=$(run_dir calm)
last=$(printf '%s\n' "$d"/ckpt/state-*.safetensors | tail -n 1)
numbers=$(numbers "$last" scaffold.c | wc -l)
mib=$(awk "BEGIN { print 4 * $numbers / 1048576 }")
say "  $peak MiB ($predicted predicted), fedavg_lora $plain MiB, arrays of one client $mib MiB"
# of the 20 of a round: their messages hold twice as much, and what they keep is there while they
# train; the server's c and its sum, and what the others do not grow with
holds "$peak < $plain + 60 * $mib" || fail "$peak MiB, fedavg_lora $plain MiB"
holds "$predicted > 0.9 * $peak && $predicted < 1.1 * $peak" || fail "$predicted MiB predicted, $peak MiB taken"
size=$(stat -c %s "$d/ckpt/clients.bin")
records=$((size / (4 * numbers + 8)))
[ $((records * (4 * numbers + 8))) -eq "$size" ] || fail "clients.bin: $size bytes are no records of $numbers numbers"
part=$(column "$d/clients.csv" client | sort -u | wc -l)
say "  $part clients took part, $records records"
[ "$records" -ge "$part" ] && [ "$records" -le $((part + 40)) ] || fail "$records records of $part clients"
