#!/bin/bash
# Slow, late and lost clients: which update counts, worked out from the files; every method bears any
# subset of the clients; kill + resume and numbers of threads change nothing.
. "$(dirname "$0")/lib.sh"

write_config tiny.yaml
random=(device.model=random device.gflops=0.1 device.availability=0.8 device.dropout=0.2 fed.deadline_s=0.7 fed.clients=6)

# run OUT WORD...: a run, its directory in $d.
run() {
    local out=$1
    shift
    expect 0 "$FCIL" run tiny.yaml --out "$out" "$@"
    d=$(run_dir "$out")
}

# check_books DIR [DEADLINE]: what rounds.csv and summary.json say follows from clients.csv.
check_books() {
    local d=$1
    awk -F, -v deadline="${2:-0}" 'FNR == 1 { next }
        NR == FNR { k = $1 "," $2; down[k] += $11; up[k] += $12; n[k $4]++
                    if ($14 > last[k]) last[k] = $14
                    if ($4 != "ok" && ($7 != 0 || $8 $9 $10 != "")) bad = "a " $4 " client was trained"
                    if ($4 == "lost" && $12 != 0) bad = "a lost client sent bytes"
                    if ($4 == "late" && !($12 > 0 && $14 > deadline)) bad = "late: " $0
                    if ($4 == "ok" && !($12 > 0 && (!deadline || $14 <= deadline))) bad = "ok: " $0
                    next }
        { k = $1 "," $2; cum += $22
          if ($10 != n[k "ok"] + 0 || $11 != n[k "late"] + n[k "lost"] + 0) bad = "clients of round " k
          if ($12 != down[k] + 0 || $13 != up[k] + 0) bad = "bytes of round " k
          want = deadline && (last[k] > deadline || !(k in last)) ? deadline : last[k]
          if (($22 - want)^2 > 1e-10) bad = "round " k " took " $22 " s, expected " want
          if (($23 - cum)^2 > 1e-8) bad = "sim_s_cum of round " k }
        END { if (bad) { print bad; exit 1 } }' "$d/clients.csv" "$d/rounds.csv" || fail "$d: the books"
    [ "$(number "$d/summary.json" clients_late)" = "$(grep -c ',late,' "$d/clients.csv" || true)" ] || fail "clients_late of summary.json"
    [ "$(number "$d/summary.json" clients_lost)" = "$(grep -c ',lost,' "$d/clients.csv" || true)" ] || fail "clients_lost of summary.json"
    holds "($(number "$d/summary.json" sim_s) - $(column "$d/rounds.csv" sim_s_cum | tail -n 1))^2 < 1e-10" || fail "sim_s of summary.json"
}

say "a trace: which client is late follows from its speed, its bytes and its work"
{
    say client,gflops,up_mbit,down_mbit
    for k in 0 1 2 3; do say "$k,0.0$((k + 1)),0.$((k + 2)),1.$k"; done
} > trace.csv
slow=(device.model=trace device.trace=trace.csv)
run calm "${slow[@]}"
calm=$d
check_books "$calm"
! grep -Eq ',(late|lost),' "$calm/clients.csv" || fail "late or lost without a deadline"
# seconds = bytes down / down + work / speed + bytes up / up: the work of a client, and so of one image,
# comes out the same in all rounds that train the same matrices
awk -F, 'NR > 1 && $2 != 4 { work = ($14 - $11 / ((1 + $3 / 10) * 125000) - $12 / (($3 + 2) / 10 * 125000)) * ($3 + 1) * 1e7 / $5
         kind = $2 % 2; if (kind in first && (work / first[kind] - 1)^2 > 1e-8) exit 1; first[kind] = work }' "$calm/clients.csv" ||
    fail "the seconds are not bytes / bandwidth + work / speed"

say "a deadline: exactly the clients that took longer are late in the first round"
deadline=$(awk -F, '$1 == 1 && $2 == 1 { print $14 }' "$calm/clients.csv" | sort -g | sed -n 3p)
run deadline "${slow[@]}" fed.deadline_s="$(awk -v s="$deadline" 'BEGIN { print s + 1e-6 }')"
check_books "$d" "$(awk -v s="$deadline" 'BEGIN { print s + 1e-6 }')"
awk -F, -v s="$deadline" '$1 == 1 && $2 == 1 { print $3, $14 <= s ? "ok" : "late", $14 }' "$calm/clients.csv" > want
awk -F, '$1 == 1 && $2 == 1 { print $3, $4, $14 }' "$d/clients.csv" > got
diff want got || fail "statuses of the first round"
[ "$(grep -c late want)" -eq 1 ] || fail "expected one late client: $(cat want)"
holds "$(column "$d/rounds.csv" sim_s | head -n 1) - $deadline < 2e-6" || fail "the round did not close at its deadline"

say "over-selection: of 4 asked, the first 2 count"
run over "${slow[@]}" fed.participation=0.5 fed.over_select=2
awk -F, 'NR > 1 { n[$1, $2]++; ok[$1, $2] += $4 == "ok"; if ($4 == "ok" && $14 > slowest[$1, $2]) slowest[$1, $2] = $14 }
         NR > 1 && $4 == "late" { if (!(($1, $2) in late) || $14 < late[$1, $2]) late[$1, $2] = $14 }
         END { for (k in n) if (n[k] != 4 || ok[k] != 2 || late[k] < slowest[k]) exit 1 }' "$d/clients.csv" || fail "who counts"

say "every method and rule with late, lost and absent clients"
# tight DEADLINE NAME WORD...: a run, its directory in $d.
tight() {
    local deadline=$1 name=$2
    shift 2
    run "$name" "${random[@]}" train.epochs=1 fed.deadline_s="$deadline" "$@"
}
check_tight() {
    check_books "$d" "$2"
    for status in ok late lost; do
        grep -q ",$status," "$d/clients.csv" || fail "$1: no $status client"
    done
}
for method in $(names methods); do
    tight 0.15 "all-$method" method.name="$method"
    if [ "$method" = joint ]; then
        [ -z "$(column "$d/rounds.csv" sim_s | tr -d '\n')" ] || fail "joint has simulated seconds"
        continue
    fi
    check_tight "$method" 0.15
    say "  $method: $(number "$d/summary.json" sim_s) s, $(number "$d/summary.json" clients_late) late, $(number "$d/summary.json" clients_lost) lost"
done
for rule in $(names merges); do
    method=lora_merge deadline=0.15
    case $rule in
        regmean_pp | adamerging | smile | emr | wemoe | individual) continue ;; # not of rounds
        lorm) method=lorm ;;
        fisher) deadline=0.5 ;; # sends the Fisher information of whole layers
    esac
    tight $deadline "rule-$rule" method.name=$method merge.rule="$rule"
    check_tight "$rule" $deadline
done

say "late and lost clients, and some that are there, in one run"
run mixed "${random[@]}" method.name=lorm
mixed=$d
check_books "$mixed" 0.7
for status in ok late lost; do
    grep -q ",$status," "$mixed/clients.csv" || fail "no $status client: $(cat "$mixed/clients.csv")"
done
expect 0 "$FCIL" run tiny.yaml "${random[@]}" method.name=lorm --dry-run --json
for key in sim_s clients_late clients_lost; do
    predicted=$(sed -E "s/.*\"$key\": ?([-0-9.e+]+).*/\1/" out)
    holds "($predicted - $(number "$mixed/summary.json" $key))^2 < 1e-12" || fail "--dry-run predicts $key = $predicted"
done

say "1 and 3 threads, and without clients.csv"
for n in 1 3; do
    run "threads-$n" "${random[@]}" --threads $n
    same_run "$mixed" "$d"
done
run quiet "${random[@]}" log.clients=false
rows() { drop_columns "$1/rounds.csv" train_s merge_s eval_s wall_s cpu_s rss_mib; }
cmp <(rows "$mixed") <(rows "$d") || fail "another result without clients.csv"

RANDOM=${FCIL_E2E_SEED:-$$}
say "kill -9 and resume (FCIL_E2E_SEED=${FCIL_E2E_SEED:-$$}): the clock goes on where it was"
kills=0
for ((try = 0; try < 40; try++)); do
    "$FCIL" run tiny.yaml "${random[@]}" run.checkpoint_s=0 --out killed --resume > out 2> err &
    pid=$!
    [ $try -eq 39 ] || sleep "$(awk -v ms=$((60 + RANDOM % 200)) 'BEGIN { print ms / 1000 }')"
    [ $try -eq 39 ] || kill -9 $pid 2> /dev/null || true
    code=0
    wait $pid 2> /dev/null || code=$?
    [ $code -ne 0 ] || break
    [ $code -eq 137 ] || fail "exit code $code: $(cat err)"
    kills=$((kills + 1))
done
say "  $kills kills"
same_run "$mixed" "$(run_dir killed)"

say "all clients lost: the model stays as it was, and the events say so"
for method in lorm fedavg flora; do
    run "none-$method" device.model=random device.dropout=1 method.name=$method
    check_books "$d"
    [ "$(column "$d/rounds.csv" clients_ok | sort -u)" = 0 ] || fail "a client is ok"
    [ "$(column "$d/rounds.csv" correct | sort -u | wc -l)" -le 3 ] || fail "the model changes within a task"
    [ "$(number "$d/summary.json" steps)" = 0 ] || fail "somebody trained"
    [ "$(grep -c '"event": "no_update"' "$d/events.jsonl")" -eq "$([ "$method" = lorm ] && say 12 || say 9)" ] || fail "events: $(cat "$d/events.jsonl")"
done

say "windows: nobody is there at first, the server waits; then they come and go"
{
    say client,gflops,up_mbit,down_mbit,available_from_s,available_to_s
    for k in 0 1 2 3; do say "$k,1,100,100,$((10 + 20 * k)),$((25 + 20 * k))"; done
} > windows.csv
run windows device.model=trace device.trace=windows.csv device.trace_period_s=100
check_first=$(column "$d/rounds.csv" sim_s | head -n 1)
holds "$check_first > 10 && $check_first < 11" || fail "the first round took $check_first s, expected 10 and a little"
[ "$(awk -F, '$1 == 1 && $2 == 1 { print $3 }' "$d/clients.csv")" = 0 ] || fail "not client 0 alone in the first round"
run same-content device.model=trace device.trace=./windows.csv device.trace_period_s=100
[ "$(basename "$d")" = "$(basename "$(run_dir windows)")" ] || fail "the place of the trace is part of the hash"
sed -i 's/^3,1,/3,2,/' windows.csv
run other-content device.model=trace device.trace=windows.csv device.trace_period_s=100
[ "$(basename "$d")" != "$(basename "$(run_dir windows)")" ] || fail "the content of the trace is not part of the hash"

say "bad traces: exit code 3, the file and the line"
for file in "$FCIL_ROOT"/tests/bad/trace/*.csv; do
    period=0
    [ "$(basename "$file")" != past_the_period.csv ] || period=40
    expect 3 "$FCIL" run tiny.yaml device.model=trace device.trace="$file" device.trace_period_s=$period --out refused
    [ "$(grep -c "^fcil: .*$(basename "$file")" err) $(wc -l < err)" = '1 1' ] || fail "$file: $(cat err)"
done
expect 2 "$FCIL" run tiny.yaml fed.deadline_s=3 --out refused
grep -q 'device.model' err || fail "the message does not name device.model: $(cat err)"
[ ! -e refused ] || fail "an output directory was made"
