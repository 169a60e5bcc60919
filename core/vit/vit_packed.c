#include "core/vit/vit_packed.h"

#include <stdlib.h>

/* Sizes of tensor i of the packed ones: the slots, then the patch embedding. */
static void dims_of(const fc_vit_shape *s, int i, int *d_out, int *d_in)
{
    if (i < fc_vit_slots(s)) {
        fc_slot_dims(s, i, d_out, d_in);
        return;
    }
    *d_out = s->width;
    *d_in = 3 * s->patch * s->patch;
}

size_t fc_packed_bytes(const fc_vit_shape *s, bool backward, const fc_engine *e)
{
    size_t bytes = 0;
    for (int i = 0; i <= fc_vit_slots(s); i++) {
        int o, d;
        dims_of(s, i, &o, &d);
        bytes += fc_right_bytes(e, o, d);
        if (backward && i < fc_vit_slots(s))
            bytes += fc_right_bytes(e, d, o);
    }
    return bytes;
}

fc_status fc_packed_new(fc_packed *out, const fc_vit_shape *s, bool backward, const fc_engine *e,
                        fc_error *err)
{
    size_t n = (size_t)fc_vit_slots(s), bytes = fc_packed_bytes(s, backward, e);
    *out = (fc_packed){.engine = *e};
    out->block = aligned_alloc(64, bytes + 64); /* BLAS needs none */
    out->forward = calloc(n, sizeof *out->forward);
    out->backward = backward ? calloc(n, sizeof *out->backward) : NULL;
    if (out->block && out->forward && (out->backward || !backward))
        return FC_OK;
    fc_packed_free(out);
    return fc_fail(err, FC_EFAIL, "packed weights: no memory for %zu bytes", bytes);
}

void fc_packed_fill(fc_packed *p, const fc_vit_shape *s, const fc_real *w)
{
    const fc_engine *e = &p->engine;
    int slots = fc_vit_slots(s);
    char *at = p->block;
    for (int i = 0; i <= slots; i++) {
        int o, d;
        dims_of(s, i, &o, &d);
        bool slot = i < slots;
        const fc_real *W = w + fc_vit_offset(s, slot ? fc_slot_tensor(i) : FC_VIT_PATCH_W);
        *(slot ? &p->forward[i] : &p->patch) = fc_right_into(at, e, true, o, d, W, d);
        at += fc_right_bytes(e, o, d);
        if (slot && p->backward) {
            p->backward[i] = fc_right_into(at, e, false, d, o, W, d);
            at += fc_right_bytes(e, d, o);
        }
    }
}

void fc_packed_free(fc_packed *p)
{
    free(p->block);
    free(p->forward);
    free(p->backward);
    *p = (fc_packed){0};
}
