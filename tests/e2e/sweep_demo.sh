#!/bin/bash
# The sweeps of configs/sweeps: each can be planned, and says what data is missing; the one on the built-in data is run
# to its end, and the numbers of its tables are those of its runs.
. "$(dirname "$0")/lib.sh"

say "plan: every sweep, on a machine without data"
for sweep in "$FCIL_ROOT"/configs/sweeps/*.yaml; do
    got=0
    "$FCIL" sweep plan "$sweep" > out 2> err || got=$?
    case $got in
    0) grep -Eq '^[0-9]+ runs of [0-9]+ settings' out || fail "$sweep: $(cat out)" ;;
    3) grep -Eq '^fcil: run [0-9a-f]{8}: .* no such (file|folder)' err || fail "$sweep: $(cat err)" ;;
    *) fail "$sweep: exit code $got: $(cat err)" ;;
    esac
    say "  $(basename "$sweep"): $got"
done

demo=$FCIL_ROOT/configs/sweeps/synth_demo.yaml
say "the demo, from plan to tables"
expect 0 "$FCIL" sweep plan "$demo"
[ "$(grep -Ec '^[0-9a-f]{8} ' out)" = 8 ] || fail "not 8 runs: $(cat out)"
expect 3 "$FCIL" sweep collect "$demo" --out results
expect 0 "$FCIL" sweep run "$demo" --out results --jobs 2
expect 0 "$FCIL" sweep collect "$demo" --out results
diff out results/synth_demo/table.md || fail "standard output is not table.md"
grep -q '^\\begin{tabular}' results/synth_demo/table.tex || fail "$(cat results/synth_demo/table.tex)"
[ "$(column results/synth_demo/results.csv state | sort | uniq -c | tr -s ' ')" = " 8 done" ] || fail "$(cat results/synth_demo/results.csv)"

say "means, deviations, intervals and paired differences per beta, computed again from summary.json"
python3 - results/synth_demo <<'PY' || fail "$(cat results/synth_demo/table.csv)"
import csv, glob, json, re, statistics, sys

METRICS = ["faa", "aia", "forgetting_max", "bytes_up"]
T = 12.706204736432095  # Student's t with one degree of freedom, 97.5 %
folder = sys.argv[1]
runs = {}  # (method, beta) -> seed -> summary
for path in glob.glob(folder + "/*/summary.json"):
    config = open(path.replace("summary.json", "config.yaml")).read()
    beta = re.search(r"^  beta: (\S+)", config, re.M).group(1)
    summary = json.load(open(path))
    seed = int(re.search(r"-s(\d+)-", path).group(1))
    runs.setdefault((summary["method"], beta), {})[seed] = summary
assert len(runs) == 4 and all(len(seeds) == 2 for seeds in runs.values()), runs.keys()


def same(name, text, want):
    if not abs(float(text) - want) <= 1e-8 * max(1, abs(want)):
        sys.exit(f"{name}: the table has {text}, the runs have {want}")


def interval(values):
    mean, sd = statistics.mean(values), statistics.stdev(values)
    return mean, sd, mean - T * sd / 2**0.5, mean + T * sd / 2**0.5


seen = 0
for row in csv.DictReader(open(folder + "/table.csv")):
    if row["metric"] not in METRICS:
        continue
    method, beta = re.fullmatch(r"(\w+), beta=(\S+)", row["group"]).groups()
    name = row["group"] + " " + row["metric"]
    values = {seed: s[row["metric"]] for seed, s in runs[method, beta].items()}
    assert row["n"] == "2", row
    for key, want in zip(["mean", "sd", "ci95_low", "ci95_high"], interval(list(values.values()))):
        same(f"{name} {key}", row[key], want)
    if method == "fedavg_lora":
        assert row["baseline"] == "", row
    else:
        assert row["baseline"] == f"fedavg_lora, beta={beta}" and row["pairs"] == "2", row
        base = runs["fedavg_lora", beta]
        mean, _, low, high = interval([values[seed] - base[seed][row["metric"]] for seed in values])
        for key, want in [("difference", mean), ("difference_ci95_low", low), ("difference_ci95_high", high)]:
            same(f"{name} {key}", row[key], want)
    text = open(folder + "/table.md").read() + open(folder + "/table.tex").read()
    if row["metric"] == "faa":  # in both tables, to one decimal
        assert text.count(f"{float(row['mean']):.1f} ") >= 2, name
    seen += 1
if seen != 4 * len(METRICS):
    sys.exit(f"{seen} rows, expected {4 * len(METRICS)}")
PY
