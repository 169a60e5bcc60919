/* EMR: the model of each update on a backbone. */
#include "core/merge/rule_emr.h"
#include "tests/expert_fixture.h"

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

/* One update is its own model. */
static void test_one_update(void **state)
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models),
                                       cmocka_unit_test(test_one_update)};
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
