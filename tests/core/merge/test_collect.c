/* Rounds of clients merged by rules over task vectors: the laws that each row declares, for every
 * row of the table and every space it works in; edges; memory. */
#include "core/base/threads.h"
#include "core/merge/collect.h"
#include "core/merge/merge.h"
#include "core/merge/rules/rule_fisher.h"
#include "tests/support/merge_fixture.h"

#include <malloc.h>

enum { HEAD = 1 << FC_GROUP_HEAD, PAIRS = 1 << FC_GROUP_A | 1 << FC_GROUP_B };
enum { FULL = 1 << FC_GROUP_BACKBONE, ROWS = 40, RANK = 2 };
static const double tol = 200 * FC_REAL_EPS; /* float pairs; SVDs of products of them */

typedef struct setting {
    const fc_merge_method *rule;
    bool product;
    fc_space_kind space;
    int clients;
} setting;

static void setup(fixture *f, const setting *s)
{
    fx_init(f, (fx_shape){.slots = 3,
                          .d_out = {5, 9, 6},
                          .d_in = {7, 5, 11},
                          .rank = s->product ? RANK : 0,
                          .classes = 6,
                          .width = 8,
                          .alpha_backbone = 1,
                          .alpha_head = 1,
                          .clients = s->clients});
    fx_random(f, (s->product ? PAIRS : FULL) | HEAD, ROWS, 1);
    f->job.product = s->product;
    f->job.space = (fc_space){.kind = s->space, .knots_eps = 1e-5};
    f->job.options = fx_options(f, s->rule);
}

static void merge_ok(fixture *f, const setting *s)
{
    fc_error err = {0};
    fc_status status = fx_merge(f, s->rule->name, &err);
    if (status != FC_OK)
        print_error("%s: %s\n", s->rule->name, err.msg);
    assert_int_equal(status, FC_OK);
}

/* Every rule over task vectors, on pairs in each of its spaces, and on full weights. */
static void for_all(unsigned law, int clients, void (*body)(fixture *f, const setting *s))
{
    for (int r = 0; r < fc_merge_count; r++)
        for (int k = 0; k < 4; k++) {
            setting s = {fc_merge_table[r], k < 3, k < 3 ? (fc_space_kind)k : FC_SPACE_FULL,
                         clients};
            fixture f;
            bool space = s.space == FC_SPACE_FULL || !s.rule->full_only;
            if (!s.rule->combine || s.rule->factors || !space || (s.rule->laws & law) != law)
                continue;
            setup(&f, &s);
            body(&f, &s);
            fx_free(&f);
        }
}

/* The model: every W as base + update, or B A, and the head; in a row. */
static double *model(fixture *f, const fc_params *p, size_t *n)
{
    size_t most = 0;
    for (int i = 0; i < f->s.slots; i++)
        most += (size_t)f->s.d_out[i] * (size_t)f->s.d_in[i];
    double *x = fc_arena_alloc(&f->arena, most + f->base.n, sizeof *x, NULL), *next = x;
    assert_non_null(x);
    for (int i = 0; i < f->s.slots && f->s.rank; i++) {
        const fc_real *A = p->p + f->spec[f->slot_A[i]].offset;
        const fc_real *B = p->p + f->spec[f->slot_B[i]].offset;
        for (int a = 0; a < f->s.d_out[i]; a++)
            for (int b = 0; b < f->s.d_in[i]; b++, next++)
                for (int r = 0; r < f->s.rank; r++)
                    *next += (double)B[a * f->s.rank + r] * A[r * f->s.d_in[i] + b];
    }
    for (int t = 0; t < f->layout.nspec; t++) {
        const fc_spec *s = &f->spec[t];
        bool pair = s->group == FC_GROUP_A || s->group == FC_GROUP_B;
        for (size_t i = 0; !pair && i < (size_t)s->rows * (size_t)s->cols; i++)
            *next++ = p->p[s->offset + i];
    }
    *n = (size_t)(next - x);
    return x;
}

static void same_model(fixture *f, const setting *s, const double *want, double rtol)
{
    size_t n;
    const double *got = model(f, &f->out, &n);
    double top = 0;
    for (size_t i = 0; i < n; i++)
        top = fabs(want[i]) > top ? fabs(want[i]) : top;
    for (size_t i = 0; i < n; i++)
        fc_close_at(got[i], want[i], rtol * top, rtol, s->rule->name, i, __FILE__, __LINE__);
}

/* ---- laws */

static void one_client(fixture *f, const setting *s)
{
    size_t n;
    merge_ok(f, s);
    same_model(f, s, model(f, &f->client[0], &n), tol);
}

static void equal_updates(fixture *f, const setting *s)
{
    size_t n;
    for (int k = 1; k < f->s.clients; k++)
        memcpy(f->client[k].p, f->client[0].p, f->base.n * sizeof *f->base.p);
    merge_ok(f, s);
    same_model(f, s, model(f, &f->client[0], &n), tol);
}

static void reversed(fixture *f, const setting *s)
{
    size_t n;
    merge_ok(f, s);
    const double *want = model(f, &f->out, &n);
    for (int k = 0, l = f->s.clients - 1; k < l; k++, l--) {
        fc_update u = f->update[k];
        f->update[k] = f->update[l];
        f->update[l] = u;
    }
    merge_ok(f, s);
    /* SVDs of matrices whose columns come in another order differ by rounding, cut ones by the
     * rounding over a gap of singular values */
    same_model(f, s, want, s->space == FC_SPACE_FULL ? tol : 10 * tol);
}

static void scaled_weights(fixture *f, const setting *s)
{
    size_t n;
    merge_ok(f, s);
    const double *want = model(f, &f->out, &n);
    for (int k = 0; k < f->s.clients; k++)
        f->update[k].n_samples *= 3;
    merge_ok(f, s);
    same_model(f, s, want, tol);
}

static void test_laws(void **state)
{
    (void)state;
    for_all(FC_LAW_ONE_CLIENT, 1, one_client);
    for_all(FC_LAW_EQUAL_FIXED, 4, equal_updates);
    for_all(FC_LAW_ORDER, 3, reversed);
    for_all(FC_LAW_SCALE, 4, scaled_weights);
}

static void pure_and_threads(fixture *f, const setting *s)
{
    size_t bytes = f->base.n * sizeof *f->base.p;
    fc_real *before = fc_arena_alloc(&f->arena, 3, bytes, NULL);
    memcpy(before, f->base.p, bytes);
    memcpy(before + f->base.n, f->client[1].p, bytes);
    fc_threads_init(1, NULL);
    merge_ok(f, s);
    memcpy(before + 2 * f->base.n, f->out.p, bytes);
    fc_threads_init(3, NULL);
    merge_ok(f, s);
    assert_memory_equal(before, f->base.p, bytes);
    assert_memory_equal(before + f->base.n, f->client[1].p, bytes);
    assert_memory_equal(before + 2 * f->base.n, f->out.p, bytes);
    assert_memory_not_equal(f->out.p, f->base.p, bytes);
}

static void test_inputs_stay_and_threads_agree(void **state)
{
    (void)state;
    for_all(0, 3, pure_and_threads);
}

/* The average by its running sum, and by all updates at once. */
static void test_streams_agree_with_sets(void **state)
{
    (void)state;
    static const char *const names[] = {"average", "task_arithmetic"};
    for (int k = 0; k < 8; k++) {
        setting s = {fc_merge_find(names[k / 4]), k % 2, FC_SPACE_FULL, k % 4 < 2 ? 2 : 12};
        fixture f;
        size_t n;
        setup(&f, &s);
        merge_ok(&f, &s);
        const double *want = model(&f, &f.out, &n);
        fc_merge_method all = *s.rule;
        all.scale = NULL;
        all.begin = NULL;
        fc_arena arena = {0};
        fc_collect *c;
        assert_int_equal(fc_collect_begin(&c, &all, &f.job, &arena, NULL), FC_OK);
        for (int i = 0; i < s.clients; i++)
            assert_int_equal(fc_collect_fold(c, &f.update[i], NULL), FC_OK);
        assert_int_equal(fc_collect_finish(c, &f.out, NULL), FC_OK);
        fc_arena_free(&arena);
        same_model(&f, &s, want, tol);
        fx_free(&f);
    }
}

/* Where all have the same Fisher information it is the average, weighted or not. */
static void test_equal_fisher_is_the_average(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        setting s = {fc_merge_find("fisher"), k % 2, FC_SPACE_FULL, 3};
        fc_fisher_options o = {.normalise = k < 2, .epsilon = 1e-12};
        fixture f;
        size_t n;
        setup(&f, &s);
        f.job.weighted = k >= 2;
        f.job.options = &o;
        for (int i = 0; i < 3; i++)
            for (size_t e = 0; e < f.fisher[0].n; e++)
                f.fisher[i].p[e] = f.fisher[0].p[e] + 1;
        for (size_t e = 0; e < f.fisher[0].n; e++)
            f.fisher[0].p[e] = f.fisher[1].p[e];
        merge_ok(&f, &s);
        const double *got = model(&f, &f.out, &n);
        s.rule = fc_merge_find("average");
        merge_ok(&f, &s);
        same_model(&f, &s, got, tol);
        fx_free(&f);
    }
}

/* Updates one by one, as fc_rule_fisher has it for all at once. */
static void test_fisher_agrees_with_sets(void **state)
{
    (void)state;
    enum { CLIENTS = 3 };
    for (int k = 0; k < 4; k++) {
        setting s = {fc_merge_find("fisher"), false, FC_SPACE_FULL, CLIENTS};
        fc_fisher_options o = {.normalise = k % 2, .epsilon = k % 2 ? 0.1 : 1e-12};
        fixture f;
        setup(&f, &s);
        f.job.options = &o;
        f.job.weighted = k / 2;
        int T = f.layout.nspec, n = (int)f.layout.n;
        double *x = fc_arena_alloc(&f.arena, 3 * CLIENTS + 1, (size_t)n * sizeof *x, NULL);
        double *tau[FX_SPECS];
        fc_tv tv[CLIENTS * FX_SPECS];
        const double *F[CLIENTS * FX_SPECS];
        fc_tv_shape shape[FX_SPECS];
        for (int i = 0; i < CLIENTS; i++) {
            double *xi = x + (size_t)(2 * i * n), *Fi = xi + n;
            double w = f.job.weighted ? (double)f.update[i].n_samples : 1;
            for (int e = 0; e < n; e++) {
                xi[e] = (double)f.client[i].p[e] - f.base.p[e];
                Fi[e] = w * f.fisher[i].p[e];
            }
            for (int t = 0; t < T; t++) {
                const fc_spec *p = &f.spec[t];
                shape[t] = (fc_tv_shape){p->name, p->rows, p->cols, false};
                tau[t] = x + 2 * CLIENTS * (size_t)n + p->offset;
                tv[i * T + t] = (fc_tv){.dense = xi + p->offset};
                F[i * T + t] = Fi + p->offset;
            }
        }
        const fc_tv_set set = {.n = CLIENTS, .tensors = T, .shape = shape, .tv = tv, .fisher = F};
        assert_int_equal(fc_rule_fisher(tau, &set, &o, &f.arena, NULL), FC_OK);
        merge_ok(&f, &s);
        for (int e = 0; e < n; e++)
            assert_close(f.out.p[e], f.base.p[e] + tau[0][e], tol, tol);
        fx_free(&f);
    }
}

/* Adding into weights is exact, cutting to the rank loses what it says. */
static void test_sum_and_pairs(void **state)
{
    (void)state;
    setting s = {fc_merge_find("average"), true, FC_SPACE_FULL, 3};
    fixture f;
    size_t n, at[3], all = 0;
    double lost = -1;
    setup(&f, &s);
    for (int i = 0; i < 3; i++) /* a round of a folding method starts with B = 0 */
        memset(f.base.p + f.spec[f.slot_B[i]].offset, 0,
               (size_t)f.s.d_out[i] * RANK * sizeof(fc_real));
    for (int i = 0; i < 3; i++) {
        at[i] = all;
        all += (size_t)f.s.d_out[i] * (size_t)f.s.d_in[i];
    }
    double *mean = fc_arena_alloc(&f.arena, all, sizeof *mean, NULL), samples = 0;
    fc_real *W = fc_arena_alloc(&f.arena, all, sizeof *W, NULL);
    for (int k = 0; k < 3; k++)
        samples += (double)f.update[k].n_samples;
    for (int k = 0; k < 3; k++) {
        const double *x = model(&f, &f.client[k], &n);
        for (size_t i = 0; i < all; i++)
            mean[i] += (double)f.update[k].n_samples / samples * x[i];
    }
    f.job.sum = W;
    f.job.sum_offset = at;
    merge_ok(&f, &s);
    for (size_t i = 0; i < all; i++)
        assert_close(W[i], mean[i], tol, tol);
    const double *rest = model(&f, &f.out, &n);
    for (size_t i = 0; i < all; i++)
        assert_close(rest[i], 0, 0, 0);

    f.job.sum = NULL;
    f.job.lost = &lost;
    merge_ok(&f, &s);
    const double *cut = model(&f, &f.out, &n);
    double error = 0, norm = 0;
    for (size_t i = 0; i < all; i++) {
        error += (cut[i] - mean[i]) * (cut[i] - mean[i]);
        norm += mean[i] * mean[i];
    }
    assert_true(lost > 0.01 && lost < 1);
    assert_close(lost, sqrt(error / norm), 1e-5, 1e-5);
    fx_free(&f);
}

/* ---- edges: a result, or a clear refusal */

static void finite_or_refused(fixture *f, const setting *s)
{
    fc_error err = {0};
    fc_status status = fx_merge(f, s->rule->name, &err);
    if (status != FC_OK) {
        assert_true(status == FC_EUSAGE || strstr(err.msg, "expected a finite number"));
        return;
    }
    for (size_t i = 0; i < f->out.n; i++)
        assert_true(isfinite(f->out.p[i]));
}

static void times(fixture *f, double c)
{
    for (int k = 0; k < f->s.clients; k++)
        for (size_t i = 0; i < f->base.n; i++)
            f->client[k].p[i] *= (fc_real)c;
    for (size_t i = 0; i < f->base.n; i++)
        f->base.p[i] *= (fc_real)c;
}

static void extremes(fixture *f, const setting *s)
{
    times(f, 1e-30);
    finite_or_refused(f, s);
    times(f, 1e30);
    times(f, 1e30);
    finite_or_refused(f, s);
}

/* No client changes one layer, then none changes any. */
static void nothing_learnt(fixture *f, const setting *s)
{
    size_t n;
    const double *base = model(f, &f->base, &n);
    for (int all = 0; all < 2; all++) {
        int tensors = all ? f->layout.nspec : f->s.rank ? 1 : 0;
        for (int k = 0; k < f->s.clients; k++) {
            for (int t = 0; t < tensors; t++)
                memcpy(f->client[k].p + f->spec[t].offset, f->base.p + f->spec[t].offset,
                       (size_t)f->spec[t].rows * (size_t)f->spec[t].cols * sizeof *f->base.p);
            const fc_spec *B = &f->spec[f->s.rank ? f->slot_B[0] : f->slot_W[0]];
            memcpy(f->client[k].p + B->offset, f->base.p + B->offset,
                   (size_t)B->rows * (size_t)B->cols * sizeof *f->base.p);
        }
        merge_ok(f, s);
        size_t first = (size_t)f->s.d_out[0] * (size_t)f->s.d_in[0];
        const double *got = model(f, &f->out, &n);
        for (size_t i = 0; i < (all ? n : first); i++)
            assert_close(got[i], base[i], tol, tol);
    }
}

/* A client whose update has rank 0; then all clients send the same, where the law asks nothing. */
static void one_learnt_nothing(fixture *f, const setting *s)
{
    size_t bytes = f->base.n * sizeof *f->base.p;
    memcpy(f->client[1].p, f->base.p, bytes);
    merge_ok(f, s);
    assert_memory_not_equal(f->out.p, f->base.p, bytes);
    for (int k = 1; k < f->s.clients; k++)
        memcpy(f->client[k].p, f->client[0].p, bytes);
    merge_ok(f, s);
    assert_memory_not_equal(f->out.p, f->base.p, bytes);
}

static void test_extremes(void **state)
{
    (void)state;
    for_all(0, 3, extremes);
    for_all(0, 3, nothing_learnt);
    for_all(0, 3, one_learnt_nothing);
    for_all(0, 1, finite_or_refused);
    for_all(0, 12, finite_or_refused); /* more clients than the rank of any layer */
}

static void not_finite(fixture *f, const setting *s)
{
    for (int t = 0; t < f->layout.nspec; t++) {
        const fc_spec *p = &f->spec[t];
        fc_real *x = &f->client[1].p[p->offset + 1], kept = *x;
        fc_error err = {0};
        *x = t % 2 ? (fc_real)INFINITY : (fc_real)NAN;
        assert_int_equal(fx_merge(f, s->rule->name, &err), FC_EFAIL);
        assert_non_null(strstr(err.msg, "client 1"));
        assert_non_null(strstr(err.msg, p->name));
        *x = kept;
    }
}

static void bad_fisher(fixture *f, const setting *s)
{
    const double bad[] = {NAN, INFINITY, -1};
    if (!s->rule->entry_weights)
        return;
    for (int t = 0; t < f->fisher[1].nspec; t++) {
        const fc_spec *p = &f->fisher[1].spec[t];
        fc_real *F = &f->fisher[1].p[p->offset + 2], kept = *F;
        fc_error err = {0};
        *F = (fc_real)bad[t % 3];
        assert_int_equal(fx_merge(f, s->rule->name, &err), FC_EFAIL);
        assert_non_null(strstr(err.msg, "client 1: element 2 of the Fisher information"));
        assert_non_null(strstr(err.msg, p->name));
        *F = kept;
    }
    fc_error err = {0};
    f->update[2].fisher = NULL;
    assert_int_equal(fx_merge(f, s->rule->name, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "client 2: no Fisher information"));
}

static void no_samples(fixture *f, const setting *s)
{
    fc_error err = {0};
    f->update[1].n_samples = 0;
    finite_or_refused(f, s);
    for (int k = 0; k < f->s.clients; k++)
        f->update[k].n_samples = 0;
    assert_int_equal(fx_merge(f, s->rule->name, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "without a sample"));
}

static void test_bad_updates_are_refused(void **state)
{
    (void)state;
    for_all(0, 3, not_finite);
    for_all(0, 3, bad_fisher);
    for_all(0, 3, no_samples);
}

static void refused(fixture *f, const char *rule, const char *text)
{
    fc_error err = {0};
    assert_int_equal(fx_merge(f, rule, &err), FC_EUSAGE);
    if (!strstr(err.msg, text))
        print_error("found \"%s\", expected \"%s\"\n", err.msg, text);
    assert_non_null(strstr(err.msg, text));
}

static void test_senseless_pairs_are_refused(void **state)
{
    (void)state;
    setting s = {fc_merge_find("ties"), true, FC_SPACE_CORE, 2};
    fixture f;
    setup(&f, &s);
    refused(&f, "opcm", "opcm works in full space only: its updates come one by one");
    refused(&f, "fisher", "fisher works in full space only: Fisher information");
    refused(&f, "regmean", "regmean works in full space only: Grams");
    refused(&f, "lorm", "lorm does not merge the products B A");
    f.job.space = (fc_space){.kind = FC_SPACE_FULL, .isotropise = true};
    refused(&f, "ties", "isotropise works in the spaces core and knots only");
    f.job.space = (fc_space){.kind = FC_SPACE_CORE};
    f.job.product = false;
    refused(&f, "lorm", "lorm works in full space only");
    refused(&f, "ties", "ties merges products B A, but A and B are sent as two parameters");
    fx_free(&f);
    s.product = false;
    setup(&f, &s);
    refused(&f, "ties", "dense");
    fx_free(&f);
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/* 1,000 clients of rank 4: running sums take what a few take. */
static void test_streams_take_constant_memory(void **state)
{
    (void)state;
    enum { N = 64, R = 4 };
    static const int many[] = {20, 1000};
    static const char *const names[] = {"average", "fisher"};
    for (size_t sums = 1; sums <= 2; sums++) {
        size_t bytes[2], kept;
        for (int k = 0; k < 2; k++) {
            fixture f;
            fc_arena arena = {0};
            void *st;
            fx_init(&f, (fx_shape){.slots = 1, .d_out = {N}, .d_in = {N}, .rank = R, .clients = 2});
            fx_random(&f, PAIRS, 1, 1);
            f.job.product = true;
            f.job.clients = many[k];
            const fc_merge_method *m = fc_merge_find(names[sums - 1]);
            f.job.options = fx_options(&f, m);
            size_t before = in_use();
            assert_true(fc_merge_streams(m, &f.job));
            assert_int_equal(fc_merge_kept_bytes(m, &f.job), sums * N * N * sizeof(double));
            assert_int_equal(fc_merge_begin(&st, m, &f.job, &arena, NULL), FC_OK);
            for (int i = 0; i < many[k]; i++)
                assert_int_equal(fc_merge_fold(st, m, &f.job, &f.update[i % 2], NULL), FC_OK);
            assert_int_equal(fc_merge_finish(st, m, &f.job, &f.out, NULL), FC_OK);
            bytes[k] = in_use() - before;
            kept = fc_merge_kept_bytes(fc_merge_find("ties"), &f.job);
            assert_int_equal(kept, (size_t)many[k] * 2 * 2 * N * R * sizeof(double));
            assert_false(fc_merge_streams(fc_merge_find("ties"), &f.job));
            fc_arena_free(&arena);
            fx_free(&f);
        }
        assert_true(bytes[0] > 0 || in_use() == 0);     /* sanitizers count elsewhere */
        assert_true(bytes[1] <= bytes[0] + (64 << 10)); /* ids and weights */
    }
}

int main(void)
{
    fc_threads_init(2, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_laws),
        cmocka_unit_test(test_inputs_stay_and_threads_agree),
        cmocka_unit_test(test_streams_agree_with_sets),
        cmocka_unit_test(test_equal_fisher_is_the_average),
        cmocka_unit_test(test_fisher_agrees_with_sets),
        cmocka_unit_test(test_sum_and_pairs),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_bad_updates_are_refused),
        cmocka_unit_test(test_senseless_pairs_are_refused),
        cmocka_unit_test(test_streams_take_constant_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
