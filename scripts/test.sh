#!/bin/bash
# Installs what is missing, builds, and runs the tests. The last line is "N passed, N failed, N skipped".
# usage: [BUILD=DIR] scripts/test.sh [SUITE ...]      unit grad golden merge bad fuzz e2e; none: all
set -euo pipefail

die() {
    echo "test.sh: $*" >&2
    exit 1
}

if [[ ${1-} == -* ]]; then
    sed -n '2,3s/^# //p' "$0" >&2
    [[ $1 == --help || $1 == -h ]] && exit 0
    exit 2
fi

root=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath -m "${BUILD:-$root/build}")
"$root/scripts/setup.sh"
BUILD=$build "$root/scripts/build.sh"

known=$(meson test -C "$build" --no-rebuild --list 2>/dev/null | sed -n 's/^fcil:\([^ ]*\) .*/\1/p')
suites=()
for suite in "$@"; do
    grep -qx -e "$suite" <<<"$known" ||
        die "no suite '$suite', there are: $(sort -u <<<"$known" | xargs)"
    suites+=(--suite "$suite")
done

log=$build/test.log
results=$build/meson-logs/testlog.json # one JSON object per line and test program
rm -f "$results"
echo "test: running" >&2
meson test -C "$build" --no-rebuild --print-errorlogs --quiet "${suites[@]}" >"$log" 2>&1 || cat "$log"
[[ -e $results ]] || die "no test was run, see $log"

# A program counts by its cases, as cmocka reports them, or as one. A quote inside a JSON string is
# written \", so "result": "OK" is never part of what a test printed.
LC_ALL=C awk '
function field(name) {
    if (!match($0, "\"" name "\": (\"[^\"]*\"|[-+.0-9e]+)")) return ""
    value = substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 4)
    gsub(/"/, "", value)
    return value
}
# sum of n over all "[  word  ] n test(s)"
function cases(word,    rest, sum) {
    rest = $0
    while (match(rest, "\\[  " word " \\] [0-9]+ test\\(s\\)")) {
        sum += substr(rest, RSTART + length(word) + 6)
        rest = substr(rest, RSTART + RLENGTH)
    }
    return sum + 0
}
{
    suite = field("name"); sub(/^[^:]*:/, "", suite); sub(/ .*/, "", suite)
    result = field("result")
    ok = cases("PASSED "); bad = cases("FAILED "); skip = cases("SKIPPED")
    if (result == "SKIP") { ok = 0; bad = 0; skip = skip ? skip : 1 }
    else if (result == "OK" && ok + skip == 0) ok = 1
    else if (result != "OK" && bad == 0) bad = 1
    if (!(suite in programs)) order[++n] = suite
    programs[suite]++; passed[suite] += ok; failed[suite] += bad; skipped[suite] += skip
    seconds[suite] += field("duration")
    all_ok += ok; all_bad += bad; all_skip += skip
}
END {
    printf "%-8s %8s %8s %8s %8s %9s\n", "suite", "programs", "passed", "failed", "skipped", "time"
    for (i = 1; i <= n; i++) {
        s = order[i]
        printf "%-8s %8d %8d %8d %8d %7.1f s\n", s, programs[s], passed[s], failed[s], skipped[s], seconds[s]
    }
    printf "%d passed, %d failed, %d skipped\n", all_ok, all_bad, all_skip
    exit all_bad > 0 || all_ok == 0
}' "$results"
