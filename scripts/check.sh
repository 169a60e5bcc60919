#!/bin/bash
# Every gate that a commit has to pass, one line each: ok or FAILED, and the time. Builds in build-check/.
# usage: scripts/check.sh [--as-is] [GATE ...]    none given: all of format layers shell leftovers gcc clang readme
#                                                 guide tests clang_tests sanitize; --as-is: install nothing
# shellcheck disable=SC2317  # the gates are called by name
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$root/build-check
cd "$root"
mkdir -p "$work"

gate_format() {
    find core datasets sim tests \( -name '*.[ch]' -o -path '*/isa_*.inc' \) -print0 | xargs -0 clang-format --dry-run -Werror
}

gate_layers() {
    scripts/check_layers.sh
}

gate_shell() {
    grep -rlEZ '^#!/bin/(ba)?sh' scripts .ci tests | xargs -0 shellcheck -x -P SCRIPTDIR -S warning
}

gate_leftovers() {
    local found
    found=$(grep -rnE '\b(TODO|FIXME|XXX)\b' --exclude=check.sh --exclude-dir=golden \
        meson.build README.md .ci core datasets sim configs scripts tests || true)
    echo "$found"
    [[ -z $found ]]
}

# build NAME [meson option ...]: every warning is an error
build() {
    local dir=$work/$1
    shift
    [[ -e $dir/build.ninja ]] || meson setup "$@" "$dir"
    ninja -C "$dir"
}

gate_gcc() {
    CC=gcc build gcc
}

gate_clang() {
    CC=clang build clang
}

# What the README tells people to type exists: scripts, configs, and the verbs of fcil.
gate_readme() {
    local missing=0 path verb fcil
    [[ -r README.md ]]
    for fcil in "$work"/{gcc,clang}/fcil "${BUILD:-build}/fcil"; do [[ ! -x $fcil ]] || break; done
    while read -r path; do
        compgen -G "$path" >/dev/null || { echo "README.md: there is no $path" && missing=1; }
    done < <(grep -oE '\b(scripts|configs|results|tests|\.ci)/[A-Za-z0-9_./*-]*[A-Za-z0-9_*]' README.md | sort -u)
    while read -r verb; do
        "$fcil" "$verb" --help >/dev/null || { echo "README.md: there is no fcil $verb" && missing=1; }
    done < <(grep -oE '(^|[^A-Za-z0-9_.-])fcil [a-z]+' <(awk '/^ *```/ { code = !code; next } code' README.md) |
        sed 's/.*fcil //' | sort -u)
    return "$missing"
}

# The worked example of CONTRIBUTING.md, added to a copy as the page says: it compiles, its test passes, and with
# tau=0 it is FedAvg.
gate_guide() {
    local page=.github/CONTRIBUTING.md dir=$work/guide method
    rm -rf "$dir/tree" "$dir/runs"
    mkdir -p "$dir/tree"
    cp -rp meson.build core datasets sim tests configs "$dir/tree"
    # code WORDS: the block of C that begins with this comment
    code() { awk -v words="/* $1" '/^```/ { on = 0; first = $0 == "```c"; next }
                                   first { on = index($0, words) == 1; first = 0 } on' "$page"; }
    code "FedGMA: " >"$dir/tree/sim/methods/method_fedgma.c"
    code "FedGMA's mask " >"$dir/tree/tests/sim/methods/test_fedgma.c"
    echo fedgma >>"$dir/tree/sim/methods/method_table.def"
    sed -i "s|'sim/methods': {'unit': \[|&'fedgma', |" "$dir/tree/tests/meson.build"
    ! clang-format --version | grep -q 'version 14\.' ||
        clang-format --dry-run -Werror "$dir/tree"/sim/methods/method_fedgma.c "$dir/tree"/tests/sim/methods/test_fedgma.c
    [[ -e $dir/build/build.ninja ]] || meson setup "$dir/build" "$dir/tree"
    ninja -C "$dir/build" fcil
    meson test -C "$dir/build" --print-errorlogs --quiet fedgma
    for method in "fedgma method.tau=0" fedavg_lora; do
        # shellcheck disable=SC2086
        "$dir/build/fcil" run configs/tiny/synth_lorm.yaml method.name=$method --out "$dir/runs" --quiet
    done
    cmp "$dir"/runs/*/fedgma-*/acc_matrix.csv "$dir"/runs/*/fedavg_lora-*/acc_matrix.csv
}

gate_tests() {
    meson test -C "$work/gcc" --print-errorlogs --quiet
}

gate_clang_tests() {
    meson test -C "$work/clang" --print-errorlogs --quiet --no-suite e2e
}

# gcc's warnings are no errors here: with sanitizers it warns of what cannot happen.
gate_sanitize() {
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    CC=gcc build sanitize -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Dwerror=false
    meson test -C "$work/sanitize" --print-errorlogs --quiet --no-suite e2e --timeout-multiplier 10
    local out
    out=$(mktemp -d)
    "$work/sanitize/fcil" run configs/tiny/synth_lorm.yaml tasks.count=2 fed.rounds=2 --out "$out"
    rm -r "$out"
}

as_is=
if [[ ${1-} == --as-is ]]; then
    as_is=1
    shift
fi
gates=("$@")
[[ $# -gt 0 ]] || gates=(format layers shell leftovers gcc clang readme guide tests clang_tests sanitize)
for gate in "${gates[@]}"; do
    if ! declare -F "gate_$gate" >/dev/null; then
        sed -n '2,4s/^# //p' "$0" >&2
        exit 2
    fi
done

[[ $as_is ]] || scripts/setup.sh --check
failed=0
for gate in "${gates[@]}"; do
    log=$work/$gate.log
    start=${EPOCHREALTIME//[!0-9]/}
    # a subshell with -e of its own, which an `if` around it would switch off
    set +e
    (
        set -e
        "gate_$gate"
    ) </dev/null >"$log" 2>&1
    status=$?
    set -e
    tenths=$(((${EPOCHREALTIME//[!0-9]/} - start) / 100000))
    result=ok
    [[ $status -eq 0 ]] || result=FAILED
    printf '%-7s %-12s %5d.%d s\n' $result "$gate" $((tenths / 10)) $((tenths % 10))
    if [[ $status -ne 0 ]]; then
        failed=1
        tail -n 25 "$log" | sed 's/^/    /'
    fi
done
exit $failed
