/* Pieces of a round: the steps of the server, FedProx and SCAFFOLD, by worked examples, by the
 * functions alone on quadratic clients, and in whole runs against methods that they must equal. */
#include "core/base/rng.h"
#include "tests/support/open_run.h"
#include "tests/support/piece_lab.h"

enum { N = LAB_N, CLIENTS = LAB_CLIENTS };

/* --- server optimisers ------------------------------------------------------------------------ */

/* The server's block, 1 at first, after each of the averages. */
static void check_averages(const char *const *set, const double *average, const double *want, int n)
{
    lab l;
    lab_open_option(&l, "server_optimizer", set);
    lab_fill(l.start, 1);
    for (int r = 0; r < n; r++) {
        lab_fill(l.global, average[r]);
        fc_piece_server v = lab_server(&l, 0, r);
        assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
        assert_close(v.note, fabs(average[r] - (double)l.start[0]), 1e-6, 1e-7); /* rms of d */
        for (int i = 0; i < N; i++)
            assert_close(l.global[i], want[r], 0, 1e-6);
        memcpy(l.start, l.global, sizeof l.start);
    }
    lab_close(&l);
}

static void test_worked_examples(void **state)
{
    (void)state;
    static const double average[] = {0.8, 0.7};
    static const struct {
        const char *set[8];
        double want[2];
    } row[] = {
        {{"optimizer", "fedavgm"}, {0.8, 0.52}},
        {{"optimizer", "fedadam", "lr", "0.1"}, {0.904762, 0.774568}},
        {{"optimizer", "fedyogi"}, {0.990476, 0.977504}}, /* its lr is 0.01 */
        {{"optimizer", "fedadagrad"}, {0.900498, 0.829948}},
        {{"optimizer", "fedadagrad", "bias", "adam"}, {0.900498, 0.829948}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        check_averages(row[i].set, average, row[i].want, 2);
}

/* Adam's correction in round r = 1, 2 has 1 - beta^r: m = d and v = d^2 in the first round. */
static void test_bias(void **state)
{
    (void)state;
    const double average[] = {0.8, 0.7};
    double x = 1, m = 0, v = 0, want[2];
    for (int r = 1; r <= 2; r++) {
        double d = average[r - 1] - x;
        m = 0.9 * m + 0.1 * d;
        v = 0.99 * v + 0.01 * d * d;
        x += 0.1 * (m / (1 - pow(0.9, r))) / (sqrt(v / (1 - pow(0.99, r))) + 1e-3);
        want[r - 1] = x;
    }
    assert_close(want[0], 1 - 0.1 * 0.2 / 0.201, 1e-12, 0);
    const char *const set[] = {"optimizer", "fedadam", "lr", "0.1", "bias", "adam", NULL};
    check_averages(set, average, want, 2);
}

/* Where the moments are kept, the rounds of the tasks before count in the exponent. */
static void test_bias_of_kept_moments(void **state)
{
    (void)state;
    lab l;
    const char *const set[] = {"optimizer", "fedadam", "lr",   "0.1", "bias",
                               "adam",      "moments", "keep", NULL};
    lab_open_option(&l, "server_optimizer", set);
    l.setup.rounds = 3;
    lab_fill(l.global, 1);
    fc_piece_server v = lab_server(&l, 1, 0); /* the fourth round of all */
    assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
    double c1 = 1 - pow(0.9, 4), c2 = 1 - pow(0.99, 4);
    assert_close(l.global[0], 0.1 * (0.1 / c1) / (sqrt(0.01 / c2) + 1e-3), 1e-5, 0);
    assert_int_equal(l.declared[0].reset, FC_NEVER);
    lab_close(&l);
}

/* Yogi's second moment goes down by no more than (1 - beta2) d^2. */
static void test_yogi_forgets_slowly(void **state)
{
    (void)state;
    lab l;
    const char *const set[] = {"optimizer", "fedyogi", NULL};
    lab_open_option(&l, "server_optimizer", set);
    lab_fill(l.server[1].p, 4);
    lab_fill(l.global, 1);
    fc_piece_server v = lab_server(&l, 0, 0);
    assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
    assert_close(l.server[1].p[0], 4 - 0.01 * 1, 1e-6, 0);
    lab_close(&l);
}

/* Once the average stands still, x moves by momentum alone. */
static void test_no_difference(void **state)
{
    (void)state;
    static const char *const kind[] = {"fedavgm", "fedadam", "fedyogi", "fedadagrad"};
    for (int i = 0; i < 4; i++) {
        lab l;
        const char *const set[] = {"optimizer", kind[i], "lr", "0.5", NULL};
        lab_open_option(&l, "server_optimizer", set);
        fc_piece_server v = lab_server(&l, 0, 0);
        lab_fill(l.start, 0.3);
        lab_fill(l.global, 0.3);
        assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
        assert_true(l.global[0] == l.start[0]); /* none yet */
        lab_fill(l.global, 0.1);
        assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
        memcpy(l.start, l.global, sizeof l.start);
        double m = l.server[0].p[0], w = i ? (double)l.server[1].p[0] : 0;
        assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
        double step = (double)l.global[0] - (double)l.start[0];
        assert_close(step,
                     i == 0   ? -0.5 * 0.9 * m
                     : i == 3 ? 0
                              : 0.5 * 0.9 * m / (sqrt((i == 1 ? 0.99 : 1) * w) + 1e-3),
                     1e-5, 1e-7);
        lab_close(&l);
    }
}

/* A group that is not trained in this round stays, whatever its moments are. */
static void test_other_groups_stay(void **state)
{
    (void)state;
    lab l;
    const char *const set[] = {"optimizer", "fedavgm", NULL};
    lab_open_option(&l, "server_optimizer", set);
    fc_piece_server v = lab_server(&l, 0, 0);
    v.groups = 1u << FC_GROUP_A;
    lab_fill(l.server[0].p, 1);
    assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
    assert_true(l.global[0] == 0 && l.server[0].p[0] == 1 && isnan(v.note));
    lab_close(&l);
}

/* --- FedProx ---------------------------------------------------------------------------------- */

static void test_prox(void **state)
{
    (void)state;
    lab l;
    fc_real grad[N];
    const char *const set[] = {"prox_mu", "0.1", NULL};
    lab_open_option(&l, "prox", set);
    fc_piece_client c = lab_client(&l, 0);
    lab_fill(l.start, 1);
    lab_fill(l.w[0], 1.2);
    lab_fill(grad, 0.5);
    assert_close(l.piece->term->block(grad, &c), 0.05 * 0.04 * N, 1e-5, 0);
    assert_close(1.2 - 0.1 * (double)grad[0], 1.148, 1e-6, 0);
    fc_real was[N], g[N] = {0};
    for (int i = 0; i < N; i++)
        was[i] = l.w[0][i] = (fc_real)(0.3 * i - 1);
    l.piece->term->block(g, &c);
    for (int i = 0; i < N; i++) {
        fc_real ignored[N] = {0};
        l.w[0][i] = was[i] + 0.5f;
        double up = l.piece->term->block(ignored, &c);
        l.w[0][i] = was[i] - 0.5f;
        double down = l.piece->term->block(ignored, &c);
        l.w[0][i] = was[i];
        assert_close(g[i], up - down, 1e-5, 1e-6); /* exact for a square, but for rounding */
    }
    c.groups = 1u << FC_GROUP_B;
    memset(g, 0, sizeof g);
    assert_true(l.piece->term->block(g, &c) == 0 && g[0] == 0); /* nothing of it is trained */
    lab_close(&l);
}

static void test_prox_is_off(void **state)
{
    (void)state;
    lab l;
    const char *const off[] = {NULL}, *const on[] = {"prox_mu", "1e-9", NULL};
    lab_open_option(&l, "prox", off);
    assert_false(l.piece->on(l.options));
    lab_close(&l);
    lab_open_option(&l, "prox", on);
    assert_true(l.piece->on(l.options));
    lab_close(&l);
    lab_open_option(&l, "server_optimizer", off);
    assert_false(l.piece->on(l.options));
    lab_close(&l);
}

/* --- SCAFFOLD by its functions ---------------------------------------------------------------- */

enum { C, C_I, DELTA, SUM }; /* its arrays */

/* One step of a client with the gradient g; m: of torch's momentum. */
static void client_step(lab *l, int k, const double *g, double *m)
{
    fc_piece_client c = lab_client(l, k);
    fc_real grad[N];
    for (int i = 0; i < N; i++)
        grad[i] = (fc_real)g[i];
    assert_true(l->piece->term->block(grad, &c) == 0);
    for (int i = 0; i < N; i++) {
        m[i] = l->setup.optim.momentum * m[i] + (double)grad[i];
        l->w[k][i] -= (fc_real)(l->setup.optim.lr[FC_GROUP_HEAD] * m[i]);
    }
}

static void test_scaffold_example(void **state)
{
    (void)state;
    lab l;
    double m[N] = {0};
    const double g[N] = {1, 1, 1};
    const char *const none[] = {NULL};
    lab_open_method(&l, "scaffold", none);
    lab_fill(l.start, 1);
    lab_fill(l.w[0], 1);
    lab_fill(l.server[C].p, 0.5);
    lab_fill(l.client[0][C_I].p, 0.2);
    client_step(&l, 0, g, m);
    assert_close(l.w[0][0], 0.87, 1e-6, 0);
    fc_piece_client c = lab_client(&l, 0);
    c.steps = 1;
    l.piece->client_end(&c);
    assert_close(l.client[0][C_I].p[0], 1.0, 1e-5, 0);
    assert_close(l.client[0][DELTA].p[0], 0.8, 1e-5, 0);
    fc_piece_server v = lab_server(&l, 0, 0);
    l.piece->fold(&v, &(fc_piece_update){.n_samples = 17, .array = l.client[0]});
    assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
    assert_close(l.server[C].p[0], 0.5 + 0.8 / CLIENTS, 1e-5, 0); /* of all, not of those here */
    c.steps = 0;                                                  /* without an image */
    lab_fill(l.w[0], 5);
    lab_fill(l.client[0][DELTA].p, 0);
    l.piece->client_end(&c);
    assert_close(l.client[0][C_I].p[0], 1.0, 1e-5, 0);
    assert_true(l.client[0][DELTA].p[0] == 0);
    lab_close(&l);
}

/* Option 1: the gradient at x itself. */
static void test_scaffold_gradient(void **state)
{
    (void)state;
    lab l;
    fc_real gradient[N];
    const char *const set[] = {"option", "1", NULL};
    lab_open_method(&l, "scaffold", set);
    assert_true(l.piece->gradient(&l.setup, l.options));
    lab_fill(gradient, 0.7);
    lab_fill(l.client[1][C_I].p, 0.2);
    fc_piece_client c = lab_client(&l, 1);
    c.gradient = gradient;
    c.steps = 4;
    l.piece->client_end(&c);
    assert_close(l.client[1][C_I].p[2], 0.7, 1e-6, 0);
    assert_close(l.client[1][DELTA].p[2], 0.5, 1e-6, 0);
    lab_close(&l);
}

/* With a constant gradient, the control variate is that gradient, whatever the momentum. */
static void test_scaffold_momentum(void **state)
{
    (void)state;
    static const double momentum[] = {0, 0.5, 0.9, 0.99};
    const double g[N] = {0.3, -1, 2};
    const char *const none[] = {NULL};
    for (int j = 0; j < 4; j++)
        for (int k = 1; k < 30; k += 7) {
            lab l;
            double m[N] = {0};
            lab_open_method(&l, "scaffold", none);
            l.setup.optim.momentum = momentum[j];
            for (int i = 0; i < k; i++)
                client_step(&l, 2, g, m);
            fc_piece_client c = lab_client(&l, 2);
            c.steps = k;
            l.piece->client_end(&c);
            assert_all_close(l.client[2][C_I].p, g, N, 1e-5, 0);
            lab_close(&l);
        }
}

/* Clients with losses (h_i / 2) |theta - a_i|^2: the mean's optimum is sum h_i a_i / sum h_i. With
 * k steps of rate r, FedAvg stands still where sum_i (1 - (1 - r h_i)^k) (theta - a_i) = 0. */
static const double h[CLIENTS] = {0.5, 1, 4}, a[CLIENTS] = {1, -2, 3};

static double after_rounds(bool scaffold, int rounds, int k)
{
    lab l;
    const char *const none[] = {NULL};
    lab_open_method(&l, "scaffold", none);
    for (int round = 0; round < rounds; round++) {
        memset(l.server[SUM].sum, 0, N * sizeof(double));
        memset(l.global, 0, sizeof l.global);
        for (int j = 0; j < CLIENTS; j++) {
            double m[N] = {0}, g[N];
            memcpy(l.w[j], l.start, sizeof l.start);
            for (int s = 0; s < k; s++) {
                for (int i = 0; i < N; i++)
                    g[i] = h[j] * ((double)l.w[j][i] - a[j]);
                client_step(&l, j, g, m);
            }
            fc_piece_client c = lab_client(&l, j);
            fc_piece_server v = lab_server(&l, 0, round);
            c.steps = k;
            if (scaffold)
                l.piece->client_end(&c);
            l.piece->fold(&v,
                          &(fc_piece_update){.client = j, .n_samples = 1, .array = l.client[j]});
            for (int i = 0; i < N; i++)
                l.global[i] += l.w[j][i] / CLIENTS;
        }
        fc_piece_server v = lab_server(&l, 0, round);
        assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
        double sum = 0; /* all take part: the mean of the c_i is c */
        for (int j = 0; j < CLIENTS; j++)
            sum += (double)l.client[j][C_I].p[0] / CLIENTS;
        assert_close(l.server[C].p[0], sum, 1e-5, 1e-5);
        memcpy(l.start, l.global, sizeof l.start);
    }
    double x = l.start[1];
    lab_close(&l);
    return x;
}

static void test_scaffold_on_quadratics(void **state)
{
    (void)state;
    enum { K = 5 };
    double optimum = 0, sum_h = 0, fixed = 0, sum_u = 0;
    for (int j = 0; j < CLIENTS; j++) {
        double u = 1 - pow(1 - 0.1 * h[j], K);
        optimum += h[j] * a[j];
        sum_h += h[j];
        fixed += u * a[j];
        sum_u += u;
    }
    optimum /= sum_h;
    fixed /= sum_u;
    assert_true(fabs(optimum - fixed) > 0.3);
    assert_close(after_rounds(true, 300, K), optimum, 1e-4, 0);
    assert_close(after_rounds(false, 300, K), fixed, 1e-4, 0);
    assert_close(after_rounds(false, 300, 1), optimum, 1e-4, 0);
}

/* --- whole runs ------------------------------------------------------------------------------- */

enum { ROUNDS = 3 };
static const char base_config[] =
    "run: {seed: 3, threads: 2}\n"
    "data: {name: synth, synth_classes: 4, synth_train: 12, synth_test: 4, synth_size: 8}\n"
    "tasks: {count: 2}\n"
    "fed: {clients: 3, rounds: 3, beta: 2, min_samples: 3}\n"
    "backbone: {patch: 4, width: 16, depth: 2, heads: 2}\n"
    "train: {epochs: 2, batch: 4, lr: 0.05, lora_rank: 2, optimizer: sgd, momentum: 0.5}\n"
    "eval: {rounds: none}\n";

static void open_run_of(open_run *o, const char *const *set)
{
    open_run_must(o, open_run_try(o, base_config, set, NULL));
}

/* Two runs in step, whose blocks are the same bytes (tolerance 0) or close after so many rounds of
 * each task. */
static void check_equal(const char *const *set_a, const char *const *set_b, int rounds,
                        double tolerance)
{
    open_run x, y;
    open_run_of(&x, set_a);
    open_run_of(&y, set_b);
    size_t n = x.setup.layout.n;
    assert_int_equal(n, y.setup.layout.n);
    for (int t = 0; t < x.setup.tasks.n; t++) {
        open_run_begin(&x, t);
        open_run_begin(&y, t);
        for (int round = 0; round < rounds; round++) {
            open_run_must(&x, fc_server_round(&x.run, t, round, &x.err));
            open_run_must(&y, fc_server_round(&y.run, t, round, &y.err));
            if (tolerance == 0)
                assert_memory_equal(x.run.state.global.p, y.run.state.global.p,
                                    n * sizeof(fc_real));
            else
                assert_all_close(x.run.state.global.p, y.run.state.global.p, n, tolerance,
                                 tolerance);
        }
        if (rounds < ROUNDS)
            break;
        open_run_must(&x, fc_server_end_task(&x.run, t, &x.err));
        open_run_must(&y, fc_server_end_task(&y.run, t, &y.err));
    }
    open_run_close(&x);
    open_run_close(&y);
}

static void test_runs_that_are_the_same(void **state)
{
    (void)state;
    static const char *const methods[] = {"method.name=fedavg", "method.name=fedavg_lora",
                                          "method.name=lorm", "method.name=rolora"};
    for (int i = 0; i < 4; i++) {
        const char *const plain[] = {methods[i], NULL};
        const char *const momentum[] = {methods[i], "server.optimizer=fedavgm", "server.beta1=0",
                                        NULL};
        const char *const prox[] = {methods[i], "train.prox_mu=0", NULL};
        check_equal(plain, momentum, ROUNDS, 0);
        check_equal(plain, prox, ROUNDS, 0);
        /* one local step from x */
        const char *const one[] = {methods[i], "train.batch=1000", "train.epochs=1", NULL};
        const char *const held[] = {methods[i], "train.batch=1000", "train.epochs=1",
                                    "train.prox_mu=5", NULL};
        check_equal(one, held, ROUNDS, 0);
    }
}

/* A client gets no further than its gradient over mu. */
static void test_prox_holds(void **state)
{
    (void)state;
    double moved[2];
    for (int i = 0; i < 2; i++) {
        const char *const set[] = {"method.name=fedavg",
                                   "train.momentum=0",
                                   "train.epochs=20",
                                   "train.lr=0.005",
                                   i ? "train.prox_mu=50" : "train.prox_mu=0",
                                   NULL};
        open_run o;
        open_run_of(&o, set);
        open_run_begin(&o, 0);
        size_t n = o.setup.layout.n;
        fc_real *x = malloc(n * sizeof *x);
        assert_non_null(x);
        memcpy(x, o.run.state.global.p, n * sizeof *x);
        open_run_must(&o, fc_server_round(&o.run, 0, 0, &o.err));
        moved[i] = 0;
        for (size_t j = 0; j < n; j++)
            moved[i] += pow((double)o.run.state.global.p[j] - (double)x[j], 2);
        free(x);
        open_run_close(&o);
    }
    assert_true(moved[1] > 0 && moved[1] < 0.1 * moved[0]);
}

/* All control variates are 0 in the first round. */
static void test_scaffold_begins_as_fedavg(void **state)
{
    (void)state;
    const char *const full[] = {"method.name=fedavg", NULL};
    const char *const scaffold_full[] = {"method.name=scaffold", "method.train=full", NULL};
    const char *const lora[] = {"method.name=fedavg_lora", NULL};
    const char *const scaffold_lora[] = {"method.name=scaffold", NULL};
    check_equal(full, scaffold_full, 1, 0);
    check_equal(lora, scaffold_lora, 1, 0);
    const char *const one_full[] = {"method.name=fedavg", "fed.clients=1", NULL};
    const char *const one_scaffold[] = {"method.name=scaffold", "method.train=full",
                                        "fed.clients=1", NULL};
    check_equal(one_full, one_scaffold, ROUNDS, 1e-5); /* c_i = c for one client */
}

/* The mean of what all clients keep is the server's control variate, where all take part; it is 0
 * again at the start of a task. */
static void check_mean_of_clients(const char *const *set)
{
    open_run o;
    open_run_of(&o, set);
    int K = o.setup.partition.clients;
    size_t n = o.setup.layout.n;
    double *sum = malloc(n * sizeof *sum);
    fc_real *own = malloc(n * sizeof *own);
    assert_true(sum && own);
    assert_int_equal(o.setup.own_numbers, n);
    for (int t = 0; t < 2; t++) {
        open_run_begin(&o, t);
        const fc_real *c = o.run.state.array[0][C].p;
        for (size_t i = 0; i < n; i++)
            assert_true(c[i] == 0);
        for (int round = 0; round < ROUNDS; round++) {
            double largest = 0;
            open_run_must(&o, fc_server_round(&o.run, t, round, &o.err));
            memset(sum, 0, n * sizeof *sum);
            for (int k = 0; k < K; k++) {
                open_run_must(&o, fc_client_store_get(own, &o.run.scratch.store, k,
                                                      o.run.state.client_record[k], &o.err));
                for (size_t i = 0; i < n; i++)
                    sum[i] += (double)own[i] / K;
            }
            assert_all_close(c, sum, n, 1e-4, 1e-5);
            for (size_t i = 0; i < n; i++)
                largest = fmax(largest, fabs((double)c[i]));
            assert_true(largest > 1e-3);
        }
        open_run_must(&o, fc_server_end_task(&o.run, t, &o.err));
    }
    free(sum);
    free(own);
    open_run_close(&o);
}

static void test_scaffold_keeps_the_mean(void **state)
{
    (void)state;
    const char *const lora[] = {"method.name=scaffold", NULL};
    const char *const full[] = {"method.name=scaffold", "method.train=full", "fed.clients=1", NULL};
    const char *const one[] = {"method.name=scaffold", "method.option=1", "train.optimizer=adamw",
                               "train.lr=0.003", NULL};
    check_mean_of_clients(lora);
    check_mean_of_clients(full);
    check_mean_of_clients(one);
}

static void check_refused(const char *const *set, const char *say, const char *way_out)
{
    open_run o;
    fc_status s = open_run_try(&o, base_config, set, NULL);
    assert_says(s, &o.err, FC_EUSAGE, say, way_out);
    open_run_close(&o);
}

static void test_scaffold_refuses(void **state)
{
    (void)state;
    const char *const adam[] = {"method.name=scaffold", "method.option=2", "train.optimizer=adamw",
                                NULL};
    const char *const cosine[] = {"method.name=scaffold", "method.option=2",
                                  "train.schedule=cosine", NULL};
    const char *const warmup[] = {"method.name=scaffold", "method.option=2", "train.warmup=0.1",
                                  NULL};
    check_refused(adam, "SCAFFOLD option 2 needs train.optimizer=sgd", "method.option=1");
    check_refused(cosine, "constant learning rate", "method.option=1");
    check_refused(warmup, "constant learning rate", "method.option=1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_examples),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_bias_of_kept_moments),
        cmocka_unit_test(test_yogi_forgets_slowly),
        cmocka_unit_test(test_no_difference),
        cmocka_unit_test(test_other_groups_stay),
        cmocka_unit_test(test_prox),
        cmocka_unit_test(test_prox_is_off),
        cmocka_unit_test(test_scaffold_example),
        cmocka_unit_test(test_scaffold_gradient),
        cmocka_unit_test(test_scaffold_momentum),
        cmocka_unit_test(test_scaffold_on_quadratics),
        cmocka_unit_test(test_runs_that_are_the_same),
        cmocka_unit_test(test_prox_holds),
        cmocka_unit_test(test_scaffold_begins_as_fedavg),
        cmocka_unit_test(test_scaffold_keeps_the_mean),
        cmocka_unit_test(test_scaffold_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
