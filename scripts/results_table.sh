#!/usr/bin/env bash
# Markdown table of finished runs, one row per experiment and method, mean +- standard deviation over seeds.
#   scripts/results_table.sh RUN_DIR ...
# Columns: experiment, method, seeds, FAA, AIA, forgetting (max), per-task accuracy within the task, MB up, MB down.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# number KEY FILE
number() {
    sed -nE 's/^ *"'"$1"'": ([-+.0-9eE]+),?$/\1/p' "$2"
}

for dir in "$@"; do
    file=$dir/summary.json
    [ -r "$file" ] || { echo "results_table.sh: $file: cannot read; is the run finished?" >&2; exit 3; }
    run=$(basename "$dir")
    masked=$(awk -F, 'NR > 1 { if ($1 != last) { last = $1; c = t = 0 } c += $6 * $4; t += $4 } END { print c / t }' "$dir/tasks.csv")
    echo "$(basename "$(dirname "$dir")") ${run%%-*} $(number faa "$file") $(number aia "$file")" \
        "$(number forgetting_max "$file") $masked $(number bytes_up "$file") $(number bytes_down "$file")"
done | LC_ALL=C sort -s -k1,2 | LC_ALL=C awk '
    function show(s, ss) {
        m = s / n
        return n < 2 ? sprintf("%.2f", m) : sprintf("%.2f +- %.2f", m, sqrt((ss - s * s / n > 0 ? ss - s * s / n : 0) / (n - 1)))
    }
    function flush_row() {
        if (n)
            printf "| %s | %s | %d | %s | %s | %s | %s | %.0f | %.0f |\n", name, method, n, show(s[3], q[3]), show(s[4], q[4]),
                show(s[5], q[5]), show(s[6], q[6]), s[7] / n / 1e6, s[8] / n / 1e6
        n = 0
        for (i = 3; i <= 8; i++) s[i] = q[i] = 0
    }
    BEGIN {
        print "| experiment | method | seeds | FAA | AIA | forgetting | acc within the task | MB up | MB down |"
        print "|---|---|---|---|---|---|---|---|---|"
    }
    $1 != name || $2 != method { flush_row(); name = $1; method = $2 }
    { n++; for (i = 3; i <= 8; i++) { s[i] += $i; q[i] += $i * $i } }
    END { flush_row() }'
