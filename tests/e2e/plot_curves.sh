#!/bin/bash
# scripts/plot_curves on CSV files written by hand: means and deviations, grouping, pictures, messages.
set -euo pipefail

plot=$(cd "$(dirname "$0")/../.." && pwd)/scripts/plot_curves
command -v gnuplot >/dev/null || exit 77
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/a b" && cd "$tmp/a b"

fail() {
    echo "plot_curves.sh: $*" >&2
    exit 1
}

# run DIR BETA ACC_1 ... ACC_T: a run directory with this curve; its task mean is one point lower
run() {
    local dir=$1 beta=$2 task=0 cells='' header='' acc
    shift 2
    mkdir -p "$dir"
    printf 'run:\n  seed: %s\nfed:\n  beta: %s\n' "$RANDOM" "$beta" >"$dir/config.yaml"
    for acc in "$@"; do header+=,task_$((++task)); done
    echo "after_task$header,acc,acc_task_mean" >"$dir/acc_matrix.csv"
    task=0
    for acc in "$@"; do
        cells=${header//task_[0-9]/$acc}
        echo "$((++task))$cells,$acc,$((acc - 1))" >>"$dir/acc_matrix.csv"
    done
}

# refused MESSAGE ARGUMENT ...: exits 1 with exactly this one line, and leaves no picture behind
refused() {
    local want="plot_curves: $1" got status=0
    shift
    got=$("$plot" -o refused "$@" 2>&1) || status=$?
    [[ $status -eq 1 ]] || fail "$*: exit $status, expected 1"
    [[ $got == "$want" ]] || fail "$*: \"$got\", expected \"$want\""
    [[ -z $(find . -name 'refused*') ]] || fail "$*: left a picture behind"
}

# labelled FILE TEXT: the SVG has this label
labelled() {
    grep -qF "$2" "$1" || fail "$1: no label \"$2\""
}

run exp/lorm-s0-00000000 0.5 90 70 60
run exp/lorm-s1-11111111 0.5 92 74 62
run exp/lorm-s2-22222222 0.5 94 78 67
run exp/fedavg_lora-s0-33333333 0.5 90 60 40

# mean 63, deviation sqrt((9 + 1 + 16) / 2) = 3.6; a single run has no deviation
[[ $("$plot" exp/*) == $'curves.svg\ncurves.png' ]] || fail "expected the names of the two pictures"
labelled curves.svg '>lorm  63.0 ± 3.6<'
labelled curves.svg '>fedavg_lora  40.0<'
[[ $(head -c 8 curves.png | od -An -tx1 | tr -d ' ') == 89504e470d0a1a0a ]] || fail "curves.png is no PNG"

"$plot" -o mean.svg --metric acc_task_mean --label lorm=LoRM exp/* >mean.out
labelled mean.svg '>LoRM  62.0 ± 3.6<'
[[ $(cat mean.out) == mean.svg && ! -e mean.png ]] || fail "-o mean.svg: expected that file only"

# runs that differ in more than the seed are kept apart
run mix/lorm-s0-00000000 0.5 80 60
run mix/lorm-s1-11111111 0.1 80 50
"$plot" -o mix.svg --by fed.beta mix/* >/dev/null
labelled mix.svg '>lorm beta=0.5  60.0<'
labelled mix.svg '>lorm beta=0.1  50.0<'
refused 'mix/lorm-s0-00000000 and mix/lorm-s1-11111111 differ in fed.beta: add --by fed.beta' mix/*
run same/lorm-s0-00000000 0.5 80 60
run same/lorm-s0-11111111 0.5 80 50
refused 'same/lorm-s0-00000000 and same/lorm-s0-11111111 are both lorm with seed 0: plot one of them' same/*

# a run that goes on, and one whose folder was renamed
head -n 3 exp/lorm-s0-00000000/acc_matrix.csv >half && mkdir 'x=1' && mv half 'x=1/acc_matrix.csv'
"$plot" -o half.svg 'x=1' >/dev/null
labelled half.svg '>x=1  70.0 (task 2)<'

refused 'none: no acc_matrix.csv there: not a run, or its first task is not finished' none
refused 'exp/lorm-s0-00000000 has 3 tasks, mix/lorm-s0-00000000 has 2' exp/lorm-s0-* mix/lorm-s0-*
refused 'exp/lorm-s0-00000000/config.yaml: no key fed.bet, or no value' --by fed.bet exp/lorm-s0-*
mkdir bad
sed "3s/,70,69\$/,nan,69/" exp/lorm-s0-00000000/acc_matrix.csv >bad/acc_matrix.csv
refused 'bad/acc_matrix.csv:3: acc "nan", expected a number from 0 to 100' bad
head -n 1 exp/lorm-s0-00000000/acc_matrix.csv >bad/acc_matrix.csv
refused 'bad/acc_matrix.csv:1: no task is finished yet' bad
echo 'a,b' >bad/acc_matrix.csv
refused 'bad/acc_matrix.csv:1: expected the header after_task,task_1,...,acc,acc_task_mean' bad
