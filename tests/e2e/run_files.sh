#!/bin/bash
# What a run leaves behind: every file, its format, and that the files agree with each other.
. "$(dirname "$0")/lib.sh"

# check_csv FILE HEADER: the header, and in every row as many cells as in it.
check_csv() {
    [ "$(head -n 1 "$1")" = "$2" ] || fail "$1: header is $(head -n 1 "$1")"
    awk -F, 'NR == 1 { n = NF } NF != n { exit 1 } END { exit NR < 2 }' "$1" || fail "$1: rows of another length, or none"
}

check_formats() {
    local d=$1 T=$2 tasks
    tasks=$(seq -s, -f 'task_%g' 1 "$T")
    check_csv "$d/rounds.csv" task,round,step,acc,acc_task_mean,correct,total,loss,train_loss,clients_ok,clients_dropped,bytes_down,bytes_up,bytes_down_cum,bytes_up_cum,train_s,merge_s,eval_s,wall_s,cpu_s,rss_mib,sim_s,sim_s_cum,merge_scale,merge_extra
    check_csv "$d/clients.csv" task,round,client,status,n_samples,n_classes,steps,loss_first,loss_last,loss_mean,bytes_down,bytes_up,train_s,sim_s
    check_csv "$d/tasks.csv" after_task,eval_task,correct,total,acc,acc_masked
    check_csv "$d/acc_matrix.csv" "after_task,$tasks,acc,acc_task_mean"
    head -n 1 "$d/partition.csv" | grep -q , || fail "partition.csv has no header"
    for f in summary.json manifest.json; do
        [ "$(head -c 1 "$d/$f")$(tail -n 1 "$d/$f")" = '{}' ] || fail "$f is no JSON object"
    done
    [ "$(number "$d/summary.json" tasks_done)" -eq "$T" ] || fail "tasks_done of summary.json"
    ! grep -vE '^\{"event": ".*\}$' "$d/events.jsonl" || fail "events.jsonl: lines that are no objects"
    for f in config.yaml events.jsonl report.html DONE; do
        [ -e "$d/$f" ] || fail "$f is missing"
    done
    [ ! -e "$d/FAILED" ] || fail "marked DONE and FAILED"
    [ ! -e "$d/STOPPED" ] || fail "marked DONE and STOPPED"
    ! find "$d" -name '*.tmp' | grep . || fail "temporary files are left"
    [ "$(find "$d/ckpt" -name 'state-*.safetensors' | wc -l)" -eq 2 ] || fail "expected the last two checkpoints"
}

# Sums and last rows that must agree between files.
check_totals() {
    local d=$1 T=$2
    [ "$(wc -l < "$d/tasks.csv")" -eq $((1 + T * (T + 1) / 2)) ] || fail "tasks.csv: wrong number of rows"
    [ "$(wc -l < "$d/acc_matrix.csv")" -eq $((1 + T)) ] || fail "acc_matrix.csv: wrong number of rows"
    # acc of each row of the matrix and the cells, from the integers of tasks.csv
    awk -F, 'FNR == 1 { next }
             NR == FNR { cell[$1, $2] = sprintf("%.4f", 100 * $3 / $4); c[$1] += $3; n[$1] += $4; next }
             { if ($(NF - 1) != sprintf("%.4f", 100 * c[$1] / n[$1])) bad = 1
               for (s = 1; s <= NF - 3; s++) if ($(s + 1) != cell[$1, s]) bad = 1 }
             END { exit bad }' "$d/tasks.csv" "$d/acc_matrix.csv" || fail "acc_matrix.csv disagrees with tasks.csv"
    # the last evaluated row of each task in rounds.csv is that of tasks.csv
    awk -F, 'FNR == 1 { next }
             NR == FNR { c[$1] += $3; n[$1] += $4; next }
             $7 != "" { lc[$1] = $6; ln[$1] = $7; if ($4 != sprintf("%.4f", 100 * $6 / $7)) bad = 1 }
             END { for (t in c) if (lc[t] != c[t] || ln[t] != n[t]) bad = 1; exit bad }' \
        "$d/tasks.csv" "$d/rounds.csv" || fail "rounds.csv disagrees with tasks.csv"
    # bytes: rows, running sums, clients, summary
    awk -F, 'FNR == 1 { next }
             NR == FNR { down[$1, $2] += $11; up[$1, $2] += $12; ok[$1, $2]++; next }
             { d += $12; u += $13
               if ($14 != d || $15 != u || $12 != down[$1, $2] || $13 != up[$1, $2]) bad = 1
               if ($10 != ok[$1, $2] + 0) bad = 1 }
             END { exit bad }' "$d/clients.csv" "$d/rounds.csv" || fail "bytes or clients of rounds.csv disagree with clients.csv"
    [ "$(number "$d/summary.json" bytes_up)" = "$(column "$d/rounds.csv" bytes_up_cum | tail -n 1)" ] || fail "bytes_up of summary.json"
    [ "$(number "$d/summary.json" bytes_down)" = "$(column "$d/rounds.csv" bytes_down_cum | tail -n 1)" ] || fail "bytes_down of summary.json"
    [ "$(number "$d/summary.json" steps)" = "$(column "$d/rounds.csv" step | tail -n 1)" ] || fail "steps of summary.json"
    holds "$(column "$d/clients.csv" steps | paste -sd+) == $(number "$d/summary.json" steps)" || fail "steps of clients.csv"
    local faa aia
    faa=$(column "$d/acc_matrix.csv" acc | tail -n 1)
    aia=$(column "$d/acc_matrix.csv" acc | awk '{ s += $1 } END { print s / NR }')
    holds "sqrt(($(number "$d/summary.json" faa) - $faa)^2) < 1e-3" || fail "faa of summary.json"
    holds "sqrt(($(number "$d/summary.json" aia) - $aia)^2) < 1e-3" || fail "aia of summary.json"
    # every training sample of a task belongs to exactly one client, in every round
    awk -F, 'FNR > 1 { n[$1, $2] += $5; t[$1, $2] = $1 } END { for (k in n) { if (first[t[k]] == "") first[t[k]] = n[k]
             if (n[k] != first[t[k]]) exit 1 } }' "$d/clients.csv" || fail "clients.csv: samples differ between rounds"
}

# What the user sees at the end.
check_output() {
    local d=$1 curve
    curve=$(column "$d/acc_matrix.csv" acc | awk '{ printf "%s%.2f", (NR > 1 ? ", " : ""), $1 }')
    grep -qF "acc curve: [$curve]  AIA=" out || fail "standard output lacks 'acc curve: [$curve]': $(cat out)"
    say "  $(grep '^acc curve' out)"
    # progress to a file: lines, no bar
    ! grep -q "$(printf '[\r\033]')" out err || fail "terminal codes in redirected output"
}

say "the tiny configs of the repository run, and their files are complete and agree"
for name in synth_lorm synth_fedavg_lora; do
    expect 0 "$FCIL" run "$FCIL_ROOT/configs/tiny/$name.yaml" --out "$work/$name"
    d=$(run_dir "$work/$name")
    T=$(number "$d/summary.json" tasks)
    classes=$(awk '/^data:/ { in_data = 1; next } /^[a-z]/ { in_data = 0 } in_data && $1 == "synth_classes:" { print $2 }' "$d/config.yaml")
    check_formats "$d" "$T"
    check_totals "$d" "$T"
    check_output "$d"
    holds "$(number "$d/summary.json" faa) > 1.5 * 100 / $classes" || fail "$name: final accuracy $(number "$d/summary.json" faa) % is near chance"
done

say "bytes of a LoRM message are those of the formulas, plus a header of at most 1 KiB"
write_config tiny.yaml
expect 0 "$FCIL" run tiny.yaml --out bytes
d=$(run_dir bytes)
awk -F, -v L=2 -v D=32 -v r=4 -v C=6 -v rounds=3 '
    NR > 1 { head = C * (D + 1) + D * (D + 1) / 2
             floats = $2 > rounds ? 7 * L * D : ($2 % 2 ? 9 : 7) * L * D * r + 7 * L * D + head
             if ($12 < 4 * floats || $12 > 4 * floats + 1024) { print "task " $1 " round " $2 ": " $12 " bytes, expected " 4 * floats; bad = 1 } }
    END { exit bad }' "$d/clients.csv" || fail "bytes up"

say "log.clients=false and log.partition=false leave the files out"
expect 0 "$FCIL" run tiny.yaml log.clients=false log.partition=false --out without
w=$(run_dir without)
[ ! -e "$w/clients.csv" ] || fail "clients.csv is there"
[ ! -e "$w/partition.csv" ] || fail "partition.csv is there"
cmp <(drop_columns "$d/rounds.csv" train_s merge_s eval_s wall_s cpu_s rss_mib) \
    <(drop_columns "$w/rounds.csv" train_s merge_s eval_s wall_s cpu_s rss_mib) || fail "another result"

# scalars DIR: what TensorBoard must hold of a run of 3 rounds per task: "STEP TAG VALUE" a line.
scalars() {
    awk -F, -v R=3 '
        NR == 1 { for (i = 1; i <= NF; i++) name[i] = $i; next }
        { end = $2 > R
          for (i = 1; i <= NF; i++)
              if ($i != "" && name[i] ~ /^(acc|acc_task_mean|loss|train_loss|bytes_(down|up)_cum)$/)
                  print ($1 - 1) * R + (end ? R : $2), (end ? "task_end/" : "") name[i], $i }' "$1/rounds.csv"
    awk -F, -v R=3 'NR > 1 { print $1 * R, "task_end/task_" $2, $5 }' "$1/tasks.csv"
    say 9 faa "$(number "$1/summary.json" faa)"
    say 9 aia "$(number "$1/summary.json" aia)"
}

say "log.tensorboard=true: an event file with the numbers of the other files"
expect 0 "$FCIL" run tiny.yaml log.tensorboard=true --out board
b=$(run_dir board)
tfevents "$b"/events.out.tfevents.*.fcil > events || fail "the event file cannot be read"
[ "$(head -n 1 events)" = brain.Event:2 ] || fail "the event file begins with $(head -n 1 events)"
paste -d ' ' <(scalars "$b" | sort -k 1,2) <(tail -n +2 events | sort -k 1,2) > pairs
awk 'NF != 6 || $1 != $4 || $2 != $5 || ($3 - $6)^2 > 1e-10 * (1 + $3^2) { print; bad = 1 } END { exit bad || NR != 77 }' pairs ||
    fail "the event file disagrees with the other files"
rm "$b"/events.out.*
sed -i 's/tensorboard: true/tensorboard: false/' "$b/config.yaml"
same_run "$d" "$b"

say "on a terminal: a display that is taken away at the end, and the same results"
TERM=xterm COLUMNS=80 script -qec "'$FCIL' run tiny.yaml --out terminal --color always" typescript > /dev/null < /dev/null
for text in 'task 1/3  round 1/3  clients 0/4  loss [0-9.]* *[0-9]* images/s' "$(printf '\r\033\\[A\033\\[Jresults:')" "$(printf '\033\\[32m')"; do
    grep -q "$text" typescript || fail "no '$text' on the terminal: $(cat -v typescript)"
done
same_run "$d" "$(run_dir terminal)"

say "the resolved config gives the same run again"
expect 0 "$FCIL" run "$d/config.yaml" --out again
same_run "$d" "$(run_dir again)"
