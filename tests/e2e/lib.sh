# shellcheck shell=bash disable=SC2034
# Helpers of the end-to-end tests; sourced. The first argument of the test is the fcil program.
# Each test works in a temporary directory of its own, which is its current directory.
set -euo pipefail
FCIL=$(realpath "${1:?usage: $0 FCIL}")
FCIL_ROOT=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
export LC_ALL=C XDG_CACHE_HOME=${XDG_CACHE_HOME:-${TMPDIR:-/tmp}/fcil-e2e-cache}
unset FCIL_DATA OMP_NUM_THREADS

work=$(mktemp -d)
trap 'cleanup' EXIT
cleanup() { rm -rf "$work"; }
cd "$work"

say() { printf '%s\n' "$*"; }
fail() {
    say "FAILED: $*"
    exit 1
}
skip() {
    say "SKIPPED: $*"
    exit 77
}

# A run of a second or so: 3 tasks x 2 classes, 4 clients, 3 rounds; a random backbone, so nothing is
# pretrained. Width 32, depth 2, rank 4, 6 classes.
write_config() {
    cat > "$1" <<'YAML'
run: {name: e2e, seed: 1, threads: 2}
data: {name: synth, synth_classes: 6, synth_train: 30, synth_test: 20, synth_size: 16, synth_difficulty: 0.2, augment: none, test_resize: plain}
tasks: {count: 3}
fed: {clients: 4, rounds: 3, beta: 1, min_samples: 2}
backbone: {patch: 4, width: 32, depth: 2, heads: 2}
train: {epochs: 2, batch: 8, lr: 0.003, lora_rank: 4}
method: {name: lorm}
log: {report: false}
YAML
}

# backbone FILE WORD...: one of that shape, pretrained for some seconds on other classes.
backbone() {
    local file=$1
    shift
    cat > pretrain.yaml <<YAML
run: {name: e2e, seed: 1, threads: 2}
data: {name: synth, synth_classes: 12, synth_first_class: 100, synth_train: 60, synth_test: 10, synth_size: 16, synth_difficulty: 0.2, augment: none, test_resize: plain}
backbone: {patch: 4, width: 32, depth: 2, heads: 2}
train: {epochs: 8, batch: 16, lr: 0.003, schedule: cosine}
pretrain: {hold_out: 5, out: $file}
YAML
    "$FCIL" pretrain pretrain.yaml "$@" > out 2> err || fail "fcil pretrain: $(tail -n 3 err)"
}

# expect CODE WORD...: run the command, its output into the files out and err, and compare the exit
# code.
expect() {
    local want=$1 got=0
    shift
    "$@" > out 2> err || got=$?
    [ "$got" -eq "$want" ] || fail "exit code $got, expected $want: $* :: $(tail -n 3 err)"
}

# names WHAT: what `fcil list WHAT` lists.
names() { "$FCIL" list "$1" --json | sed -n 's/^ *"name": "\(.*\)",*$/\1/p'; }

# The one run directory below an output folder.
run_dir() {
    local dirs=("$1"/*/*/)
    if [ ${#dirs[@]} -ne 1 ] || [ ! -d "${dirs[0]}" ]; then
        fail "$1: expected one run directory, found: ${dirs[*]}"
    fi
    printf '%s\n' "${dirs[0]%/}"
}

# column FILE NAME: the values of a column, one per line.
column() {
    awk -F, -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i
                                    if (!c) { print "no column " name > "/dev/stderr"; exit 1 } }
                          NR > 1 { print $c }' "$1"
}

# number FILE KEY: the value of a key of summary.json that is a number.
number() {
    sed -n 's/^ *"'"$2"'": *\([-0-9.e+]*\),\{0,1\}$/\1/p' "$1"
}

# holds EXPRESSION: arithmetic with fractions.
holds() { awk "BEGIN { exit !($1) }"; }

# drop_columns FILE NAME...: a CSV file without the named columns.
drop_columns() {
    local file=$1
    shift
    awk -F, -v names="$*" 'NR == 1 { n = split(names, a, " "); for (i = 1; i <= n; i++) drop[a[i]] = 1
                                     for (i = 1; i <= NF; i++) keep[i] = !($i in drop) }
                           { line = ""; for (i = 1; i <= NF; i++) if (keep[i]) line = line "," $i; print line }' "$file"
}

# bytes FILE FROM N: N bytes of a file.
bytes() { dd if="$1" iflag=skip_bytes,count_bytes skip="$2" count="$3" status=none; }

# data FILE NAME: the bytes of one tensor of a safetensors file.
data() {
    local header begin end
    header=$(od -An -t u8 -N 8 "$1" | tr -d ' ')
    read -r begin end <<< "$(bytes "$1" 8 "$header" |
        sed 's/.*"'"$2"'": *{[^}]*"data_offsets": *\[\([0-9]*\), *\([0-9]*\)\].*/\1 \2/')"
    [ "$end" -gt "$begin" ] || fail "$1: no tensor $2"
    bytes "$1" $((8 + header + begin)) $((end - begin))
}

# tensor FILE NAME: its SHA-256; numbers FILE NAME: those of a tensor of floats, one per line.
tensor() { data "$1" "$2" | sha256sum; }
numbers() { data "$1" "$2" | od -An -v -t f4 -w4; }

# tfevents FILE: a TensorBoard event file, checked, without times: "STEP TAG VALUE" a line.
tfevents() { python3 "$FCIL_ROOT/tests/e2e/tfevents.py" "$1"; }

# All that a run directory says, but for what may differ between equal runs: times, memory, and in
# config.yaml where it was written, with how many threads and how often it was saved.
contents() {
    local dir=$1 file
    for file in "$dir"/*; do
        case ${file##*/} in
        rounds.csv) drop_columns "$file" train_s merge_s eval_s wall_s cpu_s rss_mib ;;
        clients.csv) drop_columns "$file" train_s ;;
        summary.json) sed -E '/"(wall_s|cpu_s|rss_mib)"/d' "$file" ;;
        config.yaml) sed -E '/^ *(out|threads|checkpoint_s):/d' "$file" ;;
        manifest.json | report.html) say "exists" ;;
        events.out.tfevents.*) tfevents "$file" ;;
        ckpt) (cd "$file" && ls) ;;
        *) cat "$file" ;;
        esac | sed "s|^|${file##*/}: |"
    done
    file=$(printf '%s\n' "$dir"/ckpt/state-*.safetensors | tail -n 1)
    say "merged model: $(tensor "$file" global)"
}

# same_run A B: two run directories agree.
same_run() {
    contents "$1" > a.txt
    contents "$2" > b.txt
    diff a.txt b.txt > differences || fail "$2 differs from $1:
$(head -n 20 differences)"
}
