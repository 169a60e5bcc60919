/* Updates at the edge, for what keeps its experts or learns coefficients: SMILE, EMR, WEMoE,
 * AdaMerging. A model that computes, or a refusal that names update and tensor. */
#include "core/merge/rules/adamerging.h"
#include "core/merge/rules/rule_emr.h"
#include "core/merge/rules/smile.h"
#include "core/merge/rules/wemoe.h"
#include "tests/support/expert_fixture.h"

enum { RANK = 2, MANY = 5, NUMBERS = XF_IMAGES * XF_CLASSES };
static const fc_smile_options smile_options = {2, 4, 1, .routing_use_diff = true};
static const fc_wemoe_options wemoe_options = {0.3, 2, false};
static const fc_ada_options ada_options = {true, 0.3, 1e-3};

/* The network of the set in f: f->w and what m points to. */
typedef fc_status merge(fc_model *m, xf *f, fc_error *err);

static fc_status smile(fc_model *m, xf *f, fc_error *err)
{
    fc_smile *s = xf_alloc(f, (size_t)fc_vit_slots(&xf_shape), sizeof *s);
    m->smile = s;
    return fc_smile_backbone(s, f->w.p, &xf_shape, &f->set, &smile_options, &f->arena, err);
}

static fc_status wemoe(fc_model *m, xf *f, fc_error *err)
{
    fc_wemoe *w = xf_alloc(f, 1, sizeof *w);
    m->wemoe = w;
    return fc_wemoe_init(w, f->w.p, &xf_shape, &f->set, &wemoe_options, 1, &f->arena, err);
}

/* The model of the last update. */
static fc_status emr(fc_model *m, xf *f, fc_error *err)
{
    fc_emr e;
    (void)m;
    FC_TRY(fc_emr_merge(&e, &f->set, &f->arena, err));
    return fc_emr_apply(f->w.p, &f->layout, &e, f->set.n - 1, err);
}

/* After a step down a gradient of ones. */
static fc_status adamerging(fc_model *m, xf *f, fc_error *err)
{
    fc_adamerging a;
    double **out = xf_alloc(f, (size_t)f->set.tensors, sizeof *out);
    (void)m;
    for (int t = 0; t < f->set.tensors; t++)
        out[t] = xf_alloc(f, fc_tv_size(&f->shape[t]), sizeof **out);
    FC_TRY(fc_ada_init(&a, &f->set, &ada_options, &f->arena, err));
    for (int t = 0; t < f->set.tensors; t++)
        for (size_t e = 0; e < fc_tv_size(&f->shape[t]); e++)
            out[t][e] = 1;
    FC_TRY(fc_ada_gradient(&a, (const double *const *)out, err));
    fc_ada_step(&a);
    FC_TRY(fc_ada_merge(out, &a, err));
    for (int t = 0; t < f->set.tensors; t++) {
        const fc_spec *s = fc_params_find(&f->layout, f->shape[t].name);
        for (size_t e = 0; e < fc_tv_size(&f->shape[t]); e++)
            f->w.p[s->offset + e] += (fc_real)out[t][e];
    }
    return FC_OK;
}

static const struct {
    const char *name;
    merge *merge;
} merges[] = {{"smile", smile}, {"wemoe", wemoe}, {"emr", emr}, {"adamerging", adamerging}};
enum { MERGES = sizeof merges / sizeof *merges };

/* Factors times c: B where there are factors. */
static void times(xf *f, int update, int tensor, double c)
{
    fc_tv *tv = &f->tv[fc_tv_index(&f->set, update, tensor)];
    const fc_tv_shape *s = &f->shape[tensor];
    size_t n = tv->rank ? (size_t)s->rows * (size_t)tv->rank : fc_tv_size(s);
    const double *x = tv->rank ? tv->B : tv->dense;
    double *y = xf_alloc(f, n, sizeof *y);
    for (size_t i = 0; i < n; i++)
        y[i] = c * x[i];
    *(tv->rank ? &tv->B : &tv->dense) = y;
}

static void zero_update(xf *f)
{
    for (int t = 0; t < f->set.tensors; t++)
        times(f, f->set.n - 1, t, 0);
}

static void zero_layer(xf *f)
{
    for (int k = 0; k < f->set.n; k++)
        times(f, k, f->set.tensors - 1, 0);
}

static void all_times(xf *f, double c)
{
    for (int k = 0; k < f->set.n; k++)
        for (int t = 0; t < f->set.tensors; t++)
            times(f, k, t, c);
}

static void all_zero(xf *f)
{
    all_times(f, 0);
}

static void tiny(xf *f)
{
    all_times(f, 1e-30);
}

static void huge(xf *f)
{
    all_times(f, 1e30);
}

static void equal(xf *f)
{
    for (int k = f->set.tensors; k < f->set.n * f->set.tensors; k++)
        f->tv[k] = f->tv[k % f->set.tensors];
}

static void as_they_are(xf *f)
{
    (void)f;
}

static const struct {
    const char *name;
    void (*edit)(xf *f);
    int tasks;
    bool base; /* the logits are those of the base */
    bool runs; /* else numbers get too large for the network */
} edges[] = {
    {"one update", as_they_are, 1, false, true},
    {"more updates than ranks", as_they_are, MANY, false, true},
    {"equal updates", equal, XF_TASKS, false, true},
    {"an update of rank 0", zero_update, XF_TASKS, false, true},
    {"a layer of zeros", zero_layer, XF_TASKS, false, true},
    {"zeros", all_zero, XF_TASKS, true, true},
    {"tiny", tiny, XF_TASKS, true, true},
    {"huge", huge, XF_TASKS, false, false},
};
enum { EDGES = sizeof edges / sizeof *edges };

static void try_edge(int k, int e, int rank)
{
    xf f;
    fc_error err = {0};
    fc_real base[NUMBERS], got[NUMBERS];
    xf_init(&f, edges[e].tasks, rank, 0.1);
    edges[e].edit(&f);
    fc_model m = xf_model(&f);
    const fc_acts_size plain = {.classes = XF_CLASSES, .n_max = XF_IMAGES};
    xf_forward(base, &f, &m, XF_IMAGES, &plain, &engine);
    if (merges[k].merge(&m, &f, &err) != FC_OK)
        fail_msg("%s of %s: %s", merges[k].name, edges[e].name, err.msg);
    for (size_t i = 0; i < f.w.n; i++)
        assert_true(isfinite(f.w.p[i]));
    const fc_acts_size size = {.classes = XF_CLASSES,
                               .n_max = XF_IMAGES,
                               .experts = f.set.n,
                               .gate_k = smile_options.gate_k,
                               .gates = m.wemoe};
    xf_forward(got, &f, &m, XF_IMAGES, &size, &engine);
    double moved = 0;
    for (int i = 0; i < NUMBERS && edges[e].runs; i++) {
        assert_true(isfinite(got[i]));
        if (edges[e].base)
            fc_close_at(got[i], base[i], 1e-5, 1e-5, merges[k].name, (size_t)i, __FILE__, __LINE__);
        moved = fmax(moved, fabs((double)(got[i] - base[i])));
    }
    /* EMR: the model of the last update, which may be the one of zeros */
    bool own = merges[k].merge == emr && edges[e].edit == zero_update;
    assert_true(edges[e].base || own || !edges[e].runs || moved > 1e-4);
    xf_free(&f);
}

static void test_edges(void **state)
{
    (void)state;
    for (int k = 0; k < MERGES; k++)
        for (int e = 0; e < EDGES; e++)
            for (int rank = 0; rank <= RANK; rank += RANK)
                try_edge(k, e, rank);
}

static void test_not_finite(void **state)
{
    (void)state;
    for (int k = 0; k < MERGES; k++)
        for (int rank = 0; rank <= RANK; rank += RANK) {
            xf f;
            fc_error err = {0};
            xf_init(&f, XF_TASKS, rank, 0.1);
            times(&f, 1, 2, rank ? (double)NAN : (double)INFINITY);
            fc_model m = xf_model(&f);
            assert_int_equal(merges[k].merge(&m, &f, &err), FC_EFAIL);
            assert_non_null(strstr(err.msg, "update 1"));
            assert_non_null(strstr(err.msg, f.shape[2].name));
            xf_free(&f);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_edges),
                                       cmocka_unit_test(test_not_finite)};
    fc_threads_init(2, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
