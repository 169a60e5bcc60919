/* The contract of every merge rule: declared laws, purity, threads, refusals; and for the closed
 * forms a slow direct check of the equation that defines them. */
#include "core/base/threads.h"
#include "core/merge/merge.h"
#include "tests/support/merge_fixture.h"

#include <float.h>

enum { A_ROUND = 1 << FC_GROUP_A, B_ROUND = 1 << FC_GROUP_B, HEAD = 1 << FC_GROUP_HEAD };
enum { FULL = 1 << FC_GROUP_BACKBONE, ROWS = 40 };

/* Rounding of the result to fc_real, and of a well-conditioned double solve. */
static const double tol = 40 * FC_REAL_EPS;

typedef struct job_kind {
    const char *name;
    unsigned groups;
    double alpha;
} job_kind;

static const job_kind kinds[] = {
    {"A-round, diagonal", A_ROUND | HEAD, 0},
    {"A-round, half", A_ROUND | HEAD, 0.5},
    {"A-round, full", A_ROUND | HEAD, 1},
    {"B-round, diagonal", B_ROUND | HEAD, 0},
    {"B-round, half", B_ROUND | HEAD, 0.5},
    {"B-round, full", B_ROUND | HEAD, 1},
    {"full weights, diagonal", FULL | HEAD, 0},
    {"full weights, half", FULL | HEAD, 0.5},
    {"head only", HEAD, 0},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void setup(fixture *f, const job_kind *k, int clients)
{
    fx_init(f, (fx_shape){.slots = 3,
                          .d_out = {5, 9, 4},
                          .d_in = {7, 5, 11},
                          .rank = k->groups & FULL ? 0 : 2,
                          .classes = 6,
                          .width = 8,
                          .alpha_backbone = k->alpha,
                          .alpha_head = k->alpha,
                          .clients = clients});
    fx_random(f, k->groups, ROWS, 1);
}

static void merge_ok(fixture *f, const char *rule)
{
    fc_error err = {0};
    fc_status status = fx_merge(f, rule, &err);
    if (status != FC_OK)
        print_error("%s: %s\n", rule, err.msg);
    assert_int_equal(status, FC_OK);
}

/* The body of a test runs for every rule and every kind of job it declares the law for. */
static void for_all(unsigned law, int clients, void (*body)(fixture *f, const char *rule))
{
    for (int r = 0; r < fc_merge_count; r++)
        for (int k = 0; k < KINDS; k++) {
            if ((fc_merge_table[r]->laws & law) != law || !fc_merge_table[r]->begin)
                continue; /* rules over task vectors alone: test_collect.c */
            fixture f;
            setup(&f, &kinds[k], clients);
            body(&f, fc_merge_table[r]->name);
            fx_free(&f);
        }
}

static void test_registry(void **state)
{
    (void)state;
    assert_true(fc_merge_count >= 3);
    for (int i = 0; i < fc_merge_count; i++) {
        const fc_merge_method *m = fc_merge_table[i];
        assert_ptr_equal(fc_merge_find(m->name), m);
        bool elsewhere = m->experts || m->needs & FC_MERGE_NEEDS_IMAGES; /* sim/train/vit_merge.c */
        assert_true(m->help && m->paper && (m->begin || m->combine || elsewhere));
        assert_true(!m->begin == !m->fold && !m->begin == !m->finish);
    }
    assert_null(fc_merge_find("no such rule"));
}

/* ---- laws */

static void one_client(fixture *f, const char *rule)
{
    merge_ok(f, rule);
    assert_all_close(f->out.p, f->client[0].p, f->out.n, tol, tol);
}

static void test_one_client_gives_its_own_update(void **state)
{
    (void)state;
    for_all(FC_LAW_ONE_CLIENT, 1, one_client);
}

static void equal_updates(fixture *f, const char *rule)
{
    for (int k = 1; k < f->s.clients; k++)
        memcpy(f->client[k].p, f->client[0].p, f->base.n * sizeof *f->base.p);
    merge_ok(f, rule);
    assert_all_close(f->out.p, f->client[0].p, f->out.n, tol, tol);
}

static void test_equal_updates_are_a_fixed_point(void **state)
{
    (void)state;
    for_all(FC_LAW_EQUAL_FIXED, 4, equal_updates);
}

static fc_real *copy_out(fixture *f)
{
    fc_real *c = fc_arena_alloc(&f->arena, f->out.n, sizeof *c, NULL);
    return memcpy(c, f->out.p, f->out.n * sizeof *c);
}

static void reversed(fixture *f, const char *rule)
{
    merge_ok(f, rule);
    const fc_real *want = copy_out(f);
    for (int k = 0, l = f->s.clients - 1; k < l; k++, l--) {
        fc_update u = f->update[k];
        f->update[k] = f->update[l];
        f->update[l] = u;
    }
    merge_ok(f, rule);
    assert_all_close(f->out.p, want, f->out.n, tol, tol);
}

static void test_order_of_clients_is_irrelevant(void **state)
{
    (void)state;
    for_all(FC_LAW_ORDER, 5, reversed);
}

static void scaled_weights(fixture *f, const char *rule)
{
    merge_ok(f, rule);
    const fc_real *want = copy_out(f);
    for (int k = 0; k < f->s.clients; k++) {
        f->update[k].n_samples *= 3;
        for (size_t i = 0; i < f->gram[k].size; i++)
            f->gram[k].g[i] *= 3;
    }
    merge_ok(f, rule);
    assert_all_close(f->out.p, want, f->out.n, tol, tol);
}

static void test_scaled_weights_change_nothing(void **state)
{
    (void)state;
    for_all(FC_LAW_SCALE, 4, scaled_weights);
}

/* ---- purity, threads, extremes */

static void pure(fixture *f, const char *rule)
{
    size_t bytes = f->base.n * sizeof *f->base.p, gram_bytes = f->gram[0].size * sizeof(double);
    fc_real *base = fc_arena_alloc(&f->arena, 1, bytes, NULL);
    fc_real *client = fc_arena_alloc(&f->arena, 1, bytes, NULL);
    double *gram = fc_arena_alloc(&f->arena, 1, gram_bytes, NULL);
    memcpy(base, f->base.p, bytes);
    memcpy(client, f->client[1].p, bytes);
    memcpy(gram, f->gram[1].g, gram_bytes);
    merge_ok(f, rule);
    assert_memory_equal(base, f->base.p, bytes);
    assert_memory_equal(client, f->client[1].p, bytes);
    assert_memory_equal(gram, f->gram[1].g, gram_bytes);
    for (int t = 0; t < f->layout.nspec; t++) { /* what was not trained is the base's */
        const fc_spec *s = &f->spec[t];
        if (!(f->job.groups >> s->group & 1))
            assert_memory_equal(f->out.p + s->offset, f->base.p + s->offset,
                                (size_t)s->rows * (size_t)s->cols * sizeof *f->base.p);
    }
}

static void test_inputs_and_untrained_groups_are_kept(void **state)
{
    (void)state;
    for_all(0, 3, pure);
}

static void threads(fixture *f, const char *rule)
{
    fc_threads_init(1, NULL);
    merge_ok(f, rule);
    const fc_real *one = copy_out(f);
    fc_threads_init(3, NULL);
    merge_ok(f, rule);
    assert_memory_equal(f->out.p, one, f->out.n * sizeof *one);
}

static void test_one_and_three_threads_give_the_same_bytes(void **state)
{
    (void)state;
    for_all(0, 6, threads);
}

/* The trained tensors of all clients times cx, all Grams times cg: the result is cx times as large.
 */
static void scale_everything(fixture *f, const char *rule, double cx, double cg)
{
    merge_ok(f, rule);
    fc_real *want = copy_out(f);
    for (int t = 0; t < f->layout.nspec; t++) {
        const fc_spec *s = &f->spec[t];
        if (!(f->job.groups >> s->group & 1))
            continue;
        for (size_t i = s->offset; i < s->offset + (size_t)s->rows * (size_t)s->cols; i++) {
            want[i] *= (fc_real)cx;
            for (int k = 0; k < f->s.clients; k++)
                f->client[k].p[i] *= (fc_real)cx;
        }
    }
    for (int k = 0; k < f->s.clients; k++)
        for (size_t i = 0; i < f->gram[k].size; i++)
            f->gram[k].g[i] *= cg;
    merge_ok(f, rule);
    for (size_t i = 0; i < f->out.n; i++)
        assert_close(f->out.p[i], want[i], tol, tol * cx);
}

static void huge_updates(fixture *f, const char *rule)
{
    scale_everything(f, rule, 1e30, 1e-30);
}

static void tiny_updates(fixture *f, const char *rule)
{
    scale_everything(f, rule, 1e-30, 1e30);
}

static void zero_updates(fixture *f, const char *rule)
{
    for (int k = 0; k < f->s.clients; k++)
        memset(f->client[k].p, 0, f->base.n * sizeof *f->base.p);
    merge_ok(f, rule);
    for (int t = 0; t < f->layout.nspec; t++)
        for (size_t i = 0; i < (size_t)f->spec[t].rows * (size_t)f->spec[t].cols; i++)
            if (f->job.groups >> f->spec[t].group & 1)
                assert_close(f->out.p[f->spec[t].offset + i], 0, 0, 0);
}

static void zero_grams(fixture *f, const char *rule)
{
    for (int k = 0; k < f->s.clients; k++)
        fc_grams_zero(&f->gram[k]);
    merge_ok(f, rule);
    for (size_t i = 0; i < f->out.n; i++)
        assert_true(isfinite(f->out.p[i]));
}

static void test_extremes(void **state)
{
    (void)state;
    for_all(0, 3, huge_updates);
    for_all(0, 3, tiny_updates);
    for_all(0, 3, zero_updates); /* B A of rank 0 */
    for_all(0, 3, zero_grams);   /* dead layers */
}

/* ---- refusals */

static void not_finite(fixture *f, const char *rule)
{
    for (int t = 0; t < f->layout.nspec; t++) {
        const fc_spec *s = &f->spec[t];
        if (!(f->job.groups >> s->group & 1))
            continue;
        fc_real *x = &f->client[1].p[s->offset + 1], kept = *x;
        fc_error err = {0};
        *x = t % 2 ? (fc_real)INFINITY : (fc_real)NAN;
        assert_int_equal(fx_merge(f, rule, &err), FC_EFAIL);
        assert_non_null(strstr(err.msg, "client 1"));
        assert_non_null(strstr(err.msg, s->name));
        *x = kept;
    }
    if (!(fc_merge_find(rule)->needs & FC_MERGE_NEEDS_GRAMS))
        return;
    const fc_gram_slot *head = &f->gram[2].slot[f->s.slots];
    fc_error err = {0};
    f->gram[2].g[head->offset] = (double)NAN;
    assert_int_equal(fx_merge(f, rule, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "client 2"));
    assert_non_null(strstr(err.msg, "Gram of head.weight"));
    f->update[0].grams = NULL;
    err = (fc_error){0};
    assert_int_equal(fx_merge(f, rule, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "client 0: no Gram"));
}

static void test_bad_updates_are_refused(void **state)
{
    (void)state;
    for_all(0, 3, not_finite);
}

static void no_samples(fixture *f, const char *rule)
{
    fc_error err = {0};
    for (int k = 0; k < f->s.clients; k++)
        f->update[k].n_samples = 0;
    assert_int_equal(fx_merge(f, rule, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "without a sample"));
}

static void test_nothing_to_merge_is_refused(void **state)
{
    (void)state;
    for_all(0, 2, no_samples);
}

static void refused(fixture *f, const char *rule, const char *reason)
{
    fc_error err = {0};
    assert_int_equal(fx_merge(f, rule, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, reason));
}

static void test_impossible_jobs_are_refused(void **state)
{
    (void)state;
    fixture f;
    setup(&f, &kinds[0], 2);
    f.job.groups = A_ROUND | B_ROUND;
    refused(&f, "lorm", "A and B were both trained");
    f.job.groups = A_ROUND;
    f.job.slot_A = NULL;
    refused(&f, "lorm", "without a list of their layers");
    f.job.shape = NULL;
    refused(&f, "lorm", "no Grams");
    refused(&f, "regmean", "no Grams");
    fx_free(&f);
}

/* ---- the equations behind the closed forms */

/* Element (i, j) of the Gram of a slot. */
static double gram(const fc_grams *g, int slot, int i, int j)
{
    const fc_gram_slot *s = &g->slot[slot];
    if (!s->full)
        return i == j ? g->g[s->offset + (size_t)i] : 0;
    return g->g[s->offset + (size_t)i * (size_t)s->dim + (size_t)j];
}

/* sum_i (W_i - W*) G_i = 0, relative to sum_i |W_i| |G_i|. */
static void normal_equations(const fixture *f, int tensor, int slot)
{
    const fc_spec *s = &f->spec[tensor];
    for (int row = 0; row < s->rows; row++)
        for (int col = 0; col < s->cols; col++) {
            double residual = 0, size = 0;
            for (int k = 0; k < f->s.clients; k++)
                for (int j = 0; j < s->cols; j++) {
                    size_t at = s->offset + (size_t)(row * s->cols + j);
                    double G = gram(&f->gram[k], slot, j, col), W = (double)f->client[k].p[at];
                    residual += (W - (double)f->out.p[at]) * G;
                    size += fabs(W * G);
                }
            assert_close(residual, 0, 0, tol * size);
        }
}

static void test_regmean_solves_its_normal_equations(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        fixture f;
        setup(&f, &kinds[k], 4);
        merge_ok(&f, "regmean");
        for (int i = 0; i < f.s.slots && kinds[k].groups & FULL; i++)
            normal_equations(&f, f.slot_W[i], i);
        normal_equations(&f, f.job.head_W, f.s.slots);
        fx_free(&f);
    }
}

static void test_lorm_A_solves_its_normal_equations(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        if (!(kinds[k].groups & A_ROUND))
            continue;
        fixture f;
        setup(&f, &kinds[k], 4);
        merge_ok(&f, "lorm");
        for (int i = 0; i < f.s.slots; i++)
            normal_equations(&f, f.slot_A[i], i);
        normal_equations(&f, f.job.head_W, f.s.slots);
        fx_free(&f);
    }
}

/* sum_k tr(D_k G_k D_k^T), D_k = (B_k - B) A: the objective of a B-round. */
static double objective(const fixture *f, int slot, const fc_real *B)
{
    const fc_spec *sA = &f->spec[f->slot_A[slot]], *sB = &f->spec[f->slot_B[slot]];
    const fc_real *A = f->base.p + sA->offset;
    double sum = 0, D[64];
    for (int k = 0; k < f->s.clients; k++)
        for (int row = 0; row < sB->rows; row++) {
            for (int j = 0; j < sA->cols; j++) {
                D[j] = 0;
                for (int q = 0; q < sA->rows; q++) {
                    size_t at = (size_t)(row * sA->rows + q);
                    D[j] += ((double)f->client[k].p[sB->offset + at] - (double)B[at]) *
                            (double)A[q * sA->cols + j];
                }
            }
            for (int i = 0; i < sA->cols; i++)
                for (int j = 0; j < sA->cols; j++)
                    sum += D[i] * gram(&f->gram[k], slot, i, j) * D[j];
        }
    return sum;
}

static void test_no_other_B_has_a_lower_objective(void **state)
{
    (void)state;
    fc_rng g = fc_rng_at((fc_key){.seed = 3, .stream = FC_STREAM_TEST});
    for (int k = 0; k < KINDS; k++) {
        if (!(kinds[k].groups & B_ROUND))
            continue;
        fixture f;
        setup(&f, &kinds[k], 4);
        merge_ok(&f, "lorm");
        for (int i = 0; i < f.s.slots; i++) {
            const fc_spec *s = &f.spec[f.slot_B[i]];
            size_t n = (size_t)s->rows * (size_t)s->cols;
            double best = objective(&f, i, f.out.p + s->offset);
            for (int trial = 0; trial < 20; trial++) {
                fc_real B[64];
                fx_normal(&g, B, n);
                for (size_t j = 0; j < n; j++) /* sizes 1 .. 1e-2 */
                    B[j] = f.out.p[s->offset + j] + B[j] * (fc_real)pow(10, -trial % 3);
                assert_true(objective(&f, i, B) > best);
            }
        }
        fx_free(&f);
    }
}

/* Grams c_k G of one G: the c-weighted mean of the updates, whatever G is. */
static void test_proportional_grams_give_the_weighted_mean(void **state)
{
    (void)state;
    const double c[] = {1, 0.25, 3};
    for (int k = 0; k < KINDS; k++) {
        fixture f;
        setup(&f, &kinds[k], 3);
        for (int i = 2; i >= 0; i--)
            for (size_t j = 0; j < f.gram[i].size; j++)
                f.gram[i].g[j] = c[i] * f.gram[0].g[j];
        const char *rule = kinds[k].groups & FULL ? "regmean" : "lorm";
        merge_ok(&f, rule);
        const fc_spec *bias = fc_params_find(&f.layout, "head.bias"); /* averaged by n_samples */
        for (size_t j = 0; j < bias->offset; j++) {
            double sum = 0, size = 0;
            for (int i = 0; i < 3; i++) {
                sum += c[i] / 4.25 * (double)f.client[i].p[j];
                size += fabs((double)f.client[i].p[j]);
            }
            assert_close(f.out.p[j], sum, 0, tol * size);
        }
        fx_free(&f);
    }
}

/* alpha = 0 is the merge with full Grams whose off-diagonals are zero. */
static void test_diagonal_storage_equals_diagonalised_grams(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k += 3) { /* kinds come as diagonal, half, full */
        job_kind full_kind = kinds[k];
        full_kind.alpha = 1;
        fixture diag, full;
        setup(&diag, &kinds[k], 3);
        setup(&full, &full_kind, 3);
        for (int i = 0; i < 3; i++) {
            memcpy(full.client[i].p, diag.client[i].p, diag.base.n * sizeof *diag.base.p);
            fc_grams_zero(&full.gram[i]);
            for (int q = 0; q < full.gram[i].n; q++)
                for (int j = 0; j < full.gram[i].slot[q].dim; j++)
                    full.gram[i].g[full.gram[i].slot[q].offset +
                                   (size_t)(j * (full.gram[i].slot[q].dim + 1))] =
                        gram(&diag.gram[i], q, j, j);
        }
        const char *rule = kinds[k].groups & FULL ? "regmean" : "lorm";
        merge_ok(&diag, rule);
        merge_ok(&full, rule);
        assert_all_close(diag.out.p, full.out.p, diag.out.n, tol, tol);
        fx_free(&diag);
        fx_free(&full);
    }
}

static void test_worked_example(void **state)
{
    (void)state;
    fixture f;
    fx_init(&f, (fx_shape){.slots = 1, .d_out = {1}, .d_in = {2}, .rank = 1, .clients = 2});
    const double g[2][2] = {{1, 4}, {3, 0}};
    const fc_real A[2][2] = {{2, 1}, {6, 9}}, B[2] = {2, 6};
    for (int k = 0; k < 2; k++) {
        memcpy(f.gram[k].g, g[k], sizeof g[k]);
        memcpy(fx_tensor(&f, &f.client[k], "layer0.lora_A"), A[k], sizeof A[k]);
        *fx_tensor(&f, &f.client[k], "layer0.lora_B") = B[k];
    }
    f.job.groups = A_ROUND;
    merge_ok(&f, "lorm");
    assert_all_close(fx_tensor(&f, &f.out, "layer0.lora_A"), ((fc_real[]){5, 1}), 2, 0, 0);
    fc_real *common = fx_tensor(&f, &f.base, "layer0.lora_A");
    common[0] = common[1] = 1;
    f.job.groups = B_ROUND;
    merge_ok(&f, "lorm");
    assert_close(*fx_tensor(&f, &f.out, "layer0.lora_B"), 3.5, tol, 0);
    fx_free(&f);
}

/* Three clients with 1, 3 and 0 samples. */
static void test_weighted_and_uniform_mean(void **state)
{
    (void)state;
    fixture f;
    fx_init(&f, (fx_shape){.classes = 1, .clients = 3});
    for (int k = 0; k < 3; k++) {
        f.update[k].n_samples = (size_t[]){1, 3, 0}[k];
        f.client[k].p[0] = (fc_real[]){2, 6, 100}[k];
    }
    merge_ok(&f, "average");
    assert_close(f.out.p[0], 5, 0, 0);
    f.job.weighted = false;
    merge_ok(&f, "average");
    assert_close(f.out.p[0], 4, 0, 0);
    fx_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry),
        cmocka_unit_test(test_one_client_gives_its_own_update),
        cmocka_unit_test(test_equal_updates_are_a_fixed_point),
        cmocka_unit_test(test_order_of_clients_is_irrelevant),
        cmocka_unit_test(test_scaled_weights_change_nothing),
        cmocka_unit_test(test_inputs_and_untrained_groups_are_kept),
        cmocka_unit_test(test_one_and_three_threads_give_the_same_bytes),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_bad_updates_are_refused),
        cmocka_unit_test(test_nothing_to_merge_is_refused),
        cmocka_unit_test(test_impossible_jobs_are_refused),
        cmocka_unit_test(test_regmean_solves_its_normal_equations),
        cmocka_unit_test(test_lorm_A_solves_its_normal_equations),
        cmocka_unit_test(test_no_other_B_has_a_lower_objective),
        cmocka_unit_test(test_proportional_grams_give_the_weighted_mean),
        cmocka_unit_test(test_diagonal_storage_equals_diagonalised_grams),
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_weighted_and_uniform_mean),
    };
    fc_threads_init(2, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
