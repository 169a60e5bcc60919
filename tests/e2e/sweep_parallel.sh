#!/bin/bash
# fcil sweep print piped into GNU Parallel; skipped where that is not installed.
. "$(dirname "$0")/lib.sh"

if ! command -v parallel > /dev/null || ! parallel --version 2> /dev/null | grep -q 'GNU parallel'; then
    skip "no GNU Parallel here (Debian: parallel)"
fi
write_config tiny.yaml
cat > "a sweep.yaml" <<'YAML'
name: s
config: tiny.yaml
set: {fed.rounds: 1, train.epochs: 1}
axes: {method.name: [lorm, fedavg_lora]}
seeds: 2
YAML
dir="it's out"

say "each line is a run, and does that run"
expect 0 "$FCIL" sweep run "a sweep.yaml" --out calm
expect 0 "$FCIL" sweep print "a sweep.yaml" --out "$dir" --threads 1
[ "$(wc -l < out)" = 4 ] || fail "$(cat out)"
cp out lines
expect 0 parallel --will-cite -j2 < lines
[ "$(grep -c '^finished ' err)" = 4 ] || fail "$(cat err)"
for d in calm/s/*/; do same_run "$d" "$dir/s/$(basename "$d")"; done

say "the same lines again do nothing; none are left"
expect 0 parallel --will-cite -j2 < lines
! grep -Eq '^(started|resumed) ' err || fail "$(cat err)"
expect 0 "$FCIL" sweep print "a sweep.yaml" --out "$dir"
[ ! -s out ] || fail "$(cat out)"
