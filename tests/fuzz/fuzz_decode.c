#include "datasets/decode.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fc_image m;
    fc_arena arena = {0};
    fc_error err = {0};
    fc_status s = fc_decode_memory(&m, data, n, "fuzz", &arena, &err);
    fc_fuzz_check(s, &err);
    if (s == FC_OK)
        fc_fuzz_touch(m.p, 3 * (size_t)m.width * (size_t)m.height);
    fc_arena_free(&arena);
    return 0;
}
