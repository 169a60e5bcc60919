#!/bin/bash
# report.html of runs that are done, running, killed, failed, and of several compared: complete,
# well-formed, true to the files; and in a browser nothing overflows at any width.
. "$(dirname "$0")/lib.sh"
command -v gnuplot > /dev/null || skip "gnuplot is not installed"
cleanup() {
    [ -z "${run_pid-}" ] || kill -9 "$run_pid" 2> /dev/null || true
    rm -rf "$work"
}

# has FILE TEXT, hasnt FILE TEXT: the page has this text, or not.
has() { grep -qF -- "$2" "$1" || fail "$1 lacks: $2"; }
hasnt() { ! grep -qF -- "$2" "$1" || fail "$1 has: $2"; }

# sound FILE: well-formed, self-contained, no number that is none.
sound() {
    ! command -v xmllint > /dev/null || xmllint --noout "$1" 2> lint || fail "$1 is not well-formed: $(head -n 3 lint)"
    ! sed 's|http://www.w3.org/[a-z0-9/]*||g' "$1" | grep -oE '(https?:)?//[a-z][^ <]*\.[a-z]|<script|<link|<img|@import|url\(' || fail "$1 needs other files"
    ! grep -v '<p class="bad">' "$1" | grep -owE 'nan|inf|NaN|\(null\)' || fail "$1 has numbers that are none"
}

# figures FILE N: so many of them, each with a title and a description
figures() {
    [ "$(grep -c '<figure>' "$1")" -eq "$2" ] || fail "$1: $(grep -c '<figure>' "$1") figures, expected $2"
    [ "$(grep -c '<desc>' "$1")" -eq "$2" ] || fail "$1: figures without a description"
}

write_config tiny.yaml
evil="x <b>\"&'>"$(printf 'long%.0s' {1..20})

say "a run that is done: what its files say"
expect 0 "$FCIL" run tiny.yaml log.report=true run.name="$evil" --out ended
d=$(run_dir ended)
page=$d/report.html
sound "$page"
figures "$page" 6
hasnt "$page" '<b>"'
has "$page" '<h1>x &lt;b&gt;&quot;&amp;'
has "$page" 'class="state good">done<'
hasnt "$page" 'http-equiv="refresh"'
has "$page" "Final accuracy (FAA)</dt><dd>$(printf '%.1f' "$(number "$d/summary.json" faa)") <small>%"
has "$page" "Forgetting</dt><dd>$(printf '%.1f' "$(number "$d/summary.json" forgetting_max)") "
[ "$(grep -o 'class="a"' "$page" | wc -l)" -eq 9 ] || fail "task matrix: $(grep -o 'class="a"' "$page" | wc -l) cells, expected 9"
for part in 'Accuracy after each task' 'What is forgotten of each task' 'Accuracy against bytes' 'Loss of the clients' \
    'Where the time goes' 'Who holds what' 'Results as Markdown' 'Results as LaTeX' 'Results as CSV' 'Task matrix as CSV' \
    'Resolved config' 'Manifest' 'synth_difficulty: 0.2'; do
    has "$page" "$part"
done
# the squares: as many as client and class that have samples, and the ground
want=$(awk -F, 'NR > 1 && !seen[$3, $4]++ { n++ } END { print n }' "$d/partition.csv")
[ "$(sed -n '/Who holds what/,/<table>/p' "$page" | grep -o 'M[0-9]* [0-9]*h[0-9]*v' | wc -l)" -eq $((want + 1)) ] || fail "expected $want squares"

# pasted FILE TITLE: the text to copy below this title.
pasted() {
    sed -n "/<summary>$2</,/<\/pre>/p" "$1" | sed 's/.*<pre[^>]*>//; s/<\/pre>.*//; s/&quot;/"/g; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' | grep -v '^<details'
}
[ "$(pasted "$page" 'Task matrix as CSV' | sed 1d | cut -d, -f2)" = "$(column "$d/acc_matrix.csv" task_1 | xargs printf '%.1f\n')" ] ||
    fail "task matrix to copy: $(pasted "$page" 'Task matrix as CSV')"

say "the page made again, and elsewhere"
expect 0 "$FCIL" report "$d" -o other.html
diff <(grep -v 'as of' "$page") <(grep -v 'as of' other.html) || fail "another page of the same run"

# shown FILE TITLE: the command below this line of the page, with our program.
shown() {
    sed -n "/<p>$2/{n;p}" "$1" | sed "s/.*<pre[^>]*>//; s/<\/pre>.*//; s/&quot;/\"/g; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g; s|^fcil|$FCIL|"
}

say "the commands of the page work"
eval "$(shown "$page" 'The same once more')" > out 2> err || fail "run again: $(tail -n 1 err)"
same_run "$d" "$(run_dir again)"

say "a run that goes on: the page reloads itself; killed, it says so and how to go on"
"$FCIL" run tiny.yaml log.report=true train.epochs=60 --out live > run.out 2> run.err &
run_pid=$!
for ((i = 0; i < 300; i++)); do
    compgen -G 'live/*/*/report.html' > /dev/null && break
    sleep 0.1
done
page=$(run_dir live)/report.html
cp "$page" live.html
kill -9 "$run_pid"
wait "$run_pid" 2> /dev/null || true
run_pid=
sound live.html
has live.html 'http-equiv="refresh"'
has live.html '>running<'
has live.html '<progress'
expect 0 "$FCIL" report "$(run_dir live)"
sound "$page"
hasnt "$page" 'http-equiv="refresh"'
has "$page" '>unfinished<'
cp "$page" killed.html
eval "$(shown "$page" 'To go on with this run')" train.epochs=60 > out 2> err || fail "go on: $(tail -n 1 err)"
has "$page" '>done<'

say "a run that failed: its reason"
expect 1 "$FCIL" run tiny.yaml log.report=true method.name=fedavg train.lr=1000 train.optimizer=sgd --out failed
page=$(run_dir failed)/report.html
sound "$page"
has "$page" 'class="state bad">failed<'
has "$page" "$(sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g' "$(run_dir failed)/FAILED" | head -n 1 | cut -c1-200)"

say "one task; without clients.csv and partition.csv; many clients; many tasks"
expect 0 "$FCIL" run tiny.yaml log.report=true tasks.count=1 log.clients=false log.partition=false --out one
sound "$(run_dir one)/report.html"
figures "$(run_dir one)/report.html" 4
expect 0 "$FCIL" run tiny.yaml log.report=true fed.clients=120 fed.rounds=1 data.synth_train=300 fed.min_samples=0 train.epochs=1 train.batch=64 --out crowd
crowd=$(run_dir crowd)/report.html
sound "$crowd"
has "$crowd" 'quantile'
has "$crowd" 'Rows: 50 of 120 clients'
expect 0 "$FCIL" run tiny.yaml log.report=true tasks.count=30 fed.rounds=1 fed.clients=2 train.epochs=1 data.synth_classes=30 --out long
sound "$(run_dir long)/report.html"

say "clients that were lost or late"
sed -i '3s/,ok,/,late,/; 5s/,ok,/,dropped <x>,/' "$d/clients.csv"
expect 0 "$FCIL" report "$d" -o lost.html
sound lost.html
has lost.html 'Lost and late clients'
has lost.html '>dropped &lt;x&gt;<'

say "no gnuplot, no place: one warning, and the run is done"
expect 0 env PATH=/nowhere "$FCIL" run tiny.yaml log.report=true --out plain
page=$(run_dir plain)/report.html
sound "$page"
has "$page" 'The pictures of this page are missing'
[ "$(grep -c 'gnuplot is not installed' err)" -eq 1 ] || fail "expected one warning: $(cat err)"
dir=$("$FCIL" run tiny.yaml --out block | sed -n 's/^results: //p')
rm -rf "$dir" && mkdir -p "$dir/report.html/x"
expect 0 "$FCIL" run tiny.yaml log.report=true --out block
[ "$(grep -c 'warning: report.html' err)" -eq 1 ] || fail "expected one warning: $(cat err)"

say "several runs compared"
for seed in 1 2; do
    for method in lorm fedavg_lora; do
        expect 0 "$FCIL" run tiny.yaml fed.rounds=1 method.name=$method run.seed=$seed --out many
    done
done
expect 0 "$FCIL" report many/e2e/* -o cmp.html --baseline fedavg_lora --label 'lorm=LoRM <b>'
sound cmp.html
figures cmp.html 3
has cmp.html 'LoRM &lt;b&gt;'
has cmp.html 'minus fedavg_lora'
mean=$(for r in many/e2e/lorm*; do number "$r/summary.json" faa; done | awk '{ s += $1 } END { printf "%.10g", s / NR }')
pasted cmp.html 'Results as CSV' | grep -qF "LoRM <b>,faa,2,$mean," || fail "mean FAA $mean: $(pasted cmp.html 'Results as CSV')"

say "what cannot be reported"
mkdir empty
# refused CODE PATTERN WORD...
refused() {
    local code=$1 pattern=$2
    shift 2
    expect "$code" "$FCIL" report "$@"
    grep -Eq "^fcil: .*($pattern)" err || fail "report $*: message: $(cat err)"
}
refused 2 'which run'
refused 3 'empty: no config.yaml' empty
refused 1 'nowhere/x.html' "$d" -o nowhere/x.html
refused 2 'expected -o' "$d" "$d"
refused 2 "expected one of 'lorm', 'fedavg_lora'|'fedavg_lora', 'lorm'" many/e2e/* -o x.html --baseline fedavg
[ ! -e x.html ] || fail "left a page behind"

if ! command -v chromium > /dev/null; then
    say "in a browser: left out, chromium is not installed"
    exit 0
fi

say "in a browser, 360, 800 and 1400 pixels wide, and on paper: nothing overflows, no drawing is empty or cut off"
n=0 papers=0
say '<body><script>onmessage = e => document.body.append(e.data + "\n")</script>' > frames.html
for page in "$d/report.html" live.html killed.html lost.html cmp.html "$crowd" "$(run_dir failed)/report.html" \
    "$(run_dir long)/report.html" "$(run_dir one)/report.html" "$(run_dir plain)/report.html"; do
    n=$((n + 1))
    { sed '/http-equiv="refresh"/d; /<\/body>/,$d' "$page" && cat << 'JS'; } > "page$n.html"
<script>
for (const d of document.querySelectorAll("details")) d.open = true
const bad = [], name = location.href.replace(/.*\//, "") + " " + innerWidth + ": "
if (document.documentElement.scrollWidth > innerWidth) bad.push("overflows to " + document.documentElement.scrollWidth)
for (const s of document.querySelectorAll("figure svg")) {
    const box = s.getBoundingClientRect()
    if (box.width < 50 || box.height < 5) bad.push("empty drawing")
    for (const t of s.querySelectorAll("text")) {
        const b = t.getBoundingClientRect()
        if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1)
            bad.push("cut off: " + t.textContent)
    }
    for (const u of s.querySelectorAll("use")) if (u.getBoundingClientRect().width == 0) { bad.push("point missing"); break }
}
parent.postMessage("seen " + name + (bad.length ? "BAD " + bad.join("; ") : "good"), "*")
</script>
JS
    # on paper: A4 without its margins, where nothing scrolls
    [ "$page" != "$d/report.html" ] && [ "$page" != cmp.html ] || {
        sed 's/@media print/@media all/' "page$n.html" > "paper$n.html"
        say "<iframe src=\"paper$n.html\" width=\"680\" height=\"800\" style=\"border:0\"></iframe>" >> frames.html
        papers=$((papers + 1))
    }
    for width in 360 800 1400; do
        say "<iframe src=\"page$n.html\" width=\"$width\" height=\"800\" style=\"border:0\"></iframe>" >> frames.html
    done
done
chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$work/browser" --virtual-time-budget=20000 \
    --dump-dom "file://$work/frames.html" > seen.html 2> /dev/null || fail "chromium failed"
want=$((3 * n + papers))
[ "$(grep -c '^seen\|>seen' seen.html)" -eq $want ] || fail "$(grep -c seen seen.html) of $want pages were seen"
! grep 'BAD' seen.html || fail "see above"
