#include "core/base/safetensors.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fc_st f;
    fc_error err = {0};
    fc_status s = fc_st_parse(&f, data, n, "fuzz", &err);
    fc_fuzz_check(s, &err);
    for (int i = 0; s == FC_OK && i < f.n; i++) {
        const fc_tensor *t = &f.tensor[i];
        double *out = malloc(t->count * sizeof *out + 1);
        if (!out || fc_st_find(&f, t->name) != t)
            abort();
        err = (fc_error){0};
        fc_fuzz_check(fc_st_read_double(out, &f, t, &err), &err);
        free(out);
    }
    fc_st_close(&f);
    return 0;
}
