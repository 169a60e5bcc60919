#!/bin/bash
# Would the tests notice? Makes each change of scripts/mutations.txt in a copy of the sources, builds, and runs
# the tests that should fail for it. Prints which changes lived: none may. Copies and builds in build-mutate/.
# usage: scripts/mutate.sh [--jobs N] [--only PATTERN] [--list]
#   --only PATTERN   those whose name, file or tests match this extended regular expression
#   --list           name, file and tests of each, after a check that the list fits the sources
# exit code: 0 all were noticed, 1 some lived or could not be tried, 2 usage or a wrong list
set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "$0")/.." && pwd)
list=$root/scripts/mutations.txt
work=$root/build-mutate
jobs=1 only='' listing=false

usage() {
    sed -n '4,6s/^# //p' "$0" >&2
    exit 2
}
while [[ $# -gt 0 ]]; do
    case $1 in
        --jobs) [[ ${2-} =~ ^[1-9][0-9]*$ ]] || usage && jobs=$2 && shift 2 ;;
        --only) [[ -n ${2-} ]] || usage && only=$2 && shift 2 ;;
        --list) listing=true && shift ;;
        *) usage ;;
    esac
done

# --- the list ----------------------------------------------------------------------------------------

# A change: "NAME: TEST ...", then "- " and the text as it is, "+ " and what it becomes; the text stands
# exactly once in the sources, wherever that is.
name=() tests=() old=() new=() file=()
wrong=0
complain() {
    printf 'mutations.txt: %s\n' "$*" >&2
    wrong=1
}
while IFS= read -r line; do
    case $line in
        '' | '#'*) ;;
        '- '*) old+=("${line:2}") ;;
        '+ '*) new+=("${line:2}") ;;
        *': '*) name+=("${line%%: *}") && tests+=("${line#*: }") ;;
        *) complain "'$line' is no part of a change" ;;
    esac
    [[ ${#name[@]} -ge ${#old[@]} && ${#old[@]} -ge ${#new[@]} && ${#name[@]} -le $((${#new[@]} + 1)) ]] ||
        complain "'$line' stands in the wrong place"
    [[ $wrong -eq 0 ]] || exit 2
done < "$list"
[[ ${#name[@]} -eq ${#new[@]} ]] || complain "the last change is not complete"

cd "$root"
for i in "${!name[@]}"; do
    places=$(grep -rnoF --include='*.[ch]' --include='*.def' --include='*.inc' -e "${old[i]}" core datasets sim || true)
    [[ -n $places && $(wc -l <<< "$places") -eq 1 ]] ||
        complain "${name[i]}: expected once in the sources: ${old[i]}${places:+, found: $places}"
    [[ ${old[i]} != "${new[i]}" ]] || complain "${name[i]}: changes nothing"
    file[i]=${places%%:*}
done
twice=$(printf '%s\n' "${name[@]}" | sort | uniq -d)
[[ -z $twice ]] || complain "twice: $twice"
[[ $wrong -eq 0 ]] || exit 2

chosen=()
for i in "${!name[@]}"; do
    [[ -n $only && ! "${name[i]} ${file[i]} ${tests[i]}" =~ $only ]] || chosen+=("$i")
done
if $listing; then
    for i in "${chosen[@]}"; do
        printf '%-34s %-36s %s\n' "${name[i]}" "${file[i]}" "${tests[i]}"
    done
    exit 0
fi
[[ ${#chosen[@]} -gt 0 ]] || { complain "nothing matches '$only'" && exit 2; }
[[ $jobs -le ${#chosen[@]} ]] || jobs=${#chosen[@]}

# --- copies ------------------------------------------------------------------------------------------

# sources: names of all files that are built or read, relative to the root.
sources() {
    find meson.build core datasets sim tests configs scripts results/merging \( -type f -o -type l \) 2> /dev/null | sort
}

# copy DIR: the sources in DIR/tree; what is the same already stays, so that little is built.
copy() {
    local tree=$1/tree path
    mkdir -p "$tree"
    sources > "$1/sources"
    while read -r path; do
        cmp -s "$path" "$tree/$path" || { mkdir -p "$(dirname "$tree/$path")" && cp "$path" "$tree/$path"; }
    done < "$1/sources"
    (cd "$tree" && sources) | comm -13 "$1/sources" - | while read -r path; do rm "$tree/$path"; done
}

# run DIR TEST...: builds what these tests need and runs them until one fails. A test is a name, or suite/name
# where two suites have one of this name.
run() {
    local dir=$1 test plain=()
    shift
    : > "$dir/failed"
    for test; do
        [[ $test == */* ]] || { plain+=("$test") && continue; }
        meson_test "$dir" --suite "${test%/*}" "${test#*/}" || return
    done
    [[ ${#plain[@]} -eq 0 ]] || meson_test "$dir" "${plain[@]}"
}

# meson_test DIR WORD...: the names of tests that failed into DIR/failed.
meson_test() {
    local dir=$1 status=0
    shift
    rm -f "$dir/build/meson-logs/testlog.json"
    meson test -C "$dir/build" --maxfail 1 --num-processes 2 "$@" > "$dir/log" 2>&1 < /dev/null || status=$?
    grep -q '^No suitable tests defined' "$dir/log" && status=1
    [[ $status -eq 0 ]] || sed -n '/"result": "\(FAIL\|TIMEOUT\|ERROR\)"/s/.*"name": "[^"]* \/ \([^"]*\)".*/\1/p' \
        "$dir/build/meson-logs/testlog.json" 2> /dev/null | xargs > "$dir/failed"
    return "$status"
}

# try DIR I: one line on what became of change I.
try() {
    local dir=$1 i=$2 path=$1/tree/${file[$2]} text status=0 word words
    text=$(cat "$path" && printf .)
    text=${text/"${old[i]}"/"${new[i]}"}
    printf '%s' "${text%.}" > "$path"
    read -ra words <<< "${tests[i]}"
    run "$dir" "${words[@]}" || status=$?
    cp "${file[i]}" "$path" # with the time of now: it is built anew
    word="lived   ${name[i]}: ${file[i]}, ${tests[i]}"
    if [[ $status -ne 0 && -s $dir/failed ]]; then
        word="noticed ${name[i]}: $(cat "$dir/failed")"
    elif [[ $status -ne 0 ]]; then
        word="broken  ${name[i]}: cannot be built or tested: $(grep -m 1 -E 'error:|ERROR' "$dir/log" || tail -n 1 "$dir/log")"
    fi
    say "$word"
}

say() {
    printf '%s\n' "$1" >> "$work/result"
    printf '%s\n' "$1"
}

# job J: a copy of its own, in which all tests pass; then every change whose turn it is.
job() {
    local dir=$work/$1 i words
    mkdir -p "$dir"
    copy "$dir"
    [[ -e $dir/build/build.ninja ]] || meson setup -Dwerror=false "$dir/build" "$dir/tree" > "$dir/log" 2>&1 || {
        say "broken  copy $1: meson setup failed, see $dir/log"
        return
    }
    local mine=() needed=()
    for ((i = $1 - 1; i < ${#chosen[@]}; i += jobs)); do
        mine+=("${chosen[i]}")
        read -ra words <<< "${tests[chosen[i]]}"
        needed+=("${words[@]}")
    done
    mapfile -t needed < <(printf '%s\n' "${needed[@]}" | sort -u)
    run "$dir" "${needed[@]}" || {
        say "broken  copy $1: unchanged, and still: $(cat "$dir/failed") $(grep -m 1 -E 'error:|ERROR' "$dir/log" || true), see $dir/log"
        return
    }
    for i in "${mine[@]}"; do try "$dir" "$i"; done
}

mkdir -p "$work"
: > "$work/result"
trap 'kill $(jobs -p) 2> /dev/null; exit 1' INT TERM
for ((j = 1; j <= jobs; j++)); do job "$j" & done
wait

noticed=$(grep -c '^noticed' "$work/result" || true)
lived=$(grep -c '^lived' "$work/result" || true)
printf '%d changes: %d noticed, %d lived, %d not tried\n' ${#chosen[@]} "$noticed" "$lived" $((${#chosen[@]} - noticed - lived))
[[ $noticed -eq ${#chosen[@]} ]] || { grep -v '^noticed' "$work/result" && exit 1; }
