/* Rules over task vectors: worked examples, laws, refusals, and numbers at the edge. */
#include "core/merge/rules/rule_average.h"
#include "core/merge/rules/rule_breadcrumbs.h"
#include "core/merge/rules/rule_c_ties.h"
#include "core/merge/rules/rule_dare.h"
#include "core/merge/rules/rule_fisher.h"
#include "core/merge/rules/rule_pcb.h"
#include "core/merge/rules/rule_regmean.h"
#include "core/merge/rules/rule_task_arithmetic.h"
#include "core/merge/rules/rule_ties.h"
#include "tests/support/tv_fixture.h"

enum { CASES_MAX = 24 };

/* A rule with options for one set. */
typedef struct rule_case {
    const char *name;
    fc_combine *rule;
    const void *options;
    double own;   /* one update gives own times itself; 0: something else */
    bool fixed;   /* so do equal updates */
    bool scales;  /* updates times c give c times the result */
    bool ordered; /* the order of the updates matters (their keys) */
} rule_case;

typedef struct all_options {
    fc_task_arithmetic_options sum;
    fc_ties_options ties[5];
    fc_dare_options dare[3];
    fc_breadcrumbs_options breadcrumbs[4];
    fc_pcb_options pcb;
    fc_fisher_options fisher[2];
    fc_regmean_options regmean;
} all_options;

static int list_cases(rule_case *c, all_options *o, const tvx *f)
{
    const unsigned char *const *mask = (const unsigned char *const *)f->mask;
    *o = (all_options){
        .sum = {0.3},
        .ties = {{20, FC_TIES_SUM, false, 0.3},
                 {100, FC_TIES_MEAN, false, 1},
                 {50, FC_TIES_MAX, false, 1},
                 {30, FC_TIES_MEAN, true, 0.4},
                 {100, FC_TIES_MEAN, true, 1}},
        .dare = {{.p = 0.5, .lambda = 0.3, .mask = mask},
                 {.p = 0.5, .with_ties = true, .ties = {20, FC_TIES_SUM, false, 0.3}, .mask = mask},
                 {.p = 0.3, .lambda = 1, .linear_only = true}},
        .breadcrumbs = {{0.2, 0.1, FC_BREADCRUMBS_REMOVE_FIRST, 0.4},
                        {0.5, 0.2, FC_BREADCRUMBS_KEEP_FIRST, 0.4},
                        {0.5, 0.6, FC_BREADCRUMBS_LAYER, 0.4},
                        {1, 0, FC_BREADCRUMBS_LAYER, 0.5}},
        .pcb = {0.2, 1},
        .fisher = {{true, 1e-6}, {false, 1e-12}},
        .regmean = {0.95},
    };
    rule_case all[] = {
        {"average", fc_rule_average, NULL, 1, true, true, false},
        {"task arithmetic", fc_rule_task_arithmetic, &o->sum, 0.3, false, true, false},
        {"TIES sum", fc_rule_ties, &o->ties[0], 0, false, true, false},
        {"TIES mean of all", fc_rule_ties, &o->ties[1], 1, true, true, false},
        {"TIES max", fc_rule_ties, &o->ties[2], 0, false, true, false},
        {"TIES federated", fc_rule_ties, &o->ties[3], 0, false, true, false},
        {"TIES federated, all", fc_rule_ties, &o->ties[4], 1, true, true, false},
        {"C.TIES", fc_rule_ties_continual, &o->ties[0], 0.3, false, true, true},
        {"DARE", fc_rule_dare, &o->dare[0], 0, false, true, false},
        {"DARE TIES", fc_rule_dare, &o->dare[1], 0, false, true, false},
        {"DARE by key", fc_rule_dare, &o->dare[2], 0, false, true, true},
        {"Breadcrumbs", fc_rule_breadcrumbs, &o->breadcrumbs[0], 0, false, true, false},
        {"Breadcrumbs keep first", fc_rule_breadcrumbs, &o->breadcrumbs[1], 0, false, true, false},
        {"Breadcrumbs layer", fc_rule_breadcrumbs, &o->breadcrumbs[2], 0, false, true, false},
        {"Breadcrumbs all", fc_rule_breadcrumbs, &o->breadcrumbs[3], 0.5, false, true, false},
        {"PCB", fc_rule_pcb, &o->pcb, 0, false, false, false},
        {"Fisher", fc_rule_fisher, &o->fisher[0], 1, true, true, false},
        {"Fisher federated", fc_rule_fisher, &o->fisher[1], 1, true, true, false},
        {"RegMean", fc_rule_regmean, &o->regmean, 1, true, true, false},
    };
    memcpy(c, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

enum { TENSORS = 4, UPDATES = 5, RANK = 2 };
static const int dims[TENSORS][2] = {{5, 7}, {1, 9}, {3, 0}, {8, 5}};

static void random_set(tvx *f, int updates, int rank)
{
    tvx_init(f, updates, TENSORS, dims);
    tvx_random(f, 7, rank);
}

static void merge(tvx *f, const rule_case *c)
{
    fc_error err = {0};
    fc_status status = c->rule(f->out, &f->set, c->options, &f->arena, &err);
    if (status != FC_OK)
        print_error("%s: %s\n", c->name, err.msg);
    assert_int_equal(status, FC_OK);
}

static size_t flat_size(const tvx *f)
{
    size_t n = 0;
    for (int t = 0; t < f->set.tensors; t++)
        n += fc_tv_size(&f->shape[t]);
    return n;
}

/* A copy of the tensors x, in a row. */
static double *flat(tvx *f, double *const *x)
{
    double *all = tvx_alloc(f, flat_size(f), sizeof *all), *next = all;
    for (int t = 0; t < f->set.tensors; t++) {
        memcpy(next, x[t], fc_tv_size(&f->shape[t]) * sizeof *x[t]);
        next += fc_tv_size(&f->shape[t]);
    }
    return all;
}

static void check(const rule_case *c, const double *got, const double *want, size_t n, double tol)
{
    double top = 0;
    for (size_t e = 0; e < n; e++)
        top = fmax(top, fabs(want[e]));
    for (size_t e = 0; e < n; e++)
        fc_close_at(got[e], want[e], tol, tol * top, c->name, e, __FILE__, __LINE__);
}

/* The body runs for every rule on a random set. */
static void for_all(int updates, int rank, void (*body)(tvx *f, const rule_case *c))
{
    rule_case c[CASES_MAX];
    all_options o;
    tvx f;
    random_set(&f, updates, rank);
    int n = list_cases(c, &o, &f);
    tvx_free(&f);
    for (int k = 0; k < n; k++) {
        random_set(&f, updates, rank);
        list_cases(c, &o, &f);
        body(&f, &c[k]);
        tvx_free(&f);
    }
}

static void one_is_own(tvx *f, const rule_case *c)
{
    size_t n = flat_size(f);
    merge(f, c);
    double *got = flat(f, f->out), *x = flat(f, f->x);
    for (size_t e = 0; e < n; e++)
        x[e] *= c->own;
    if (c->own != 0)
        check(c, got, x, n, 1e-12);
}

static void test_one_update(void **state)
{
    (void)state;
    for_all(1, 0, one_is_own);
    for_all(1, RANK, one_is_own);
}

static void equal_are_fixed(tvx *f, const rule_case *c)
{
    for (int i = 1; i < UPDATES; i++)
        memcpy(&f->tv[i * TENSORS], f->tv, TENSORS * sizeof *f->tv);
    size_t n = flat_size(f);
    merge(f, c);
    if (c->fixed)
        check(c, flat(f, f->out), flat(f, f->x), n, 1e-12);
}

static void test_equal_updates(void **state)
{
    (void)state;
    for_all(UPDATES, 0, equal_are_fixed);
    for_all(UPDATES, RANK, equal_are_fixed);
}

#define SWAP_ROWS(x, size)                                                                         \
    do {                                                                                           \
        char swap_row[TENSORS * sizeof(fc_tv)];                                                    \
        memcpy(swap_row, (x) + (size), (size) * sizeof *(x));                                      \
        memcpy((x) + (size), (x) + 4 * (size), (size) * sizeof *(x));                              \
        memcpy((x) + 4 * (size), swap_row, (size) * sizeof *(x));                                  \
    } while (0)

static void order_is_nothing(tvx *f, const rule_case *c)
{
    size_t n = flat_size(f);
    merge(f, c);
    double *before = flat(f, f->out);
    SWAP_ROWS(f->tv, TENSORS);
    SWAP_ROWS(f->stat, TENSORS);
    SWAP_ROWS(f->gram, TENSORS);
    SWAP_ROWS(f->mask, TENSORS);
    SWAP_ROWS(f->rows, 1);
    merge(f, c);
    if (!c->ordered)
        check(c, flat(f, f->out), before, n, 1e-11);
}

static void test_order(void **state)
{
    (void)state;
    for_all(UPDATES, 0, order_is_nothing);
    for_all(UPDATES, RANK, order_is_nothing);
}

static void factors_are_dense(tvx *f, const rule_case *c)
{
    size_t n = flat_size(f);
    merge(f, c);
    double *factored = flat(f, f->out);
    for (int k = 0; k < UPDATES * TENSORS; k++)
        f->tv[k] = (fc_tv){.dense = f->x[k]};
    merge(f, c);
    check(c, factored, flat(f, f->out), n, 1e-11);
}

static void test_factors(void **state)
{
    (void)state;
    for_all(UPDATES, RANK, factors_are_dense);
}

/* a power of two, so that scaling rounds nothing; 2^100 is about 1e30 */
static void scale_set(tvx *f, int power)
{
    for (int k = 0; k < UPDATES * TENSORS; k++)
        for (size_t e = 0; e < fc_tv_size(&f->shape[k % TENSORS]); e++)
            f->x[k][e] = ldexp(f->x[k][e], power);
}

static void scaling_is_equal(tvx *f, const rule_case *c)
{
    size_t n = flat_size(f);
    merge(f, c);
    double *want = flat(f, f->out);
    static const int power[] = {-100, 200, -100};
    for (int k = 0, sum = 0; k < 3; k++) {
        scale_set(f, power[k]);
        sum += power[k];
        merge(f, c);
        double *got = flat(f, f->out);
        for (size_t e = 0; e < n; e++) {
            assert_true(isfinite(got[e]));
            if (c->scales)
                assert_true(ldexp(got[e], -sum) == want[e]);
        }
    }
}

static void test_scale(void **state)
{
    (void)state;
    for_all(UPDATES, 0, scaling_is_equal);
}

static void zero_stays_zero(tvx *f, const rule_case *c)
{
    /* one tensor, then all */
    for (int all = 0; all < 2; all++) {
        for (int k = 0; k < UPDATES * TENSORS; k++)
            if (all || k % TENSORS == 0)
                memset(f->x[k], 0, fc_tv_size(&f->shape[k % TENSORS]) * sizeof(double));
        merge(f, c);
        for (int t = 0; t < TENSORS; t++)
            for (size_t e = 0; e < fc_tv_size(&f->shape[t]); e++) {
                assert_true(isfinite(f->out[t][e]));
                assert_true(f->out[t][e] == 0 || (!all && t > 0));
            }
    }
}

static void test_zero(void **state)
{
    (void)state;
    for_all(UPDATES, 0, zero_stays_zero);
}

static void inputs_stay_and_threads_agree(tvx *f, const rule_case *c)
{
    size_t n = flat_size(f);
    double *before[UPDATES], *one;
    for (int i = 0; i < UPDATES; i++)
        before[i] = flat(f, f->x + i * TENSORS);
    fc_threads_init(1, NULL);
    merge(f, c);
    one = flat(f, f->out);
    fc_threads_init(3, NULL);
    merge(f, c);
    assert_memory_equal(one, flat(f, f->out), n * sizeof *one);
    for (int i = 0; i < UPDATES; i++)
        assert_memory_equal(before[i], flat(f, f->x + i * TENSORS), n * sizeof(double));
    bool any = false;
    for (size_t e = 0; e < n; e++)
        any |= one[e] != 0;
    assert_true(any);
}

static void test_pure(void **state)
{
    (void)state;
    for_all(UPDATES, 0, inputs_stay_and_threads_agree);
    for_all(UPDATES, RANK, inputs_stay_and_threads_agree);
}

static void nan_is_refused(tvx *f, const rule_case *c)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY}, one[8] = {1};
    double *x = &f->x[2 * TENSORS + 3][4];
    if (f->tv[2 * TENSORS + 3].rank) /* B (8, 1) A (1, 5): the one or the other is bad */
        f->tv[2 * TENSORS + 3] =
            c->own != 0 ? (fc_tv){1, NULL, x - 4, one} : (fc_tv){1, NULL, one, x - 4};
    for (int k = 0; k < 3; k++) {
        fc_error err = {0};
        *x = bad[k];
        assert_int_equal(c->rule(f->out, &f->set, c->options, &f->arena, &err), FC_EFAIL);
        assert_non_null(strstr(err.msg, "update 2, tensor layer3"));
        *x = 1;
    }
    fc_error err = {0};
    f->set.n = 0;
    assert_int_equal(c->rule(f->out, &f->set, c->options, &f->arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "0 updates"));
}

static void test_refused_updates(void **state)
{
    (void)state;
    for_all(UPDATES, 0, nan_is_refused);
    for_all(UPDATES, RANK, nan_is_refused);
}

/* The rule refuses with this text in its message. */
static void refused(tvx *f, fc_combine *rule, const void *options, fc_status want, const char *text)
{
    fc_error err = {0};
    assert_int_equal(rule(f->out, &f->set, options, &f->arena, &err), want);
    if (!strstr(err.msg, text))
        print_error("found \"%s\", expected \"%s\"\n", err.msg, text);
    assert_non_null(strstr(err.msg, text));
}

static void test_refused_options(void **state)
{
    (void)state;
    rule_case c[CASES_MAX];
    all_options o;
    tvx f;
    random_set(&f, UPDATES, 0);
    list_cases(c, &o, &f);
    o.ties[0].top_k = -1;
    refused(&f, fc_rule_ties, &o.ties[0], FC_EUSAGE, "TIES: top_k is -1");
    o.dare[1].ties.top_k = NAN;
    refused(&f, fc_rule_dare, &o.dare[1], FC_EUSAGE, "TIES: top_k is nan");
    o.dare[0].p = 1;
    refused(&f, fc_rule_dare, &o.dare[0], FC_EUSAGE, "DARE: p is 1");
    o.breadcrumbs[0].beta = 1.5;
    refused(&f, fc_rule_breadcrumbs, &o.breadcrumbs[0], FC_EUSAGE, "beta is 1.5");
    o.breadcrumbs[1].gamma = -0.5;
    refused(&f, fc_rule_breadcrumbs, &o.breadcrumbs[1], FC_EUSAGE, "gamma is -0.5");
    o.pcb.ratio = 2;
    refused(&f, fc_rule_pcb, &o.pcb, FC_EUSAGE, "PCB: ratio is 2");
    o.fisher[0].epsilon = 0;
    refused(&f, fc_rule_fisher, &o.fisher[0], FC_EUSAGE, "epsilon is 0");
    f.stat[1 * TENSORS + 3][2] = -1;
    refused(&f, fc_rule_fisher, &o.fisher[1], FC_EFAIL, "update 1, tensor layer3");
    f.gram[4 * TENSORS + 0][2] = NAN;
    refused(&f, fc_rule_regmean, &o.regmean, FC_EFAIL, "update 4, tensor layer0");
    f.gram[0] = NULL;
    refused(&f, fc_rule_regmean, &o.regmean, FC_EUSAGE, "update 0, tensor layer0");
    f.rows[3] = 0;
    refused(&f, fc_rule_regmean, &o.regmean, FC_EUSAGE, "update 3");
    tvx_free(&f);
}

/* One flat tensor of up to 8 entries per update, merged into want. */
static void example(int line, int n, int d, const double *x, fc_combine *rule, const void *options,
                    const double *want)
{
    tvx f;
    tvx_init(&f, n, 1, (const int[][2]){{1, d}});
    for (int i = 0; i < n; i++)
        memcpy(f.x[i], x + i * d, (size_t)d * sizeof *x);
    assert_int_equal(rule(f.out, &f.set, options, &f.arena, NULL), FC_OK);
    for (size_t e = 0; e < (size_t)d; e++)
        fc_close_at(f.out[0][e], want[e], 1e-14, 1e-14, "example", e, __FILE__, line);
    tvx_free(&f);
}
#define EXAMPLE(...) example(__LINE__, __VA_ARGS__)
#define V (const double[])

static void test_examples(void **state)
{
    (void)state;
    EXAMPLE(2, 2, V{1, -2, 3, 1}, fc_rule_task_arithmetic, &(fc_task_arithmetic_options){0.3},
            V{1.2, -0.3});
    EXAMPLE(2, 2, V{1, -2, 3, 1}, fc_rule_average, NULL, V{2, -0.5});

    const double *ties = V{4, -1, 3, .5, -2, -3, 1, 6};
    fc_ties_options t = {50, FC_TIES_MEAN, false, 1};
    EXAMPLE(2, 4, ties, fc_rule_ties, &t, V{4, -2, 3, 6});
    t.merge = FC_TIES_SUM;
    EXAMPLE(2, 4, ties, fc_rule_ties, &t, V{4, -4, 3, 6});
    t.merge = FC_TIES_MAX;
    EXAMPLE(2, 4, ties, fc_rule_ties, &t, V{4, -3, 3, 6});
    t.top_k = 150; /* everything */
    EXAMPLE(2, 4, ties, fc_rule_ties, &t, V{4, -3, 3, 6.});
    /* the quantile between two neighbours is rounded to the smaller one, as in the reference */
    t = (fc_ties_options){70, FC_TIES_MEAN, true, 1};
    EXAMPLE(1, 2, V{1, 1 + 0x1p-52}, fc_rule_ties, &t, V{1, 1 + 0x1p-52});
    /* no sign here: the one of most others, which the federated form leaves */
    t = (fc_ties_options){100, FC_TIES_MAX, false, 1};
    EXAMPLE(2, 3, V{1, -5, -1, -1, -5, -1}, fc_rule_ties, &t, V{-1, -5, -1});
    t.quantile = true;
    EXAMPLE(2, 3, V{1, -5, -1, -1, -5, -1}, fc_rule_ties, &t, V{0, -5, -1});
    /* no sign at all: the negative numbers are merged, in the federated form none */
    t = (fc_ties_options){100, FC_TIES_SUM, false, 1};
    EXAMPLE(2, 2, V{1, 2, -1, -2}, fc_rule_ties, &t, V{-1, -2});
    t.quantile = true;
    EXAMPLE(2, 2, V{1, 2, -1, -2}, fc_rule_ties, &t, V{0, 0});

    /* D = tau_1 / 2; of D (2, -.5, 1.5, .25) and tau_2 three entries are kept, and their sum (0,
     * -3.5, 1.5, 6) elects + for the first */
    t = (fc_ties_options){50, FC_TIES_SUM, false, .5};
    EXAMPLE(2, 4, ties, fc_rule_ties_continual, &t, V{3, -2.25, 2.25, 3.25});

    EXAMPLE(1, 5, V{5, -1, 3, .2, -4}, fc_rule_breadcrumbs,
            &(fc_breadcrumbs_options){.5, .2, FC_BREADCRUMBS_REMOVE_FIRST, 1}, V{0, 0, 3, 0, -4});
    EXAMPLE(1, 5, V{5, -1, 3, .2, -4}, fc_rule_breadcrumbs,
            &(fc_breadcrumbs_options){.5, .2, FC_BREADCRUMBS_KEEP_FIRST, 1}, V{0, 0, 0, 0, -4});
    /* nothing to remove: all that was to be kept is (the slip of mergekit) */
    EXAMPLE(1, 5, V{5, -1, 3, .2, -4}, fc_rule_breadcrumbs,
            &(fc_breadcrumbs_options){.5, .1, FC_BREADCRUMBS_LAYER, 1}, V{5, 0, 0, 0, -4});
    /* removed and kept exceed n: fewer are removed */
    EXAMPLE(1, 5, V{5, -1, 3, .2, -4}, fc_rule_breadcrumbs,
            &(fc_breadcrumbs_options){.8, .4, FC_BREADCRUMBS_LAYER, 1}, V{0, -1, 3, .2, -4});
    /* of equals the first counts as larger */
    EXAMPLE(1, 5, V{3, 2, -2, 2, 1}, fc_rule_breadcrumbs,
            &(fc_breadcrumbs_options){.4, .4, FC_BREADCRUMBS_REMOVE_FIRST, 1}, V{0, 0, -2, 2, 0});

    EXAMPLE(2, 4, V{1, -2, 3, .5, 2, 1, -1, .25}, fc_rule_pcb, &(fc_pcb_options){.5, 1},
            V{1, 0, 2, 0});
    /* 0/0: all weights are 0 */
    EXAMPLE(1, 4, V{1, -1, 1, 1}, fc_rule_pcb, &(fc_pcb_options){.5, 1}, V{0, 0, 0, 0});
    EXAMPLE(1, 4, V{1, -2, 3, 4}, fc_rule_pcb, &(fc_pcb_options){0, 1}, V{0, 0, 0, 0});
    EXAMPLE(1, 3, V{2, 4, 6}, fc_rule_dare,
            &(fc_dare_options){.p = .5,
                               .lambda = 1,
                               .mask = (const unsigned char *const[]){(unsigned char[]){1, 0, 1}}},
            V{4, 0, 12});
}

static void test_weights_and_statistics_of_the_set(void **state)
{
    (void)state;
    tvx f;
    tvx_init(&f, 2, 1, (const int[][2]){{1, 1}});
    f.x[0][0] = 1;
    f.x[1][0] = 3;
    f.stat[0][0] = 3;
    f.stat[1][0] = 1;
    const fc_fisher_options fisher = {false, 1e-300};
    assert_int_equal(fc_rule_fisher(f.out, &f.set, &fisher, &f.arena, NULL), FC_OK);
    assert_close(f.out[0][0], 1.5, 1e-14, 0);
    f.set.weight = V{3, 5};
    assert_int_equal(fc_rule_average(f.out, &f.set, NULL, &f.arena, NULL), FC_OK);
    assert_close(f.out[0][0], 2.25, 1e-14, 0);
    f.set.weight = V{0, 0};
    refused(&f, fc_rule_average, NULL, FC_EUSAGE, "sum to 0");
    f.set.fisher = NULL;
    refused(&f, fc_rule_fisher, &fisher, FC_EUSAGE, "no Fisher information");
    f.set.gram = NULL;
    refused(&f, fc_rule_regmean, &(fc_regmean_options){1}, FC_EUSAGE, "no Grams");
    f.set.kind = "client";
    f.set.id = (const int[]){4, 7};
    f.x[1][0] = NAN;
    refused(&f, fc_rule_average, NULL, FC_EFAIL, "client 7, tensor layer0");
    tvx_free(&f);
}

/* Random masks: about 1 - p are kept, other keys drop others, vectors are left alone on request. */
static void test_dare_random(void **state)
{
    (void)state;
    enum { D = 20000 };
    tvx f;
    tvx_init(&f, 2, 2, (const int[][2]){{2, D / 2}, {1, D}});
    for (int k = 0; k < 4; k++)
        for (int e = 0; e < D; e++)
            f.x[k][e] = 1;
    fc_dare_options o = {.p = 0.3, .linear_only = true, .lambda = 1};
    f.set.key = (fc_key){.seed = 3};
    assert_int_equal(fc_rule_dare(f.out, &f.set, &o, &f.arena, NULL), FC_OK);
    int kept[3] = {0};
    for (int e = 0; e < D; e++) {
        kept[lround(f.out[0][e] * 0.7)]++;
        assert_close(f.out[1][e], 2, 0, 0);
    }
    /* 4 standard deviations of a binomial share */
    assert_close(kept[0] / (double)D, 0.09, 0, 4 * sqrt(0.09 * 0.91 / D));
    assert_close(kept[2] / (double)D, 0.49, 0, 4 * sqrt(0.49 * 0.51 / D));
    size_t n = flat_size(&f);
    double *first = flat(&f, f.out);
    o.linear_only = false;
    assert_int_equal(fc_rule_dare(f.out, &f.set, &o, &f.arena, NULL), FC_OK);
    assert_memory_equal(first, f.out[0], D * sizeof *first);
    assert_memory_not_equal(f.out[0], f.out[1], D * sizeof *first);
    f.set.key.round = 1;
    assert_int_equal(fc_rule_dare(f.out, &f.set, &o, &f.arena, NULL), FC_OK);
    assert_memory_not_equal(first, flat(&f, f.out), n * sizeof *first);
    tvx_free(&f);
}

/* The ends of a long vector: two entries at each are clamped; 0 stays 0 with a weight as well. */
static void test_pcb_clamps(void **state)
{
    (void)state;
    enum { D = 20000 };
    tvx f;
    tvx_init(&f, 2, 1, (const int[][2]){{1, D}});
    for (int e = 1; e < D; e++)
        f.x[0][e] = 1e-6 * (e + 1);
    f.x[1][5] = -1; /* makes this the lowest b of the first update */
    assert_int_equal(fc_rule_pcb(f.out, &f.set, &(fc_pcb_options){1, 1}, &f.arena, NULL), FC_OK);
    const double *out = f.out[0];
    assert_close(out[0], 0, 0, 0);
    assert_close(out[1], 3e-6, 1e-12, 0);
    assert_close(out[100], 101e-6, 1e-12, 0);
    assert_close(out[D - 2], 1e-6 * (D - 2), 1e-12, 0);
    assert_close(out[D - 1], 1e-6 * (D - 2), 1e-12, 0);
    tvx_free(&f);
}

/* RegMean solves its normal equations: sum_i (W - W_i) M_i = 0, M_i = G_i / rows_i, whatever the
 * answer; without rows M_i = G_i. */
static void check_regmean_equation(const double *rows)
{
    tvx f;
    random_set(&f, UPDATES, RANK);
    fc_regmean_options o = {1};
    f.set.gram_rows = rows;
    assert_int_equal(fc_rule_regmean(f.out, &f.set, &o, &f.arena, NULL), FC_OK);
    for (int t = 0; t < TENSORS; t++) {
        int m = f.shape[t].rows, d = f.shape[t].cols;
        for (int a = 0; f.shape[t].linear && a < m; a++)
            for (int b = 0; b < d; b++) {
                double sum = 0;
                for (int i = 0; i < UPDATES; i++)
                    for (int k = 0; k < d; k++)
                        sum += (f.out[t][a * d + k] - f.x[i * TENSORS + t][a * d + k]) *
                               f.gram[i * TENSORS + t][k * d + b] / (rows ? rows[i] : 1);
                assert_close(sum, 0, 0, 1e-10);
            }
    }
    tvx_free(&f);
}

static void test_regmean_equation(void **state)
{
    (void)state;
    const double rows[] = {3, 50, 7, 1, 20};
    assert_true(sizeof rows / sizeof *rows >= UPDATES);
    check_regmean_equation(NULL);
    check_regmean_equation(rows);
}

/* TIES with a quantile: the level lies on the (n - 1) q-th of the sorted sizes, here on the fifth
 * of nine, which is kept. */
static void test_ties_quantile(void **state)
{
    (void)state;
    tvx f;
    tvx_init(&f, 1, 1, (const int[][2]){{1, 9}});
    memcpy(f.x[0], (const double[]){9, -1, 4, 7, 2, -5, 8, 3, 6}, 9 * sizeof(double));
    fc_ties_options o = {50, FC_TIES_SUM, true, 1};
    assert_int_equal(fc_rule_ties(f.out, &f.set, &o, &f.arena, NULL), FC_OK);
    assert_all_close(f.out[0], ((const double[]){9, 0, 0, 7, 0, -5, 8, 0, 6}), 9, 0, 0);
    tvx_free(&f);
}

/* exp(T) alone would overflow */
static void test_many_updates(void **state)
{
    (void)state;
    tvx f;
    random_set(&f, 1000, 0);
    assert_int_equal(fc_rule_pcb(f.out, &f.set, &(fc_pcb_options){0.2, 1}, &f.arena, NULL), FC_OK);
    size_t n = flat_size(&f);
    double *x = flat(&f, f.out);
    bool any = false;
    for (size_t e = 0; e < n; e++) {
        assert_true(isfinite(x[e]));
        any |= x[e] != 0;
    }
    assert_true(any);
    tvx_free(&f);
}

int main(void)
{
    fc_threads_init(2, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_one_update),
        cmocka_unit_test(test_equal_updates),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_factors),
        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_pure),
        cmocka_unit_test(test_refused_updates),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_weights_and_statistics_of_the_set),
        cmocka_unit_test(test_dare_random),
        cmocka_unit_test(test_regmean_equation),
        cmocka_unit_test(test_ties_quantile),
        cmocka_unit_test(test_many_updates),
        cmocka_unit_test(test_pcb_clamps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
