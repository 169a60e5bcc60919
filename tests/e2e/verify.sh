#!/usr/bin/env bash
# fcil verify: recipes that hold and that do not, kept runs, and the page made from them. With CIFAR-100
# in $FCIL_DATA also one seed of a twin of the paper's recipe.
data=${FCIL_DATA-}
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# A recipe of two seeds, run, and judged once more without running anything.
write_config base.yaml
recipe() { # MEAN TOLERANCE
    cat > recipe.yaml <<YAML
name: receipt
config: base.yaml
seeds: 2
expect:
  faa: {mean: $1, tolerance: $2}
  forgetting_max: {mean: 0, tolerance: 100}
source: {kind: own run, text: "this test"}
recorded: kept/receipt
YAML
}
recipe 50 50
expect 0 "$FCIL" verify recipe.yaml --out kept
grep -q '^PASS  recipe.yaml$' out || fail "no PASS: $(cat out)"
mean=$(sed -n 's/^ *FAA (%): \([0-9.]*\) ± [0-9.]* (n = 2), expected 50.00 within 50.00, z = .*$/\1/p' out)
[ -n "$mean" ] || fail "no mean and z of two runs: $(cat out)"
want=$(for d in kept/receipt/*/; do number "$d/summary.json" faa; done | awk '{ s += $1 } END { printf "%.2f", s / NR }')
[ "$mean" = "$want" ] || fail "mean $mean, expected $want"
expect 0 "$FCIL" verify recipe.yaml --out kept
if grep -q started err; then fail "finished runs were done again"; fi

# A seed that failed: no PASS on the others alone.
cp -r kept half
dir=$(echo half/receipt/lorm-s1-*)
rm -r "$dir"
mkdir -p half/receipt/.sweep/failed
echo "generation 0" > "half/receipt/.sweep/failed/${dir##*-}"
expect 1 "$FCIL" verify recipe.yaml --out half
grep -q '^FAIL  recipe.yaml$' out || fail "passed without one of its seeds: $(cat out)"

# Off by more than the tolerance: FAIL, exit code 1, and the other recipes are still judged.
recipe "$(awk "BEGIN { print $mean + 3 }")" 2.9
cp recipe.yaml wrong.yaml
recipe "$mean" 0.01
expect 1 "$FCIL" verify --recorded wrong.yaml recipe.yaml -o page.md
grep -q '^FAIL  wrong.yaml$' out || fail "no FAIL: $(cat out)"
grep -q '^PASS  recipe.yaml$' out || fail "no PASS behind a FAIL: $(cat out)"
grep -q '1 of 2 recipes failed' err || fail "$(cat err)"
grep -q '| lorm |.*| no (own run) |' page.md || fail "page.md: no failed row"
grep -q '| lorm |.*| yes (own run) |' page.md || fail "page.md: no row that holds"
expect 1 "$FCIL" verify --recorded wrong.yaml --json
python3 -c 'import json; r = json.load(open("out"))[0]; assert not r["pass"] and r["metrics"][0]["n"] == 2' ||
    fail "--json: $(cat out)"

# Kept runs of another experiment are not taken for ours.
sed -i 's/clients: 4/clients: 3/' base.yaml
expect 0 "$FCIL" verify --recorded recipe.yaml
grep -q 'no kept runs' out || fail "runs of another config were judged: $(cat out)"
expect 2 "$FCIL" verify missing.yaml
expect 2 "$FCIL" verify

# The committed page is what the recipes and the kept runs say.
cd "$FCIL_ROOT"
"$FCIL" verify --recorded -o "$work/page.md" configs/recipes/*.yaml > "$work/out" || fail "a recipe fails: $(cat "$work/out")"
cmp -s "$work/page.md" results/REPRODUCTION.md ||
    fail "results/REPRODUCTION.md is not what fcil verify writes; its first line says how to make it"
"$FCIL" verify configs/recipes/synth_lorm.yaml --out "$work/synth" --quiet > "$work/out" || fail "$(cat "$work/out")"
[ -n "$data" ] || exit 0
sed "s|^config: ..|config: $FCIL_ROOT/configs|; s|^seeds: .*|seeds: 1|; s|tolerance: [0-9.]*|tolerance: 4|" \
    configs/recipes/cifar100_twin_b0.5_lorm_bf16.yaml > "$work/twin.yaml"
"$FCIL" verify "$work/twin.yaml" --data "$data" --out "$work/twin" --quiet > "$work/out" || fail "$(cat "$work/out")"
