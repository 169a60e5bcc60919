#include "sim/expert_file.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fc_opt tasks_row = {.key = "experts.tasks",
                                 .type = FC_OPT_INTS,
                                 .offset = offsetof(fc_expert_file, tasks),
                                 .low = 1,
                                 .high = 1e6};

/* What the network of WEMoE depends on. */
static const fc_opt wemoe_rows[] = {{.key = "router_layers",
                                     .type = FC_OPT_INT,
                                     .offset = offsetof(fc_wemoe_options, router_layers),
                                     .low = 0,
                                     .high = 2},
                                    {.key = "batch_reduce",
                                     .type = FC_OPT_BOOL,
                                     .offset = offsetof(fc_wemoe_options, batch_reduce)}};
enum { WEMOE_ROWS = sizeof wemoe_rows / sizeof *wemoe_rows };

static const char *kind_of(const fc_expert_file *x)
{
    return x->smile ? "smile" : x->wemoe ? "wemoe" : "emr";
}

/* --- writing ------------------------------------------------------------------------------------
 */

typedef struct writer {
    const char *kind; /* of experts: what names begin with */
    fc_st_entry *e;
    int n;
    fc_arena *arena;
} writer;

static fc_status put(writer *w, const char *name, fc_dtype dtype, int64_t rows, int64_t cols,
                     const void *data)
{
    w->e[w->n++] = (fc_st_entry){name, dtype, 2, {rows, cols}, data};
    return name ? FC_OK : FC_EFAIL;
}

static const fc_dtype real_dtype = sizeof(fc_real) == sizeof(double) ? FC_F64 : FC_F32;

static fc_status put_expert(writer *w, const fc_experts *of, int e, const char *weight,
                            fc_error *err)
{
    const fc_expert *x = &of->expert[e];
    fc_arena *a = w->arena;
    if (x->dense) {
        FC_TRY(put(w, fc_arena_format(a, err, "%s.%s.%d.W", w->kind, weight, e), real_dtype,
                   of->rows, of->cols, x->dense));
    } else {
        FC_TRY(put(w, fc_arena_format(a, err, "%s.%s.%d.B", w->kind, weight, e), real_dtype,
                   of->rows, x->rank, x->B));
        FC_TRY(put(w, fc_arena_format(a, err, "%s.%s.%d.A", w->kind, weight, e), real_dtype,
                   x->rank, of->cols, x->A));
    }
    return x->bias ? put(w, fc_arena_format(a, err, "%s.%s.%d.bias", w->kind, weight, e),
                         real_dtype, 1, of->rows, x->bias)
                   : FC_OK;
}

static fc_status put_smile(writer *w, const fc_smile *s, const char *weight, fc_error *err)
{
    int64_t *gate = fc_arena_alloc(w->arena, (size_t)s->of.n, sizeof *gate, err), all = 0;
    if (!gate)
        return FC_EFAIL;
    for (int e = 0; e < s->of.n; e++) {
        FC_TRY(put_expert(w, &s->of, e, weight, err));
        gate[e] = s->gate[e];
        all += gate[e];
    }
    FC_TRY(
        put(w, fc_arena_format(w->arena, err, "smile.%s.gate", weight), FC_I64, 1, s->of.n, gate));
    return put(w, fc_arena_format(w->arena, err, "smile.%s.router", weight), real_dtype, all,
               s->of.cols, s->G);
}

static fc_status put_gates(writer *w, const fc_params *gates, fc_error *err)
{
    for (int i = 0; i < gates->nspec; i++) {
        const fc_spec *s = &gates->spec[i];
        FC_TRY(put(w, fc_arena_format(w->arena, err, "wemoe.%s", s->name), real_dtype, s->rows,
                   s->cols, gates->p + s->offset));
    }
    return FC_OK;
}

static size_t mask_bytes(const fc_tv_shape *s)
{
    return (fc_tv_size(s) + 7) / 8;
}

static fc_status put_emr(writer *w, const fc_emr *x, int t, fc_error *err)
{
    const fc_tv_shape *s = &x->shape[t];
    size_t bytes = mask_bytes(s), n = (size_t)x->n;
    unsigned char *mask = fc_arena_alloc(w->arena, n, bytes, err);
    if (!mask)
        return FC_EFAIL;
    for (size_t i = 0; i < n; i++)
        memcpy(mask + i * bytes, x->mask[i * (size_t)x->tensors + (size_t)t], bytes);
    FC_TRY(put(w, fc_arena_format(w->arena, err, "emr.%s.unified", s->name), FC_F64, s->rows,
               s->cols, x->unified[t]));
    return put(w, fc_arena_format(w->arena, err, "emr.%s.mask", s->name), FC_U8, x->n,
               (int64_t)bytes, mask);
}

static fc_status put_all(writer *w, const fc_model *m, const fc_expert_file *x, fc_error *err)
{
    fc_params layout;
    FC_TRY(fc_vit_layout(&layout, m->shape, w->arena, err));
    int slots = x->emr ? 0 : fc_vit_slots(m->shape), tensors = x->emr ? x->emr->tensors : 0;
    size_t most = (size_t)slots * (3 * (size_t)x->n + 2) + 2 * (size_t)tensors + 1;
    w->e = fc_arena_alloc(w->arena, most, sizeof *w->e, err);
    if (!w->e)
        return FC_EFAIL;
    for (int i = 0; i < slots; i++) {
        const char *weight = layout.spec[fc_slot_tensor(i)].name;
        const fc_experts *mlp = x->wemoe ? fc_wemoe_experts(x->wemoe, i) : NULL;
        if (x->smile && x->smile[i].of.n > 0)
            FC_TRY(put_smile(w, &x->smile[i], weight, err));
        for (int e = 0; mlp && e < mlp->n; e++)
            FC_TRY(put_expert(w, mlp, e, weight, err));
    }
    if (x->wemoe)
        FC_TRY(put_gates(w, &x->wemoe->gates, err));
    for (int t = 0; t < tensors; t++)
        FC_TRY(put_emr(w, x->emr, t, err));
    return x->emr ? put(w, "emr.rescaler", FC_F64, 1, x->n, x->emr->rescaler) : FC_OK;
}

static int top_k(const fc_expert_file *x, const fc_vit_shape *shape)
{
    for (int i = 0; i < fc_vit_slots(shape); i++)
        if (x->smile[i].of.n > 0)
            return x->smile[i].top_k;
    return 1;
}

/* What the file says of its experts. */
static fc_status make_metadata(const char *(*pair)[2], int *n, const fc_model *m,
                               const fc_expert_file *x, fc_arena *arena, fc_error *err)
{
    const fc_wemoe_options o = {.router_layers = x->wemoe ? x->wemoe->router_layers : 0,
                                .batch_reduce = x->wemoe && x->wemoe->batch_reduce};
    const char *const own[][2] = {
        {"experts", kind_of(x)},
        {tasks_row.key, fc_opt_print(x, &tasks_row, arena, err)},
        {"top_k", x->smile ? fc_arena_format(arena, err, "%d", top_k(x, m->shape)) : ""}};
    *n = x->smile ? 3 : 2;
    memcpy(pair, own, (size_t)*n * sizeof *pair);
    for (int i = 0; x->wemoe && i < WEMOE_ROWS; i++, ++*n) {
        pair[*n][0] = wemoe_rows[i].key;
        pair[*n][1] = fc_opt_print(&o, &wemoe_rows[i], arena, err);
    }
    for (int i = 0; i < *n; i++)
        if (!pair[i][1])
            return FC_EFAIL;
    return FC_OK;
}

static fc_status write(const char *path, const fc_model *m, const fc_expert_file *x, fc_pairs meta,
                       int n_meta, fc_arena *arena, fc_error *err)
{
    writer w = {.kind = kind_of(x), .arena = arena};
    int n;
    FC_TRY(put_all(&w, m, x, err));
    const char *(*pair)[2] = fc_arena_alloc(arena, (size_t)n_meta + 4, sizeof *pair, err);
    if (!pair)
        return FC_EFAIL;
    FC_TRY(make_metadata(pair, &n, m, x, arena, err));
    if (n_meta > 0)
        memcpy(pair + n, meta, (size_t)n_meta * sizeof *pair);
    const fc_vit_extra extra = {(fc_pairs)pair, n + n_meta, w.e, w.n};
    return fc_vit_save(path, m, &extra, err);
}

fc_status fc_expert_file_write(const char *path, const fc_model *m, const fc_expert_file *x,
                               fc_pairs meta, int n_meta, fc_error *err)
{
    fc_arena arena = {0};
    fc_status s = write(path, m, x, meta, n_meta, &arena, err);
    fc_arena_free(&arena);
    return s;
}

/* --- reading ------------------------------------------------------------------------------------
 */

typedef struct reader {
    fc_st file;
    const char *kind;
    bool *seen; /* (file.n) tensors that were asked for */
    fc_arena *arena;
} reader;

/* The tensor of that name; rows or cols -1: any. *t NULL if there is none. */
static fc_status find(const fc_tensor **t, const reader *r, const char *name, int64_t rows,
                      int64_t cols, fc_error *err)
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

static fc_status need(const fc_tensor **t, const reader *r, const char *name, int64_t rows,
                      int64_t cols, fc_error *err)
{
    FC_TRY(find(t, r, name, rows, cols, err));
    return *t ? FC_OK : fc_fail(err, FC_EDATA, "%s: no tensor %s", r->file.path, name);
}

static fc_status reals(fc_real **out, const reader *r, const fc_tensor *t, fc_error *err)
{
    *out = fc_arena_alloc(r->arena, t->count, sizeof **out, err);
    return *out ? fc_st_read(*out, &r->file, t, err) : FC_EFAIL;
}

static const char *name_of(const reader *r, const char *weight, int e, const char *end,
                           fc_error *err)
{
    return fc_arena_format(r->arena, err, "%s.%s.%d.%s", r->kind, weight, e, end);
}

static fc_status read_expert(fc_expert *x, const reader *r, const char *weight, int e, int rows,
                             int cols, fc_error *err)
{
    const fc_tensor *W, *B, *A, *bias;
    fc_real *b;
    FC_TRY(find(&W, r, name_of(r, weight, e, "W", err), rows, cols, err));
    FC_TRY(find(&bias, r, name_of(r, weight, e, "bias", err), 1, rows, err));
    if (bias) {
        FC_TRY(reals(&b, r, bias, err));
        x->bias = b;
    }
    if (W)
        return reals(&x->dense, r, W, err);
    FC_TRY(need(&B, r, name_of(r, weight, e, "B", err), rows, -1, err));
    FC_TRY(need(&A, r, name_of(r, weight, e, "A", err), B->dim[1], cols, err));
    x->rank = (int)B->dim[1];
    if (x->rank > (rows < cols ? rows : cols))
        return fc_fail(err, FC_EDATA, "%s: tensor %s: rank %d of a (%d, %d) weight", r->file.path,
                       B->name, x->rank, rows, cols);
    FC_TRY(reals(&x->B, r, B, err));
    return reals(&x->A, r, A, err);
}

/* n of a layer whose sizes are known. */
static fc_status read_experts(fc_experts *of, const reader *r, const char *weight, int n,
                              fc_error *err)
{
    of->n = n;
    of->expert = fc_arena_alloc(r->arena, (size_t)n, sizeof *of->expert, err);
    if (!of->expert)
        return FC_EFAIL;
    for (int e = 0; e < n; e++)
        FC_TRY(read_expert(&of->expert[e], r, weight, e, of->rows, of->cols, err));
    return FC_OK;
}

static fc_status read_gates(fc_smile *s, fc_expert_file *x, const reader *r, const char *weight,
                            fc_error *err)
{
    const fc_tensor *gate, *router;
    double *v = fc_arena_alloc(r->arena, (size_t)x->n, sizeof *v, err);
    int64_t all = 0;
    s->gate = fc_arena_alloc(r->arena, (size_t)x->n, sizeof *s->gate, err);
    if (!v || !s->gate)
        return FC_EFAIL;
    FC_TRY(need(&gate, r, fc_arena_format(r->arena, err, "smile.%s.gate", weight), 1, x->n, err));
    FC_TRY(fc_st_read_double(v, &r->file, gate, err));
    for (int e = 0; e < x->n; e++) {
        if (!(v[e] >= 0 && v[e] <= s->of.cols && v[e] <= s->of.rows))
            return fc_fail(err, FC_EDATA, "%s: tensor %s: %g vectors of a (%d, %d) weight",
                           r->file.path, gate->name, v[e], s->of.rows, s->of.cols);
        s->gate[e] = (int)v[e];
        all += s->gate[e];
        x->gate_k = s->gate[e] > x->gate_k ? s->gate[e] : x->gate_k;
    }
    FC_TRY(need(&router, r, fc_arena_format(r->arena, err, "smile.%s.router", weight), all,
                s->of.cols, err));
    return reals(&s->G, r, router, err);
}

static fc_status read_smile(fc_expert_file *x, const reader *r, const fc_vit_shape *shape,
                            fc_error *err)
{
    fc_params layout;
    const char *text = fc_st_metadata(&r->file, "top_k");
    long k = text ? strtol(text, NULL, 10) : 0;
    if (!(k >= 1 && k <= x->n))
        return fc_fail(err, FC_EDATA, "%s: metadata: top_k: expected 1 to %d", r->file.path, x->n);
    FC_TRY(fc_vit_layout(&layout, shape, r->arena, err));
    x->gate_k = 1;
    fc_smile *smile = fc_arena_alloc(r->arena, (size_t)fc_vit_slots(shape), sizeof *smile, err);
    if (!smile)
        return FC_EFAIL;
    x->smile = smile;
    for (int i = 0; i < fc_vit_slots(shape); i++) {
        const fc_tensor *gate;
        fc_smile *s = &smile[i];
        const char *weight = layout.spec[fc_slot_tensor(i)].name;
        FC_TRY(
            find(&gate, r, fc_arena_format(r->arena, err, "smile.%s.gate", weight), 1, x->n, err));
        if (!gate)
            continue;
        s->top_k = (int)k;
        fc_slot_dims(shape, i, &s->of.rows, &s->of.cols);
        FC_TRY(read_experts(&s->of, r, weight, x->n, err));
        FC_TRY(read_gates(s, x, r, weight, err));
    }
    return FC_OK;
}

static fc_status read_wemoe_options(fc_wemoe_options *o, const reader *r, fc_error *err)
{
    for (int i = 0; i < WEMOE_ROWS; i++) {
        const char *text = fc_st_metadata(&r->file, wemoe_rows[i].key);
        fc_error why = {0};
        if (fc_opt_set(o, &wemoe_rows[i], text ? text : "", wemoe_rows[i].key, r->arena, &why) !=
            FC_OK)
            return fc_fail(err, FC_EDATA, "%s: metadata: %s", r->file.path, why.msg);
    }
    return FC_OK;
}

/* The experts of an MLP's layer, if it has some. */
static fc_status read_mlp(fc_experts *of, const reader *r, const char *weight, int n, fc_error *err)
{
    const fc_tensor *W, *B;
    FC_TRY(find(&W, r, name_of(r, weight, 0, "W", err), of->rows, of->cols, err));
    FC_TRY(find(&B, r, name_of(r, weight, 0, "B", err), of->rows, -1, err));
    return W || B ? read_experts(of, r, weight, n, err) : FC_OK;
}

static fc_status read_wemoe(fc_expert_file *x, const reader *r, const fc_vit_shape *shape,
                            fc_error *err)
{
    fc_params layout;
    fc_wemoe_options o = {0};
    fc_wemoe *m = fc_arena_alloc(r->arena, 1, sizeof *m, err);
    if (!m)
        return FC_EFAIL;
    x->wemoe = m;
    FC_TRY(read_wemoe_options(&o, r, err));
    FC_TRY(fc_vit_layout(&layout, shape, r->arena, err));
    FC_TRY(fc_wemoe_alloc(m, shape, x->n, &o, r->arena, err));
    fc_experts *of = m->mlp; /* in the order of their slots */
    for (int i = 0; i < fc_vit_slots(shape); i++)
        if (fc_wemoe_experts(m, i))
            FC_TRY(read_mlp(of++, r, layout.spec[fc_slot_tensor(i)].name, x->n, err));
    for (int i = 0; i < m->gates.nspec; i++) {
        const fc_spec *s = &m->gates.spec[i];
        const fc_tensor *t;
        FC_TRY(need(&t, r, fc_arena_format(r->arena, err, "wemoe.%s", s->name), s->rows, s->cols,
                    err));
        FC_TRY(fc_st_read(m->gates.p + s->offset, &r->file, t, err));
    }
    return FC_OK;
}

static fc_status read_mask(fc_emr *m, const reader *r, int t, fc_error *err)
{
    const fc_tv_shape *s = &m->shape[t];
    const fc_tensor *mask;
    size_t bytes = mask_bytes(s), n = (size_t)m->n;
    FC_TRY(need(&mask, r, fc_arena_format(r->arena, err, "emr.%s.mask", s->name), m->n,
                (int64_t)bytes, err));
    if (mask->dtype != FC_U8)
        return fc_fail(err, FC_EDATA, "%s: tensor %s: expected dtype U8", r->file.path, mask->name);
    unsigned char *copy = fc_arena_alloc(r->arena, n, bytes, err);
    if (!copy)
        return FC_EFAIL;
    memcpy(copy, mask->data, n * bytes);
    for (size_t i = 0; i < n; i++)
        m->mask[i * (size_t)m->tensors + (size_t)t] = copy + i * bytes;
    return FC_OK;
}

static fc_status read_emr(fc_expert_file *x, const reader *r, const fc_vit_shape *shape,
                          fc_error *err)
{
    fc_params layout;
    const fc_tensor *scale;
    fc_arena *a = r->arena;
    FC_TRY(fc_vit_layout(&layout, shape, a, err));
    size_t most = (size_t)layout.nspec, n = (size_t)x->n;
    fc_emr *m = fc_arena_alloc(a, 1, sizeof *m, err);
    fc_tv_shape *s = fc_arena_alloc(a, most, sizeof *s, err);
    const fc_tensor **unified = fc_arena_alloc(a, most, sizeof *unified, err);
    if (!m || !s || !unified)
        return FC_EFAIL;
    for (int i = 0; i < layout.nspec; i++) {
        const fc_spec *spec = &layout.spec[i];
        s[m->tensors] = (fc_tv_shape){spec->name, spec->rows, spec->cols, false};
        FC_TRY(find(&unified[m->tensors], r, fc_arena_format(a, err, "emr.%s.unified", spec->name),
                    spec->rows, spec->cols, err));
        m->tensors += unified[m->tensors] != NULL;
    }
    x->emr = m;
    m->n = x->n;
    m->shape = s;
    m->unified = fc_arena_alloc(a, most, sizeof *m->unified, err);
    m->mask = fc_arena_alloc(a, n * most, sizeof *m->mask, err);
    m->rescaler = fc_arena_alloc(a, n, sizeof *m->rescaler, err);
    if (!m->unified || !m->mask || !m->rescaler)
        return FC_EFAIL;
    for (int t = 0; t < m->tensors; t++) {
        m->unified[t] = fc_arena_alloc(a, unified[t]->count, sizeof **m->unified, err);
        if (!m->unified[t])
            return FC_EFAIL;
        FC_TRY(fc_st_read_double(m->unified[t], &r->file, unified[t], err));
        FC_TRY(read_mask(m, r, t, err));
    }
    FC_TRY(need(&scale, r, "emr.rescaler", 1, x->n, err));
    return fc_st_read_double(m->rescaler, &r->file, scale, err);
}

/* By the names of their rules. */
static const struct {
    const char *rule;
    fc_status (*read)(fc_expert_file *x, const reader *r, const fc_vit_shape *shape, fc_error *err);
} kinds[] = {{"smile", read_smile}, {"wemoe", read_wemoe}, {"emr", read_emr}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int find_kind(const char *rule)
{
    int i = 0;
    while (i < KINDS && strcmp(kinds[i].rule, rule) != 0)
        i++;
    return i < KINDS ? i : -1;
}

bool fc_expert_file_keeps(const char *rule)
{
    return find_kind(rule) >= 0;
}

/* Every tensor of experts is one of this network. */
static fc_status check_all_read(const reader *r, fc_error *err)
{
    size_t n = strlen(r->kind);
    for (int i = 0; i < r->file.n; i++) {
        const char *name = r->file.tensor[i].name;
        if (!r->seen[i] && strncmp(name, r->kind, n) == 0 && name[n] == '.')
            return fc_fail(err, FC_EDATA, "%s: tensor %s belongs to no layer of its network",
                           r->file.path, name);
    }
    return FC_OK;
}

static fc_status read_file(fc_expert_file *x, reader *r, const fc_vit_shape *shape, fc_error *err)
{
    r->kind = fc_st_metadata(&r->file, "experts");
    const char *tasks = fc_st_metadata(&r->file, tasks_row.key);
    fc_error why = {0};
    if (!r->kind)
        return FC_OK;
    int kind = find_kind(r->kind);
    if (kind < 0)
        return fc_fail(err, FC_EDATA,
                       "%s: metadata: experts: '%.60s', expected smile, wemoe or emr", r->file.path,
                       r->kind);
    if (fc_opt_set(x, &tasks_row, tasks ? tasks : "", "experts.tasks", r->arena, &why) != FC_OK ||
        x->tasks.n < 1)
        return fc_fail(err, FC_EDATA, "%s: metadata: experts.tasks: expected a list of numbers",
                       r->file.path);
    x->n = x->tasks.n;
    r->seen = fc_arena_alloc(r->arena, (size_t)r->file.n, sizeof *r->seen, err);
    if (!r->seen)
        return FC_EFAIL;
    FC_TRY(kinds[kind].read(x, r, shape, err));
    return check_all_read(r, err);
}

fc_status fc_expert_file_read(fc_expert_file *x, const char *path, const fc_vit_shape *shape,
                              fc_arena *arena, fc_error *err)
{
    reader r = {.arena = arena};
    *x = (fc_expert_file){0};
    FC_TRY(fc_st_open(&r.file, path, err));
    fc_status s = read_file(x, &r, shape, err);
    fc_st_close(&r.file);
    return s;
}

fc_acts_size fc_expert_file_acts(const fc_expert_file *x)
{
    return (fc_acts_size){.experts = x->smile || x->wemoe ? x->n : 0,
                          .gate_k = x->gate_k,
                          .gates = x->wemoe != NULL,
                          .whole = x->wemoe && x->wemoe->batch_reduce};
}
