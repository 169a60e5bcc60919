/* FedNova by hand: clients that end at .8 and .4, from 1, after unequal numbers of steps. */
#include "tests/support/piece_lab.h"

/* Where the server ends: k (2) steps and w (2) weights of the two; a third one has no images. */
static double merged(const fc_optim_config *optim, const long *k, const double *w)
{
    static const double y[] = {.8, .4};
    const char *const none[] = {NULL};
    lab l;
    lab_open_method(&l, "fednova", none);
    l.setup.optim = *optim;
    lab_fill(l.start, 1);
    lab_fill(l.global, 77); /* what the rule made of them does not matter */
    fc_piece_server v = lab_server(&l, 0, 0);
    for (int i = 0; i < 3; i++) {
        fc_piece_update u = {.client = i, .block = l.w[i]};
        lab_fill(l.w[i], i < 2 ? y[i] : 99);
        if (i < 2) {
            u.n_samples = 10;
            u.weight = w[i];
            u.steps = k[i];
        }
        l.piece->fold(&v, &u);
    }
    assert_int_equal(l.piece->server_step(&v, &l.err), FC_OK);
    assert_close(l.global[0], l.global[LAB_N - 1], 0, 0);
    double x = l.global[0];
    lab_close(&l);
    return x;
}

static const fc_optim_config sgd = {.kind = FC_SGD}, heavy = {.kind = FC_SGD, .momentum = 0.9},
                             adamw = {.kind = FC_ADAMW, .momentum = 0.9};

static void test_examples(void **state)
{
    (void)state;
    const long unequal[] = {2, 4}, more[] = {2, 5};
    const double alike[] = {1, 1}, three[] = {3, 1};
    /* d = .1, .15, mean of a = 3 */
    assert_close(merged(&sgd, unequal, alike), .625, 1e-6, 0);
    assert_close(merged(&adamw, unequal, alike), .625, 1e-6, 0);
    /* p = 3/4, 1/4: mean of a = 2.5, of d = .1125 */
    assert_close(merged(&sgd, unequal, three), 1 - 2.5 * .1125, 1e-6, 0);
    /* a = 2.9 and 13.1441 */
    assert_close(merged(&heavy, more, alike),
                 1 - (2.9 + 13.1441) / 2 * (.2 / 2.9 + .6 / 13.1441) / 2, 1e-6, 0);
}

static void test_equal_steps(void **state)
{
    (void)state;
    const long equal[] = {5, 5};
    const double alike[] = {1, 1}, three[] = {3, 1};
    assert_close(merged(&sgd, equal, three), .7, 1e-6, 0);
    assert_close(merged(&heavy, equal, three), .7, 1e-6, 0);
    assert_close(merged(&heavy, equal, alike), .6, 1e-6, 0);
}

/* k steps of a constant gradient: with momentum they go as far as so many plain ones. */
static void test_plain_steps(void **state)
{
    (void)state;
    const double want[] = {1, 2.9, 5.61, 9.049, 13.1441};
    for (int k = 1; k <= 5; k++) {
        assert_close(fc_optim_plain_steps(&heavy, k), want[k - 1], 1e-12, 0);
        assert_close(fc_optim_plain_steps(&sgd, k), k, 0, 0);
        assert_close(fc_optim_plain_steps(&adamw, k), k, 0, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_examples),
                                       cmocka_unit_test(test_equal_steps),
                                       cmocka_unit_test(test_plain_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
