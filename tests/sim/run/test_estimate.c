/* Prediction of work, bytes and memory against what a run really does; who takes part in a round.
 * Linked with --wrap (tests/meson.build), which sends the allocations of our code through here. */
#include "sim/fed/cohort.h"
#include "sim/run/cost.h"
#include "sim/run/estimate.h"
#include "sim/run/loop.h"
#include "sim/run/setup.h"
#include "tests/support/tmp.h"

#include <malloc.h>
#include <stdatomic.h>

static const char config[] =
    "run: {seed: 3, threads: 2}\n"
    "data: {name: synth, synth_classes: 6, synth_train: 10, synth_test: 5, synth_size: 8}\n"
    "tasks: {count: 3}\n"
    "fed: {clients: 4, rounds: 3, beta: 2, min_samples: 1}\n"
    "backbone: {patch: 4, width: 16, depth: 1, heads: 2}\n"
    "train: {epochs: 2, batch: 8, lora_rank: 2}\n";

/* Some clients out of reach, some late, some lost. */
#define DEVICES                                                                                    \
    "device.model=random device.gflops=0.005 device.availability=0.8 device.dropout=0.2 "          \
    "fed.deadline_s=0.3 fed.participation_draw=round"

typedef struct fixture {
    fc_tmp tmp;
    fc_config cfg;
    fc_setup setup;
    fc_run run;
} fixture;

/* options: a few settings, apart by spaces; or NULL. */
static void open_run(fixture *f, const char *method, const char *options)
{
    fc_error err = {0};
    char text[256], *set[10] = {(char *)(uintptr_t)method}, *rest = text;
    int n = 1;
    snprintf(text, sizeof text, "%s", options ? options : "");
    while ((set[n] = strtok_r(rest, " ", &rest)) != NULL)
        n++;
    f->tmp = fc_tmp_new();
    const char *path = fc_tmp_put(&f->tmp, "config.yaml", config, strlen(config));
    fc_status s = fc_config_load(&f->cfg, path, set, n, &err);
    if (s == FC_OK)
        s = fc_run_open(&f->run, &f->setup, &f->cfg, (fc_console){0}, NULL, &err);
    if (s == FC_OK)
        s = fc_run_start(&f->run, f->tmp.dir, false, &err);
    if (s != FC_OK)
        print_error("%s\n", err.msg);
    assert_int_equal(s, FC_OK);
}

static void close_run(fixture *f)
{
    fc_run_close(&f->run, &f->setup);
    fc_config_free(&f->cfg);
    fc_tmp_remove(&f->tmp);
}

/* --- work -------------------------------------------------------------------------------------
 */

/* Work of the whole run, and what of it is done there. */
static double work_at(double *done, const fc_setup *s, int t, int round)
{
    const fc_position at = {.next_task = t, .next_round = round};
    fc_cost c;
    assert_int_equal(fc_cost_make(&c, s, &at, NULL), FC_OK);
    *done = c.done;
    return c.train + c.eval;
}

/* Nothing is done at the start, all at the end, and never less than before. */
static void check_positions(const fc_setup *s)
{
    double done, last = -1, total = work_at(&done, s, 0, 0);
    assert_true(total > 0);
    for (int t = 0; t < s->tasks.n; t++)
        for (int round = 0; round <= s->cfg->fed.rounds; round++) {
            assert_true(work_at(&done, s, t, round) == total);
            assert_true(round > 0 ? done > last : t > 0 ? done >= last : done == 0);
            last = done;
        }
    work_at(&done, s, s->tasks.n, 0);
    assert_close(done, total, 1e-12, 0);
}

/* The work that the progress bar counted is the work that was predicted. */
static void check_work(const char *method, const char *options)
{
    fixture f;
    fc_error err = {0};
    open_run(&f, method, options);
    check_positions(&f.setup);
    assert_true(f.run.scratch.progress.total > 0 && f.run.scratch.progress.done == 0);
    assert_int_equal(fc_run_loop(&f.run, &err), FC_OK);
    assert_close(f.run.scratch.progress.done, f.run.scratch.progress.total, 1e-9, 0);
    close_run(&f);
}

static void test_work(void **state)
{
    (void)state;
    check_work("method.name=lorm", NULL);
    check_work("method.name=lorm", "method.gram_passes=2");
    check_work("method.name=lorm", "fed.participation=0.5");
    check_work("method.name=lorm", "eval.rounds=none");
    check_work("method.name=lorm", DEVICES);
    check_work("method.name=fedavg_lora", NULL);
    check_work("method.name=fedavg_lora", "eval.rounds=last");
    check_work("method.name=ffa_lora", "eval.rounds=none");
    check_work("method.name=rolora", NULL);
    check_work("method.name=fedavg", NULL);
    check_work("method.name=head_only", NULL);
    check_work("method.name=fedavg", "merge.rule=fisher");
    check_work("method.name=lora_merge", "merge.rule=fisher merge.fisher=expected merge.samples=4");
    check_work("method.name=joint", NULL);
}

/* --- bytes ------------------------------------------------------------------------------------
 */

/* All but the time is exact. */
static void check_costs(const char *method, const char *options)
{
    fixture f;
    fc_error err = {0};
    open_run(&f, method, options);
    fc_estimate e;
    assert_int_equal(fc_estimate_make(&e, &f.run, 0, &err), FC_OK);
    assert_int_equal(fc_run_loop(&f.run, &err), FC_OK);
    assert_true(e.bytes_down == (double)f.run.state.at.bytes_down);
    assert_true(e.bytes_up == (double)f.run.state.at.bytes_up);
    if (f.run.setup->devices.on) {
        assert_true(e.sim_s > 0 && e.sim_s == f.run.state.sim_s);
        assert_int_equal(e.clients_late, f.run.state.at.clients_late);
        assert_int_equal(e.clients_lost, f.run.state.at.clients_lost);
        assert_true(f.run.state.at.clients_late > 0 && f.run.state.at.clients_lost > 0);
    }
    assert_true(e.seconds > 0 && e.memory_mib > 1);
    assert_close(e.train_flop + e.eval_flop, f.run.scratch.progress.total, 1e-12, 0);
    close_run(&f);
}

static void test_costs(void **state)
{
    (void)state;
    check_costs("method.name=lorm", NULL);
    check_costs("method.name=fedavg_lora", "fed.participation=0.5");
    check_costs("method.name=joint", NULL);
    check_costs("method.name=lorm", DEVICES);
    check_costs("method.name=fedavg", DEVICES);
    check_costs("method.name=fedavg", "merge.rule=fisher");
    check_costs("method.name=lora_merge", "merge.rule=fisher " DEVICES);
}

/* --- memory -----------------------------------------------------------------------------------
 */

static atomic_long held, held_most; /* bytes of our code */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void __wrap_free(void *p);

static void *count(void *p)
{
    long size = (long)malloc_usable_size(p), now = atomic_fetch_add(&held, size) + size;
    long most = atomic_load(&held_most);
    while (now > most && !atomic_compare_exchange_weak(&held_most, &most, now))
        ;
    return p;
}

static void discount(void *p)
{
    atomic_fetch_sub(&held, (long)malloc_usable_size(p));
}

void *__wrap_malloc(size_t n)
{
    return count(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return count(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    discount(p);
    return count(__real_realloc(p, n));
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return count(__real_aligned_alloc(align, n));
}

void __wrap_free(void *p)
{
    discount(p);
    __real_free(p);
}

/* What is predicted beyond what is in use already, but for the weights packed for evaluation, which
 * are allocated and only untouched, is what the run then allocates: no less, and hardly more. */
static void check_memory(const char *method, const char *options)
{
    fixture f;
    fc_error err = {0};
    fc_estimate e;
    double more;
    open_run(&f, method, options);
    assert_int_equal(fc_estimate_make(&e, &f.run, 1e-12, &err), FC_OK);
    assert_int_equal(fc_estimate_memory(&more, &f.setup, f.setup.threads, &err), FC_OK);
    assert_close((e.memory_mib - fc_rss_peak()) * 1048576, more, 1e-3, 1 << 20);
    more -= (double)fc_packed_bytes(&f.setup.net.shape, false, &f.setup.net.engine);
    long before = held;
    held_most = before;
    assert_int_equal(fc_run_loop(&f.run, &err), FC_OK);
    double taken = (double)(held_most - before);
    if (!(more > 0.97 * taken && more < 1.15 * taken))
        fail_msg("%s %s: %.0f bytes predicted, %.0f taken", method, options, more, taken);
    close_run(&f);
}

static void test_memory(void **state)
{
    (void)state;
#define WIDE "run.threads=1 fed.rounds=2 backbone.width=96 backbone.depth=2 "
    check_memory("method.name=fedavg", WIDE "fed.clients=2");
    check_memory("method.name=fedavg", WIDE "merge.rule=fisher fed.clients=1");
    check_memory("method.name=lora_merge", WIDE "merge.rule=ties fed.clients=3 train.lora_rank=16");
}

/* --- participants -----------------------------------------------------------------------------
 */

enum { CLIENTS = 10 };

typedef struct draw {
    fc_config cfg;
    fc_setup setup;
    int id[CLIENTS];
} draw;

static draw draw_of(double participation, int per_round)
{
    draw d = {.setup.partition.clients = CLIENTS};
    d.cfg.fed.participation = participation;
    d.cfg.fed.participation_draw = per_round;
    d.cfg.seed.train = 5;
    return d;
}

/* The participants as bits; in range, ascending and so distinct. */
static unsigned participants(draw *d, int t, int round, int want)
{
    unsigned set = 0;
    d->setup.cfg = &d->cfg;
    double clock = 0;
    assert_int_equal(fc_participants(&d->setup, t, round, &clock, d->id), want);
    assert_true(clock == 0);
    for (int i = 0; i < want; i++) {
        assert_in_range(d->id[i], i ? d->id[i - 1] + 1 : 0, CLIENTS - 1);
        set |= 1u << d->id[i];
    }
    return set;
}

static void test_number_of_participants(void **state)
{
    (void)state;
    const struct {
        double p;
        int n;
    } row[] = {{1, 10},   {0.99, 9}, {0.95, 9}, {0.7, 7},  {0.35, 3}, {0.3, 3},
               {0.29, 2}, {0.1, 1},  {0.05, 1}, {1e-9, 1}, {0.6, 6}};
    for (int i = 0; i < (int)(sizeof row / sizeof *row); i++) {
        draw d = draw_of(row[i].p, 0);
        unsigned set = participants(&d, 0, 0, row[i].n);
        if (row[i].n == CLIENTS)
            assert_int_equal(set, 0x3ff);
    }
    int id[100]; /* 100 * 0.29 is below 29 in double */
    draw d = draw_of(0.29, 0);
    d.setup.cfg = &d.cfg;
    d.setup.partition.clients = 100;
    double clock = 0;
    assert_int_equal(fc_participants(&d.setup, 0, 0, &clock, id), 29);
}

static void test_draw_per_task_and_per_round(void **state)
{
    (void)state;
    int new_task = 0, new_round = 0, new_seed = 0;
    draw task = draw_of(0.5, 0), round = draw_of(0.5, 1), other = draw_of(0.5, 0);
    other.cfg.seed.train = 6;
    for (int t = 0; t < 20; t++) {
        unsigned first = participants(&task, t, 0, 5);
        for (int k = 0; k < 4; k++) {
            assert_int_equal(participants(&task, t, k, 5), first);
            unsigned set = participants(&round, t, k, 5);
            assert_int_equal(participants(&round, t, k, 5), set); /* a pure function */
            new_round += set != participants(&round, t, k + 1, 5);
        }
        new_task += first != participants(&task, t + 1, 0, 5);
        new_seed += first != participants(&other, t, 0, 5);
    }
    assert_true(new_task >= 18 && new_round >= 72 && new_seed >= 18);
}

/* Every client as often as any other: 3000 draws of 3 of 10, five standard deviations. */
static void test_draws_are_fair(void **state)
{
    (void)state;
    int count[CLIENTS] = {0};
    draw d = draw_of(0.3, 1);
    for (int t = 0; t < 3000; t++) {
        participants(&d, t, t % 5, 3);
        for (int i = 0; i < 3; i++)
            count[d.id[i]]++;
    }
    for (int k = 0; k < CLIENTS; k++)
        assert_in_range(count[k], 900 - 125, 900 + 125);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_number_of_participants),
        cmocka_unit_test(test_draw_per_task_and_per_round),
        cmocka_unit_test(test_draws_are_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
