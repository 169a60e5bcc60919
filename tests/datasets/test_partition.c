/* Laws of every partition (each sample at most once, in its task; seeds; minima), theory of the
 * Dirichlet ones, what is special about each, refusals with advice, and partition.csv. */
#include "core/base/file.h"
#include "datasets/part_common.h"
#include "datasets/partition.h"
#include "tests/support/fake_data.h"

#include <string.h>
#include <unistd.h>

enum { CLASSES = 12, PER_CLASS = 40, TASKS = 3, CLIENTS = 5 };

typedef struct world {
    fc_dataset d;
    fc_tasks t;
    fc_partition_request q;
} world;

static world make_world(const char *name)
{
    world w = {.d = fake_data(CLASSES, PER_CLASS, 1)};
    fc_ints order = {.word = "seed:5"};
    assert_int_equal(fc_tasks_make(&w.t, &w.d, TASKS, NULL, &order, &w.d.arena, NULL), FC_OK);
    w.q = (fc_partition_request){.name = name,
                                 .clients = CLIENTS,
                                 .beta = 0.5,
                                 .min_samples = 2,
                                 .classes_per_client = 2,
                                 .shards_per_client = 2,
                                 .file = "",
                                 .max_tries = 2000,
                                 .seed = 1};
    return w;
}

static fc_partition make(world *w)
{
    fc_partition p;
    fc_error err = {0};
    fc_status status = fc_partition_make(&p, &w->d, &w->t, &w->q, &w->d.arena, &err);
    if (status != FC_OK)
        fail_msg("%s: %s", w->q.name, err.msg);
    return p;
}

static void expect(world *w, fc_status status, const char *says)
{
    fc_partition p;
    fc_error err = {0};
    assert_int_equal(fc_partition_make(&p, &w->d, &w->t, &w->q, &w->d.arena, &err), status);
    if (!strstr(err.msg, says))
        fail_msg("'%s' lacks '%s'", err.msg, says);
}

static size_t count(const fc_partition *p, int t, int k)
{
    return p->start[t][k + 1] - p->start[t][k];
}

/* Every sample at most once and in its task, lists ascending; returns how many are used. */
static size_t check_laws(const fc_partition *p, const world *w)
{
    static char seen[CLASSES * PER_CLASS];
    memset(seen, 0, sizeof seen);
    size_t used = 0;
    assert_int_equal(p->tasks, TASKS);
    assert_int_equal(p->clients, w->q.clients);
    for (int t = 0; t < p->tasks; t++) {
        assert_int_equal(p->start[t][0], 0);
        for (int k = 0; k < p->clients; k++) {
            assert_true(count(p, t, k) >= (size_t)w->q.min_samples);
            for (size_t i = p->start[t][k]; i < p->start[t][k + 1]; i++, used++) {
                uint32_t s = p->sample[t][i];
                int logit = w->t.logit[w->d.train.label[s]];
                assert_true(s < w->d.train.n && !seen[s]++);
                assert_true(logit >= w->t.first[t] && logit < w->t.first[t + 1]);
                assert_true(i == p->start[t][k] || s > p->sample[t][i - 1]);
            }
        }
    }
    return used;
}

static void test_laws_of_all(void **state)
{
    (void)state;
    for (int i = 0; i < fc_partition_count; i++) {
        const char *name = fc_partition_table[i]->name;
        if (strcmp(name, "file") == 0)
            continue; /* test_csv_replays */
        world w = make_world(name);
        fc_partition p = make(&w), again = make(&w);
        size_t used = check_laws(&p, &w);
        assert_true(strcmp(name, "dir-client") == 0 || used == w.d.train.n);
        assert_string_equal(p.sha256, again.sha256);
        w.q.seed++;
        fc_partition other = make(&w);
        check_laws(&other, &w);
        assert_string_not_equal(p.sha256, other.sha256);
        assert_non_null(fc_partition_table[i]->help);
        assert_non_null(fc_partition_table[i]->source);
        fc_arena_free(&w.d.arena);
    }
}

/* One client gets everything, whatever the rule. */
static void test_one_client(void **state)
{
    (void)state;
    for (int i = 0; i < fc_partition_count; i++) {
        world w = make_world(fc_partition_table[i]->name);
        if (strcmp(w.q.name, "file") != 0) {
            w.q.clients = 1;
            w.q.classes_per_client = CLASSES / TASKS;
            fc_partition p = make(&w);
            assert_int_equal(check_laws(&p, &w), w.d.train.n);
        }
        fc_arena_free(&w.d.arena);
    }
}

/* Draws of one class over K clients through a method's own assign. */
static void draw_counts(double *mean, double *var, const char *name, double beta, int clients,
                        size_t n, int draws)
{
    const fc_partition_method *m = NULL;
    for (int i = 0; i < fc_partition_count; i++)
        if (strcmp(fc_partition_table[i]->name, name) == 0)
            m = fc_partition_table[i];
    assert_non_null(m);
    fc_arena a = {0};
    int32_t *klass = fc_arena_alloc(&a, n, sizeof *klass, NULL);
    int32_t *owner = fc_arena_alloc(&a, n, sizeof *owner, NULL);
    uint32_t *sample = fc_arena_alloc(&a, n, sizeof *sample, NULL);
    fc_partition_task task = {
        .tasks = 1, .classes = 1, .class_id = (int[]){0}, .n = n, .klass = klass, .sample = sample};
    fc_partition_request q = {.clients = clients, .beta = beta, .max_tries = 1, .seed = 8};
    double sum = 0, square = 0;
    for (int i = 0; i < draws; i++) {
        fc_mark mark = fc_arena_mark(&a);
        assert_int_equal(m->assign(owner, &task, &q, i, &a, NULL), FC_OK);
        fc_arena_release(&a, mark);
        size_t first = 0;
        for (size_t s = 0; s < n; s++)
            first += owner[s] == 0;
        sum += (double)first;
        square += (double)first * (double)first;
    }
    *mean = sum / draws;
    *var = square / draws - *mean * *mean;
    fc_arena_free(&a);
}

/* Count of one client for one class: with p ~ Dir(beta 1_K) its share has mean 1/K and variance
 * v = (1/K)(1 - 1/K) / (K beta + 1). Cut: variance n^2 v. Drawn one by one: the beta-binomial
 * n (1/K)(1 - 1/K) + n (n - 1) v. */
static void test_dirichlet_moments(void **state)
{
    (void)state;
    enum { K = 4, N = 100, DRAWS = 4000 };
    const double betas[] = {0.1, 0.5, 2};
    for (int i = 0; i < 3; i++) {
        double pq = 0.25 * 0.75, v = pq / (K * betas[i] + 1), mean, var;
        draw_counts(&mean, &var, "dir-class", betas[i], K, N, DRAWS);
        double want = N * pq + N * (N - 1.0) * v;
        assert_close(mean, 25, 0, 5 * sqrt(want / DRAWS));
        assert_close(var, want, 0.1, 0);
        draw_counts(&mean, &var, "dir-class-split", betas[i], K, N, DRAWS);
        assert_close(mean, 25, 0, 5 * sqrt(N * N * v / DRAWS) + 0.5); /* floor */
        assert_close(var, N * N * v, 0.1, 1);
    }
}

static void test_balanced_fills_nobody_twice(void **state)
{
    (void)state;
    world w = make_world("dir-class-balanced");
    w.q.beta = 0.1;
    w.q.min_samples = 0;
    fc_partition p = make(&w);
    size_t most = 0;
    for (int t = 0; t < TASKS; t++)
        for (int k = 0; k < CLIENTS; k++) {
            /* Below N / K before its last class, so less than N / K + one class at the end. */
            size_t share = w.t.n_train[t] / CLIENTS;
            assert_true(count(&p, t, k) <= share + PER_CLASS);
            most = count(&p, t, k) > most ? count(&p, t, k) : most;
        }
    w.q.name = "dir-class-split"; /* the same draws unbalanced: some client gets more */
    p = make(&w);
    size_t unbalanced = 0;
    for (int t = 0; t < TASKS; t++)
        for (int k = 0; k < CLIENTS; k++)
            unbalanced = count(&p, t, k) > unbalanced ? count(&p, t, k) : unbalanced;
    assert_true(unbalanced > most + 10);
    fc_arena_free(&w.d.arena);
}

/* Which samples of a class a client gets is random: no list is one run of the class. */
static void test_samples_are_shuffled(void **state)
{
    (void)state;
    const char *const names[] = {"dir-class", "dir-class-split", "dir-class-balanced",
                                 "iid",       "dir-client",      "quantity"};
    for (int i = 0; i < 6; i++) {
        world w = make_world(names[i]);
        w.q.classes_per_client = 4;
        w.q.beta = 10;
        fc_partition p = make(&w);
        int breaks = 0, runs = 0;
        for (int c = 0; c < CLASSES; c++) {
            int t = w.t.logit[c] / (CLASSES / TASKS);
            int last = -1;
            for (size_t s = 0; s < w.d.train.n; s++) {
                if (w.d.train.label[s] != c)
                    continue;
                for (int k = 0; k < CLIENTS; k++)
                    for (size_t j = p.start[t][k]; j < p.start[t][k + 1]; j++)
                        if (p.sample[t][j] == s) {
                            breaks += k != last;
                            last = k;
                            runs++;
                        }
            }
        }
        assert_true(breaks > runs / 2); /* independent owners: 4 of 5 */
        fc_arena_free(&w.d.arena);
    }
}

static int classes_held(const fc_partition *p, const world *w, int t, int k)
{
    int held = 0;
    for (int c = 0; c < CLASSES; c++) {
        bool has = false;
        for (size_t i = p->start[t][k]; i < p->start[t][k + 1]; i++)
            has |= w->d.train.label[p->sample[t][i]] == c;
        held += has;
    }
    return held;
}

static void test_quantity_iid_shard_client_sizes(void **state)
{
    (void)state;
    world w = make_world("quantity");
    fc_partition p = make(&w);
    for (int t = 0; t < TASKS; t++)
        for (int k = 0; k < CLIENTS; k++)
            assert_true(classes_held(&p, &w, t, k) <= 2);
    w.q.name = "shard";
    p = make(&w);
    for (int t = 0; t < TASKS; t++)
        for (int k = 0; k < CLIENTS; k++) {
            size_t n = w.t.n_train[t] / (2 * CLIENTS);
            assert_true(count(&p, t, k) >= 2 * n && count(&p, t, k) <= 2 * n + 2);
            assert_true(classes_held(&p, &w, t, k) <= 4); /* a shard meets at most two classes */
        }
    w.q.name = "iid";
    p = make(&w);
    for (int t = 0; t < TASKS; t++)
        for (int k = 0; k < CLIENTS; k++) {
            size_t n = w.t.n_train[t] / CLIENTS;
            assert_true(count(&p, t, k) == n || count(&p, t, k) == n + 1);
        }
    w.q.name = "dir-client";
    w.q.samples_per_client = 17;
    p = make(&w);
    assert_int_equal(check_laws(&p, &w), TASKS * CLIENTS * 17);
    for (int t = 0; t < TASKS; t++)
        for (int k = 0; k < CLIENTS; k++)
            assert_int_equal(count(&p, t, k), 17);
    /* Every sample in use, and almost all of each client's mass on one class: the fallback. */
    w.q.samples_per_client = 0;
    w.q.beta = 1e-4;
    p = make(&w);
    assert_true(check_laws(&p, &w) >= w.d.train.n - TASKS * CLIENTS);
    fc_arena_free(&w.d.arena);
}

/* Heterogeneity grows as beta falls: the mean largest class share of a client. */
static void test_beta_orders_heterogeneity(void **state)
{
    (void)state;
    const char *const names[] = {"dir-class", "dir-class-split", "dir-class-balanced",
                                 "dir-client"};
    const double betas[] = {0.05, 0.5, 50};
    for (int i = 0; i < 4; i++) {
        double last = 2;
        for (int b = 0; b < 3; b++) {
            world w = make_world(names[i]);
            w.q.beta = betas[b];
            w.q.min_samples = 1;
            w.q.samples_per_client = 20;
            double peak = 0;
            for (w.q.seed = 0; w.q.seed < 5; w.q.seed++) {
                fc_partition p = make(&w);
                for (int t = 0; t < TASKS; t++)
                    for (int k = 0; k < CLIENTS; k++) {
                        size_t per[CLASSES] = {0}, most = 0;
                        for (size_t s = p.start[t][k]; s < p.start[t][k + 1]; s++)
                            per[w.d.train.label[p.sample[t][s]]]++;
                        for (int c = 0; c < CLASSES; c++)
                            most = per[c] > most ? per[c] : most;
                        peak += (double)most / (double)count(&p, t, k) / (5 * TASKS * CLIENTS);
                    }
            }
            assert_true(peak < last - 0.03);
            last = peak;
            fc_arena_free(&w.d.arena);
        }
        assert_true(last < 0.45); /* 4 classes: near 1/4 */
    }
}

static void test_refusals(void **state)
{
    (void)state;
    world w = make_world("dir-clas");
    expect(&w, FC_EUSAGE, "did you mean 'dir-class'");
    w.q.name = "dir-class";
    const double bad[] = {0, -1, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        w.q.beta = bad[i];
        expect(&w, FC_EUSAGE, "beta");
    }
    w.q.beta = 0.5;
    w.q.clients = 0;
    expect(&w, FC_EUSAGE, "0 clients, expected 1");
    w.q.clients = 200;
    w.q.min_samples = 0;
    expect(&w, FC_EUSAGE, "at most 157 clients would work");
    w.q.clients = CLIENTS;
    w.q.min_samples = 40;
    expect(&w, FC_EUSAGE, "at most 3 clients or a smaller min_samples would work");
    w.q.name = "quantity";
    w.q.min_samples = 0;
    w.q.classes_per_client = 5;
    expect(&w, FC_EUSAGE, "1 to 4 classes per client would work");
    w.q.classes_per_client = 0;
    expect(&w, FC_EUSAGE, "classes_per_client 0, expected at least 1");
    w.q.name = "shard";
    w.q.shards_per_client = 50;
    expect(&w, FC_EUSAGE, "at most 31 shards per client");
    w.q.name = "dir-client";
    w.q.samples_per_client = 100;
    expect(&w, FC_EUSAGE, "at most 31 samples per client (or clients <= 1) would work");
    w.q.name = "file";
    expect(&w, FC_EUSAGE, "no file given");
    w.q.file = "/nonexistent/partition.csv";
    expect(&w, FC_EDATA, "/nonexistent/partition.csv");
    fc_arena_free(&w.d.arena);
}

/* The advice is true: what it names succeeds. */
static void test_advice(void **state)
{
    (void)state;
    world w = make_world("dir-class");
    w.q.beta = 0.01;
    w.q.min_samples = 15;
    w.q.max_tries = 50;
    fc_partition p;
    fc_error err = {0};
    assert_int_equal(fc_partition_make(&p, &w.d, &w.t, &w.q, &w.d.arena, &err), FC_EUSAGE);
    char *at = strstr(err.msg, "; beta ");
    assert_non_null(at);
    double beta;
    int clients, min;
    assert_int_equal(
        sscanf(at, "; beta %lf, %d clients, min_samples %d would work", &beta, &clients, &min), 3);
    assert_true(beta > 0.01 && beta <= 10 && clients < CLIENTS && min < 15);
    /* The advice is about the first task that failed; its neighbours may need the full tries. */
    w.q.max_tries = 9999;
    fc_partition_request q = w.q;
    w.q.beta = beta;
    make(&w);
    w.q = q;
    w.q.clients = clients;
    make(&w);
    fc_arena_free(&w.d.arena);
}

static char *temp_file(void)
{
    static char path[] = "/tmp/fcil_partition_XXXXXX";
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return path;
}

static void test_csv_replays(void **state)
{
    (void)state;
    world w = make_world("dir-client");           /* leaves samples unused: client -1 */
    w.q.samples_per_client = w.q.min_samples = 9; /* the least that will do */
    fc_partition p = make(&w);
    w.q.min_samples = 0;
    assert_string_equal(p.sha256, make(&w).sha256); /* of the first try, since it was good enough */
    char *path = temp_file();
    assert_int_equal(fc_partition_csv(path, &p, &w.d, &w.t, NULL), FC_OK);
    w.q.name = "file";
    w.q.file = path;
    fc_partition replay = make(&w);
    assert_string_equal(p.sha256, replay.sha256);
    w.q.clients = CLIENTS - 1;
    expect(&w, FC_EUSAGE, "client 4, expected -1 (nobody) to 3");
    w.q.clients = CLIENTS;
    w.q.min_samples = 10;
    expect(&w, FC_EUSAGE,
           "in 1 try some client always had fewer than min_samples = 10 (the best try "
           "gave the smallest client 9)");
    unlink(path);
    fc_arena_free(&w.d.arena);
}

/* Samples that were held out are in partition.csv with their task, and without a client. */
static void test_csv_of_held_out(void **state)
{
    (void)state;
    enum { HELD = 3 };
    world w = make_world("iid");
    assert_int_equal(fc_tasks_hold_out(&w.t, &w.d, HELD, &w.d.arena, NULL), FC_OK);
    fc_partition p = make(&w);
    char *path = temp_file(), line[64];
    assert_int_equal(fc_partition_csv(path, &p, &w.d, &w.t, NULL), FC_OK);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    int rows = 0, nobody = 0, sample, task, class, client;
    for (; fscanf(f, "%d,%d,%d,%d", &sample, &task, &class, &client) == 4; rows++) {
        int logit = w.t.logit[class];
        assert_int_equal(sample, rows);
        assert_true(logit >= w.t.first[task - 1] && logit < w.t.first[task]);
        nobody += client < 0;
    }
    fclose(f);
    unlink(path);
    assert_int_equal(rows, w.d.train.n);
    assert_int_equal(nobody, HELD * CLASSES);
    fc_arena_free(&w.d.arena);
}

/* Two classes, one task, samples 0 .. 3 with labels 0 1 1 0. */
static void test_bad_csv(void **state)
{
    (void)state;
    fc_dataset d = fake_data(2, 2, 0);
    fc_ints order = {.word = "natural"};
    fc_tasks t;
    assert_int_equal(fc_tasks_make(&t, &d, 2, NULL, &order, &d.arena, NULL), FC_OK);
    const struct {
        const char *text, *says;
        fc_status status;
    } cases[] = {
        {"", "has no row", FC_EDATA},
        {"sample,task,client\n", ":1: expected the header", FC_EDATA},
        {"sample,task,class,client\n0,1,0\n", ":2: expected four integers", FC_EDATA},
        {"sample,task,class,client\n0,1,0,x\n", ":2: expected four integers", FC_EDATA},
        {"sample,task,class,client\n0,1,0,0,0\n", ":2: expected four integers", FC_EDATA},
        {"sample,task,class,client\n0,1,0,0\n\n", ":3: expected four integers", FC_EDATA},
        {"sample,task,class,client\n0,8,0,0\n", ":2: task 8, expected 1 to 2", FC_EDATA},
        {"sample,task,class,client\n0,1,0,0\n9,1,0,0\n", ":3: sample 9 is not a", FC_EDATA},
        {"sample,task,class,client\n0,1,0,0\n1,1,1,0\n", ":3: sample 1 is not a", FC_EDATA},
        {"sample,task,class,client\n-1,1,0,0\n", ":2: sample -1 is not a", FC_EDATA},
        {"sample,task,class,client\n4294967296,1,0,0\n", ":2: sample 4294967296", FC_EDATA},
        {"sample,task,class,client\n0,1,1,0\n", ":2: sample 0 has class 1, in the data it has 0",
         FC_EDATA},
        {"sample,task,class,client\n0,1,0,2\n", ":2: client 2, expected -1 (nobody) to 0",
         FC_EUSAGE},
        {"sample,task,class,client\n0,1,0,-2\n", ":2: client -2", FC_EUSAGE},
        {"sample,task,class,client\n0,1,0,0\n0,1,0,0\n", ":3: sample 0 for the second time",
         FC_EDATA},
        {"sample,task,class,client\n0,1,0,0\n1,2,1,0\n2,2,1,0\n", "sample 3 of task 1 has no row",
         FC_EDATA},
        {"sample,task,class,client\r\n3,1,0,0\r\n1,2,1,0\r\n2,2,1,0\r\n0,1,0,0", NULL, FC_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = temp_file();
        assert_int_equal(fc_file_write_atomic(path, cases[i].text, strlen(cases[i].text), NULL),
                         FC_OK);
        fc_partition_request q = {.name = "file", .clients = 1, .file = path, .max_tries = 1};
        fc_partition p;
        fc_error err = {0};
        fc_status status = fc_partition_make(&p, &d, &t, &q, &d.arena, &err);
        unlink(path);
        if (status != cases[i].status || (cases[i].says && !strstr(err.msg, cases[i].says)))
            fail_msg("case %zu: status %d, '%s', expected %d, '%s'", i, (int)status, err.msg,
                     (int)cases[i].status, cases[i].says);
    }
    fc_arena_free(&d.arena);
}

/* 10,000 clients: indices only. */
static void test_many_clients(void **state)
{
    (void)state;
    fc_dataset d = fake_data(10, 3000, 0);
    fc_ints order = {.word = "natural"};
    fc_tasks t;
    assert_int_equal(fc_tasks_make(&t, &d, 1, NULL, &order, &d.arena, NULL), FC_OK);
    fc_partition_request q = {.name = "dir-class", .clients = 10000, .beta = 1, .max_tries = 1};
    fc_partition p;
    assert_int_equal(fc_partition_make(&p, &d, &t, &q, &d.arena, NULL), FC_OK);
    assert_int_equal(p.start[0][10000], d.train.n);
    fc_arena_free(&d.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_laws_of_all),
        cmocka_unit_test(test_one_client),
        cmocka_unit_test(test_dirichlet_moments),
        cmocka_unit_test(test_balanced_fills_nobody_twice),
        cmocka_unit_test(test_samples_are_shuffled),
        cmocka_unit_test(test_quantity_iid_shard_client_sizes),
        cmocka_unit_test(test_beta_orders_heterogeneity),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_advice),
        cmocka_unit_test(test_csv_replays),
        cmocka_unit_test(test_csv_of_held_out),
        cmocka_unit_test(test_bad_csv),
        cmocka_unit_test(test_many_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
