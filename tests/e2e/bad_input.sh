#!/bin/bash
# Bad input: one sentence, the right exit code, nothing half-written.
. "$(dirname "$0")/lib.sh"

write_config tiny.yaml
mounted=
cleanup() {
    [ -z "$mounted" ] || umount "$mounted" || true
    rm -rf "$work"
}

# refuse CODE PATTERN WORD...: `fcil run WORD...` ends with CODE and one sentence that matches.
refuse() {
    local code=$1 pattern=$2
    shift 2
    expect "$code" "$FCIL" run "$@" --out refused
    [ "$(grep -c '^fcil: ' err) $(wc -l < err)" = '1 1' ] || fail "not one sentence: $* :: $(cat err)"
    grep -Eiq -- "$pattern" err || fail "$*: message does not match '$pattern': $(cat err)"
    [ ! -s out ] || fail "$*: something on standard output: $(cat out)"
    [ ! -e refused ] || fail "$*: the output directory was made: $(find refused)"
}
# config_refused PATTERN TEXT: the same for a config file x.yaml of that text.
config_refused() {
    printf '%b' "$2" > x.yaml
    refuse 2 "$1" x.yaml
}

say "configs"
refuse 2 'absent.yaml' absent.yaml
config_refused 'x.yaml:2:3.*roundz.*rounds' 'fed:\n  roundz: 3\n'
config_refused 'x.yaml:2:3.*fedd.*fed' 'fedd:\n  rounds: 3\n'
config_refused 'x.yaml:2:.*rounds' 'fed:\n  rounds: many\n'
config_refused 'x.yaml:2:.*rounds' 'fed:\n  rounds: 2.5\n'
config_refused 'x.yaml:2:.*rounds' 'fed:\n  rounds: 0\n'
config_refused 'x.yaml:3:.*rounds' 'fed:\n  rounds: 1\n  rounds: 1\n'
config_refused 'x.yaml:2:.*lr' 'train:\n  lr: .nan\n'
config_refused 'x.yaml:2:.*lr' 'train:\n  lr: nan\n'
config_refused 'x.yaml:2:.*lr' 'train:\n  lr: 1e999\n'
config_refused 'absent.yaml' 'base: [absent.yaml]\n'
config_refused 'x.yaml' 'base: [x.yaml]\n'
config_refused 'x.yaml' 'fed: [1, 2\n'
config_refused 'x.yaml' 'fed:\n\trounds: 1\n'
config_refused 'x.yaml' 'a: \0001\n'
config_refused 'lorm' 'method:\n  name: lrom\n'
config_refused 'alpha_heat.*alpha_head' 'method:\n  name: lorm\n  alpha_heat: 1\n'
refuse 2 'fed.roundz.*rounds' tiny.yaml fed.roundz=1
refuse 2 'epochs' tiny.yaml train.epochs=0
refuse 2 'beta' tiny.yaml fed.beta=0
refuse 2 'beta' tiny.yaml fed.beta=-1
refuse 2 'beta' tiny.yaml fed.beta=nan
refuse 2 'rank.*32' tiny.yaml train.lora_rank=33
refuse 2 'threads' tiny.yaml --threads none
refuse 2 'resum' tiny.yaml --resum
refuse 2 '' tiny.yaml another.yaml
refuse 2 'partition|dir-class' tiny.yaml fed.partition=dir-clas
refuse 2 'synth' tiny.yaml data.name=sinth
refuse 2 'merge|gram' tiny.yaml method.name=fedavg_lora merge.rule=lorm

say "kernels that this processor lacks"
refuse 2 'isa.*avx1024.*avx512' tiny.yaml run.isa=avx1024
while read -r isa flag; do # never an illegal instruction
    if grep -qw "$flag" /proc/cpuinfo; then
        expect 0 "$FCIL" run tiny.yaml run.isa="$isa" tasks.count=1 fed.rounds=1 train.epochs=1 --out "isa-$isa"
    else
        refuse 2 "run.isa.*$isa.*(no|not) " tiny.yaml run.isa="$isa"
    fi
done <<< 'avx2 avx2
avx512 avx512bw
avx512bf16 avx512_bf16
amx amx_bf16'
for isa in scalar blas; do # bf16 without an instruction for it
    refuse 2 "bf16 would be emulated by the $isa kernels" tiny.yaml run.isa=$isa run.precision=bf16 run.strict=true
done
expect 0 "$FCIL" run tiny.yaml run.isa=scalar run.precision=bf16 tasks.count=1 fed.rounds=1 train.epochs=1 --out emulated
grep -q '^warning: bf16 is emulated by the scalar kernels' err || fail "no warning: $(cat err)"

say "settings that do not fit the data"
refuse 2 'clients' tiny.yaml fed.clients=1000
refuse 2 'beta|clients|min_samples' tiny.yaml fed.beta=0.001 fed.clients=20 fed.max_tries=5
refuse 2 'tasks' tiny.yaml tasks.count=4
refuse 2 'sizes' tiny.yaml tasks.sizes='[3, 4]'
refuse 2 'class' tiny.yaml tasks.class_order='[0, 1, 2, 3, 4, 4]'

say "data files"
bad_data() { # PATTERN: the folder d as cifar10
    refuse 3 "$1" tiny.yaml data.name=cifar10 data.path=d tasks.count=5
}
records() { # N LABEL: so many CIFAR-10 records of zeros
    local i
    for ((i = 0; i < $1; i++)); do
        printf '%b' "\\0$(printf %o $((${2:-i % 10})))"
        head -c 3072 /dev/zero
    done
}
make_cifar() {
    rm -rf d && mkdir d
    for i in 1 2 3 4 5; do records 20 > "d/data_batch_$i.bin"; done
    records 10 > d/test_batch.bin
}
rm -rf d
bad_data '(^|[^a-z])d[^a-z]'
make_cifar 2> /dev/null
records 10 11 > d/test_batch.bin
bad_data 'test_batch.*label'
make_cifar
: > d/data_batch_2.bin
bad_data 'data_batch_2'
make_cifar
truncate -s -1 d/data_batch_3.bin
bad_data 'data_batch_3'
make_cifar
printf x >> d/data_batch_4.bin
bad_data 'data_batch_4'
make_cifar
rm d/test_batch.bin
bad_data 'test_batch'
mkdir -p images/{train,test}/{a,b}
for f in images/{train,test}/{a,b}/x.png; do printf 'no image' > "$f"; done
refuse 3 'x.png' tiny.yaml data.name=imagefolder data.path=images tasks.count=2

say "weights"
bad_weights() { # PATTERN: the file w.safetensors
    refuse 3 "w.safetensors.*$1" tiny.yaml backbone.weights=w.safetensors
}
header() { # TEXT: an 8-byte length and the text
    local n=${#1}
    printf '%b' "$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' $((n % 256)) $((n / 256)))"
    printf '%s' "$1"
}
bad_weights ''
: > w.safetensors
bad_weights ''
printf 'short' > w.safetensors
bad_weights ''
{ printf '\377\377\377\377\377\377\377\177'; head -c 100 /dev/zero; } > w.safetensors
bad_weights ''
header '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}' > w.safetensors
bad_weights ''
{ header '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}'; printf '123456'; } > w.safetensors
bad_weights ''
{ header "{\"a\":{\"dtype\":\"F32\",\"shape\":[$(printf '9%.0s' {1..200})],\"data_offsets\":[0,4]}}"; printf '1234'; } > w.safetensors
bad_weights ''
{ header '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'; printf '1234'; } > w.safetensors
bad_weights ''

say "weights with a NaN, of another shape, or cut short"
write_pretrain() {
    sed '/^method:/d; /^tasks:/d; /^fed:/d' tiny.yaml > pretrain.yaml
    printf 'pretrain: {hold_out: 0, out: good.safetensors}\n' >> pretrain.yaml
}
write_pretrain
expect 0 "$FCIL" pretrain pretrain.yaml train.epochs=1
[ -s good.safetensors ] || fail "fcil pretrain wrote no good.safetensors"
expect 0 "$FCIL" run tiny.yaml tasks.count=1 fed.rounds=1 train.epochs=1 backbone.weights=good.safetensors --out good
cp good.safetensors w.safetensors
printf '\377\377\377\377' | dd of=w.safetensors bs=1 seek=$(($(stat -c %s w.safetensors) / 2 & ~3)) conv=notrunc status=none
bad_weights 'nan'
head -c $(($(stat -c %s good.safetensors) - 4)) good.safetensors > w.safetensors
bad_weights ''

say "a loss that becomes NaN: where, when and why"
expect 1 "$FCIL" run tiny.yaml method.name=fedavg train.optimizer=sgd train.lr=1000 --out nan
tail -n 1 err | grep -q '^fcil: ' || fail "last line of standard error: $(tail -n 1 err)"
for word in task round client epoch step 'learning rate'; do
    tail -n 1 err | grep -q "$word" || fail "the message does not name the $word: $(tail -n 1 err)"
done
d=$(run_dir nan)
[ -e "$d/FAILED" ] || fail "not marked FAILED: $(ls "$d")"
[ ! -e "$d/DONE" ] || fail "marked DONE: $(ls "$d")"
say "  $(tail -n 1 err)"

# no_room WORD...: the command fails with exit code 1, a sentence, and no temporary file in the folder `full`.
no_room() {
    expect 1 "$@"
    tail -n 1 err | grep -Eq '^fcil: .*(No space left|File too large)' || fail "message: $(tail -n 1 err)"
    ! find full -name '*.tmp' | grep . || fail "temporary files are left"
    ! find full -name DONE | grep . || fail "marked DONE"
}

say "an output directory that cannot be made"
: > file
expect 1 "$FCIL" run tiny.yaml --out file/below
grep -q '^fcil: .*file' err || fail "message: $(cat err)"
expect 1 "$FCIL" run tiny.yaml --out /proc/below

say "files that may not grow (ulimit -f)"
mkdir full
# standard error is a pipe, which the limit does not touch
limited() { (ulimit -f "$1" && shift && "$@" 2>&1 > /dev/null) | cat >&2; }
for blocks in 0 1 4 16; do
    rm -rf full/*
    no_room limited $blocks "$FCIL" run tiny.yaml --out full
done

say "a full disk"
rm -rf full/*
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=96k none full 2> /dev/null; then
    mounted=$work/full
    no_room "$FCIL" run tiny.yaml --out full
    mount -o remount,size=16m full
    expect 0 "$FCIL" run tiny.yaml --out full --resume # with room again it goes on
    expect 0 "$FCIL" run tiny.yaml --out roomy
    same_run "$(run_dir roomy)" "$(run_dir full)"
else
    say "  left out: needs root and the right to mount"
fi

say "standard output that is full"
got=0
"$FCIL" list methods > /dev/full 2> err || got=$?
[ $got -eq 1 ] || fail "exit code $got, expected 1"
grep -q '^fcil: standard output' err || fail "message: $(cat err)"

# warned PATTERN WORD...: the command goes well, with exactly one warning, which matches.
warned() {
    local pattern=$1
    shift
    expect 0 "$@"
    [ "$(grep -c '^warning: ' err)" = 1 ] || fail "not one warning: $* :: $(cat err)"
    grep -q "^warning: $pattern" err || fail "the warning does not match '$pattern': $(cat err)"
}

say "more threads than cores: warned once"
one_core=(taskset -c "$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')")
one_round=(tiny.yaml tasks.count=1 fed.rounds=1 train.epochs=1)
warned '3 threads share 1 core$' "${one_core[@]}" "$FCIL" run "${one_round[@]}" --threads 3 --out shared
warned '3 threads share 1 core$' env OMP_NUM_THREADS=3 "${one_core[@]}" "$FCIL" run "${one_round[@]}" run.threads=0 --out shared-too
warned '3 threads share 1 core$' "${one_core[@]}" "$FCIL" pretrain pretrain.yaml train.epochs=1 --threads 3
expect 0 "${one_core[@]}" "$FCIL" run "${one_round[@]}" --threads 1 --out alone
! grep warning err || fail "a warning for one thread on one core"

say "a BLAS that is not safe under threads: one thread, and a warning"
if printf 'int openblas_get_parallel(void);\nint openblas_get_parallel(void) { return 0; }\n' |
    cc -shared -fPIC -o serial.so -x c - 2> /dev/null; then
    warned '.*serial.*OpenBLAS' env LD_PRELOAD="$PWD/serial.so" "$FCIL" run "${one_round[@]}" --threads 2 --out serial
    grep -q '"threads": 1,' "$(run_dir serial)/manifest.json" || fail "manifest.json does not say one thread"
    same_run "$(run_dir shared)" "$(run_dir serial)"
else
    say "  left out: no C compiler"
fi
