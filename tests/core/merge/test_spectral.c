/* Spectral rules and spaces: golden vectors, hand examples, laws, edges. What is
 * compared is never a singular vector: all results are free of LAPACK's choice of signs. */
#include "core/linalg/gemm.h"
#include "core/merge/rules/rule_average.h"
#include "core/merge/rules/rule_cart.h"
#include "core/merge/rules/rule_iso.h"
#include "core/merge/rules/rule_task_arithmetic.h"
#include "core/merge/rules/rule_ties.h"
#include "core/merge/rules/rule_tsv.h"
#include "core/merge/space.h"
#include "core/merge/spectral.h"
#include "tests/support/updates.h"

/* The same updates, dense. */
static void densify(weight *out, const weight *w)
{
    weight_init(out, w->set.n, w->shape.rows, w->shape.cols);
    for (int i = 0; i < w->set.n; i++) {
        double *x = numbers(out, fc_tv_size(&w->shape));
        fc_tv_dense(x, &w->tv[i], &w->shape);
        out->tv[i].dense = x;
    }
}

/* One weight through a rule; scratch must come back. */
static void apply(double *out, const weight *w, fc_combine *rule, const void *options)
{
    fc_arena arena = {0};
    fc_error err = {0};
    if (rule((double *const[]){out}, &w->set, options, &arena, &err) != FC_OK) {
        print_error("%s\n", err.msg);
        fail();
    }
    assert_int_equal(arena.used, 0);
    fc_arena_free(&arena);
}

/* ---- rules and spaces ----------------------------------------------------- */

/* sum_i mask_i X_i / 0.7 of one tensor; the mask, (n, rows, cols), is the option. */
static fc_status rule_dare(double *const *out, const fc_tv_set *in, const void *options,
                           fc_arena *arena, fc_error *err)
{
    const double *mask = options;
    size_t d = fc_tv_size(in->shape);
    double X[SIZE];
    (void)arena, (void)err;
    memset(out[0], 0, d * sizeof *out[0]);
    for (int i = 0; i < in->n; i++) {
        fc_tv_dense(X, &in->tv[i], in->shape);
        for (size_t e = 0; e < d; e++)
            out[0][e] += mask[(size_t)i * d + e] * X[e] / 0.7;
    }
    return FC_OK;
}

static const fc_task_arithmetic_options SUM = {1};
static const fc_ties_options TIES50 = {50, FC_TIES_MEAN, false, 1};
static const fc_tsv_options TSV = {1};
static const fc_iso_options ISO = {1, 0.6};
static const fc_cart_options CART = {0.1, 0.3, 1};

/* fc_combine with the space as its options. */
typedef struct in_space {
    fc_inner inner;
    bool knots;
    fc_knots_form form;
} in_space;

static fc_status rule_space(double *const *out, const fc_tv_set *in, const void *options,
                            fc_arena *arena, fc_error *err)
{
    const in_space *s = options;
    return s->knots ? fc_space_knots(out, in, &s->inner, s->form, 1e-5, arena, err)
                    : fc_space_core(out, in, &s->inner, arena, err);
}

static void in_core(double *out, const weight *w, fc_combine *rule, const void *options, bool iso)
{
    apply(out, w, rule_space, &(in_space){.inner = {rule, options, iso}});
}

static void in_knots(double *out, const weight *w, fc_knots_form form, fc_combine *rule,
                     const void *options, bool iso)
{
    apply(out, w, rule_space, &(in_space){{rule, options, iso}, true, form});
}

/* ---- golden vectors -------------------------------------------------------------------------- */

/* Golden TSV-Merge of more updates than a weight has singular vectors, k = 0, is 0: refused here.
 */
static void tsv_is_refused(const weight *w, fc_combine *rule, const void *options)
{
    double out[SIZE];
    fc_arena arena = {0};
    fc_error err = {0};
    assert_int_equal(rule((double *const[]){out}, &w->set, options, &arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "leave no singular vector to each"));
    fc_arena_free(&arena);
}

static void golden_core_space(void **state)
{
    (void)state;
    const char *files[] = {"core_space_5x7", "core_space_8x9"};
    for (int f = 0; f < 2; f++) {
        gold g = gold_open(files[f]);
        weight w;
        double out[SIZE];
        golden_pairs(&w, &g);
        in_core(out, &w, fc_rule_task_arithmetic, &SUM, false);
        near_golden(out, &g, "ta");
        in_core(out, &w, fc_rule_average, NULL, false);
        near_golden(out, &g, "mean");
        in_core(out, &w, fc_rule_ties, &TIES50, false);
        near_golden(out, &g, "ties50");
        if (gold_int(&g, "out.tsv_k") > 0) {
            in_core(out, &w, fc_rule_tsv, &TSV, false);
            near_golden(out, &g, "tsv");
            in_core(out, &w, fc_rule_tsv, &TSV, true);
            near_golden(out, &g, "tsv_iso_support");
        } else {
            tsv_is_refused(&w, rule_space, &(in_space){.inner = {fc_rule_tsv, &TSV, false}});
        }
        in_core(out, &w, fc_rule_iso_c, &ISO, false);
        near_golden(out, &g, "iso_c");
        in_core(out, &w, fc_rule_task_arithmetic, &SUM, true);
        near_golden(out, &g, "iso_c");
        in_core(out, &w, rule_dare, gold_get(&g, "in.dare_mask")->v, false);
        near_golden(out, &g, "dare_sum");
        gold_close(&g);
    }
}

/* TSV-Merge of pairs, or of their dense form w. The V_i V_i^T add up to the identity, so that some
 * singular values of V_i are 1; where there are more of them than the k that TSV takes, it takes
 * any. */
static void golden_tsv_of_knots(const weight *w, const weight *pairs, const gold *g)
{
    const in_space knots_v = {{fc_rule_tsv, &TSV, false}, true, FC_KNOTS_V};
    int T = pairs->set.n, r = pairs->tv[0].rank, all = T * r, q = all;
    q = q < w->shape.rows ? q : w->shape.rows;
    int ones = r - (all - q), k = (int)((q < w->shape.cols ? q : w->shape.cols) * (1.0 / T));
    double out[SIZE];
    if (k == 0) {
        tsv_is_refused(w, rule_space, &knots_v);
        return;
    }
    apply(out, w, rule_space, &knots_v);
    if (ones <= 1 || k >= ones)
        near_golden(out, g, "tsv_v");
}

static void golden_knots(void **state)
{
    (void)state;
    const char *files[] = {"knots_5x7", "knots_8x9"};
    for (int f = 0; f < 2; f++) {
        gold g = gold_open(files[f]);
        weight pairs, dense;
        double out[SIZE];
        golden_pairs(&pairs, &g);
        densify(&dense, &pairs);
        for (int form = 0; form < 2; form++) {
            const weight *w = form ? &dense : &pairs;
            in_knots(out, w, FC_KNOTS_V, fc_rule_task_arithmetic, &SUM, false);
            near_golden(out, &g, "ta_v");
            in_knots(out, w, FC_KNOTS_V, fc_rule_ties, &TIES50, false);
            near_golden(out, &g, "ties50_v");
            golden_tsv_of_knots(w, &pairs, &g);
            in_knots(out, w, FC_KNOTS_V, fc_rule_task_arithmetic, &SUM, true);
            near_golden(out, &g, "ta_iso_support");
            in_knots(out, w, FC_KNOTS_SV, fc_rule_ties, &TIES50, false);
            near_golden(out, &g, "ties50_sv");
        }
        fc_arena_free(&dense.arena);
        gold_close(&g);
    }
}

static int lowest_rank(const weight *w)
{
    int lowest = w->shape.rows;
    for (int i = 0; i < w->set.n; i++) {
        fc_usv x;
        fc_arena arena = {0};
        assert_int_equal(fc_tv_svd(&x, &w->tv[i], &w->shape, &arena, NULL), FC_OK);
        lowest = fc_svd_rank(&x) < lowest ? fc_svd_rank(&x) : lowest;
        fc_arena_free(&arena);
    }
    return lowest;
}

static void golden_svd_merge(void **state)
{
    (void)state;
    const char *files[] = {"svd_merge_5x7", "svd_merge_8x9", "svd_merge_fullrank"};
    for (int f = 0; f < 3; f++) {
        gold g = gold_open(files[f]);
        weight w;
        double out[SIZE];
        gold_tensor first = gold_item(&g, "in.delta", 0);
        weight_init(&w, gold_count(&g, "in.delta"), first.dim[0], first.dim[1]);
        for (int i = 0; i < w.set.n; i++)
            w.tv[i].dense = gold_item(&g, "in.delta", i).v;
        fc_iso_options iso = {1, gold_scalar(&g, "param.frac")};
        int k = gold_int(&g, "out.tsv_k");
        if (k == 0)
            tsv_is_refused(&w, fc_rule_tsv, &TSV);
        else
            apply(out, &w, fc_rule_tsv, &TSV);
        if (k > 0 && k <= lowest_rank(&w)) /* else it holds arbitrary null vectors */
            near_golden(out, &g, "tsv");
        apply(out, &w, fc_rule_iso_c, &iso);
        if (gold_find(&g, "out.iso_c_support"))
            near_golden(out, &g, "iso_c_support");
        if (gold_find(&g, "out.iso_c"))
            near_golden(out, &g, "iso_c");
        if (gold_find(&g, "out.iso_cts")) {
            int per_task, q = first.dim[0] < first.dim[1] ? first.dim[0] : first.dim[1];
            int common = fc_iso_cts_common(&per_task, q, w.set.n, iso.common_fraction);
            assert_int_equal(common, gold_int(&g, "out.cts_common"));
            assert_int_equal(per_task, gold_int(&g, "out.cts_per_task"));
            apply(out, &w, fc_rule_iso_cts, &iso);
            near_golden(out, &g, "iso_cts");
        }
        gold_close(&g);
    }
}

/* ---- hand examples --------------------------------------------------------------------------- */

static void hand_examples(void **state)
{
    (void)state;
    weight w;
    double out[4];
    const double zero[4] = {0};
    dense_pair(&w, (const double[]){3, 0, 0, 0}, (const double[]){.5, .5, .5, .5});
    apply(out, &w, fc_rule_tsv, &TSV);
    assert_all_close(out, ((double[]){2.707107, -.707107, -.707107, 1.292893}), 4, 0, 1e-6);

    dense_pair(&w, (const double[]){3, 0, 0, 1}, zero);
    apply(out, &w, fc_rule_iso_c, &ISO);
    assert_all_close(out, ((double[]){2, 0, 0, 2}), 4, 0, 1e-14);

    /* mu = diag(1, -1); of the residuals diag(2, 1), diag(-1, 4), diag(-1, -5) the larger ends */
    dense_pair(&w, (const double[]){3, 0, 0, 0}, (const double[]){0, 0, 0, 3});
    w.tv[2].dense = (const double[]){0, 0, 0, -6};
    w.set.n = 3;
    apply(out, &w, fc_rule_cart, &(fc_cart_options){0.1, 0.04, 2});
    assert_all_close(out, ((double[]){2.4, 0, 0, -2.2}), 4, 0, 1e-14);

    const double A1[] = {1, 0}, B1[] = {1, 0}, A2[] = {0, 1}, B2[] = {0, 2};
    weight_init(&w, 2, 2, 2);
    w.tv[0] = (fc_tv){1, NULL, B1, A1};
    w.tv[1] = (fc_tv){1, NULL, B2, A2};
    in_core(out, &w, fc_rule_task_arithmetic, &SUM, false);
    assert_all_close(out, ((double[]){1, 0, 0, 2}), 4, 0, 1e-14);
    in_core(out, &w, fc_rule_iso_c, &ISO, false);
    assert_all_close(out, ((double[]){1.5, 0, 0, 1.5}), 4, 0, 1e-14);
}

/* ---- laws ------------------------------------------------------------------------------------ */

static void core_and_knots_equal_full_for_linear_rules(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        weight w;
        double full[SIZE], got[SIZE];
        random_weight(&w, shapes[s].n, shapes[s].rows, shapes[s].cols, shapes[s].r, 1);
        size_t d = fc_tv_size(&w.shape);
        apply(full, &w, fc_rule_task_arithmetic, &SUM);
        in_core(got, &w, fc_rule_task_arithmetic, &SUM, false);
        assert_near(got, full, d, 1e-12);
        in_knots(got, &w, FC_KNOTS_V, fc_rule_task_arithmetic, &SUM, false);
        assert_near(got, full, d, 1e-12);
        in_knots(got, &w, FC_KNOTS_SV, fc_rule_task_arithmetic, &SUM, false);
        assert_near(got, full, d, 1e-12);
        fc_arena_free(&w.arena);
    }
}

typedef struct named_rule {
    fc_combine *rule;
    const void *options;
} named_rule;

static const named_rule spectral[] = {
    {fc_rule_tsv, &TSV},
    {fc_rule_iso_c, &ISO},
    {fc_rule_iso_cts, &ISO},
    {fc_rule_cart, &CART},
    {rule_space, &(const in_space){.inner = {fc_rule_tsv, &TSV, false}}},
    {rule_space, &(const in_space){.inner = {fc_rule_iso_c, &ISO, false}}},
    {rule_space, &(const in_space){.inner = {fc_rule_tsv, &TSV, true}}},
    {rule_space, &(const in_space){.inner = {fc_rule_cart, &CART, false}}},
};
enum { SPECTRAL = sizeof spectral / sizeof *spectral, FACTORS_ONLY = 4 };

/* Factors or dense, in any order, scaled: one result. Core Space takes factors only. */
static void form_order_and_scale_do_not_matter(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++)
        for (int i = 0; i < SPECTRAL; i++) {
            weight w, dense, turned, scaled;
            double want[SIZE], got[SIZE];
            random_weight(&w, shapes[s].n, shapes[s].rows, shapes[s].cols, shapes[s].r, 1);
            size_t d = fc_tv_size(&w.shape);
            apply(want, &w, spectral[i].rule, spectral[i].options);
            assert_true(largest(want, d) > 0.01);
            if (i < FACTORS_ONLY) {
                densify(&dense, &w);
                apply(got, &dense, spectral[i].rule, spectral[i].options);
                assert_near(got, want, d, 1e-10);
                fc_arena_free(&dense.arena);
            }
            turned = w;
            turned.set.tv = turned.tv;
            for (int u = 0; u < w.set.n; u++)
                turned.tv[u] = w.tv[w.set.n - 1 - u];
            apply(got, &turned, spectral[i].rule, spectral[i].options);
            assert_near(got, want, d, 1e-10);
            const double scales[] = {1e30, 1e-30};
            for (int c = 0; c < 2; c++) {
                random_weight(&scaled, w.set.n, w.shape.rows, w.shape.cols, shapes[s].r, scales[c]);
                apply(got, &scaled, spectral[i].rule, spectral[i].options);
                for (size_t e = 0; e < d; e++)
                    got[e] /= scales[c];
                assert_near(got, want, d, 1e-10);
                fc_arena_free(&scaled.arena);
            }
            fc_arena_free(&w.arena);
        }
}

/* out += c times the best approximation of R (m, n) of rank k, by power iteration and deflation. */
static void add_best(double *out, double c, double *R, int m, int n, int k)
{
    double u[SIZE], v[SIZE];
    for (int step = 0; step < k; step++) {
        for (int j = 0; j < n; j++)
            v[j] = 1 + j % 3;
        for (int iteration = 0; iteration < 20000; iteration++) {
            fc_dgemm(false, false, m, 1, n, 1, R, n, v, 1, 0, u, 1);
            fc_dgemm(true, false, n, 1, m, 1, R, n, u, 1, 0, v, 1);
            double norm = sqrt(fc_sum_squares(v, (size_t)n));
            for (int j = 0; j < n; j++)
                v[j] /= norm;
        }
        fc_dgemm(false, false, m, 1, n, 1, R, n, v, 1, 0, u, 1);
        fc_dgemm(false, false, m, n, 1, c, u, 1, v, n, 1, out, n);
        fc_dgemm(false, false, m, n, 1, -1, u, 1, v, n, 1, R, n);
    }
}

/* The definition of CART, with another way to the best approximation. */
static void cart_by_power_iteration(void **state)
{
    (void)state;
    weight w;
    double mean[SIZE], want[SIZE], R[SIZE], got[SIZE];
    for (int s = 0; s < SHAPES; s++) {
        random_weight(&w, shapes[s].n, shapes[s].rows, shapes[s].cols, shapes[s].r, 1);
        int m = w.shape.rows, n = w.shape.cols, q = m < n ? m : n, T = w.set.n;
        size_t d = fc_tv_size(&w.shape);
        fc_tv_sum(mean, 1.0 / T, &w.set, 0);
        memcpy(want, mean, d * sizeof *mean);
        for (int i = 0; i < T && T > 1; i++) {
            fc_tv_dense(R, &w.tv[i], &w.shape);
            for (size_t e = 0; e < d; e++)
                R[e] -= mean[e];
            add_best(want, CART.scale, R, m, n, (int)ceil(CART.rank_fraction * q));
        }
        apply(got, &w, fc_rule_cart, &CART);
        assert_near(got, want, d, 1e-9);
        if (T > 2) { /* else it is the mean */
            double moved = 0;
            for (size_t e = 0; e < d; e++)
                moved = fmax(moved, fabs(got[e] - mean[e]));
            assert_true(moved > 0.01);
        }
        fc_arena_free(&w.arena);
    }
}

/* k = floor(q / T) >= r: the stacks of two equal updates U, U have the polar factors [U U] / sqrt
 * 2, so that TSV gives U S V^T back, as does a single update. Iso-C of equal ones: mean singular
 * value of the sum. */
static void equal_updates(void **state)
{
    (void)state;
    weight w;
    double one[SIZE], got[SIZE];
    random_weight(&w, 2, 8, 12, 2, 1);
    w.tv[1] = w.tv[0];
    size_t d = fc_tv_size(&w.shape);
    fc_tv_dense(one, &w.tv[0], &w.shape);
    apply(got, &w, fc_rule_tsv, &TSV);
    assert_near(got, one, d, 1e-12);
    apply(got, &w, fc_rule_cart, &CART);
    assert_near(got, one, d, 1e-12);
    w.set.n = 1;
    apply(got, &w, fc_rule_tsv, &TSV);
    assert_near(got, one, d, 1e-12);
    apply(got, &w, fc_rule_cart, &CART);
    assert_near(got, one, d, 1e-12);
    fc_usv x;
    double want[SIZE];
    assert_int_equal(fc_svd_product(&x, w.tv[0].B, w.tv[0].A, 8, 2, 12, "", &w.arena, NULL), FC_OK);
    fc_dgemm(false, false, 8, 12, 2, 2 * (x.S[0] + x.S[1]) / 8, x.U, 2, x.Vt, 12, 0, want, 12);
    w.set.n = 2;
    apply(got, &w, fc_rule_iso_c, &ISO);
    assert_near(got, want, d, 1e-12);
    fc_arena_free(&w.arena);
}

static void all_singular_values_equal(const weight *w, const named_rule *r)
{
    fc_usv x;
    fc_arena arena = {0};
    double got[SIZE];
    apply(got, w, r->rule, r->options);
    assert_int_equal(fc_svd(&x, got, w->shape.rows, w->shape.cols, "", &arena, NULL), FC_OK);
    int rank = fc_svd_rank(&x);
    assert_true(rank > 0);
    assert_close(x.S[rank - 1], x.S[0], 1e-8, 0);
    fc_arena_free(&arena);
}

/* What Iso means; Iso-CTS where the stacks have full rank. */
static void iso_is_flat(void **state)
{
    (void)state;
    weight w;
    for (int s = 0; s < SHAPES; s++) {
        random_weight(&w, shapes[s].n, shapes[s].rows, shapes[s].cols, shapes[s].r, 1);
        all_singular_values_equal(&w, &spectral[1]);
        fc_arena_free(&w.arena);
    }
    random_weight(&w, 3, 8, 20, 0, 1);
    all_singular_values_equal(&w, &spectral[2]);
    fc_arena_free(&w.arena);
}

/* ---- edges ----------------------------------------------------------------------------------- */

/* Layers of zeros and zero updates among others give zeros and what the others say. */
static void zeros(void **state)
{
    (void)state;
    const double zero[SIZE] = {0};
    for (int i = 0; i < SPECTRAL + 2; i++) {
        const in_space knots = {{fc_rule_iso_c, &ISO, true}, true, FC_KNOTS_SV};
        const in_space knots_v = {{fc_rule_tsv, &TSV, false}, true, FC_KNOTS_V};
        named_rule r = i < SPECTRAL ? spectral[i]
                                    : (named_rule){rule_space, i == SPECTRAL ? &knots : &knots_v};
        weight w;
        double out[SIZE];
        random_weight(&w, 3, 8, 9, 2, 1);
        w.tv[1] = (fc_tv){2, NULL, zero, zero};
        apply(out, &w, r.rule, r.options);
        assert_true(largest(out, 72) > 0.01);
        w.tv[0] = w.tv[2] = w.tv[1];
        apply(out, &w, r.rule, r.options);
        assert_all_close(out, zero, 72, 0, 0);
        fc_arena_free(&w.arena);
    }
}

/* Tensors that are no linear weights: the mean; in a space: the rule as it is. */
static void other_tensors(void **state)
{
    (void)state;
    const fc_tv_shape shape[] = {{"norm", 1, 3, false}, {"fc", 2, 3, true}};
    const double a[] = {1, 2, 3}, b[] = {3, 2, 1}, B[] = {1, 2}, A[] = {1, 0, 1};
    const fc_tv tv[] = {{.dense = a}, {1, NULL, B, A}, {.dense = b}, {1, NULL, B, A}};
    const fc_tv_set set = {.n = 2, .tensors = 2, .shape = shape, .tv = tv};
    const double mean[] = {4, 4, 4}, sum[] = {4, 4, 4}, fc[] = {2, 0, 2, 4, 0, 4};
    double norm[3], merged[6];
    double *const out[] = {norm, merged};
    fc_arena arena = {0};
    assert_int_equal(fc_rule_tsv(out, &set, &(fc_tsv_options){2}, &arena, NULL), FC_OK);
    assert_all_close(norm, mean, 3, 1e-15, 0);
    assert_int_equal(fc_rule_iso_cts(out, &set, &(fc_iso_options){2, .5}, &arena, NULL), FC_OK);
    assert_all_close(norm, mean, 3, 1e-15, 0);
    const fc_inner inner = {.rule = fc_rule_task_arithmetic, .options = &SUM};
    for (int i = 0; i < 3; i++) {
        fc_status status =
            i == 0 ? fc_space_core(out, &set, &inner, &arena, NULL)
                   : fc_space_knots(out, &set, &inner, (fc_knots_form)(i - 1), 1e-5, &arena, NULL);
        assert_int_equal(status, FC_OK);
        assert_all_close(norm, sum, 3, 1e-15, 0);
        assert_all_close(merged, fc, 6, 1e-12, 1e-12);
    }
    fc_arena_free(&arena);
}

/* Original KnOTS trims over all layers at once: a layer of small numbers goes. Core Space and its
 * form of KnOTS trim each layer alone. */
static void trimmed_over_all_layers_or_each(void **state)
{
    (void)state;
    weight large, small;
    double a[SIZE], b[SIZE];
    random_weight(&large, 2, 8, 9, 2, 1);
    random_weight(&small, 2, 8, 9, 2, 1e-3);
    const fc_tv_shape both[] = {large.shape, small.shape};
    const fc_tv tv[] = {large.tv[0], small.tv[0], large.tv[1], small.tv[1]};
    const fc_tv_set set = {.n = 2, .tensors = 2, .shape = both, .tv = tv};
    const fc_ties_options few = {5, FC_TIES_MEAN, false, 1};
    const fc_inner inner = {fc_rule_ties, &few, false};
    double *const out[] = {a, b};
    fc_arena arena = {0};
    assert_int_equal(fc_space_knots(out, &set, &inner, FC_KNOTS_SV, 1e-5, &arena, NULL), FC_OK);
    assert_true(largest(a, 72) > 0 && largest(b, 72) == 0);
    assert_int_equal(fc_space_knots(out, &set, &inner, FC_KNOTS_V, 1e-5, &arena, NULL), FC_OK);
    assert_true(largest(a, 72) > 0 && largest(b, 72) > 0);
    assert_int_equal(fc_space_core(out, &set, &inner, &arena, NULL), FC_OK);
    assert_true(largest(a, 72) > 0 && largest(b, 72) > 0);
    fc_arena_free(&arena);
    fc_arena_free(&large.arena);
    fc_arena_free(&small.arena);
}

/* KnOTS's eps is absolute: what is below it gives 0. */
static void knots_below_eps(void **state)
{
    (void)state;
    weight w;
    double out[SIZE], zero[SIZE] = {0};
    random_weight(&w, 3, 8, 9, 2, 1e-30);
    for (int form = 0; form < 2; form++) {
        in_knots(out, &w, (fc_knots_form)form, fc_rule_task_arithmetic, &SUM, true);
        assert_all_close(out, zero, 72, 0, 0);
    }
    fc_arena_free(&w.arena);
}

static void refuse(const weight *w, const named_rule *r, fc_status status, const char *reason)
{
    double out[SIZE];
    fc_error err = {0};
    fc_arena arena = {0};
    assert_int_equal(r->rule((double *const[]){out}, &w->set, r->options, &arena, &err), status);
    if (!strstr(err.msg, reason))
        print_error("found \"%s\", expected \"%s\"\n", err.msg, reason);
    assert_non_null(strstr(err.msg, reason));
    fc_arena_free(&arena);
}

static void refusals(void **state)
{
    (void)state;
    weight w;
    const in_space knots = {{fc_rule_task_arithmetic, &SUM, false}, true, FC_KNOTS_V};
    random_weight(&w, 3, 8, 9, 2, 1);
    double bad[16] = {0};
    bad[3] = (double)NAN;
    w.tv[2].B = bad;
    for (int i = 0; i < SPECTRAL; i++)
        refuse(&w, &spectral[i], FC_EFAIL, "update 2, tensor blocks.0.fc1");
    refuse(&w, &(named_rule){rule_space, &knots}, FC_EFAIL, "update 2, tensor blocks.0.fc1");
    w.set.n = 2;
    w.tv[1] = (fc_tv){.dense = numbers(&w, 72)};
    refuse(&w, &spectral[FACTORS_ONLY], FC_EUSAGE, "update 1, tensor blocks.0.fc1: found a dense");
    fc_arena_free(&w.arena);

    random_weight(&w, 9, 8, 9, 1, 1);
    refuse(&w, &spectral[0], FC_EUSAGE, "9 updates leave no singular vector");
    refuse(&w, &(named_rule){fc_rule_cart, &(fc_cart_options){0.1, 1.5, 1}}, FC_EUSAGE,
           "CART: rank_fraction is 1.5");
    fc_arena_free(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_core_space),
        cmocka_unit_test(golden_knots),
        cmocka_unit_test(golden_svd_merge),
        cmocka_unit_test(hand_examples),
        cmocka_unit_test(core_and_knots_equal_full_for_linear_rules),
        cmocka_unit_test(form_order_and_scale_do_not_matter),
        cmocka_unit_test(cart_by_power_iteration),
        cmocka_unit_test(equal_updates),
        cmocka_unit_test(iso_is_flat),
        cmocka_unit_test(zeros),
        cmocka_unit_test(other_tensors),
        cmocka_unit_test(trimmed_over_all_layers_or_each),
        cmocka_unit_test(knots_below_eps),
        cmocka_unit_test(refusals),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
