#!/bin/bash
# Builds fcil (release) in build/, or in the folder that $BUILD names.
# usage: [BUILD=DIR] scripts/build.sh [meson setup option ...]
set -euo pipefail

die() {
    echo "build.sh: $*" >&2
    exit 1
}

root=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath -m "${BUILD:-$root/build}")
if ! mkdir -p "$build" 2>/dev/null || ! [[ -w $build ]]; then
    die "cannot write to $build: choose another folder with BUILD=DIR"
fi

log=$build/build.log
run() {
    "$@" </dev/null >"$log" 2>&1 && return
    tail -n 30 "$log" >&2
    die "${1##*/} failed, see above and $log"
}

# ninja runs meson again by itself when a meson.build has changed
if ! [[ -e $build/build.ninja ]]; then
    echo "build: configuring $build" >&2
    run meson setup "$@" "$build" "$root"
fi
echo "build: compiling" >&2
run ninja -C "$build"
