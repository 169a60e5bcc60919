/* Recipes: what they hold, what they refuse, and the verdict worked by hand. */
#include "sim/sweep/recipe.h"

#include "tests/support/close.h"
#include "tests/support/tmp.h"

#include <math.h>
#include <string.h>

FC_TMP_FIXTURE

static const char *put(const char *name, const char *text)
{
    return fc_tmp_put(&tmp, name, text, strlen(text));
}

#define HEAD "name: twin\nconfig: base.yaml\nseeds: 3\n"

static void test_load(void **state)
{
    (void)state;
    fc_recipe r;
    fc_error err = {0};
    put("base.yaml", "fed: {clients: 3}\n");
    const char *file =
        put("recipe.yaml", HEAD "expect:\n  faa: {mean: 26.9, tolerance: 2, sd: 1.7, n: 3}\n"
                                "  forgetting_max: {mean: -1, tolerance: 0}\n"
                                "source: {kind: own run, text: here}\nrecorded: ../kept\n"
                                "paper: {title: Salami, published: 86.95}\n");
    assert_int_equal(fc_recipe_load(&r, file, NULL, 0, &err), FC_OK);
    assert_int_equal(r.sweep.n_runs, 3);
    assert_int_equal(r.n_expected, 2);
    assert_string_equal(r.expected[0].metric->name, "faa");
    assert_close(r.expected[0].sd, 1.7, 0, 0);
    assert_int_equal(r.expected[0].n, 3);
    assert_true(isnan(r.expected[1].sd) && r.expected[1].n == 0);
    assert_string_equal(r.published, "86.95");
    assert_string_equal(r.setting, "");
    assert_non_null(strstr(r.recorded, tmp.dir));
    fc_recipe_free(&r);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {HEAD, "nothing to verify"},
        {HEAD "expect: 26\n", "nothing to verify"},
        {HEAD "expect:\n  fa: {mean: 1, tolerance: 1}\n",
         "recipe.yaml:5:3: unknown metric 'fa', did you mean faa?"},
        {HEAD "expect:\n  faa: {mean: 1}\n",
         "expected mean, tolerance, and sd together with n or not"},
        {HEAD "expect:\n  faa: {mean: x, tolerance: 1}\n",
         "recipe.yaml:5:15: mean: found 'x', expected a number from -1e+15"},
        {HEAD "expect:\n  faa: {mean: nan, tolerance: 1}\n",
         "mean: found 'nan', expected a number"},
        {HEAD "expect:\n  faa: {mean: 1, tolerance: -1}\n",
         "tolerance: found '-1', expected a number from 0"},
        {HEAD "expect:\n  faa: {mean: 1, tolerance: 1, sd: 2}\n", "sd together with n"},
        {HEAD "expect:\n  faa: {mean: 1, tolerance: 1, std: 2}\n", "unknown key 'std' of faa"},
        {HEAD "expect:\n  faa: {mean: 1, tolerance: 1}\nsource: {kind: paper}\npaper: {titel: x}\n",
         "did you mean title?"},
        {HEAD "expect:\n  faa: {mean: 1, tolerance: 1}\n", "expected `source:`"},
        {HEAD "expect:\n  faa: {mean: 1, tolerance: 1}\nsource: {kind: dream}\n", "found 'dream'"},
        {HEAD "axes: {fed.beta: [1, 2]}\nexpect:\n  faa: {mean: 1, tolerance: 1}\n",
         "one setting and its seeds, found 2"},
        {HEAD "search: {halving: {budget: fed.rounds, values: [1, 2]}}\n"
              "expect:\n  faa: {mean: 1, tolerance: 1}\n",
         "one setting and its seeds"},
        {HEAD "expect:\n  faa,aia: {mean: 1, tolerance: 1}\n", "unknown metric 'faa,aia'"}};
    put("base.yaml", "fed: {clients: 3}\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fc_recipe r;
        fc_error err = {0};
        assert_int_equal(fc_recipe_load(&r, put("recipe.yaml", bad[i].text), NULL, 0, &err),
                         FC_EUSAGE);
        if (!strstr(err.msg, bad[i].message))
            fail_msg("'%s', expected '%s'", err.msg, bad[i].message);
        assert_null(r.expected);
    }
}

static void test_judge(void **state)
{
    (void)state;
    fc_expected e = {.mean = 10, .tolerance = 2, .sd = 3, .n = 9};
    const double ours[] = {9, 13, 14};
    fc_verdict v = fc_recipe_judge(&e, ours, 3); /* mean 12, sd sqrt(7) */
    assert_true(v.pass);
    assert_close(v.z, 2 / sqrt(7.0 / 3 + 1), 1e-12, 0);
    e.tolerance = 1.99;
    assert_false(fc_recipe_judge(&e, ours, 3).pass);
    e = (fc_expected){.mean = 10, .tolerance = 2, .sd = NAN};
    v = fc_recipe_judge(&e, ours, 1);
    assert_true(v.pass && isnan(v.z));
    assert_false(fc_recipe_judge(&e, ours, 0).pass);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test(test_judge)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
