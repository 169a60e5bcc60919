/* Any bytes as a model with experts of a small network: read or refused; what is read is written
 * and read again. */
#include "tests/fuzz/folder.h"

#include "sim/models/expert_file.h"
#include "tests/fuzz/fuzz.h"

static const fc_vit_shape shape = {
    .image = 8, .patch = 4, .width = 4, .depth = 1, .heads = 2, .hidden = 6};

static void write_again(const fc_expert_file *x, fc_arena *arena)
{
    static const fc_real head[4], bias[1];
    char path[512];
    fc_expert_file again;
    fc_params layout, w;
    if (fc_vit_layout(&layout, &shape, arena, NULL) != FC_OK ||
        fc_params_alloc(&w, &layout, arena, NULL) != FC_OK)
        abort();
    const fc_model m = {.shape = &shape, .classes = 1, .w = w.p, .head_w = head, .head_b = bias};
    fc_fuzz_path(path, "again");
    if (fc_expert_file_write(path, &m, x, NULL, 0, NULL) != FC_OK ||
        fc_expert_file_read(&again, path, &shape, arena, NULL) != FC_OK || again.n != x->n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[512];
    fc_expert_file x;
    fc_arena arena = {0};
    fc_error err = {0};
    fc_fuzz_put("experts", data, n);
    fc_status s = fc_expert_file_read(&x, fc_fuzz_path(path, "experts"), &shape, &arena, &err);
    fc_fuzz_check(s, &err);
    if (s == FC_OK && x.n > 0)
        write_again(&x, &arena);
    fc_arena_free(&arena);
    return 0;
}
