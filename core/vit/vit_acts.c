#include "core/vit/vit_acts.h"

#include "core/vit/kernels.h"
#include "core/vit/smile_layer.h"
#include "core/vit/wemoe_gate.h"

#include <stdlib.h>
#include <string.h>

/* Images go through the network in chunks of about CHUNK_RATIO * D rows: what a block writes then
 * takes about as much cache as its weights, and neither is fetched from memory more than need be.
 */
enum { CHUNK_RATIO = 2 };

/* Hands out 64-byte aligned pieces of one allocation; base NULL: only counts. */
typedef struct cutter {
    char *base;
    size_t used;
} cutter;

static void *cut_bytes(cutter *c, size_t bytes)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (bytes + 63) & ~(size_t)63;
    return p;
}

static fc_real *cut_reals(cutter *c, size_t rows, size_t cols)
{
    return cut_bytes(c, rows * cols * sizeof(fc_real));
}

/* n: images that are kept. */
static fc_block_acts cut_block(cutter *c, const fc_vit_shape *s, size_t n, const fc_acts_size *size)
{
    size_t T = (size_t)fc_vit_tokens(s), R = n * T, D = (size_t)s->width;
    fc_block_acts b = {.x = cut_reals(c, R, D)};
    b.stat1 = cut_reals(c, R, 2);
    b.qkv = cut_reals(c, R, 3 * D);
    b.P = cut_reals(c, (size->backward ? n : 1) * (size_t)s->heads, T * T);
    b.att = cut_reals(c, R, D);
    b.mid = cut_reals(c, R, D);
    b.stat2 = cut_reals(c, R, 2);
    b.pre = cut_reals(c, R, (size_t)s->hidden);
    for (int i = 0; i < 4; i++)
        b.xa[i] = cut_reals(c, R, (size_t)size->rank);
    if (size->gates) {
        b.z = cut_reals(c, R, D);
        b.mean = cut_reals(c, n, D);
        b.w = cut_bytes(c, n * (size_t)size->experts * sizeof *b.w);
    }
    return b;
}

/* Scratch for the layer that needs most. */
static size_t work_bytes(const fc_vit_shape *s, const fc_engine *e, const fc_acts_size *size,
                         int rows)
{
    int T = fc_vit_tokens(s), D = s->width, pixels = 3 * s->patch * s->patch;
    int wide = D > size->classes ? D : size->classes;
    wide = wide > pixels ? wide : pixels;
    wide = wide > s->hidden ? wide : s->hidden;
    size_t linear = fc_linear_bytes(e, wide, 3 * D > wide ? 3 * D : wide, size->rank, rows);
    size_t most = fc_attention_bytes(e, T, D / s->heads);
    most = linear > most ? linear : most;
    for (int i = 0; size->experts > 0 && i < 4; i++) {
        int d_out, d_in;
        fc_slot_dims(s, i, &d_out, &d_in);
        size_t smile = fc_smile_bytes(e, d_out, d_in, size->experts, size->gate_k, rows);
        most = smile > most ? smile : most;
    }
    size_t gate = size->gates ? fc_gate_bytes(e, D, rows / T, rows) : 0;
    return gate > most ? gate : most;
}

/* The whole layout, used twice: to count and to place. */
static fc_acts *place_acts(cutter *c, const fc_vit_shape *s, const fc_acts_size *size,
                           const fc_engine *e)
{
    size_t n = (size_t)size->n_max, T = (size_t)fc_vit_tokens(s), D = (size_t)s->width;
    size_t fit = CHUNK_RATIO * D / T, c_max = fit < 1 ? 1 : fit;
    c_max = c_max > n || size->whole ? n : c_max;
    size_t R = c_max * T, kept = size->backward ? n : c_max, r = (size_t)size->rank,
           hidden = (size_t)s->hidden;
    size_t wide = hidden > 3 * D ? hidden : 3 * D, L = (size_t)s->depth;
    fc_acts *out = cut_bytes(c, sizeof *out + L * sizeof *out->block);
    fc_acts a = {.shape = *s, .size = *size, .chunk = (int)c_max, .engine = *e};
    a.engine.left = work_bytes(s, e, size, (int)(R > n ? R : n));
    a.engine.work = cut_bytes(c, a.engine.left);
    a.cols = cut_reals(c, kept * (T - 1), 3 * (size_t)s->patch * (size_t)s->patch);
    a.norm = cut_reals(c, R, D);
    a.gelu = cut_reals(c, R, hidden);
    a.out = cut_reals(c, R, D);
    a.xacls = cut_reals(c, c_max, r);
    a.top = cut_reals(c, n, D);
    a.stat = cut_reals(c, n, 2);
    a.features = cut_reals(c, n, D);
    a.logits = cut_reals(c, n, (size_t)size->classes);
    if (size->backward) {
        a.dtop = cut_reals(c, n, D);
        a.dfeature = cut_reals(c, n, D);
        a.dcls = cut_reals(c, c_max, D);
        a.dx = cut_reals(c, R, D);
        a.dnorm = cut_reals(c, R, D);
        a.dwide = cut_reals(c, R, wide);
        a.dw = size->gates ? cut_bytes(c, c_max * (size_t)size->experts * sizeof *a.dw) : NULL;
    }
    for (size_t l = 0; l < L; l++) {
        fc_block_acts b = out && l ? out->block[0] : (fc_block_acts){0};
        if (size->backward || l == 0)
            b = cut_block(c, s, kept, size);
        if (out)
            out->block[l] = b;
    }
    if (out)
        memcpy(out, &a, sizeof a);
    return out;
}

size_t fc_acts_bytes(const fc_vit_shape *s, const fc_acts_size *size, const fc_engine *e)
{
    cutter c = {0};
    place_acts(&c, s, size, e);
    return c.used;
}

fc_status fc_acts_new(fc_acts **out, const fc_vit_shape *s, const fc_acts_size *size,
                      const fc_engine *e, fc_error *err)
{
    size_t bytes = fc_acts_bytes(s, size, e);
    cutter c = {.base = aligned_alloc(64, bytes)};
    *out = NULL;
    if (!c.base)
        return fc_fail(err, FC_EFAIL, "activations of %d images: no memory for %zu bytes",
                       size->n_max, bytes);
    *out = place_acts(&c, s, size, e);
    return FC_OK;
}

void fc_acts_free(fc_acts *a)
{
    free(a);
}

const fc_real *fc_acts_logits(const fc_acts *a)
{
    return a->logits;
}

const fc_real *fc_acts_features(const fc_acts *a)
{
    return a->features;
}
