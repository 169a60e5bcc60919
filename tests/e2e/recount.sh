#!/bin/bash
# What a run says of its clients, computed once more from the lists of who holds which image and from
# the rows of the single clients.
. "$(dirname "$0")/lib.sh"

write_config tiny.yaml

# by_client DIR: "TASK CLIENT SAMPLES CLASSES" of each client with images, from partition.csv.
by_client() {
    awk -F, 'NR > 1 { n[$2 " " $4]++; if (!seen[$2, $4, $3]++) c[$2 " " $4]++ }
             END { for (k in n) print k, n[k], c[k] }' "$1/partition.csv" | sort
}

# check_clients DIR: samples and classes of every row of clients.csv.
check_clients() {
    by_client "$1" | awk '
        NR == FNR { samples[$1 " " $2] = $3; classes[$1 " " $2] = $4; next }
        FNR > 1 { split($0, cell, ","); k = cell[1] " " cell[3]; rows++; kinds[cell[6]] = 1
                  if (cell[5] != samples[k] + 0 || cell[6] != classes[k] + 0) {
                      print "found " $0 ", expected " samples[k] + 0 " samples of " classes[k] + 0 " classes"; exit bad = 1 } }
        END { n = 0; for (k in kinds) n++
              exit bad || !rows || n < 2 }' - "$1/clients.csv" || fail "$1: n_samples or n_classes of clients.csv"
}

# check_losses DIR ROUNDS: train_loss of every round is sum n_samples * loss_mean / sum n_samples over its
# trained clients, of which there are some in so many rounds; in half of these it is not the plain mean.
check_losses() {
    awk -F, -v rounds="$2" '
        FNR == 1 { for (i = 1; i <= NF; i++) at[FILENAME, $i] = i; next }
        { k = $1 "," $2 }
        NR == FNR { n = $at[FILENAME, "n_samples"]; x = $at[FILENAME, "loss_mean"]
                    if ((x == "") != ($at[FILENAME, "steps"] == 0)) { print "loss_mean: " $0; exit bad = 1 }
                    if (x != "") { sum[k] += n * x; all[k] += n; plain[k] += x; clients[k]++ }
                    next }
        { x = $at[FILENAME, "train_loss"]
          if ((x == "") != !(k in all)) { print "train_loss: " $0; exit bad = 1 }
          if (x == "") next
          done++
          if ((x - sum[k] / all[k])^2 > 4e-12) { print "train_loss: " $0 ", expected " sum[k] / all[k]; exit bad = 1 }
          differ += (x - plain[k] / clients[k])^2 > 1e-6 }
        END { exit bad || done != rounds || differ < rounds / 2 }' "$1/clients.csv" "$1/rounds.csv" ||
        fail "$1: train_loss of rounds.csv disagrees with clients.csv"
}

# check_picture DIR: the table below the picture of the partition: per task classes, samples, and of the
# clients smallest, median, largest and mean number of classes.
check_picture() {
    local clients
    clients=$(awk '/^fed:/ { on = 1 } on && $1 == "clients:" { print $2; exit }' "$1/config.yaml")
    sed -n '/Who holds what/,/<\/table>/p' "$1/report.html" | tr '\n' ' ' | sed 's/<tr>/\n/g' |
        grep '<td' | sed 's/<[^>]*>/ /g' | awk '{ $1 = $1; print }' > by_page
    for task in $(seq "$(number "$1/summary.json" tasks)"); do
        awk -F, -v t="$task" 'NR > 1 && $2 == t { c[$3]++ } END { printf "%d %d", t, length(c) }' "$1/partition.csv"
        by_client "$1" | awk -v t="$task" -v K="$clients" '
            $1 == t { n[++rows] = $3; sum += $3; classes += $4 }
            END { while (rows < K) n[++rows] = 0
                  for (i = 1; i <= K; i++)
                      for (j = i; j > 1 && n[j - 1] > n[j]; j--) { x = n[j]; n[j] = n[j - 1]; n[j - 1] = x }
                  median = K % 2 ? n[(K + 1) / 2] : (n[K / 2] + n[K / 2 + 1]) / 2
                  printf " %d %d %g %d %.1f\n", sum, n[1], median, n[K], classes / K }'
    done > by_file
    diff by_file by_page || fail "$1: the table of the partition"
}

# check_table DIR: that of fcil data show, with the mean instead of the median.
check_table() {
    awk -v T="$(number "$1/summary.json" tasks)" '/^task classes/ { on = T; next } on-- > 0' out |
        awk '{ $4 = ""; print }' | awk '{ print $1, $2, $3, $4, $5, $6, $7 }' > by_table
    awk '{ print $1, $2, $3, $4, $6 }' by_file > want
    awk '{ print $1, $2, $3, $4, $6 }' by_table > got
    diff want got || fail "$1: the table of data show"
    paste -d ' ' by_file by_table | awk -v K="$2" '{ if (($12 - $3 / K)^2 > 0.01 || ($7 - $14)^2 > 0.01) exit 1 }' ||
        fail "$1: the means of data show"
}

for clients in 4 5; do
    say "$clients clients with unlike numbers of images: losses, samples and classes"
    args=("fed.clients=$clients" fed.beta=0.4 data.synth_train=40)
    expect 0 "$FCIL" run tiny.yaml "${args[@]}" log.report=true --out "clients-$clients"
    d=$(run_dir "clients-$clients")
    check_clients "$d"
    check_losses "$d" 9
    check_picture "$d"
    expect 0 "$FCIL" data show tiny.yaml "${args[@]}" -o show
    check_table "$d" "$clients"
done

say "the same where some clients are not drawn, late or lost, and where some have no image"
expect 0 "$FCIL" run tiny.yaml method.name=fedavg_lora device.model=random device.gflops=0.1 device.dropout=0.1 fed.deadline_s=0.5 \
    fed.clients=12 fed.participation=0.75 fed.participation_draw=round fed.beta=0.4 fed.min_samples=0 data.synth_train=40 --out some
d=$(run_dir some)
for what in ",ok," ",late," ",lost," ",ok,0,0,"; do
    grep -q "$what" "$d/clients.csv" || fail "no client with $what: $(cat "$d/clients.csv")"
done
check_clients "$d"
check_losses "$d" 9

say "tasks of unlike sizes: accuracies of rounds.csv from tasks.csv, and over the logits of the own task"
expect 0 "$FCIL" run tiny.yaml method.name=fedavg_lora "tasks.sizes=[3, 2, 1]" --out unlike
d=$(run_dir unlike)
# After the last round of a task nothing changes: acc is over all images, acc_task_mean over tasks.
awk -F, '
    FNR == 1 { for (i = 1; i <= NF; i++) at[FILENAME, $i] = i; next }
    NR == FNR { t = $at[FILENAME, "after_task"]; acc = $at[FILENAME, "acc"]; masked = $at[FILENAME, "acc_masked"]
                right[t] += $at[FILENAME, "correct"]; all[t] += $at[FILENAME, "total"]; sum[t] += acc; n[t]++
                if (masked < acc) { print "acc_masked: " $0; exit bad = 1 }
                better += masked > acc; next }
    $at[FILENAME, "round"] == 3 {
        t = $at[FILENAME, "task"]; tasks++
        mean = $at[FILENAME, "acc_task_mean"]; micro = $at[FILENAME, "acc"]
        if ((mean - sum[t] / n[t])^2 > 1e-7 || (micro - 100 * right[t] / all[t])^2 > 1e-7) { print; exit bad = 1 }
        differ += (mean - micro)^2 > 1e-3 }
    END { exit bad || tasks != 3 || !better || !differ }' "$d/tasks.csv" "$d/rounds.csv" ||
    fail "accuracies of rounds.csv and tasks.csv"
