/* LwF's loss against the authors' code, its gradient by differences, and runs that are FedAvg. */
#include "tests/support/golden.h"
#include "tests/support/open_run.h"
#include "tests/support/piece_lab.h"

enum { MOST = 4096 };

/* The term of a slice of n images with all logits; d (n, classes) += its gradient. */
static double loss(lab *l, const gold *g, const fc_real *z, fc_real *d)
{
    const gold_tensor *in = gold_get(g, "in.logits"), *old = gold_get(g, "in.old_logits");
    fc_real teacher[MOST];
    for (size_t i = 0; i < old->n; i++)
        teacher[i] = (fc_real)old->v[i];
    int offset = gold_int(g, "param.offset");
    fc_piece_client c = lab_client(l, 0);
    return l->piece->term->slice(&(fc_piece_slice){.client = &c,
                                                   .n = in->dim[0],
                                                   .batch = in->dim[0],
                                                   .classes = in->dim[1],
                                                   .lo = offset,
                                                   .hi = offset + gold_int(g, "param.cpt"),
                                                   .logits = z,
                                                   .teacher_logits = teacher,
                                                   .dlogits = d});
}

static void check_loss(const char *columns, const char *out)
{
    gold g = gold_open("loss_lwf");
    const gold_tensor *in = gold_get(&g, "in.logits");
    fc_real z[MOST], d[MOST] = {0}, unused[MOST];
    assert_true(in->n <= MOST);
    for (size_t i = 0; i < in->n; i++)
        z[i] = (fc_real)in->v[i];
    char alpha[32], temperature[32];
    snprintf(alpha, sizeof alpha, "%.17g", gold_scalar(&g, "param.alpha"));
    snprintf(temperature, sizeof temperature, "%.17g", gold_scalar(&g, "param.temp"));
    const char *const set[] = {"alpha",   alpha,   "temperature", temperature,
                               "columns", columns, NULL};
    lab l;
    lab_open_method(&l, "lwf", set);
    double n = in->dim[0];
    assert_close(loss(&l, &g, z, d) / n, gold_scalar(&g, "param.alpha") * gold_scalar(&g, out),
                 1e-6, 0);
    for (size_t i = 0; i < in->n; i++) {
        const fc_real at = z[i], step = 0.015625f;
        z[i] = at + step;
        double up = loss(&l, &g, z, unused);
        z[i] = at - step;
        double down = loss(&l, &g, z, unused);
        z[i] = at;
        assert_close(d[i], (up - down) / (2 * step) / n, 1e-3, 1e-5);
    }
    lab_close(&l);
    gold_close(&g);
}

static void test_loss(void **state)
{
    (void)state;
    check_loss("current", "out.kd");
    check_loss("old", "out.kd_std");
}

static const char config[] =
    "run: {seed: 3, threads: 2}\n"
    "data: {name: synth, synth_classes: 4, synth_train: 12, synth_test: 4, synth_size: 8}\n"
    "tasks: {count: 2}\n"
    "fed: {clients: 3, rounds: 2, beta: 2, min_samples: 3}\n"
    "backbone: {patch: 4, width: 16, depth: 2, heads: 2}\n"
    "train: {epochs: 2, batch: 4, lr: 0.05, optimizer: sgd, momentum: 0.5}\n"
    "eval: {rounds: none}\n";

/* The model at the end of both tasks; how far its old rows of the head moved in the second one. */
static void train(fc_real **out, size_t *n, const char *method, const char *option)
{
    open_run o;
    const char *const set[] = {method, option, NULL};
    open_run_must(&o, open_run_try(&o, config, set, NULL));
    for (int t = 0; t < 2; t++) {
        open_run_begin(&o, t);
        for (int round = 0; round < 2; round++)
            open_run_must(&o, fc_server_round(&o.run, t, round, &o.err));
        open_run_must(&o, fc_server_end_task(&o.run, t, &o.err));
        if (strstr(method, "lwf")) /* the teacher is the model of the task */
            assert_memory_equal(o.run.state.array[0][0].p, o.run.state.global.p,
                                o.setup.layout.n * sizeof(fc_real));
    }
    *n = o.setup.layout.n;
    *out = malloc(*n * sizeof **out);
    assert_non_null(*out);
    memcpy(*out, o.run.state.global.p, *n * sizeof **out);
    open_run_close(&o);
}

static void test_runs(void **state)
{
    (void)state;
    static const char *const option[] = {"method.alpha=0", "method.alpha=1", "method.columns=old"};
    fc_real *fedavg, *x;
    size_t n, m;
    train(&fedavg, &n, "method.name=fedavg", "run.seed=3");
    for (int i = 0; i < 3; i++) {
        train(&x, &m, "method.name=lwf", option[i]);
        assert_int_equal(n, m);
        assert_true((memcmp(x, fedavg, n * sizeof *x) == 0) == (i == 0));
        free(x);
    }
    free(fedavg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_loss), cmocka_unit_test(test_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
