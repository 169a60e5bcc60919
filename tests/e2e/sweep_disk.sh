#!/bin/bash
# Sweeps on a disk that is full, or cannot be written: one sentence, exit code 1, nothing lost, and the same command
# goes on when there is room again.
. "$(dirname "$0")/lib.sh"

cleanup() {
    ! mountpoint -q "$work/disk" || umount "$work/disk"
    rm -rf "$work"
}
write_config tiny.yaml
cat > s.yaml <<'YAML'
name: s
config: tiny.yaml
set: {fed.rounds: 2, train.epochs: 2, run.checkpoint_s: 0}
axes: {method.name: [lorm, fedavg_lora]}
YAML

# refused PATTERN WORD...: exit code 1 and one line of error, which matches.
refused() {
    local pattern=$1
    shift
    expect 1 "$@"
    if [ "$(grep -c '^fcil: ' err)" != 1 ] || ! tail -n 1 err | grep -Eq "^fcil: $pattern"; then fail "message: $(cat err)"; fi
}

say "folders that cannot be used"
: > file
mkdir taken
: > taken/s
refused 'file/s.*: Not a directory' "$FCIL" sweep run s.yaml --out file
refused 'taken/s.*: Not a directory' "$FCIL" sweep run s.yaml --out taken
refused '/proc/x.*: No such file' "$FCIL" sweep run s.yaml --out /proc/x
refused '.*/s/.sweep/claims.*: ' "$FCIL" sweep run s.yaml --out /dev/null
mkdir -p third/s
: > "third/s/lorm-s1-$("$FCIL" sweep plan s.yaml --json | sed -n 's/^ *"id": "\(.*\)",*$/\1/p' | head -n 1)"
refused 'third/s/lorm.*: is a file' timeout 20 "$FCIL" sweep run s.yaml --out third
expect 3 "$FCIL" sweep collect s.yaml --out file

mkdir disk
mount -t tmpfs -o size=32k none disk 2> /dev/null || skip "no right to mount a file system"

say "full before, in mid-run, at a claim: with more and more room, the same command gets on"
for size in 32k 64k 150k 250k 450k; do
    mount -o remount,size=$size disk
    refused '.*No space left on device' "$FCIL" sweep run s.yaml --out disk
    ! find disk/s -name '*.tmp' | grep . || fail "temporary files are left"
    for d in disk/s/*/; do [ ! -e "$d" ] || [ -e "$d/DONE" ] || fail "half of $d is published"; done
    [ -z "$(ls disk/s/.sweep/failed)" ] || fail "recorded as a failure of the run: $(cat disk/s/.sweep/failed/*)"
    say "  $size: $(tail -n 1 err)"
done
mount -o remount,size=16m disk
expect 0 "$FCIL" sweep run s.yaml --out disk
expect 0 "$FCIL" sweep run s.yaml --out roomy
for d in roomy/s/*/; do same_run "$d" "disk/s/$(basename "$d")"; done
[ -z "$(find disk/s/.sweep -mindepth 2)" ] || fail "left behind: $(find disk/s/.sweep -mindepth 2)"

say "a disk that is read-only: what is there can be looked at"
rm -rf disk/s/lorm*
mount -o remount,ro disk
refused 'disk/s/.*: Read-only file system' "$FCIL" sweep run s.yaml --out disk
expect 0 "$FCIL" sweep status s.yaml --out disk
tail -n 1 out | grep -q '^1 done, 1 waiting$' || fail "$(cat out)"
refused 'disk/s/results.csv: .*: Read-only file system' "$FCIL" sweep collect s.yaml --out disk
