#!/bin/bash
# Models and adapters as files: fcil export.
. "$(dirname "$0")/lib.sh"

# refused CODE MESSAGE WORD...: fcil WORD... fails with that exit code and a sentence.
refused() {
    local code=$1 message=$2
    shift 2
    expect "$code" "$FCIL" "$@"
    grep -q "^fcil: .*$message" err || fail "message: $(cat err)"
}

write_config tiny.yaml
expect 0 "$FCIL" run tiny.yaml
run=$(run_dir results)

say "export: the model, and an adapter for each task"
before=$(ls -lR "$run" | sha256sum)
expect 0 "$FCIL" export "$run" --to timm -o model.safetensors
[ "$(cat out)" = model.safetensors ] || fail "stdout: $(cat out)"
expect 0 "$FCIL" export "$run" --to peft -o adapters
[ "$(cat out)" = "$(printf 'adapters/%s\n' task01 task02 task03 base.safetensors)" ] || fail "stdout: $(cat out)"
[ "$(ls -lR "$run" | sha256sum)" = "$before" ] || fail "export changes the run"
grep -q '"lora_alpha": 4' adapters/task02/adapter_config.json || fail "alpha is not the rank"
grep -aq '"classes":"\[2, 3\]"' adapters/task02/adapter_model.safetensors || fail "classes of task 2"
[ "$(tensor model.safetensors blocks.0.norm1.weight)" = "$(tensor adapters/base.safetensors blocks.0.norm1.weight)" ] ||
    fail "a tensor that LoRA does not touch"
[ "$(tensor model.safetensors blocks.0.attn.qkv.weight)" != "$(tensor adapters/base.safetensors blocks.0.attn.qkv.weight)" ] ||
    fail "the model is the backbone"

say "a backbone in a file is named, not written"
backbone weights.safetensors train.epochs=1
expect 0 "$FCIL" run tiny.yaml backbone.weights=weights.safetensors tasks.count=1 fed.rounds=1 --out loaded
expect 0 "$FCIL" export "$(run_dir loaded)" --to peft -o named
[ "$(ls named)" = task01 ] || fail "found: $(ls named)"
grep -q '"base_model_name_or_path": "weights.safetensors"' named/task01/adapter_config.json || fail "name of the base"

say "what cannot be exported"
refused 2 'usage: fcil export' export
refused 2 'usage: fcil export' export "$run" --to peft
refused 2 "\-\-to 'onnx', expected peft or timm" export "$run" --to onnx -o x
refused 3 'adapters: no config.yaml there' export adapters --to timm -o x
refused 1 'nowhere/x' export "$run" --to timm -o nowhere/x
cp -r "$run" broken
rm broken/ckpt/*
refused 3 'broken: no checkpoint there' export broken --to timm -o x
refused 4 'config_hash' export "$run" train.lr=1 --to timm -o x
expect 0 "$FCIL" run tiny.yaml method.name=fedavg tasks.count=1 fed.rounds=1 --out full
refused 2 'method fedavg trains no LoRA' export "$(run_dir full)" --to peft -o x
[ ! -e x ] || fail "left something behind"
