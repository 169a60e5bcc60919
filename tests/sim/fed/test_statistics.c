/* Statistics that a piece takes of the clients' images, in rounds and at the end of a task, against
 * one image at a time; where a client starts; and what all of it costs. */
#include "sim/fed/plan.h"
#include "sim/run/cost.h"
#include "tests/support/open_run.h"

enum { ROUNDS = 2, CLASSES = 4, WIDTH = 16, ROW = WIDTH + 1, ALL = CLASSES * ROW };

/* --- a piece ---------------------------------------------------------------------------------- */

/* Sums of features and counts of each class: in each round, and once more when a task is over. */
enum { UP, UP_AT_END, SUM, KEPT, ARRAYS };

static int arrays(fc_array_spec *out, const fc_method_setup *s, const void *o)
{
    (void)s, (void)o;
    out[UP] = (fc_array_spec){.name = "up", .owner = FC_SENT_UP, .rows = CLASSES, .cols = ROW};
    out[UP_AT_END] = (fc_array_spec){.name = "up_at_end",
                                     .owner = FC_SENT_UP,
                                     .rows = CLASSES,
                                     .cols = ROW,
                                     .sent = FC_EACH_TASK};
    out[SUM] = (fc_array_spec){.name = "sum", .n = ALL, .sum = true, .reset = FC_EACH_ROUND};
    out[KEPT] = (fc_array_spec){.name = "kept", .n = ALL};
    return ARRAYS;
}

static bool always(const fc_method_setup *s, const void *o, int task, int round)
{
    (void)o;
    return task >= 0 && round <= s->rounds;
}

static void add_features(fc_piece_client *c, const fc_piece_slice *s)
{
    fc_real *sum = c->array[c->round == c->setup->rounds ? UP_AT_END : UP].p;
    assert_int_equal(s->width, WIDTH);
    assert_null(s->dlogits);
    for (int i = 0; i < s->n; i++) {
        fc_real *row = sum + (size_t)s->label[i] * ROW;
        assert_true(s->label[i] >= s->lo && s->label[i] < s->hi);
        for (int j = 0; j < WIDTH; j++)
            row[j] += s->features[i * WIDTH + j];
        row[WIDTH] += 1;
    }
}

static const fc_statistics statistics = {.now = always, .slice = add_features};

static void fold(fc_piece_server *v, const fc_piece_update *u)
{
    bool end = v->round == v->setup->rounds;
    assert_true(u->weight == (v->setup->weighted ? (double)u->n_samples : 1));
    assert_true((u->block == NULL) == end && (v->groups == 0) == end);
    assert_int_equal(u->array[UP].n, end ? 0 : ALL);
    assert_int_equal(u->array[UP_AT_END].n, end ? ALL : 0);
    for (int i = 0; i < ALL; i++)
        v->array[SUM].sum[i] += u->array[end ? UP_AT_END : UP].p[i];
}

static fc_status keep_sums(fc_piece_server *v, fc_error *err)
{
    (void)err;
    for (int i = 0; i < ALL; i++)
        v->array[KEPT].p[i] = (fc_real)v->array[SUM].sum[i];
    return FC_OK;
}

static const fc_piece takes = {
    .arrays = arrays, .statistics = &statistics, .fold = fold, .end_task = keep_sums};

/* --- runs ------------------------------------------------------------------------------------- */

static const char base_config[] =
    "run: {seed: 3, threads: 3}\n"
    "data: {name: synth, synth_classes: 4, synth_train: 23, synth_test: 4, synth_size: 8}\n"
    "tasks: {count: 2}\n"
    "fed: {clients: 3, rounds: 2, beta: 2, min_samples: 3}\n"
    "backbone: {patch: 4, width: 16, depth: 2, heads: 2}\n"
    "train: {epochs: 1, batch: 4, lr: 0.05, lora_rank: 2, optimizer: sgd}\n"
    "eval: {rounds: none}\n";

/* got (ALL): the sums over all images of task t under the server's model, image by image. */
static void check_sums(open_run *o, const double *got, int t)
{
    const fc_setup *s = &o->setup;
    fc_worker *w = &o->run.scratch.crew.worker[0];
    fc_model m = fc_model_of(&s->net.shape, s->net.mode, s->net.rank, s->net.classes,
                             o->run.scratch.w_train, &o->run.state.global);
    double want[ALL] = {0};
    for (size_t i = 0; i < s->tasks.n_train[t]; i++) {
        uint32_t sample = s->tasks.train[t][i];
        fc_worker_load(w, &s->net, &s->data.train, &sample, 1, (fc_key){0}, -1);
        fc_vit_forward(w->acts, &m, w->x, 1, NULL, NULL);
        double *row = want + w->label[0] * ROW;
        for (int j = 0; j < WIDTH; j++)
            row[j] += (double)fc_acts_features(w->acts)[j];
        row[WIDTH] += 1;
    }
    for (int i = 0; i < ALL; i++)
        assert_close(got[i], want[i], 1e-4, 1e-4);
    assert_true(want[(t * CLASSES / 2) * ROW + WIDTH] == 23);
}

/* With one client the server's model is the one that it ended with. */
static void check_rounds(const char *method, const char *clients, const char *weighted)
{
    open_run o;
    const char *const set[] = {method, clients, weighted, NULL};
    open_run_must(&o, open_run_try(&o, base_config, set, &takes));
    bool one = o.setup.partition.clients == 1;
    for (int t = 0; t < o.setup.tasks.n; t++) {
        open_run_begin(&o, t);
        for (int round = 0; round < ROUNDS; round++) {
            open_run_must(&o, fc_server_round(&o.run, t, round, &o.err));
            if (one)
                check_sums(&o, o.run.state.array[0][SUM].sum, t);
        }
        open_run_must(&o, fc_server_end_task(&o.run, t, &o.err));
        double kept[ALL];
        for (int i = 0; i < ALL; i++)
            kept[i] = (double)o.run.state.array[0][KEPT].p[i];
        check_sums(&o, kept, t);
    }
    /* all of it was foreseen */
    fc_cost cost;
    open_run_must(&o, fc_cost_make(&cost, &o.setup, NULL, &o.err));
    assert_close(cost.bytes_up, (double)o.run.state.at.bytes_up, 0, 0);
    assert_close(cost.bytes_down, (double)o.run.state.at.bytes_down, 0, 0);
    open_run_close(&o);
}

static void test_sums(void **state)
{
    (void)state;
    const char *const by_samples = "merge.weighted=true", *const alike = "merge.weighted=false";
    check_rounds("method.name=fedavg", "fed.clients=1", by_samples);
    check_rounds("method.name=fedavg", "fed.clients=3", alike);
    check_rounds("method.name=fedavg_lora", "fed.clients=1", alike);
    check_rounds("method.name=fedavg_lora", "fed.clients=3", by_samples);
}

/* A pass costs a forward pass of each image, in each round and at the end. */
static void test_work(void **state)
{
    (void)state;
    static const fc_piece none = {.name = "none"};
    fc_cost cost[2];
    double forward = 0;
    for (int i = 0; i < 2; i++) {
        open_run o;
        const char *const set[] = {"method.name=fedavg", NULL};
        open_run_must(&o, open_run_try(&o, base_config, set, i ? &takes : &none));
        open_run_must(&o, fc_cost_make(&cost[i], &o.setup, NULL, &o.err));
        forward = fc_vit_flop(&o.setup.net.shape, 0, CLASSES, FC_TRAIN_FULL, 0, false);
        open_run_close(&o);
    }
    assert_close(cost[1].train - cost[0].train, forward * CLASSES * 23 * (ROUNDS + 1), 1e-12, 0);
}

/* --- the start -------------------------------------------------------------------------------- */

static void one_more(fc_real *w, const fc_piece_client *c)
{
    for (size_t i = 0; i < c->layout->n; i++) {
        assert_true(w[i] == c->start[i]);
        w[i] += 1;
    }
}

static void test_begin(void **state)
{
    (void)state;
    static const fc_piece begins = {.client_begin = one_more};
    open_run o;
    const char *const set[] = {"method.name=fedavg", "train.lr=1e-12", NULL};
    open_run_must(&o, open_run_try(&o, base_config, set, &begins));
    open_run_begin(&o, 0);
    size_t n = o.setup.layout.n;
    fc_real *x = malloc(n * sizeof *x);
    assert_non_null(x);
    memcpy(x, o.run.state.global.p, n * sizeof *x);
    open_run_must(&o, fc_server_round(&o.run, 0, 0, &o.err));
    for (size_t i = 0; i < n; i++)
        assert_close(o.run.state.global.p[i], (double)x[i] + 1, 1e-5, 0);
    free(x);
    open_run_close(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums), cmocka_unit_test(test_work),
                                       cmocka_unit_test(test_begin)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
