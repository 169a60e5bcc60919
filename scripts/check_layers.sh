#!/bin/bash
# Fails, with the place, on
#   an include that scripts/layers.txt does not allow, or that is not written from the root,
#   modules (a .c and its .h) that include each other in a circle, and two folders that include each other,
#   printing or exiting in core/ and datasets/,
#   a file of more than 600 lines and a function body of more than 60, unless it is one switch (not in tests/),
#   a header that does not compile alone.
# usage: scripts/check_layers.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

mapfile -t sources < <(find core datasets sim tests -name '*.[ch]' -o -name '*.inc' | sort)
bad=0

# what each file includes, against the table: FILE, LINE, what, where
awk '
function fault(text) { print FILENAME ":" FNR ": " text; bad = 1 }

# The folder of the table that this file lies in; "" if there is none.
function folder(path) {
    while (sub(/\/[^\/]*$/, "", path))
        if (path in allowed) return path
    return ""
}
function module(path) { sub(/\.[a-z]+$/, "", path); return path }

FNR == 1 { in_table = NR == 1 }
in_table && /^#/ { next }
in_table {
    name = $1
    if (!sub(/:$/, "", name)) fault("expected \"folder: folder ...\"")
    $1 = ""
    allowed[name] = " " $0 " "
    gsub(/ core /, " core/base core/linalg core/vit core/merge core/merge/rules ", allowed[name])
    next
}

FNR == 1 {
    here = folder(FILENAME)
    if (!here) fault("no folder of scripts/layers.txt")
    self = module(FILENAME)
    modules[self] = 1
}
match($0, /^[ \t]*#[ \t]*include[ \t]+"[^"]*"/) {
    name = $0; sub(/^[^"]*"/, "", name); sub(/".*/, "", name)
    if (name ~ /^(version\.h|[a-z_]+_table\.inc)$/) next # made by the build
    there = folder(name)
    if (!there) {
        fault("\"" name "\" is not written from the root")
        next
    }
    if (there != here) {
        if (!index(allowed[here], " " there " ") && allowed[here] !~ / all /)
            fault(here "/ must not include " name)
        if (!((here, there) in crossing)) crossing[here, there] = FILENAME ":" FNR ": " name
    }
    if (module(name) != self) uses[self] = uses[self] " " module(name)
}

# All modules that m leads to, into seen: by which module each was reached first.
function search(m, seen,    queue, first, last, a, n, i) {
    queue[last = 1] = m
    for (first = 1; first <= last; first++) {
        n = split(uses[queue[first]], a, " ")
        for (i = 1; i <= n; i++)
            if (!(a[i] in seen)) { seen[a[i]] = queue[first]; queue[++last] = a[i] }
    }
}
END {
    for (pair in crossing) {
        split(pair, f, SUBSEP)
        if (f[1] < f[2] && (f[2], f[1]) in crossing) {
            print f[1] "/ and " f[2] "/ include each other:\n    " crossing[f[1], f[2]] "\n    " crossing[f[2], f[1]]
            bad = 1
        }
    }
    for (m in modules) {
        if (m in told) continue
        split("", seen)
        search(m, seen)
        if (!(m in seen)) continue
        path = m
        for (x = seen[m]; x != m; x = seen[x]) path = x " -> " path
        n = 0
        for (x in seen) {
            split("", back)
            if (x in modules) search(x, back)
            if (m in back) { told[x] = 1; n++ }
        }
        print "a circle of " n " modules, the way back from one of them: " m " -> " path
        bad = 1
    }
    exit bad
}' scripts/layers.txt "${sources[@]}" || bad=1

awk '
function fault(line, text) { print FILENAME ":" line ": " text; bad = 1 }
FNR == 1 { layer = FILENAME; sub(/\/.*/, "", layer); body = 0 }

layer ~ /^(core|datasets)$/ {
    code = $0
    gsub(/"([^"\\]|\\.)*"/, "", code) # not in strings,
    sub(/\/[\/*].*/, "", code)        # not in comments
    if (code !~ /^[ \t]*\*/ && match(code, /(^|[^a-z_0-9])(v?printf|puts|putchar|perror|exit|abort) *\(|std(out|err)/))
        fault(FNR, layer "/ must not print or exit: " substr(code, RSTART, RLENGTH))
}

layer == "tests" { next }
FNR == 601 { fault(FNR, "more than 600 lines") }
# As clang-format sets it: the braces of a function alone, at the left. Declarations, one switch and a return
# are what a body may be that is as long as its cases.
/^\{$/ { body = FNR; others = 0; switches = 0; next }
/^\}$/ && body {
    if (FNR - body - 1 > 60 && !(switches == 1 && !others))
        fault(body, "a function body of " FNR - body - 1 " lines")
    body = 0
}
body && /^    switch \(/ { switches++; next }
body && /^    [^ ]/ && !/^    (case .*:|default:|\}|return .*;|\/\*.*|[a-z][A-Za-z_0-9 ]* \**[a-z_0-9]+( = [^(]*)?;)/ { others++ }
END { exit bad }
' "${sources[@]}" || bad=1

# compile HEADER ...: each alone, in both precisions
compile() {
    local header real status=0
    for header in "$@"; do
        for real in '' -DFC_REAL_DOUBLE; do
            gcc -std=gnu17 -Wall -Wextra -Werror -fopenmp -fsyntax-only $real -I. -x c "$header" || {
                echo "$header:1: does not compile alone $real"
                status=1
            }
        done
    done
    return $status
}
export -f compile
# shellcheck disable=SC2016  # for the shell that is started
printf '%s\0' "${sources[@]}" | grep -zE '\.h$' | xargs -0 -n 8 -P "$(nproc)" bash -c 'compile "$@"' compile || bad=1
exit $bad
