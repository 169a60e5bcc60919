/* Class orders against NumPy, task sizes, sample lists, and every refusal. */
#include "datasets/tasks.h"
#include "tests/support/fake_data.h"

#include <string.h>

/* numpy.random.RandomState(seed).permutation(n) */
static const int np_1993[100] = {68, 56, 78, 8,  23, 84, 90, 65, 74, 76, 40, 89, 3,  92, 55, 9,  26,
                                 80, 43, 38, 58, 70, 77, 1,  85, 19, 17, 50, 28, 53, 13, 81, 45, 82,
                                 6,  59, 83, 16, 15, 44, 91, 41, 72, 60, 79, 52, 20, 10, 31, 54, 37,
                                 95, 14, 71, 96, 98, 97, 2,  64, 66, 42, 22, 35, 86, 24, 34, 87, 21,
                                 99, 0,  88, 27, 18, 94, 11, 12, 47, 25, 30, 46, 62, 69, 36, 61, 7,
                                 63, 75, 5,  32, 4,  51, 48, 73, 93, 39, 67, 29, 49, 57, 33};
static const int np_0[10] = {2, 8, 4, 9, 1, 6, 7, 3, 0, 5};
static const int np_42[20] = {0, 17, 15, 1, 8, 5, 11, 3, 18, 16, 13, 2, 9, 19, 4, 12, 7, 10, 14, 6};
static const int np_max[33] = {24, 15, 19, 3,  21, 2,  28, 30, 1,  6,  8,  31, 27, 4,  32, 16, 17,
                               9,  5,  14, 13, 10, 23, 11, 18, 29, 25, 26, 22, 0,  20, 7,  12};

static void test_numpy_orders(void **state)
{
    (void)state;
    const struct {
        const char *word;
        int n;
        const int *want;
    } cases[] = {{"seed:1993", 100, np_1993},
                 {"seed:0", 10, np_0},
                 {"seed:42", 20, np_42},
                 {"seed:4294967295", 33, np_max},
                 {"seed:2024", 1, (int[]){0}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fc_dataset d = fake_data(cases[i].n, 1, 0);
        fc_tasks t;
        fc_ints order = {.word = cases[i].word};
        assert_int_equal(fc_tasks_make(&t, &d, 1, NULL, &order, &d.arena, NULL), FC_OK);
        for (int k = 0; k < cases[i].n; k++)
            assert_int_equal(t.order[k], cases[i].want[k]);
        fc_arena_free(&d.arena);
    }
}

/* Every sample once, in its class's task, ascending; logit is the inverse of order. */
static void check_split(const fc_tasks *t, const fc_split *s, uint32_t **list, const size_t *n)
{
    size_t total = 0;
    for (int k = 0; k < t->n; k++)
        for (size_t i = 0; i < n[k]; i++, total++) {
            int logit = t->logit[s->label[list[k][i]]];
            assert_true(logit >= t->first[k] && logit < t->first[k + 1]);
            assert_true(i == 0 || list[k][i] > list[k][i - 1]);
        }
    assert_int_equal(total, s->n);
}

static void check_tasks(const fc_tasks *t, const fc_dataset *d)
{
    assert_int_equal(t->first[0], 0);
    assert_int_equal(t->first[t->n], d->classes);
    for (int k = 0; k < d->classes; k++)
        assert_int_equal(t->logit[t->order[k]], k);
    check_split(t, &d->train, t->train, t->n_train);
    check_split(t, &d->test, t->test, t->n_test);
}

static void test_sizes_and_lists(void **state)
{
    (void)state;
    fc_dataset d = fake_data(12, 5, 1);
    fc_tasks t;
    fc_ints natural = {.word = "natural"}, seed = {.word = "seed:3"}, none = {0};
    fc_ints sizes = {.v = (int[]){5, 1, 6}, .n = 3};
    fc_ints list = {.v = (int[]){11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, .n = 12};
    assert_int_equal(fc_tasks_make(&t, &d, 4, &none, &natural, &d.arena, NULL), FC_OK);
    check_tasks(&t, &d);
    assert_int_equal(t.n, 4);
    for (int k = 0; k < 4; k++)
        assert_int_equal(t.first[k], 3 * k);
    assert_int_equal(t.order[5], 5);
    assert_int_equal(fc_tasks_make(&t, &d, 4, &sizes, &seed, &d.arena, NULL), FC_OK);
    check_tasks(&t, &d);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.first[1], 5);
    assert_int_equal(t.first[2], 6);
    assert_int_equal(fc_tasks_make(&t, &d, 12, NULL, &list, &d.arena, NULL), FC_OK);
    check_tasks(&t, &d);
    assert_int_equal(t.order[0], 11);
    assert_int_equal(t.n_train[0], 4); /* class 11 is odd: one image less */
    assert_int_equal(t.n_train[1], 5);
    fc_arena_free(&d.arena);
}

static void test_refusals(void **state)
{
    (void)state;
    fc_dataset d = fake_data(10, 2, 0);
    fc_ints natural = {.word = "natural"};
    const struct {
        int count;
        fc_ints sizes, order;
        const char *says;
    } cases[] = {
        {3, {0}, natural, "do not divide into 3 tasks"},
        {0, {0}, natural, "0 tasks, expected 1 to 10"},
        {11, {0}, natural, "11 tasks"},
        {1, {.v = (int[]){4, 5}, .n = 2}, natural, "add up to 9"},
        {1, {.v = (int[]){4, 7}, .n = 2}, natural, "task 2 has 7 classes, expected 1 to 6"},
        {1, {.v = (int[]){10, 0}, .n = 2}, natural, "task 2 has 0 classes"},
        {1, {.v = (int[]){-1, 11}, .n = 2}, natural, "task 1 has -1 classes"},
        {1, {0}, {.word = "random"}, "class order 'random'"},
        {1, {0}, {.word = "seed:"}, "seed:N"},
        {1, {0}, {.word = "seed:12x"}, "seed:N"},
        {1, {0}, {.word = "seed:-1"}, "from 0 to 4294967295"},
        {1, {0}, {.word = "seed:4294967296"}, "from 0 to 4294967295"},
        {1, {0}, {.word = "seed:99999999999999999999"}, "seed:N"},
        {1, {0}, {.v = (int[]){0, 1, 2}, .n = 3}, "class order: a list of 3, expected all 10"},
        {1,
         {0},
         {.v = (int[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 8}, .n = 10},
         "class 8 stands at entries 8 and 9"},
        {1, {0}, {.v = (int[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 10}, .n = 10}, "entry 9 is class 10"},
        {1, {0}, {.v = (int[]){0, -1, 2, 3, 4, 5, 6, 7, 8, 9}, .n = 10}, "entry 1 is class -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fc_tasks t;
        fc_error err = {0};
        assert_int_equal(
            fc_tasks_make(&t, &d, cases[i].count, &cases[i].sizes, &cases[i].order, &d.arena, &err),
            FC_EUSAGE);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("case %zu: '%s' lacks '%s'", i, err.msg, cases[i].says);
    }
    fc_arena_free(&d.arena);
}

/* Tasks change places with their classes and images; logits follow. */
static void test_reorder(void **state)
{
    (void)state;
    fc_dataset d = fake_data(6, 4, 2);
    fc_ints sizes = {.v = (int[]){1, 3, 2}, .n = 3}, seed = {.word = "seed:5"};
    fc_tasks t, old;
    fc_error err = {0};
    assert_int_equal(fc_tasks_make(&t, &d, 0, &sizes, &seed, &d.arena, NULL), FC_OK);
    old = t;
    const int to[] = {2, 0, 1};
    fc_ints order = {.v = (int[]){2, 0, 1}, .n = 3};
    assert_int_equal(fc_tasks_reorder(&t, &order, &d.arena, NULL), FC_OK);
    for (int i = 0; i < 3; i++) {
        int k = to[i], n = old.first[k + 1] - old.first[k];
        assert_int_equal(t.first[i + 1] - t.first[i], n);
        assert_memory_equal(t.order + t.first[i], old.order + old.first[k],
                            (size_t)n * sizeof(int));
        assert_ptr_equal(t.train[i], old.train[k]);
        assert_ptr_equal(t.test[i], old.test[k]);
        assert_int_equal(t.n_train[i], old.n_train[k]);
        assert_int_equal(t.n_test[i], old.n_test[k]);
    }
    for (int k = 0; k < 6; k++)
        assert_int_equal(t.logit[t.order[k]], k);
    order = (fc_ints){.v = (int[]){0, 0, 1}, .n = 3};
    assert_int_equal(fc_tasks_reorder(&t, &order, &d.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "entry 1 is task 0"));
    fc_arena_free(&d.arena);
}

/* Held-out images are the last of each class, and nobody's any more. */
static void test_hold_out(void **state)
{
    (void)state;
    fc_dataset d = fake_data(6, 5, 0);
    fc_ints natural = {.word = "natural"};
    fc_tasks t, whole;
    fc_error err = {0};
    assert_int_equal(fc_tasks_make(&whole, &d, 3, NULL, &natural, &d.arena, NULL), FC_OK);
    assert_int_equal(fc_tasks_make(&t, &d, 3, NULL, &natural, &d.arena, NULL), FC_OK);
    assert_int_equal(fc_tasks_hold_out(&t, &d, 2, &d.arena, NULL), FC_OK);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(t.n_held[k], 4);
        assert_int_equal(t.n_train[k], 6);
        int of_class[6] = {0};
        for (size_t i = 0; i < t.n_held[k]; i++)
            of_class[d.train.label[t.held[k][i]]]++;
        for (int c = 0; c < 6; c++)
            assert_int_equal(of_class[c], c / 2 == k ? 2 : 0);
        for (size_t i = 0; i < t.n_train[k]; i++)
            for (size_t j = 0; j < t.n_held[k]; j++) {
                assert_true(t.train[k][i] != t.held[k][j]);
                bool same = d.train.label[t.train[k][i]] == d.train.label[t.held[k][j]];
                assert_true(!same || t.train[k][i] < t.held[k][j]);
            }
    }
    assert_int_equal(fc_tasks_hold_out(&whole, &d, 5, &d.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "class 0 has 5 training images"));
    fc_arena_free(&d.arena);
}

/* Some of the classes: the images of the others are in no list. */
static void test_some(void **state)
{
    (void)state;
    fc_dataset d = fake_data(10, 4, 0);
    fc_tasks t;
    fc_error err = {0};
    fc_ints sizes = {.v = (int[]){2, 1}, .n = 2}, classes = {.v = (int[]){7, 2, 9}, .n = 3};
    assert_int_equal(fc_tasks_some(&t, &d, &sizes, &classes, &d.arena, NULL), FC_OK);
    assert_true(t.n == 2 && t.classes == 3 && t.first[1] == 2 && t.first[2] == 3);
    assert_true(t.logit[7] == 0 && t.logit[2] == 1 && t.logit[9] == 2 && t.logit[0] == -1);
    assert_true(t.n_train[0] == 8 && t.n_train[1] == 4 && t.n_test[0] == 4 && t.n_test[1] == 2);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < t.n_train[k]; i++) {
            int logit = t.logit[d.train.label[t.train[k][i]]];
            assert_true(logit >= t.first[k] && logit < t.first[k + 1]);
        }
    classes.v[1] = 10;
    assert_int_equal(fc_tasks_some(&t, &d, &sizes, &classes, &d.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "entry 1 is class 10, expected 0 to 9"));
    fc_arena_free(&d.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpy_orders), cmocka_unit_test(test_sizes_and_lists),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_reorder),
        cmocka_unit_test(test_hold_out),     cmocka_unit_test(test_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
