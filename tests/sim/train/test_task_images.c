/* Which images a rule sees of each task: the held-out ones where there are some, all or as many as
 * asked for, drawn at random. */
#include "sim/train/task_images.h"
#include "tests/support/fake_data.h"

#include <string.h>

enum { CLASSES = 6, TASKS = 3, PER_CLASS = 7, HELD = 2, N = CLASSES * PER_CLASS };

typedef struct fixture {
    fc_dataset data;
    fc_tasks tasks;
    fc_arena arena;
} fixture;

static void open_fixture(fixture *f, int held)
{
    *f = (fixture){.data = fake_data(CLASSES, PER_CLASS, 0)};
    const fc_ints order = {.word = "seed:1"};
    assert_int_equal(fc_tasks_make(&f->tasks, &f->data, TASKS, NULL, &order, &f->arena, NULL),
                     FC_OK);
    if (held)
        assert_int_equal(fc_tasks_hold_out(&f->tasks, &f->data, held, &f->arena, NULL), FC_OK);
}

static void close_fixture(fixture *f)
{
    fc_arena_free(&f->data.arena);
    fc_arena_free(&f->arena);
}

static fc_task_images images(fixture *f, int from, int to, int update, size_t most, uint64_t seed)
{
    fc_task_images t;
    const fc_key key = {.seed = seed, .task = (uint32_t)update};
    assert_int_equal(fc_task_images_draw(&t, &f->tasks, from, to, most, key, &f->arena, NULL),
                     FC_OK);
    assert_int_equal(t.lo, f->tasks.first[from]);
    assert_int_equal(t.hi, f->tasks.first[to]);
    return t;
}

/* n different images of these lists of tasks from .. to - 1. */
static void check_from(const fixture *f, const fc_task_images *t, uint32_t *const *list,
                       const size_t *count, int from, int to, size_t n)
{
    bool in[N] = {false};
    assert_int_equal(t->n, n);
    for (int k = from; k < to; k++)
        for (size_t i = 0; i < count[k]; i++)
            in[list[k][i]] = true;
    for (size_t i = 0; i < t->n; i++) {
        assert_true(t->sample[i] < f->data.train.n && in[t->sample[i]]);
        in[t->sample[i]] = false; /* each once */
    }
}

static void test_held_out_images(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, HELD);
    for (int k = 0; k < TASKS; k++) {
        fc_task_images t = images(&f, k, k + 1, k, 1000, 5);
        check_from(&f, &t, f.tasks.held, f.tasks.n_held, k, k + 1, 2 * HELD);
        t = images(&f, k, k + 1, k, 3, 5);
        check_from(&f, &t, f.tasks.held, f.tasks.n_held, k, k + 1, 3);
    }
    fc_task_images t = images(&f, 1, 3, 0, 1000, 5);
    check_from(&f, &t, f.tasks.held, f.tasks.n_held, 1, 3, 4 * HELD);
    close_fixture(&f);
}

static void test_training_images(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    for (int k = 0; k < TASKS; k++) {
        fc_task_images t = images(&f, k, k + 1, k, 1000, 5);
        check_from(&f, &t, f.tasks.train, f.tasks.n_train, k, k + 1, 2 * PER_CLASS);
    }
    fc_task_images t = images(&f, 0, 2, 0, 20, 5);
    check_from(&f, &t, f.tasks.train, f.tasks.n_train, 0, 2, 20);
    close_fixture(&f);
}

/* Others for another seed and another update, and not the first ones of the list. */
static void test_drawn_at_random(void **state)
{
    (void)state;
    enum { MOST = 9 };
    const size_t size = MOST * sizeof(uint32_t);
    fixture f;
    open_fixture(&f, 0);
    fc_task_images t = images(&f, 1, 2, 1, MOST, 5);
    assert_memory_equal(images(&f, 1, 2, 1, MOST, 5).sample, t.sample, size);
    assert_memory_not_equal(images(&f, 1, 2, 2, MOST, 5).sample, t.sample, size);
    assert_memory_not_equal(images(&f, 1, 2, 1, MOST, 6).sample, t.sample, size);
    assert_memory_not_equal(f.tasks.train[1], t.sample, size);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held_out_images),
        cmocka_unit_test(test_training_images),
        cmocka_unit_test(test_drawn_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
