#include "datasets/pickle.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const fc_pickle *v;
    fc_arena arena = {0};
    fc_error err = {0};
    fc_status s = fc_pickle_read(&v, data, n, "fuzz", &arena, &err);
    fc_fuzz_check(s, &err);
    if (s == FC_OK) {
        static const char *const keys[] = {"data", "labels"};
        for (int k = 0; k < 2; k++) {
            const fc_pickle *x = fc_pickle_get(v, keys[k]);
            if (x && (x->kind == FC_PICKLE_ARRAY || x->kind == FC_PICKLE_BYTES))
                fc_fuzz_touch(x->p, x->n);
            for (size_t i = 0; x && i < x->n_item; i++)
                if (x->item[i]->kind > FC_PICKLE_MARK)
                    abort();
        }
    }
    fc_arena_free(&arena);
    return 0;
}
