/* Merges of networks whose statistics are made here: they are means over the images of a task. */
#include "sim/train/vit_merge.h"

#include "core/merge/rules/rule_regmean.h"
#include "tests/support/tiny_net.h"
#include "tests/support/tv_fixture.h"

enum { TASKS = 2, SLOTS = 8, N = 5 };

typedef struct fixture {
    tiny_net t;
    fc_crew crew;
    tvx f;
    int tensor[SLOTS];
    uint32_t sample[TASKS][2 * N]; /* the same N twice */
    fc_task_images task[TASKS];
    fc_vit_merge_job job;
} fixture;

static void open_fixture(fixture *x, const char *rule)
{
    *x = (fixture){0};
    tiny_net_open(&x->t, FC_TRAIN_LORA, 2 * N, 0);
    int dims[SLOTS][2];
    for (int s = 0; s < SLOTS; s++) {
        x->tensor[s] = fc_slot_tensor(s);
        dims[s][0] = x->t.w0.spec[x->tensor[s]].rows;
        dims[s][1] = x->t.w0.spec[x->tensor[s]].cols;
    }
    tvx_init(&x->f, TASKS, SLOTS, (const int(*)[2])dims);
    tvx_random(&x->f, 2, 0);
    for (int s = 0; s < SLOTS; s++)
        x->f.shape[s].name = x->t.w0.spec[x->tensor[s]].name;
    x->f.set.gram = x->f.set.fisher = NULL;
    x->f.set.gram_rows = NULL;
    for (int i = 0; i < TASKS; i++) {
        for (uint32_t k = 0; k < 2 * N; k++)
            x->sample[i][k] = (uint32_t)i + 3 * (k % N);
        x->task[i] =
            (fc_task_images){.sample = x->sample[i], .n = N, .lo = i, .hi = TINY_CLASSES - 1 + i};
    }
    fc_grams full;
    assert_int_equal(fc_vit_grams(&full, &x->t.net.shape, 1, 1, &x->t.arena, NULL), FC_OK);
    const fc_crew_plan plan = {.net = &x->t.net,
                               .like = &x->t.start,
                               .threads = 2,
                               .clients = 1,
                               .batch = 1,
                               .samples = 1,
                               .grams = &full,
                               .max_side = 8};
    assert_int_equal(fc_crew_init(&x->crew, &plan, &x->t.err), FC_OK);
    const fc_spec *head = &x->t.start.spec[fc_train_head(&x->t.start)];
    const fc_merge_method *m = fc_merge_find(rule);
    void *options = fc_arena_alloc(&x->t.arena, 1, m->options_size, NULL);
    assert_int_equal(fc_opt_defaults(options, m->options, m->n_options, &x->t.arena, &x->t.err),
                     FC_OK);
    x->job = (fc_vit_merge_job){.rule = m,
                                .options = options,
                                .w0 = &x->t.w0,
                                .in = &x->f.set,
                                .tensor = x->tensor,
                                .head_w = x->t.start.p + head[0].offset,
                                .head_b = x->t.start.p + head[1].offset,
                                .task = x->task,
                                .net = &x->t.net,
                                .crew = &x->crew,
                                .split = &x->t.data.train};
}

/* The merged backbone, of which w0.n numbers are in the arena. */
static const fc_real *merged(fixture *x)
{
    fc_vit_merged m = {.w = fc_arena_alloc(&x->t.arena, x->t.w0.n, sizeof *m.w, NULL)};
    fc_status s = fc_vit_merge_make(&m, &x->job, &x->t.arena, &x->t.err);
    if (s != FC_OK)
        print_error("%s: %s\n", x->job.rule->name, x->t.err.msg);
    assert_int_equal(s, FC_OK);
    return m.w;
}

static double largest_difference(const fc_real *a, const fc_real *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)(a[i] - b[i])));
    return most;
}

/* A task whose images are all there twice weighs no more than before; other images change it. */
static void test_images_twice(void **state)
{
    (void)state;
    static const char *const rule[] = {"regmean", "fisher"};
    for (int k = 0; k < 2; k++) {
        fixture x;
        open_fixture(&x, rule[k]);
        const fc_real *once = merged(&x);
        x.task[1].n = 2 * N;
        const fc_real *twice = merged(&x);
        x.task[1].n = 2;
        const fc_real *fewer = merged(&x);
        assert_true(largest_difference(twice, once, x.t.w0.n) < 1e-5);
        assert_true(largest_difference(fewer, once, x.t.w0.n) > 1e-3);
        fc_crew_free(&x.crew);
        tvx_free(&x.f);
        tiny_net_close(&x.t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_images_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
