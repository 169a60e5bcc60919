#!/usr/bin/env bash
# Runs of results/REPRODUCTION.md: CIFAR-100 twins with ViT-Tiny, finished ones are skipped and
# interrupted ones go on.
#   scripts/reproduce.sh [--fcil FILE] [--out DIR] [--jobs N] [PLAN]
# PLAN: lines of "config seed [section.key=value ...]"; default scripts/reproduce.plan.
# Data and weights are found through $FCIL_DATA.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
fcil=$root/build/fcil out=$root/results/runs jobs=1 plan=$root/scripts/reproduce.plan
while [ $# -gt 0 ]; do
    case $1 in
    --fcil) fcil=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --jobs) jobs=$2; shift 2 ;;
    *) plan=$1; shift ;;
    esac
done
[ -x "$fcil" ] || { echo "reproduce.sh: $fcil: no such program; build it first (README)" >&2; exit 2; }
[ -r "$plan" ] || { echo "reproduce.sh: $plan: cannot read the plan" >&2; exit 2; }
threads=$(($(nproc) / jobs))
[ "$threads" -ge 1 ] || threads=1

one() { # config seed overrides...
    local config=$1 seed=$2
    shift 2
    echo "start $config seed $seed $*"
    "$fcil" run "$root/configs/$config.yaml" run.seed="$seed" --out "$out" --threads "$threads" \
        --resume --quiet "$@" | sed "s|^|$config seed $seed: |"
}
export -f one
export root fcil out threads
grep -v '^#' "$plan" | xargs -P "$jobs" -L 1 bash -c 'one "$@"' one
