#!/bin/bash
# Fails, with file:line, on an include that points upward (core -> datasets -> sim), on an include that is
# not written from the root, on printing or exiting in core/ and datasets/, and on a header that does not
# compile alone.
# usage: scripts/check_layers.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# what datasets/ may use of core/
from_core='status arena rng opt real file threads'

mapfile -t sources < <(find core datasets sim tests -name '*.[ch]' | LC_ALL=C sort)

bad=0
awk -v from_core=" $from_core " '
function fault(text) { print FILENAME ":" FNR ": " text; bad = 1 }
FNR == 1 { layer = FILENAME; sub(/\/.*/, "", layer) }

match($0, /^[ \t]*#[ \t]*include[ \t]+"[^"]*"/) {
    name = $0; sub(/^[^"]*"/, "", name); sub(/".*/, "", name)
    target = name; sub(/\/.*/, "", target)
    module = name; sub(/^core\//, "", module); sub(/\.h$/, "", module)
    if (name ~ /^(version\.h|[a-z_]+_table\.inc)$/) next # made by the build
    if (target !~ /^(core|datasets|sim|tests)$/)
        fault("\"" name "\" is not written from the root")
    else if (target == "tests" && layer != "tests" || target == "sim" && layer ~ /^(core|datasets)$/ ||
             target == "datasets" && layer == "core")
        fault(layer "/ must not include " name)
    else if (layer == "datasets" && target == "core" && !index(from_core, " " module " "))
        fault("datasets/ may include of core/ only" from_core ", not " name)
}

layer ~ /^(core|datasets)$/ {
    code = $0
    gsub(/"([^"\\]|\\.)*"/, "", code) # not in strings,
    sub(/\/[\/*].*/, "", code)        # not in comments
    if (code !~ /^[ \t]*\*/ && match(code, /(^|[^a-z_0-9])(v?printf|puts|putchar|perror|exit|abort) *\(|std(out|err)/))
        fault(layer "/ must not print or exit: " substr(code, RSTART, RLENGTH))
}
END { exit bad }
' "${sources[@]}" || bad=1

for header in "${sources[@]}"; do
    [[ $header == *.h ]] || continue
    for real in '' -DFC_REAL_DOUBLE; do
        gcc -std=gnu17 -Wall -Wextra -Werror -fopenmp -fsyntax-only $real -I. -x c "$header" || {
            echo "$header:1: does not compile alone $real"
            bad=1
        }
    done
done
exit $bad
