/* The message of the server, for every method: as long as was said, what it holds, and what its
 * clients make of it. */
#include "sim/fed/down.h"

#include "sim/fed/plan.h"
#include "sim/fed/server.h"
#include "sim/run/loop.h"
#include "sim/run/setup.h"
#include "tests/support/tmp.h"

enum { ROUNDS = 3, SETTINGS = 10 };
static const char base_config[] =
    "run: {seed: 3, threads: 2}\n"
    "data: {name: synth, synth_classes: 4, synth_train: 12, synth_test: 4, synth_size: 8}\n"
    "tasks: {count: 2}\n"
    "fed: {clients: 4, rounds: 3, beta: 2, min_samples: 2}\n"
    "backbone: {patch: 4, width: 24, depth: 2, heads: 2}\n"
    "train: {epochs: 1, batch: 8, lr: 0.02, lora_rank: 2, optimizer: sgd}\n"
    "eval: {rounds: none}\n";

typedef struct open_run {
    fc_tmp tmp;
    fc_config cfg;
    fc_setup setup;
    fc_run run;
    fc_error err;
    const char *const *set;
    int with_deltas, stacked; /* messages that were seen */
} open_run;

static void must(open_run *o, fc_status s)
{
    if (s != FC_OK)
        fail_msg("%s %s: %s", o->set[0], o->set[1] ? o->set[1] : "", o->err.msg);
}

static void open_run_of(open_run *o, const char *const *set)
{
    char *all[SETTINGS];
    int n = 0;
    *o = (open_run){.tmp = fc_tmp_new(), .set = set};
    for (; set[n]; n++)
        all[n] = (char *)(uintptr_t)set[n];
    const char *path = fc_tmp_put(&o->tmp, "config.yaml", base_config, strlen(base_config));
    must(o, fc_config_load(&o->cfg, path, all, n, &o->err));
    must(o, fc_run_open(&o->run, &o->setup, &o->cfg, (fc_console){0}, NULL, &o->err));
    must(o, fc_run_start(&o->run, o->tmp.dir, false, &o->err));
}

static void close_run(open_run *o)
{
    fc_run_close(&o->run, &o->setup);
    fc_config_free(&o->cfg);
    fc_tmp_remove(&o->tmp);
}

/* The numbers of a tensor of a message, read as anybody would; NULL: it has none of that name. */
static fc_real *tensor(const fc_message *m, const char *name, size_t *n)
{
    uint64_t header, begin, end;
    char quoted[80];
    memcpy(&header, m->data, sizeof header);
    char *text = calloc(header + 1, 1);
    assert_non_null(text);
    memcpy(text, m->data + 8, header);
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = strstr(text, quoted);
    at = at ? strstr(at, "\"data_offsets\":[") : NULL;
    fc_real *x = NULL;
    *n = 0;
    if (at) {
        char *next;
        begin = strtoull(at + strlen("\"data_offsets\":["), &next, 10);
        end = strtoull(next + 1, NULL, 10);
        *n = (end - begin) / sizeof *x;
        x = malloc(end - begin);
        assert_non_null(x);
        memcpy(x, m->data + 8 + header + begin, end - begin);
    }
    free(text);
    return x;
}

/* "deltas" of a method whose finished tasks are pairs A, B. */
static void check_pairs(open_run *o, const fc_message *m, int t, bool wanted)
{
    const fc_deltas *d = &o->run.state.deltas;
    size_t n, n_A, n_B, T = (size_t)t;
    fc_slot_offsets(&o->setup.net.shape, o->setup.slots, o->setup.net.rank, &n_A, &n_B);
    fc_real *x = tensor(m, "deltas", &n);
    assert_int_equal(n, wanted ? T * (n_A + n_B) : 0);
    if (n) {
        assert_memory_equal(x, d->A, T * n_A * sizeof *x);
        assert_memory_equal(x + T * n_A, d->B, T * n_B * sizeof *x);
        o->with_deltas++;
    }
    free(x);
}

/* "deltas" of a method that folds: the finished tasks, then what the last round added in the form
 * that is smaller. before: folded as it was a round ago. */
static void check_folded(open_run *o, const fc_message *m, int t, int round, bool tasks,
                         const fc_real *before)
{
    const fc_setup *s = &o->setup;
    size_t n, at = 0, rank = (size_t)s->net.rank;
    fc_real *x = tensor(m, "deltas", &n);
    for (int k = 0; tasks && k < t; k++)
        for (int i = 0; i < s->slots; i++) {
            int out, in;
            fc_slot_dims(&s->net.shape, i, &out, &in);
            size_t size = (size_t)out * (size_t)in;
            assert_memory_equal(x + at,
                                o->run.state.deltas.W + (size_t)k * o->run.state.deltas.n_W +
                                    s->slot_offset[i],
                                size * sizeof *x);
            at += size;
            o->with_deltas++;
        }
    for (int i = 0; round > 0 && i < s->slots; i++) {
        int out, in, K = fc_plan_cohort_max(s);
        fc_slot_dims(&s->net.shape, i, &out, &in);
        const fc_real *folded = o->run.state.folded + s->slot_offset[i];
        size_t thin = rank * (size_t)K * (size_t)(out + in), dense = (size_t)out * (size_t)in;
        bool stacked = o->run.state.stack && thin < dense && before;
        if (!stacked) {
            assert_memory_equal(x + at, folded, dense * sizeof *x);
            at += dense;
            continue;
        }
        o->stacked++;
        for (int r = 0; r < out; r++)
            for (int c = 0; c < in; c++) { /* sum_j B_j A_j */
                double sum = 0;
                size_t e = (size_t)r * (size_t)in + (size_t)c;
                for (int j = 0; j < K; j++) {
                    const fc_real *A = x + at + (size_t)j * rank * (size_t)(out + in);
                    const fc_real *B = A + rank * (size_t)in;
                    for (size_t l = 0; l < rank; l++)
                        sum +=
                            (double)B[(size_t)r * rank + l] * (double)A[l * (size_t)in + (size_t)c];
                }
                assert_close((double)folded[e] - (double)before[s->slot_offset[i] + e], sum, 1e-3,
                             1e-6);
            }
        at += thin;
    }
    assert_int_equal(at, n);
    free(x);
}

/* The message of a round. strangers: clients may have missed rounds. */
static void check_message(open_run *o, int t, int round, bool strangers, const fc_real *before)
{
    fc_run *r = &o->run;
    const fc_setup *s = &o->setup;
    fc_message m = {0};
    size_t bytes;
    must(o, fc_down_size(&bytes, s, t, round, &o->err));
    if (s->method->centralised) {
        assert_int_equal(bytes, 0);
        return;
    }
    must(o, fc_down_pack(&m, r, t, round, &o->err));
    assert_int_equal(m.n, bytes);
    must(o, fc_down_receive(r, &m, t, round, &o->err));
    if (round < ROUNDS)
        assert_memory_equal(r->scratch.received.p, r->state.global.p,
                            s->layout.n * sizeof(fc_real));
    bool tasks = s->net.mode == FC_TRAIN_LORA && (round == 0 || strangers) &&
                 s->method->sends_deltas && s->method->sends_deltas(&s->about);
    if (s->trained.folds)
        check_folded(o, &m, t, round, tasks, strangers ? NULL : before);
    else if (s->net.mode == FC_TRAIN_LORA)
        check_pairs(o, &m, t, tasks && t > 0);
    size_t n;
    fc_real *c = tensor(&m, "scaffold.c", &n);
    assert_int_equal(n,
                     strcmp(s->method->name, "scaffold") == 0 && round < ROUNDS ? s->layout.n : 0);
    if (n)
        assert_memory_equal(c, r->state.array[0][0].p, n * sizeof *c);
    free(c);
    fc_message_free(&m);
}

static void check_run(const char *const *set, bool strangers, bool deltas, bool stack)
{
    open_run o;
    open_run_of(&o, set);
    size_t n = o.setup.w0.n;
    fc_real *before = calloc(n, sizeof *before);
    assert_non_null(before);
    for (int t = 0; t < o.setup.tasks.n; t++) {
        must(&o, fc_server_begin_task(&o.run, t, &o.err));
        fc_server_prepare_task(&o.run);
        for (int round = 0; round < ROUNDS; round++) {
            check_message(&o, t, round, strangers, before);
            if (o.run.state.folded)
                memcpy(before, o.run.state.folded, n * sizeof *before);
            must(&o, fc_server_round(&o.run, t, round, &o.err));
        }
        if (o.setup.task_grams)
            check_message(&o, t, ROUNDS, strangers, before);
        must(&o, fc_server_end_task(&o.run, t, &o.err));
    }
    assert_int_equal(o.with_deltas > 0, deltas);
    assert_int_equal(o.stacked > 0, stack);
    free(before);
    close_run(&o);
}

static void test_every_method(void **state)
{
    (void)state;
    for (int i = 0; i < fc_method_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "method.name=%s", fc_method_table[i]->name);
        const char *method = fc_method_table[i]->name;
        bool flora = strcmp(method, "flora") == 0, lorm = strcmp(method, "lorm") == 0;
        const char *const all[] = {name, NULL};
        const char *const strangers[] = {name, "fed.participation=0.5",
                                         "fed.participation_draw=round", NULL};
        const char *const devices[] = {name, "device.model=random", "device.availability=0.7",
                                       "device.dropout=0.4", NULL};
        check_run(all, false, lorm, flora);
        check_run(strangers, true, lorm, false);
        check_run(devices, true, lorm, false);
    }
}

static void test_finished_tasks(void **state)
{
    (void)state;
    static const char *const name[] = {"method.name=fedavg_lora", "method.name=ffa_lora",
                                       "method.name=rolora",      "method.name=scaffold",
                                       "method.name=lora_merge",  "method.name=flexlora",
                                       "method.name=flora"};
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 2; j++) {
            const char *kind = j ? "method.cl_merge=run_mean" : "method.cl_merge=run_sum";
            const char *const all[] = {name[i], kind, NULL};
            const char *const strangers[] = {name[i], kind, "fed.participation=0.5",
                                             "fed.participation_draw=round", NULL};
            check_run(all, false, true, i == 6);
            check_run(strangers, true, true, false);
        }
}

/* Fewer clients make a thinner stack; a mean that does not weigh by samples has another scale. */
static void test_stacks(void **state)
{
    (void)state;
    const char *const half[] = {"method.name=flora", "fed.participation=0.5", NULL};
    const char *const alike[] = {"method.name=flora", "merge.weighted=false", NULL};
    const char *const ties[] = {"method.name=flora", "merge.rule=ties", NULL};
    const char *const many[] = {"method.name=flora", "train.lora_rank=16", NULL};
    check_run(half, false, false, true);
    check_run(alike, false, false, true);
    check_run(ties, false, false, false);
    check_run(many, false, false, false); /* the factors would be longer than their sum */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_method),
        cmocka_unit_test(test_finished_tasks),
        cmocka_unit_test(test_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
