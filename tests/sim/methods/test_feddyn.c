/* FedDyn by hand, its gradient by differences, and where it ends on quadratic clients. */
#include "tests/support/piece_lab.h"

enum { H, H_I, SUM }; /* its arrays */

/* A round in which the first `n` clients end at y. What the server tests is in l->start then. */
static void play_round(lab *l, const double *y, int n, int round)
{
    memset(l->server[SUM].sum, 0, LAB_N * sizeof(double));
    lab_fill(l->global, 0);
    for (int k = 0; k < n; k++) {
        fc_piece_client c = lab_client(l, k);
        fc_piece_server v = lab_server(l, 0, round);
        lab_fill(l->w[k], y[k]);
        c.steps = 1;
        l->piece->client_end(&c);
        l->piece->fold(&v, &(fc_piece_update){.client = k,
                                              .n_samples = 1,
                                              .weight = 1,
                                              .steps = 1,
                                              .block = l->w[k],
                                              .array = l->client[k]});
        for (int i = 0; i < LAB_N; i++)
            l->global[i] += (fc_real)(y[k] / n);
    }
    fc_piece_server v = lab_server(l, 0, round);
    assert_int_equal(l->piece->server_step(&v, &l->err), FC_OK);
    memcpy(l->start, l->global, sizeof l->start);
}

/* Where client k starts. */
static double begin(lab *l, int k)
{
    fc_piece_client c = lab_client(l, k);
    memcpy(l->w[k], l->start, sizeof l->start);
    l->piece->client_begin(l->w[k], &c);
    return (double)l->w[k][0];
}

static void test_example(void **state)
{
    (void)state;
    const double y[] = {.8, .4};
    for (int cloud = 0; cloud < 2; cloud++) {
        lab l;
        const char *const set[] = {"model", cloud ? "cloud" : "mean", NULL};
        lab_open_method(&l, "feddyn", set);
        l.setup.clients = 2;
        lab_fill(l.start, 1);
        play_round(&l, y, 2, 0);
        assert_close(l.client[0][H_I].p[0], -.2, 1e-6, 0);
        assert_close(l.client[1][H_I].p[0], -.6, 1e-6, 0);
        assert_close(l.server[H].p[0], -.4, 1e-6, 0);
        assert_close(l.start[0], cloud ? .2 : .6, 1e-6, 0); /* what is tested */
        assert_close(begin(&l, 0), .2, 1e-6, 0);            /* in both */
        assert_int_equal(l.declared[H].sent, cloud ? FC_NEVER : FC_EACH_ROUND);
        /* a second round, in which one of two takes part: h = -.4 + (.5 - .2) / 2 */
        play_round(&l, (const double[]){.5}, 1, 1);
        assert_close(l.client[0][H_I].p[0], .1, 1e-6, 0);
        assert_close(l.client[1][H_I].p[0], -.6, 1e-6, 0);
        assert_close(l.server[H].p[0], -.25, 1e-6, 0);
        assert_close(l.start[0], cloud ? .25 : .5, 1e-6, 0);
        lab_close(&l);
    }
}

static void test_gradient(void **state)
{
    (void)state;
    lab l;
    const char *const set[] = {"alpha", "0.3", NULL};
    lab_open_method(&l, "feddyn", set);
    for (int i = 0; i < LAB_N; i++) {
        l.start[i] = (fc_real)(i - 1);
        l.server[H].p[i] = (fc_real)(0.5 * i);
        l.client[2][H_I].p[i] = (fc_real)(0.7 - i);
        l.w[2][i] = (fc_real)(0.25 + 0.5 * i);
    }
    fc_piece_client c = lab_client(&l, 2);
    fc_real grad[LAB_N] = {1, 1, 1}, unused[LAB_N] = {0};
    l.piece->term->block(grad, &c);
    for (int i = 0; i < LAB_N; i++) {
        const fc_real at = l.w[2][i], step = 0.0625f;
        l.w[2][i] = at + step;
        double up = l.piece->term->block(unused, &c);
        l.w[2][i] = at - step;
        double down = l.piece->term->block(unused, &c);
        l.w[2][i] = at;
        assert_close((double)grad[i] - 1, (up - down) / (2 * step), 1e-5, 1e-6);
    }
    lab_close(&l);
}

/* Clients with losses (q / 2) (theta - a)^2, of which each finds its optimum in every round: the
 * server comes to the optimum of the mean, sum q a / sum q, which the mean of a is not. */
static void test_quadratics(void **state)
{
    (void)state;
    static const double q[LAB_CLIENTS] = {0.5, 1, 4}, a[LAB_CLIENTS] = {1, -2, 3};
    const double alpha = 0.5;
    double sum = 0, all = 0;
    lab l;
    const char *const set[] = {"alpha", "0.5", NULL};
    lab_open_method(&l, "feddyn", set);
    for (int round = 0; round < 400; round++) {
        double y[LAB_CLIENTS];
        for (int k = 0; k < LAB_CLIENTS; k++) {
            double x = begin(&l, k), h = l.client[k][H_I].p[0];
            y[k] = (q[k] * a[k] + alpha * (x - h)) / (q[k] + alpha); /* gradient 0 */
            lab_fill(l.w[k], y[k]);
            fc_piece_client c = lab_client(&l, k);
            fc_real grad[LAB_N] = {(fc_real)(q[k] * (y[k] - a[k]))};
            l.piece->term->block(grad, &c);
            assert_close(grad[0], 0, 0, 2e-5);
        }
        play_round(&l, y, LAB_CLIENTS, round);
    }
    for (int k = 0; k < LAB_CLIENTS; k++) {
        sum += q[k] * a[k];
        all += q[k];
    }
    assert_close(l.start[0], sum / all, 1e-3, 0);
    assert_true(fabs(sum / all - 2.0 / 3) > 1);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_example),
                                       cmocka_unit_test(test_gradient),
                                       cmocka_unit_test(test_quadratics)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
