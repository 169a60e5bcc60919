/* Rules over task vectors against golden vectors, to 1e-10. */
#include "core/merge/rules/rule_average.h"
#include "core/merge/rules/rule_breadcrumbs.h"
#include "core/merge/rules/rule_dare.h"
#include "core/merge/rules/rule_emr.h"
#include "core/merge/rules/rule_fisher.h"
#include "core/merge/rules/rule_pcb.h"
#include "core/merge/rules/rule_regmean.h"
#include "core/merge/rules/rule_task_arithmetic.h"
#include "core/merge/rules/rule_ties.h"
#include "tests/support/golden.h"
#include "tests/support/tv_fixture.h"

/* 1e-10 of the largest element: small elements are sums of large ones of both signs */
static void check(const double *got, const gold_tensor *want, const char *what)
{
    double top = 0;
    for (size_t e = 0; e < want->n; e++)
        top = fmax(top, fabs(want->v[e]));
    for (size_t e = 0; e < want->n; e++)
        fc_close_at(got[e], want->v[e], 1e-10, 1e-10 * top, what, e, __FILE__, __LINE__);
}

static void combine(tvx *f, fc_combine *rule, const void *options)
{
    fc_error err = {0};
    fc_status status = rule(f->out, &f->set, options, &f->arena, &err);
    if (status != FC_OK)
        print_error("%s\n", err.msg);
    assert_int_equal(status, FC_OK);
}

/* A flat case, cut into tensors of different sizes, one of them empty. */
typedef struct flat {
    tvx f;
    size_t d;
    double *theta0, *merged;
} flat;

static void flat_open(flat *c, const gold *g)
{
    const gold_tensor *theta0 = gold_find(g, "in.theta0");
    const char *list = theta0 ? "in.theta" : "in.tv";
    int n = gold_count(g, list), d = (int)gold_item(g, list, 0).n;
    tvx_init(&c->f, n, 3, (const int[][2]){{1, d / 3}, {0, 4}, {1, d - d / 3}});
    c->d = (size_t)d;
    c->theta0 = tvx_alloc(&c->f, c->d, sizeof(double));
    c->merged = tvx_alloc(&c->f, c->d, sizeof(double));
    if (theta0)
        memcpy(c->theta0, theta0->v, c->d * sizeof(double));
    for (int i = 0; i < n; i++) {
        gold_tensor theta = gold_item(g, list, i);
        for (size_t e = 0; e < c->d; e++) {
            bool first = e < c->d / 3;
            double *x = c->f.x[i * 3 + (first ? 0 : 2)];
            x[first ? e : e - c->d / 3] = theta.v[e] - c->theta0[e];
        }
    }
}

/* base + merged task vector, flat again */
static const double *flat_merge(flat *c, const double *base, fc_combine *rule, const void *options)
{
    combine(&c->f, rule, options);
    for (size_t e = 0; e < c->d; e++) {
        bool first = e < c->d / 3;
        c->merged[e] = (base ? base[e] : 0) + c->f.out[first ? 0 : 2][first ? e : e - c->d / 3];
    }
    return c->merged;
}

static void test_task_arithmetic(void **state)
{
    (void)state;
    gold g = gold_open("task_arithmetic");
    flat c;
    flat_open(&c, &g);
    fc_task_arithmetic_options o = {gold_scalar(&g, "param.lam")};
    check(flat_merge(&c, c.theta0, fc_rule_task_arithmetic, &o), gold_get(&g, "out.theta"), "TA");
    check(flat_merge(&c, c.theta0, fc_rule_average, NULL), gold_get(&g, "out.average"), "average");
    tvx_free(&c.f);
    gold_close(&g);
}

static void test_ties(void **state)
{
    (void)state;
    static const char *const name[] = {"ties_sum", "ties_mean", "ties_max"};
    for (int k = 0; k < 3; k++) {
        gold g = gold_open(name[k]);
        flat c;
        flat_open(&c, &g);
        fc_ties_options o = {gold_scalar(&g, "param.K"), (fc_ties_merge)k, false, 1};
        check(flat_merge(&c, NULL, fc_rule_ties, &o), gold_get(&g, "out.tau"), name[k]);
        o.lambda = gold_scalar(&g, "param.lam");
        check(flat_merge(&c, c.theta0, fc_rule_ties, &o), gold_get(&g, "out.theta"), name[k]);
        tvx_free(&c.f);
        gold_close(&g);
    }
}

static void test_ties_zero_sign(void **state)
{
    (void)state;
    gold g = gold_open("ties_zero_sign");
    flat c;
    flat_open(&c, &g);
    fc_ties_options o = {gold_scalar(&g, "param.K"), FC_TIES_MEAN, false, 1};
    check(flat_merge(&c, NULL, fc_rule_ties, &o), gold_get(&g, "out.tau_mean"), "mean");
    o.merge = FC_TIES_SUM;
    check(flat_merge(&c, NULL, fc_rule_ties, &o), gold_get(&g, "out.tau_sum"), "sum");
    tvx_free(&c.f);
    gold_close(&g);
}

static void test_ties_fed(void **state)
{
    (void)state;
    gold g = gold_open("ties_fed");
    flat c;
    flat_open(&c, &g);
    fc_ties_options o = {100 * gold_scalar(&g, "param.keep"), FC_TIES_MEAN, true,
                         gold_scalar(&g, "param.lam")};
    check(flat_merge(&c, c.theta0, fc_rule_ties, &o), gold_get(&g, "out.theta"), "ties_fed");
    tvx_free(&c.f);
    gold_close(&g);
}

static void test_dare(void **state)
{
    (void)state;
    gold g = gold_open("dare");
    flat c;
    flat_open(&c, &g);
    for (int i = 0; i < c.f.set.n; i++)
        for (size_t e = 0; e < c.d; e++) {
            bool first = e < c.d / 3;
            c.f.mask[i * 3 + (first ? 0 : 2)][first ? e : e - c.d / 3] =
                gold_item(&g, "in.mask", i).v[e] != 0;
        }
    fc_ties_options ties = {gold_scalar(&g, "param.ties_K"), FC_TIES_SUM, false,
                            gold_scalar(&g, "param.ties_lam")};
    fc_dare_options o = {.p = gold_scalar(&g, "param.p"),
                         .lambda = gold_scalar(&g, "param.lam"),
                         .mask = (const unsigned char *const *)c.f.mask};
    check(flat_merge(&c, c.theta0, fc_rule_dare, &o), gold_get(&g, "out.theta_ta"), "DARE TA");
    o.with_ties = true;
    o.ties = ties;
    check(flat_merge(&c, c.theta0, fc_rule_dare, &o), gold_get(&g, "out.theta_ties"), "DARE TIES");
    tvx_free(&c.f);
    gold_close(&g);
}

static void test_pcb(void **state)
{
    (void)state;
    gold g = gold_open("pcb");
    flat c;
    flat_open(&c, &g);
    const gold_tensor *ratio = gold_get(&g, "param.ratio");
    for (size_t k = 0; k < ratio->n; k++) {
        fc_pcb_options o = {ratio->v[k], 1};
        check(flat_merge(&c, NULL, fc_rule_pcb, &o),
              gold_get(&g, "out.tau_%.0f", 100 * ratio->v[k]), "PCB");
    }
    tvx_free(&c.f);
    gold_close(&g);
}

static void test_breadcrumbs(void **state)
{
    (void)state;
    gold g = gold_open("breadcrumbs");
    const gold_tensor *tau = gold_get(&g, "in.tv");
    tvx f;
    tvx_init(&f, 1, 1, (const int[][2]){{tau->dim[0], tau->dim[1]}});
    memcpy(f.x[0], tau->v, tau->n * sizeof(double));
    fc_breadcrumbs_options o = {gold_scalar(&g, "param.keep"), gold_scalar(&g, "param.remove"),
                                FC_BREADCRUMBS_REMOVE_FIRST, 1};
    combine(&f, fc_rule_breadcrumbs, &o);
    check(f.out[0], gold_get(&g, "out.rows"), "remove first");
    o.form = FC_BREADCRUMBS_KEEP_FIRST;
    combine(&f, fc_rule_breadcrumbs, &o);
    check(f.out[0], gold_get(&g, "out.rows_keep_first"), "keep first");
    o = (fc_breadcrumbs_options){gold_scalar(&g, "param.density"), gold_scalar(&g, "param.gamma"),
                                 FC_BREADCRUMBS_LAYER, 1};
    combine(&f, fc_rule_breadcrumbs, &o);
    check(f.out[0], gold_get(&g, "out.layer"), "layer");
    tvx_free(&f);
    gold_close(&g);
}

/* The set in.<what>.<update>.w, .b */
static void pairs_open(tvx *f, const gold *g, const char *what)
{
    const gold_tensor *w = gold_get(g, "in.%s.0.w", what), *b = gold_get(g, "in.%s.0.b", what);
    char name[96];
    int n = 0;
    do
        snprintf(name, sizeof name, "in.%s.%d.w", what, ++n);
    while (gold_find(g, name));
    tvx_init(f, n, 2, (const int[][2]){{w->dim[0], w->dim[1]}, {1, b->dim[0]}});
    for (int i = 0; i < n; i++) {
        memcpy(f->x[2 * i], gold_get(g, "in.%s.%d.w", what, i)->v, w->n * sizeof(double));
        memcpy(f->x[2 * i + 1], gold_get(g, "in.%s.%d.b", what, i)->v, b->n * sizeof(double));
    }
}

static void test_emr(void **state)
{
    (void)state;
    static const char key[] = {'w', 'b'};
    gold g = gold_open("emr");
    tvx f;
    pairs_open(&f, &g, "tv");
    fc_emr emr;
    assert_int_equal(fc_emr_merge(&emr, &f.set, &f.arena, NULL), FC_OK);
    check(emr.rescaler, gold_get(&g, "out.rescalers"), "rescalers");
    for (int t = 0; t < 2; t++) {
        char masks[16];
        snprintf(masks, sizeof masks, "out.masks.%c", key[t]);
        check(emr.unified[t], gold_get(&g, "out.unified.%c", key[t]), "unified");
        for (int i = 0; i < f.set.n; i++) {
            gold_tensor mask = gold_item(&g, masks, i);
            for (size_t e = 0; e < mask.n; e++)
                assert_int_equal(emr.mask[2 * i + t][e / 8] >> e % 8 & 1, mask.v[e]);
            fc_emr_expert(f.out[t], &emr, i, t);
            check(f.out[t], gold_get(&g, "out.rebuilt.%d.%c", i, key[t]), "expert");
        }
    }
    tvx_free(&f);
    gold_close(&g);
}

static void test_fisher(void **state)
{
    (void)state;
    gold g = gold_open("fisher_merging");
    tvx f, F;
    pairs_open(&f, &g, "theta");
    pairs_open(&F, &g, "F");
    f.set.fisher = (const double *const *)F.x;
    fc_fisher_options o = {true, gold_scalar(&g, "param.minimal")};
    combine(&f, fc_rule_fisher, &o);
    check(f.out[0], gold_get(&g, "out.merged.w"), "merged w");
    check(f.out[1], gold_get(&g, "out.merged.b"), "merged b");
    o.normalise = false;
    combine(&f, fc_rule_fisher, &o);
    check(f.out[0], gold_get(&g, "out.plain.w"), "plain w");
    check(f.out[1], gold_get(&g, "out.plain.b"), "plain b");
    tvx_free(&f);
    tvx_free(&F);
    gold_close(&g);
}

static void test_fisher_federated(void **state)
{
    (void)state;
    gold g = gold_open("fisheravg");
    int n = gold_count(&g, "in.theta"), d = (int)gold_item(&g, "in.theta", 0).n;
    tvx f;
    tvx_init(&f, n, 1, (const int[][2]){{1, d}});
    for (int i = 0; i < n; i++) {
        memcpy(f.x[i], gold_item(&g, "in.theta", i).v, (size_t)d * sizeof(double));
        memcpy(f.stat[i], gold_item(&g, "in.F", i).v, (size_t)d * sizeof(double));
    }
    fc_fisher_options o = {false, gold_scalar(&g, "param.eps")};
    combine(&f, fc_rule_fisher, &o);
    check(f.out[0], gold_get(&g, "out.theta"), "fisheravg");
    tvx_free(&f);
    gold_close(&g);
}

static void test_regmean(void **state)
{
    (void)state;
    gold g = gold_open("regmean_fusionbench");
    gold_tensor W = gold_item(&g, "in.W", 0);
    tvx f;
    tvx_init(&f, gold_count(&g, "in.W"), 1, (const int[][2]){{W.dim[0], W.dim[1]}});
    for (int i = 0; i < f.set.n; i++) {
        gold_tensor X = gold_item(&g, "in.X", i);
        memcpy(f.x[i], gold_item(&g, "in.W", i).v, W.n * sizeof(double));
        f.rows[i] = X.dim[0];
        f.gram[i] = tvx_gram(&f, X.v, X.dim[0], X.dim[1]);
    }
    fc_regmean_options o = {gold_scalar(&g, "param.alpha")};
    combine(&f, fc_rule_regmean, &o);
    check(f.out[0], gold_get(&g, "out.W"), "RegMean");
    tvx_free(&f);
    gold_close(&g);
}

int main(void)
{
    fc_threads_init(2, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_arithmetic),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_ties_zero_sign),
        cmocka_unit_test(test_ties_fed),
        cmocka_unit_test(test_dare),
        cmocka_unit_test(test_pcb),
        cmocka_unit_test(test_breadcrumbs),
        cmocka_unit_test(test_emr),
        cmocka_unit_test(test_fisher),
        cmocka_unit_test(test_fisher_federated),
        cmocka_unit_test(test_regmean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
