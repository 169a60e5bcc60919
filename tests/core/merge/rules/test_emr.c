/* EMR: the example, laws, and the model of each update on a backbone. */
#include "core/merge/rules/rule_emr.h"
#include "tests/support/expert_fixture.h"
#include "tests/support/tv_fixture.h"

enum { TENSORS = 4, UPDATES = 5, RANK = 2 };
static const int dims[TENSORS][2] = {{5, 7}, {1, 9}, {3, 0}, {8, 5}};

static void test_example(void **state)
{
    (void)state;
    tvx f;
    tvx_init(&f, 3, 2, (const int[][2]){{1, 3}, {0, 2}});
    memcpy(f.x[0], (const double[]){1, -2, 3}, 3 * sizeof(double));
    memcpy(f.x[2], (const double[]){2, 1, -1}, 3 * sizeof(double));
    f.set.n = 2;
    fc_emr emr;
    assert_int_equal(fc_emr_merge(&emr, &f.set, &f.arena, NULL), FC_OK);
    assert_all_close(emr.unified[0], ((const double[]){2, -2, 3}), 3, 0, 0);
    assert_all_close(emr.rescaler, ((const double[]){6. / 7, 2}), 2, 1e-15, 0);
    fc_emr_expert(f.out[0], &emr, 1, 0);
    assert_all_close(f.out[0], ((const double[]){4, 0, 0}), 3, 1e-15, 0);

    /* a sum of 0 counts as negative */
    memcpy(f.x[2], (const double[]){-1, 2, -3}, 3 * sizeof(double));
    assert_int_equal(fc_emr_merge(&emr, &f.set, &f.arena, NULL), FC_OK);
    assert_all_close(emr.unified[0], ((const double[]){-1, -2, -3}), 3, 0, 0);
    memset(f.x[2], 0, 3 * sizeof(double));

    /* an update of zeros, and one that agrees with nothing, are experts of zeros */
    f.set.n = 3;
    memcpy(f.x[2], (const double[]){-.1, .1, -.1}, 3 * sizeof(double));
    assert_int_equal(fc_emr_merge(&emr, &f.set, &f.arena, NULL), FC_OK);
    for (int i = 1; i < 3; i++) {
        fc_emr_expert(f.out[0], &emr, i, 0);
        assert_all_close(f.out[0], ((const double[]){0, 0, 0}), 3, 0, 0);
        assert_close(emr.rescaler[i], 1, 0, 0);
    }
    f.x[2][1] = NAN;
    fc_error err = {0};
    assert_int_equal(fc_emr_merge(&emr, &f.set, &f.arena, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "update 1, tensor layer0"));
    tvx_free(&f);
}

/* One update is its own expert; factors give what dense numbers give; threads change nothing. */
static void test_laws(void **state)
{
    (void)state;
    tvx f;
    tvx_init(&f, UPDATES, TENSORS, dims);
    tvx_random(&f, 7, RANK);
    fc_emr one, three, dense;
    fc_threads_init(1, NULL);
    assert_int_equal(fc_emr_merge(&one, &f.set, &f.arena, NULL), FC_OK);
    fc_threads_init(3, NULL);
    assert_int_equal(fc_emr_merge(&three, &f.set, &f.arena, NULL), FC_OK);
    for (int k = 0; k < UPDATES * TENSORS; k++)
        f.tv[k] = (fc_tv){.dense = f.x[k]};
    assert_int_equal(fc_emr_merge(&dense, &f.set, &f.arena, NULL), FC_OK);
    assert_memory_equal(one.rescaler, three.rescaler, UPDATES * sizeof *one.rescaler);
    for (int t = 0; t < TENSORS; t++) {
        size_t n = fc_tv_size(&f.shape[t]);
        assert_memory_equal(one.unified[t], three.unified[t], n * sizeof(double));
        assert_all_close(one.unified[t], dense.unified[t], n, 1e-12, 1e-12);
    }

    f.set.n = 1;
    assert_int_equal(fc_emr_merge(&one, &f.set, &f.arena, NULL), FC_OK);
    for (int t = 0; t < TENSORS; t++) {
        fc_emr_expert(f.out[t], &one, 0, t);
        assert_all_close(f.out[t], f.x[t], fc_tv_size(&f.shape[t]), 1e-14, 0);
    }
    tvx_free(&f);
}

static void check(int rank)
{
    xf f;
    fc_emr emr;
    xf_init(&f, XF_TASKS, rank, 0.2);
    assert_int_equal(fc_emr_merge(&emr, &f.set, &f.arena, NULL), FC_OK);
    fc_real *w = xf_alloc(&f, f.w.n, sizeof *w);
    for (int k = 0; k < XF_TASKS; k++) {
        memcpy(w, f.w.p, f.w.n * sizeof *w);
        assert_int_equal(fc_emr_apply(w, &f.layout, &emr, k, NULL), FC_OK);
        size_t known = 0;
        for (int t = 0; t < f.set.tensors; t++) {
            const fc_spec *s = fc_params_find(&f.layout, f.shape[t].name);
            size_t n = fc_tv_size(&f.shape[t]);
            double *expert = xf_alloc(&f, n, sizeof *expert);
            fc_emr_expert(expert, &emr, k, t);
            for (size_t e = 0; e < n; e++)
                assert_close(w[s->offset + e], (double)f.w.p[s->offset + e] + expert[e], 1e-6,
                             1e-6);
            known += n;
        }
        size_t changed = 0;
        for (size_t e = 0; e < f.w.n; e++)
            changed += w[e] != f.w.p[e];
        assert_true(changed > known / 3 && changed <= known);
    }
    xf_free(&f);
}

static void test_models(void **state)
{
    (void)state;
    check(0);
    check(2);
}

static void test_one_update_is_its_own_model(void **state)
{
    (void)state;
    xf f;
    fc_emr emr;
    fc_error err = {0};
    xf_init(&f, 1, 0, 0.2);
    assert_int_equal(fc_emr_merge(&emr, &f.set, &f.arena, NULL), FC_OK);
    fc_real *want = xf_alloc(&f, f.w.n, sizeof *want);
    memcpy(want, f.w.p, f.w.n * sizeof *want);
    xf_add(want, &f, 0, 1, false);
    assert_int_equal(fc_emr_apply(f.w.p, &f.layout, &emr, 0, NULL), FC_OK);
    assert_all_close(f.w.p, want, f.w.n, 1e-6, 1e-6);

    memcpy(want, f.w.p, f.w.n * sizeof *want);
    f.shape[f.set.tensors - 1].name = "norm.scale";
    assert_int_equal(fc_emr_apply(f.w.p, &f.layout, &emr, 0, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "norm.scale"));
    assert_memory_equal(f.w.p, want, f.w.n * sizeof *want);
    xf_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_laws),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_one_update_is_its_own_model),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
