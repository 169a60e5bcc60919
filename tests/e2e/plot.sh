#!/bin/bash
# fcil plot on run folders written by hand: means and deviations, grouping, pictures, messages.
. "$(dirname "$0")/lib.sh"
command -v gnuplot > /dev/null || skip "gnuplot is not installed"

# run DIR METHOD SEED BETA ACC_1 ... ACC_T: a run of three tasks of 100 images after T of them. All
# tasks are as good as each other, but the second has 300 images and is 4 points worse.
run() {
    local dir=$1 method=$2 seed=$3 beta=$4 task=0 s
    shift 4
    mkdir -p "$dir"
    printf 'run: {seed: %s}\nfed: {beta: %s, rounds: 2}\nmethod: {name: %s}\ntasks: {count: 3}\n' \
        "$seed" "$beta" "$method" > "$dir/config.yaml"
    say after_task,eval_task,correct,total,acc,acc_masked > "$dir/tasks.csv"
    say task,round,acc,acc_task_mean,bytes_down_cum,bytes_up_cum,wall_s > "$dir/rounds.csv"
    for acc in "$@"; do
        task=$((task + 1))
        for ((s = 1; s <= task; s++)); do
            if [ "$s" -eq 2 ]; then
                say "$task,$s,$((3 * acc - 12)),300,$((acc - 4)).0,99.0"
            else
                say "$task,$s,$acc,100,$acc.0,99.0"
            fi
        done >> "$dir/tasks.csv"
        say "$task,1,,,$((task * 1500000)),$((task * 500000 - 1)),$((task * 10 - 1))" >> "$dir/rounds.csv"
        say "$task,2,$acc,$acc,$((task * 1500000)),$((task * 500000)),$((task * 10))" >> "$dir/rounds.csv"
    done
}

# labelled FILE TEXT: the SVG has this text.
labelled() {
    grep -qF ">$2<" "$1" || fail "$1: no text \"$2\", but: $(grep -o '<tspan[^<]*' "$1" | sed 's/.*>//' | tr '\n' '|')"
}

# refused CODE PATTERN WORD...: exit code, one sentence, and no picture left behind.
refused() {
    local code=$1 pattern=$2
    shift 2
    expect "$code" "$FCIL" plot -o refused.svg "$@"
    grep -Eq "^fcil: .*($pattern)" err || fail "plot $*: message: $(cat err)"
    [ "$(wc -l < err)" -eq 1 ] || fail "plot $*: more than one line: $(cat err)"
    [ -z "$(find . -name 'refused*')" ] || fail "plot $*: left a picture behind"
}

run exp/a lorm 0 0.5 90 74 60
run exp/b lorm 1 0.5 92 74 62
run exp/c lorm 2 0.5 94 78 67
run exp/d fedavg_lora 0 0.5 90 60 44

say "mean and deviation over seeds; a single run has no deviation"
# over images: (2 acc + 3 (acc - 4)) / 5 = acc - 2.4; 60, 62, 67 have mean 63, deviation sqrt(13)
expect 0 "$FCIL" plot exp/*
[ "$(cat out)" = curves.svg ] || fail "expected the name of the picture: $(cat out)"
labelled curves.svg 'lorm  60.6 ± 3.6'
labelled curves.svg 'fedavg_lora  41.6'
labelled curves.svg 'Tasks learned'
! command -v xmllint > /dev/null || xmllint --noout curves.svg || fail "curves.svg is not well-formed"

say "mean over tasks; another name for a line; pictures for other programs"
expect 0 "$FCIL" plot -o mean.svg --metric acc_task_mean --label "lorm=LoRM <ours>" exp/*
labelled mean.svg 'LoRM &lt;ours>  61.7 ± 3.6'
for format in png pdf; do
    expect 0 "$FCIL" plot -o "p.$format" exp/*
done
[ "$(head -c 8 p.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] || fail "p.png is no PNG"
[ "$(head -c 5 p.pdf)" = '%PDF-' ] || fail "p.pdf is no PDF"

say "against rounds, bytes and time"
expect 0 "$FCIL" plot -o x.svg --x bytes exp/*
labelled x.svg 'Sent and received (MB)'
labelled x.svg 'lorm  60.6 ± 3.6'
expect 0 "$FCIL" plot -o x.svg --x time exp/*
labelled x.svg 'Time (s)'
expect 0 "$FCIL" plot -o x.svg --x rounds exp/*
labelled x.svg 'Rounds'
labelled x.svg 'lorm  63.0 ± 3.6' # the rows of rounds.csv

say "runs that differ in more than the seed are kept apart, and say in what"
run mix/a lorm 0 0.5 80 74 60
run mix/b lorm 1 0.1 80 64 50
expect 0 "$FCIL" plot -o mix.svg mix/*
labelled mix.svg 'beta=0.5  57.6'
labelled mix.svg 'beta=0.1  47.6'
expect 0 "$FCIL" plot -o mix.svg --label 'beta=0.1=low' mix/*
labelled mix.svg 'low  47.6'

say "bars: the longest first, mean and deviation of finished runs, long labels in lines"
run bars/a lorm 0 0.5 90 74 60
run bars/b lorm 1 0.5 92 74 62
run bars/c lorm 2 0.5 94 78 67
run bars/d lorm 0 0.1 90 60 80
run bars/e lorm 0 0.05 90 60
expect 0 "$FCIL" plot --bars faa bars/*
[ "$(cat out)" = bars.svg ] || fail "expected the name of the picture: $(cat out)"
grep -oE '>(beta=[0-9.]+|[0-9.]+( ± [0-9.]+)?|-|FAA \(%\))<' bars.svg | tr -d '\n' > order
grep -qF '>beta=0.1<>77.6<>beta=0.5<>60.6 ± 3.6<>beta=0.05<>-<' order || fail "bars: $(cat order)"
grep -qF '>FAA (%)<' order || fail "bars: no unit: $(cat order)"
expect 0 "$FCIL" plot --bars bwt -o bars.png bars/*
expect 0 "$FCIL" plot --bars faa -o bars.svg --label 'beta=0.1=a long name, of more than one line' bars/*
labelled bars.svg 'a long name,'
labelled bars.svg 'of more than one line'
refused 2 'did you mean faa' --bars fa bars/*
refused 2 '\-\-x is for curves' --bars faa --x time bars/*
refused 3 'no run is finished and has faa' --bars faa bars/e
refused 3 'no run is finished and has merge_s' --bars merge_s bars/*

say "a run that goes on; a folder with a blank and a '='"
run 'going on=1' lorm 0 0.5 90 70
expect 0 "$FCIL" plot -o half.svg 'going on=1'
labelled half.svg 'lorm  67.0 (task 2)'

say "no settings of the user, no terminal"
mkdir home
say "set terminal dumb" > home/.gnuplot
HOME=$PWD/home expect 0 "$FCIL" plot -o again.svg exp/*
cmp curves.svg again.svg || fail "the .gnuplot of the user changes the picture"

say "what cannot be drawn"
mkdir empty
run none lorm 0 0.5
run bad lorm 0 0.5 90
sed -i '2s/90/190/' bad/tasks.csv
refused 2 'which runs'
refused 3 'empty: no config.yaml there'  empty
refused 3 'none: no task is finished yet' none
refused 3 'bad/tasks.csv:2' bad
refused 2 "--metric: found 'faa', expected acc or acc_task_mean" --metric faa exp/*
refused 2 'expected tasks, rounds, bytes or time' --x tusks exp/*
refused 2 "expected OLD=NEW.*'lorm'" --label lrm=x exp/*
expect 2 "$FCIL" plot -o refused.gif exp/*
grep -q '\.svg, \.png or \.pdf' err || fail "message: $(cat err)"
expect 1 "$FCIL" plot -o nowhere/x.svg exp/*
grep -q 'nowhere/x.svg' err || fail "message: $(cat err)"
mkdir bin
printf '#!/bin/sh\ncat > /dev/null\necho "line 3: no such thing" >&2\nexit 1\n' > bin/gnuplot
chmod +x bin/gnuplot
expect 1 env "PATH=$PWD/bin:$PATH" "$FCIL" plot -o refused.svg exp/*
[ "$(cat err)" = 'fcil: gnuplot: exit 1: line 3: no such thing' ] || fail "message: $(cat err)"
expect 1 env PATH=/nowhere "$FCIL" plot -o refused.svg exp/*
grep -q '^fcil: gnuplot is not installed' err || fail "message: $(cat err)"
[ ! -e refused.svg ] || fail "left a picture behind"
