#include "sim/train/expert_tensors.h"

#include <assert.h>
#include <string.h>

/* "<rule>.<weight>.<e>.<end>" */
static const char *expert_name(const char *rule, const char *weight, int e, const char *end,
                               fc_arena *arena, fc_error *err)
{
    return fc_arena_format(arena, err, "%s.%s.%d.%s", rule, weight, e, end);
}

/* --- writing ------------------------------------------------------------------------------------
 */

/* Room for one entry more; the list is twice as long each time. */
static fc_status grow_entries(fc_expert_writer *w, fc_error *err)
{
    enum { FIRST = 64 };
    if (w->entries < w->room)
        return FC_OK;
    int room = w->room ? 2 * w->room : FIRST;
    fc_st_entry *entry = fc_arena_alloc(w->arena, (size_t)room, sizeof *entry, err);
    if (!entry)
        return FC_EFAIL;
    if (w->entries > 0)
        memcpy(entry, w->entry, (size_t)w->entries * sizeof *entry);
    w->entry = entry;
    w->room = room;
    return FC_OK;
}

fc_status fc_expert_put(fc_expert_writer *w, const char *name, fc_dtype dtype, int64_t rows,
                        int64_t cols, const void *data, fc_error *err)
{
    FC_TRY(grow_entries(w, err));
    w->entry[w->entries++] = (fc_st_entry){name, dtype, 2, {rows, cols}, data};
    return name ? FC_OK : FC_EFAIL;
}

fc_status fc_expert_put_reals(fc_expert_writer *w, const char *name, int64_t rows, int64_t cols,
                              const fc_real *data, fc_error *err)
{
    const fc_dtype dtype = sizeof(fc_real) == sizeof(double) ? FC_F64 : FC_F32;
    return fc_expert_put(w, name, dtype, rows, cols, data, err);
}

static fc_status put_part(fc_expert_writer *w, const char *weight, int e, const char *end, int rows,
                          int cols, const fc_real *data, fc_error *err)
{
    const char *name = expert_name(w->rule, weight, e, end, w->arena, err);
    return fc_expert_put_reals(w, name, rows, cols, data, err);
}

static fc_status put_expert(fc_expert_writer *w, const fc_experts *of, int e, const char *weight,
                            fc_error *err)
{
    const fc_expert *x = &of->expert[e];
    if (x->dense) {
        FC_TRY(put_part(w, weight, e, "W", of->rows, of->cols, x->dense, err));
    } else {
        FC_TRY(put_part(w, weight, e, "B", of->rows, x->rank, x->B, err));
        FC_TRY(put_part(w, weight, e, "A", x->rank, of->cols, x->A, err));
    }
    return x->bias ? put_part(w, weight, e, "bias", 1, of->rows, x->bias, err) : FC_OK;
}

fc_status fc_expert_put_layer(fc_expert_writer *w, const fc_experts *of, const char *weight,
                              fc_error *err)
{
    for (int e = 0; e < of->n; e++)
        FC_TRY(put_expert(w, of, e, weight, err));
    return FC_OK;
}

fc_status fc_expert_say(fc_expert_writer *w, const char *key, const char *value)
{
    assert(w->pairs < FC_EXPERT_PAIRS);
    w->pair[w->pairs][0] = key;
    w->pair[w->pairs++][1] = value;
    return value ? FC_OK : FC_EFAIL;
}

/* --- reading ------------------------------------------------------------------------------------
 */

fc_status fc_expert_find(const fc_tensor **t, const fc_expert_reader *r, const char *name,
                         int64_t rows, int64_t cols, fc_error *err)
{
    char found[128];
    if (!name)
        return FC_EFAIL;
    *t = fc_st_find(&r->file, name);
    if (!*t)
        return FC_OK;
    r->seen[*t - r->file.tensor] = true;
    bool good = (*t)->ndim == 2 && (rows < 0 || (*t)->dim[0] == rows) &&
                (cols < 0 || (*t)->dim[1] == cols) && (*t)->dim[0] <= 1 << 30 &&
                (*t)->dim[1] <= 1 << 30;
    return good
               ? FC_OK
               : fc_fail(err, FC_EDATA,
                         "%s: tensor %s has shape %s, which does not fit its network", r->file.path,
                         name, fc_st_shape(found, sizeof found, (*t)->ndim, (*t)->dim));
}

fc_status fc_expert_need(const fc_tensor **t, const fc_expert_reader *r, const char *name,
                         int64_t rows, int64_t cols, fc_error *err)
{
    FC_TRY(fc_expert_find(t, r, name, rows, cols, err));
    return *t ? FC_OK : fc_fail(err, FC_EDATA, "%s: no tensor %s", r->file.path, name);
}

fc_status fc_expert_reals(fc_real **out, const fc_expert_reader *r, const fc_tensor *t,
                          fc_error *err)
{
    *out = fc_arena_alloc(r->arena, t->count, sizeof **out, err);
    return *out ? fc_st_read(*out, &r->file, t, err) : FC_EFAIL;
}

static const char *name_of(const fc_expert_reader *r, const char *weight, int e, const char *end,
                           fc_error *err)
{
    return expert_name(r->rule, weight, e, end, r->arena, err);
}

/* One of a layer that is (rows, cols). */
static fc_status read_expert(fc_expert *x, const fc_expert_reader *r, const char *weight, int e,
                             int rows, int cols, fc_error *err)
{
    const fc_tensor *W, *B, *A, *bias;
    fc_real *b;
    FC_TRY(fc_expert_find(&W, r, name_of(r, weight, e, "W", err), rows, cols, err));
    FC_TRY(fc_expert_find(&bias, r, name_of(r, weight, e, "bias", err), 1, rows, err));
    if (bias) {
        FC_TRY(fc_expert_reals(&b, r, bias, err));
        x->bias = b;
    }
    if (W)
        return fc_expert_reals(&x->dense, r, W, err);
    FC_TRY(fc_expert_need(&B, r, name_of(r, weight, e, "B", err), rows, -1, err));
    FC_TRY(fc_expert_need(&A, r, name_of(r, weight, e, "A", err), B->dim[1], cols, err));
    x->rank = (int)B->dim[1];
    if (x->rank > (rows < cols ? rows : cols))
        return fc_fail(err, FC_EDATA, "%s: tensor %s: rank %d of a (%d, %d) weight", r->file.path,
                       B->name, x->rank, rows, cols);
    FC_TRY(fc_expert_reals(&x->B, r, B, err));
    return fc_expert_reals(&x->A, r, A, err);
}

fc_status fc_expert_read_layer(fc_experts *of, const fc_expert_reader *r, const char *weight,
                               fc_error *err)
{
    of->n = r->n;
    of->expert = fc_arena_alloc(r->arena, (size_t)r->n, sizeof *of->expert, err);
    if (!of->expert)
        return FC_EFAIL;
    for (int e = 0; e < r->n; e++)
        FC_TRY(read_expert(&of->expert[e], r, weight, e, of->rows, of->cols, err));
    return FC_OK;
}

fc_status fc_expert_has_layer(bool *has, const fc_expert_reader *r, const fc_experts *of,
                              const char *weight, fc_error *err)
{
    const fc_tensor *W, *B;
    FC_TRY(fc_expert_find(&W, r, name_of(r, weight, 0, "W", err), of->rows, of->cols, err));
    FC_TRY(fc_expert_find(&B, r, name_of(r, weight, 0, "B", err), of->rows, -1, err));
    *has = W || B;
    return FC_OK;
}
