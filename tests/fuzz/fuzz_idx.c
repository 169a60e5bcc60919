#include "datasets/idx.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (int ndim = 1; ndim <= 3; ndim += 2) {
        fc_idx x;
        fc_arena arena = {0};
        fc_error err = {0};
        fc_status s = fc_idx_parse(&x, data, n, ndim, "fuzz", &arena, &err);
        fc_fuzz_check(s, &err);
        if (s == FC_OK) {
            size_t count = 1;
            for (int i = 0; i < ndim; i++)
                count *= x.dim[i];
            fc_fuzz_touch(x.data, count);
        }
        fc_arena_free(&arena);
    }
    return 0;
}
