/* OPCM: golden vectors, the hand example, thin form against dense form, edges. */
#include "core/linalg/linalg.h"
#include "core/merge/rules/opcm.h"
#include "tests/support/updates.h"

static void golden_opcm(void **state)
{
    (void)state;
    const char *files[] = {"opcm_a02", "opcm_a05", "opcm_a08"}, *names[] = {"w1", "b1", "w2", "ln"};
    for (int f = 0; f < 3; f++) {
        gold g = gold_open(files[f]);
        fc_tv_shape shape[4];
        fc_tv tv[4];
        double tau[4][SIZE], merged[4][SIZE];
        for (int t = 0; t < 4; t++) {
            const gold_tensor *b = gold_get(&g, "in.base.%s", names[t]);
            bool matrix = b->ndim == 2;
            shape[t] =
                (fc_tv_shape){names[t], matrix ? b->dim[0] : 1, b->dim[matrix], .linear = matrix};
            tv[t] = (fc_tv){.dense = tau[t]};
        }
        fc_opcm o;
        fc_arena arena = {0}, scratch = {0};
        double alpha = gold_scalar(&g, "param.alpha");
        int steps = 0;
        char model[32] = "in.models.0.w1";
        while (gold_find(&g, model))
            snprintf(model, sizeof model, "in.models.%d.w1", ++steps);
        assert_true(steps > 1);
        assert_int_equal(fc_opcm_init(&o, shape, 4, alpha, steps, 0, &arena, NULL), FC_OK);
        for (int step = 0; step < steps; step++) {
            for (int t = 0; t < 4; t++)
                for (size_t i = 0; i < fc_tv_size(&shape[t]); i++)
                    tau[t][i] = gold_get(&g, "in.models.%d.%s", step, names[t])->v[i] -
                                gold_get(&g, "in.base.%s", names[t])->v[i];
            assert_int_equal(fc_opcm_step(&o, tv, &scratch, NULL), FC_OK);
            assert_close(o.lambda, gold_get(&g, "out.steps.%d.lam", step)->v[0], 1e-8, 0);
            fc_opcm_merged((double *const[]){merged[0], merged[1], merged[2], merged[3]}, &o);
            for (int t = 0; t < 4; t++) {
                const gold_tensor *want = gold_get(&g, "out.steps.%d.model.%s", step, names[t]);
                const double *base = gold_get(&g, "in.base.%s", names[t])->v;
                for (size_t i = 0; i < want->n; i++)
                    merged[t][i] += base[i];
                assert_near(merged[t], want->v, want->n, 1e-8);
            }
        }
        fc_arena_free(&arena);
        fc_arena_free(&scratch);
        gold_close(&g);
    }
}

static void hand_example_opcm(void **state)
{
    (void)state;
    weight w;
    double out[4];
    fc_opcm o;
    fc_arena arena = {0};
    dense_pair(&w, (const double[]){2, 0, 0, 1}, (const double[]){1, 2, 3, 4});
    assert_int_equal(fc_opcm_init(&o, &w.shape, 1, 0.5, 2, 0, &arena, NULL), FC_OK);
    assert_int_equal(fc_opcm_step(&o, &w.tv[0], &arena, NULL), FC_OK);
    assert_int_equal(fc_opcm_step(&o, &w.tv[1], &arena, NULL), FC_OK);
    fc_opcm_merged((double *const[]){out}, &o);
    assert_close(o.lambda, 1.100085, 1e-6, 0);
    assert_all_close(out, ((double[]){1.818041, 1.818041, 2.727061, .909020}), 4, 0, 1e-6);
    fc_arena_free(&arena);
}

static void opcm_run(double *out, double *lambda, const weight *w, double alpha, int rank_max)
{
    fc_opcm o;
    fc_arena arena = {0}, scratch = {0};
    fc_error err = {0};
    int n = w->set.n;
    assert_int_equal(fc_opcm_init(&o, &w->shape, 1, alpha, n, rank_max, &arena, NULL), FC_OK);
    for (int i = 0; i < n; i++)
        if (fc_opcm_step(&o, &w->tv[i], &scratch, &err) != FC_OK) {
            print_error("%s\n", err.msg);
            fail();
        }
    assert_int_equal(scratch.used, 0);
    fc_opcm_merged((double *const[]){out}, &o);
    *lambda = o.lambda;
    fc_arena_free(&arena);
    fc_arena_free(&scratch);
}

/* S = (8, 4, 3, 1): 12/16 is not above 0.75, so the split is 2, and the 2 x 2 block goes. */
static void opcm_split_at_the_threshold(void **state)
{
    (void)state;
    weight w;
    double first[16] = {0}, ones[16], D[16], lambda;
    for (int i = 0; i < 16; i++)
        ones[i] = 1;
    first[0] = 8, first[5] = 4, first[10] = 3, first[15] = 1;
    weight_init(&w, 2, 4, 4);
    w.tv[0].dense = first;
    w.tv[1].dense = ones;
    opcm_run(D, &lambda, &w, 0.75, 0);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            double clean = i == j || (i < 2 && j < 2) ? 0 : 1;
            assert_close(D[4 * i + j] * lambda, first[4 * i + j] + clean, 0, 1e-14);
        }
}

/* Thin and dense agree below full rank, when it is reached, and for updates of full rank. */
static void opcm_thin_equals_dense(void **state)
{
    (void)state;
    const double alphas[] = {0, 0.2, 0.5, 0.8, 1}, scales[] = {1, 1e30, 1e-30};
    for (int s = 0; s < SHAPES; s++)
        for (int a = 0; a < 5; a++)
            for (int c = 0; c < 3; c++) {
                weight w;
                double dense[SIZE], thin[SIZE], lambda[2];
                random_weight(&w, shapes[s].n, shapes[s].rows, shapes[s].cols, shapes[s].r,
                              scales[c]);
                opcm_run(dense, &lambda[0], &w, alphas[a], 0);
                opcm_run(thin, &lambda[1], &w, alphas[a], shapes[s].n * shapes[s].r);
                assert_near(thin, dense, fc_tv_size(&w.shape), 1e-9);
                assert_close(lambda[1], lambda[0], 1e-9, 0);
                fc_arena_free(&w.arena);
            }
}

/* |D| is the mean norm of the task vectors: equation of step d. */
static void opcm_keeps_the_mean_norm(void **state)
{
    (void)state;
    weight w;
    double D[SIZE], tau[SIZE], lambda, mean = 0;
    random_weight(&w, 4, 12, 9, 2, 1);
    for (int i = 0; i < 4; i++) {
        fc_tv_dense(tau, &w.tv[i], &w.shape);
        mean += sqrt(fc_sum_squares(tau, 12 * 9)) / 4;
    }
    opcm_run(D, &lambda, &w, 0.5, 8);
    assert_close(sqrt(fc_sum_squares(D, 12 * 9)), mean, 1e-12, 0);
    fc_arena_free(&w.arena);
}

/* The diagonal of U^T tau V goes: nothing is left of an update that repeats the model. */
static void opcm_edges(void **state)
{
    (void)state;
    weight w;
    double one[SIZE], D[SIZE], lambda, zero[SIZE] = {0};
    random_weight(&w, 2, 7, 9, 2, 1);
    w.tv[1] = w.tv[0];
    fc_tv_dense(one, &w.tv[0], &w.shape);
    for (int rank = 0; rank <= 4; rank += 4) {
        opcm_run(D, &lambda, &w, 0.5, rank);
        assert_near(D, one, 63, 1e-12);
        assert_close(lambda, 1, 1e-12, 0);
    }
    w.tv[1] = (fc_tv){2, NULL, zero, zero}; /* rank 0 after, and before, a real one */
    for (int rank = 0; rank <= 4; rank += 4) {
        opcm_run(D, &lambda, &w, 0.5, rank);
        assert_near(D, one, 63, 1); /* half as long */
        assert_close(lambda, 2, 1e-12, 0);
        fc_tv swapped = w.tv[0];
        w.tv[0] = w.tv[1], w.tv[1] = swapped;
        opcm_run(D, &lambda, &w, 0.5, rank);
        assert_close(lambda, 2, 1e-12, 0);
        w.tv[1] = w.tv[0], w.tv[0] = swapped;
    }
    w.tv[0] = w.tv[1]; /* nothing at all */
    for (int rank = 0; rank <= 4; rank += 4) {
        opcm_run(D, &lambda, &w, 0.5, rank);
        assert_all_close(D, zero, 63, 0, 0);
        assert_close(lambda, 1, 0, 0);
    }

    fc_opcm o;
    fc_error err = {0};
    double bad[2] = {1, (double)NAN}, row[9] = {1};
    const fc_tv nan = {1, NULL, zero, bad}, dense = {.dense = zero}, ok = {1, NULL, one, row};
    fc_tv_shape shape = {"fc2", 7, 2, true};
    assert_int_equal(fc_opcm_init(&o, &shape, 1, 0.5, 2, 1, &w.arena, NULL), FC_OK);
    assert_int_equal(fc_opcm_step(&o, &nan, &w.arena, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "step 1"));
    assert_non_null(strstr(err.msg, "fc2"));
    err = (fc_error){0};
    assert_int_equal(fc_opcm_step(&o, &dense, &w.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "fc2"));
    assert_int_equal(fc_opcm_step(&o, &ok, &w.arena, NULL), FC_OK);
    err = (fc_error){0};
    assert_int_equal(fc_opcm_step(&o, &ok, &w.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "rank 2, expected at most 1"));
    o.steps = o.steps_max;
    err = (fc_error){0};
    assert_int_equal(fc_opcm_step(&o, &ok, &w.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "step 3"));
    fc_arena_free(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_opcm),
        cmocka_unit_test(hand_example_opcm),
        cmocka_unit_test(opcm_split_at_the_threshold),
        cmocka_unit_test(opcm_thin_equals_dense),
        cmocka_unit_test(opcm_keeps_the_mean_norm),
        cmocka_unit_test(opcm_edges),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
