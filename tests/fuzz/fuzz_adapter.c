/* Any bytes as adapter_config.json (if they start with '{' or '[') or as adapter_model.safetensors:
 * read or refused; what is read is written and read again. */
#include "tests/fuzz/folder.h"

#include "sim/models/adapter.h"
#include "sim/models/adapter_config.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>

static void use_config(const uint8_t *data, size_t n)
{
    fc_adapter_config c;
    fc_arena arena = {0};
    fc_error err = {0};
    fc_status s = fc_adapter_config_parse(&c, data, n, "fuzz", &arena, &err);
    fc_fuzz_check(s, &err);
    if (s == FC_OK) {
        int rank = fc_adapter_rank(&c, "blocks.0.attn.qkv");
        if (rank < 1 || !isfinite(fc_adapter_scale(&c, "blocks.0.attn.qkv")))
            abort();
    }
    fc_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char config[] = "{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 2}";
    char dir[512];
    fc_adapter a;
    fc_arena arena = {0};
    fc_error err = {0};
    if (n == 0 || data[0] == '{' || data[0] == '[') {
        use_config(data, n);
        return 0;
    }
    fc_fuzz_put("adapter_config.json", config, sizeof config - 1);
    fc_fuzz_put("adapter_model.safetensors", data, n);
    fc_status s = fc_adapter_read(&a, fc_fuzz_path(dir, "."), &arena, &err);
    fc_fuzz_check(s, &err);
    if (s == FC_OK && (fc_adapter_write(fc_fuzz_path(dir, "again"), &a, NULL) != FC_OK))
        abort();
    fc_arena_free(&arena);
    return 0;
}
