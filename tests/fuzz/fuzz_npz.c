#include "datasets/npz.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const keys[] = {"x_train", "y_train"};
    for (int k = 0; k < 2; k++) {
        fc_npy a;
        bool found = false;
        fc_arena arena = {0};
        fc_error err = {0};
        fc_status s = fc_npz_find(&a, &found, data, n, keys[k], "fuzz", &arena, &err);
        fc_fuzz_check(s, &err);
        for (size_t i = 0; s == FC_OK && found && i < a.count; i++) {
            volatile int64_t keep = fc_npy_int(&a, i);
            (void)keep;
        }
        fc_arena_free(&arena);
    }
    return 0;
}
