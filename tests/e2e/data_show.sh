#!/bin/bash
# fcil data show and fcil data check: tables, pictures, a partition that can be replayed, refusals.
. "$(dirname "$0")/lib.sh"

# text FILE KEY: the value of a key of a JSON file that is a string.
text() { sed -n 's/.*"'"$2"'": *"\([^"]*\)".*/\1/p' "$1"; }

# is_png FILE: signature, header chunk and end of a PNG file.
is_png() {
    [ "$(head -c 8 "$1" | od -An -t x1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "$1: no PNG signature"
    [ "$(tail -c +13 "$1" | head -c 4)" = IHDR ] || fail "$1: no IHDR"
    [ "$(tail -c 8 "$1" | head -c 4)" = IEND ] || fail "$1: no IEND at the end"
}

# shows TEXT: the output holds it.
shows() { grep -qF -- "$1" out || fail "the output lacks '$1': $(cat out)"; }

write_config tiny.yaml

say "data show CONFIG: tables and files"
expect 0 "$FCIL" data show tiny.yaml -o show
shows 'data       synth'
shows 'classes    6'
shows 'train      180 images, 30 to 30 per class, 16 x 16 pixels'
shows 'test       120 images, 20 to 20 per class, 16 x 16 pixels'
shows 'partition  dir-class, 4 clients'
data_hash=$(sed -n 's/^sha256 *//p' out)
partition_hash=$(sed -n 's/^partition .*sha256 //p' out)
[[ $data_hash =~ ^[0-9a-f]{64}$ && $partition_hash =~ ^[0-9a-f]{64}$ ]] || fail "hashes: $(cat out)"
[ "$(cd show && echo *)" = 'contact.png partition.csv partition.png' ] || fail "files: $(ls show)"
is_png show/contact.png
is_png show/partition.png
[ "$(head -n 1 show/partition.csv)" = sample,task,class,client ] || fail "header of partition.csv"
[ "$(wc -l < show/partition.csv)" -eq 181 ] || fail "partition.csv: $(wc -l < show/partition.csv) lines"
# the table of clients adds up to what the file says
awk -F, 'NR > 1 { n[$4]++ } END { for (k in n) print k, n[k] }' show/partition.csv | sort > by_file
awk '/^client / { on = 1; next } on && NF < 3 { on = 0 } on { print $1, $2 }' out | sort > by_table
cmp by_file by_table || fail "samples of the clients: $(cat out)"

say "data show --json says the same"
expect 0 "$FCIL" data show tiny.yaml -o again --json
[ "$(wc -l < out)" -eq 1 ] || fail "one line of JSON: $(cat out)"
grep -qF "\"sha256\":\"$data_hash\"" out || fail "hash of the data: $(cat out)"
grep -qF "\"sha256\":\"$partition_hash\"" out || fail "hash of the partition: $(cat out)"
sum=$(sed 's/.*"samples_by_task_and_client":\[\(.*\)\].*/\1/' out | tr -c '0-9\n' '+' | sed 's/++*/+/g; s/^+//; s/+$//')
[ $((sum)) -eq 180 ] || fail "samples of the clients: $(cat out)"
for f in contact.png partition.png partition.csv; do
    cmp "show/$f" "again/$f" || fail "$f is not the same again"
done

say "a run has that partition, and replays it from the file"
expect 0 "$FCIL" run tiny.yaml tasks.count=3 fed.rounds=1 --out drawn
expect 0 "$FCIL" run tiny.yaml tasks.count=3 fed.rounds=1 fed.partition=file fed.partition_file=show/partition.csv fed.beta=9 --out replayed
for out in drawn replayed; do
    d=$(run_dir $out)
    [ "$(text "$d/manifest.json" partition_sha256)" = "$partition_hash" ] || fail "$out: another partition"
    [ "$(text "$d/manifest.json" data_sha256)" = "$data_hash" ] || fail "$out: other data"
    cmp show/partition.csv "$d/partition.csv" || fail "$out: another partition.csv"
done
cmp "$(run_dir drawn)/acc_matrix.csv" "$(run_dir replayed)/acc_matrix.csv" || fail "replayed: other results"
cmp <(drop_columns "$(run_dir drawn)/clients.csv" train_s) <(drop_columns "$(run_dir replayed)/clients.csv" train_s) ||
    fail "replayed: other clients"

say "another seed, another partition"
expect 0 "$FCIL" data show tiny.yaml run.seed=2 -o other
! cmp -s show/partition.csv other/partition.csv || fail "the same partition for two seeds"

say "data show NAME: the default folder"
expect 0 "$FCIL" data show synth data.synth_classes=4 data.synth_train=20 tasks.count=2 fed.clients=2
shows 'classes    4'
shows 'wrote data_show/contact.png'
is_png data_show/contact.png

say "data check"
expect 0 "$FCIL" data check synth data.synth_classes=4 data.synth_train=20
shows 'train      80 images'
expect 0 "$FCIL" data check synth data.synth_classes=4 data.synth_train=20 --json
grep -qE '"classes":4,"train":80,"test":200,"sha256":"[0-9a-f]{64}"\}$' out || fail "JSON: $(cat out)"
mkdir -p images/{train,test}/{a,b}
for f in images/{train,test}/{a,b}/x.png; do cp show/contact.png "$f"; done
expect 0 "$FCIL" data check imagefolder images
shows 'train      2 images, 1 to 1 per class'
printf 'no image' > images/test/b/x.png
expect 3 "$FCIL" data check imagefolder images
grep -q '^fcil: .*test/b/x.png' err || fail "message: $(cat err)"
mkdir empty
expect 3 "$FCIL" data check cifar100 --data empty
grep -q '^fcil: .*cifar' err || fail "message: $(cat err)"

# refused CODE PATTERN WORD...: fcil data WORD... exits with CODE and a sentence that matches.
refused() {
    local code=$1 pattern=$2
    shift 2
    expect "$code" "$FCIL" data "$@"
    grep -Eq "^fcil: .*($pattern)" err || fail "data $*: message: $(cat err)"
}

say "bad arguments"
refused 2 'show or check'
refused 2 'look.*show or check' look tiny.yaml
refused 2 'config or the name' show
refused 2 'config or the name' show synth a b
refused 2 'extra' show tiny.yaml extra
refused 2 'synth' show sinth
refused 2 'clients' show tiny.yaml fed.clientz=3 -o none
refused 2 'clients|min_samples' show tiny.yaml fed.clients=1000 -o none
refused 2 'absent.yaml' show ./absent.yaml
: > file
refused 1 'file' show tiny.yaml -o file/below
[ ! -e none ] || fail "files of a refused command"
