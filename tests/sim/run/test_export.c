/* What fcil export writes: read and written again it is the same, byte for byte; the model tests as
 * the run did last; an adapter is the delta that the run has. Every method, at the end and in the
 * middle of a task. */
#include "core/base/safetensors.h"
#include "sim/fed/evaluate.h"
#include "sim/fed/server.h"
#include "sim/models/adapter.h"
#include "sim/models/model_meta.h"
#include "sim/run/export.h"
#include "sim/run/loop.h"
#include "sim/run/setup.h"
#include "tests/support/tmp.h"

FC_TMP_FIXTURE

static const char config[] =
    "run: {seed: 3, threads: 2}\n"
    "data: {name: synth, synth_classes: 6, synth_train: 12, synth_test: 9, synth_size: 8}\n"
    "tasks: {sizes: [2, 3, 1], class_order: 'seed:5'}\n"
    "fed: {clients: 3, rounds: 3, beta: 2, min_samples: 2}\n"
    "backbone: {patch: 4, width: 16, depth: 2, heads: 2}\n"
    "train: {epochs: 1, batch: 8, lr: 0.01, lora_rank: 2}\n"
    "log: {report: false}\n";

static fc_config cfg;
static fc_setup setup;
static fc_run run;
static fc_arena arena;
static fc_error err;

#define ok(call) assert_ok((call), __LINE__)
static void assert_ok(fc_status s, int line)
{
    if (s != FC_OK)
        fail_msg("line %d: %s", line, err.msg);
}

static const char *inside(const char *name)
{
    return fc_arena_format(&arena, NULL, "%s/%s", tmp.dir, name);
}

static int begin(void **state)
{
    err = (fc_error){0};
    return set_up(state);
}

static int end(void **state)
{
    fc_run_close(&run, &setup);
    fc_config_free(&cfg);
    fc_arena_free(&arena);
    return tear_down(state);
}

/* A run of that method with `tasks` tasks and `rounds` rounds of the next one done. */
static void run_to(const char *method, int tasks, int rounds)
{
    const char *path = inside("c.yaml");
    char set[64];
    char *override[] = {set};
    snprintf(set, sizeof set, "method.name=%s", method);
    ok(fc_file_write_atomic(path, config, strlen(config), &err));
    ok(fc_config_load(&cfg, path, override, 1, &err));
    ok(fc_run_open(&run, &setup, &cfg, (fc_console){FC_QUIET, FC_COLOUR_NEVER}, NULL, &err));
    ok(fc_mkdirs(inside("run"), &err));
    ok(fc_run_start(&run, inside("run"), false, &err));
    for (int t = 0; t <= tasks && t < run.setup->tasks.n; t++) {
        if (t == tasks && rounds == 0)
            break;
        ok(fc_server_begin_task(&run, t, &err));
        fc_server_prepare_task(&run);
        for (int k = 0; k < (t < tasks ? cfg.fed.rounds : rounds); k++)
            ok(fc_server_round(&run, t, k, &err));
        if (t < tasks)
            ok(fc_server_end_task(&run, t, &err));
    }
    run.state.at.next_task = tasks;
    run.state.at.next_round = rounds;
}

static void assert_same_file(const char *a, const char *b)
{
    void *x, *y;
    size_t n, m;
    ok(fc_file_map(&x, &n, a, FC_EDATA, &err));
    ok(fc_file_map(&y, &m, b, FC_EDATA, &err));
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    fc_file_unmap(x, n);
    fc_file_unmap(y, m);
}

/* The model of the file, its head in the first rows of the run's. */
static fc_params load_model(const char *path, int seen)
{
    fc_params w;
    fc_vit_shape shape;
    fc_model_meta meta;
    fc_st f;
    const fc_spec *head = &run.state.global.spec[fc_train_head(&run.state.global)];
    ok(fc_vit_load(&w, &shape, path, 0, 0, &arena, &err));
    assert_memory_equal(&shape, &run.setup->net.shape, sizeof shape);
    ok(fc_st_open(&f, path, &err));
    const fc_tensor *W = fc_st_find(&f, "head.weight"), *b = fc_st_find(&f, "head.bias");
    assert_true(W && b && W->dim[0] == run.setup->tasks.first[seen] && b->dim[0] == W->dim[0]);
    memset(run.state.global.p + head[0].offset, 0, W->count * sizeof(fc_real));
    memset(run.state.global.p + head[1].offset, 0, b->count * sizeof(fc_real));
    ok(fc_st_read(run.state.global.p + head[0].offset, &f, W, &err));
    ok(fc_st_read(run.state.global.p + head[1].offset, &f, b, &err));

    ok(fc_model_meta_read(&meta, (fc_pairs)f.metadata, f.n_metadata, path, (int)W->dim[0], &arena,
                          &err));
    assert_int_equal(meta.classes.n, run.setup->tasks.first[seen]);
    assert_memory_equal(meta.classes.v, run.setup->tasks.order,
                        (size_t)meta.classes.n * sizeof(int));
    assert_int_equal(meta.tasks.n, seen);
    assert_int_equal(meta.tasks.v[0], run.setup->tasks.first[1]);
    fc_st_close(&f);
    return w;
}

/* The same file from what was loaded. */
static void save_again(const char *path, const fc_params *w, int seen, const char *from)
{
    fc_st f;
    const char *(*more)[2];
    int n = 0;
    const fc_spec *head = &run.state.global.spec[fc_train_head(&run.state.global)];
    ok(fc_st_open(&f, from, &err));
    more = fc_arena_alloc(&arena, (size_t)f.n_metadata, sizeof *more, &err);
    for (int i = 0; i < f.n_metadata; i++) {
        const char *key = f.metadata[i][0];
        if (strcmp(key, "format") != 0 && strcmp(key, "heads") != 0 && strcmp(key, "image") != 0)
            memcpy(more[n++], f.metadata[i], sizeof *more);
    }
    const fc_model m = {.shape = &run.setup->net.shape,
                        .w = w->p,
                        .head_w = run.state.global.p + head[0].offset,
                        .head_b = run.state.global.p + head[1].offset,
                        .classes = run.setup->tasks.first[seen]};
    ok(fc_vit_save(path, &m, &(fc_vit_extra){(fc_pairs)more, n, NULL, 0}, &err));
    fc_st_close(&f);
}

static void check_timm(int seen)
{
    size_t T = (size_t)run.setup->tasks.n;
    long *correct = fc_arena_alloc(&arena, T, sizeof *correct, NULL);
    long *masked = fc_arena_alloc(&arena, T, sizeof *masked, NULL);
    double loss = run.state.eval.loss;
    memcpy(correct, run.state.eval.correct, T * sizeof *correct);
    memcpy(masked, run.state.eval.masked, T * sizeof *masked);
    ok(fc_export_timm(&run, inside("m.safetensors"), &err));
    fc_params w = load_model(inside("m.safetensors"), seen);
    fc_model m;
    ok(fc_server_model(&m, &run, false, &err)); /* the head */
    m.w = w.p;
    ok(fc_eval_run(&run, &m, seen - 1, NULL, &err));
    for (int t = 0; t < seen; t++) {
        assert_int_equal(run.state.eval.correct[t], correct[t]);
        assert_int_equal(run.state.eval.masked[t], masked[t]);
    }
    assert_true(run.state.eval.loss == loss);
    save_again(inside("again.safetensors"), &w, seen, inside("m.safetensors"));
    assert_same_file(inside("m.safetensors"), inside("again.safetensors"));
}

static void check_peft(int t)
{
    fc_adapter a;
    fc_real *w = fc_arena_alloc(&arena, run.setup->w0.n, sizeof *w, NULL);
    fc_real *want = fc_arena_alloc(&arena, run.setup->w0.n, sizeof *want, NULL);
    ok(fc_export_peft(&run, t, "base", inside("a"), &err));
    ok(fc_adapter_read(&a, inside("a"), &arena, &err));
    ok(fc_adapter_write(inside("b"), &a, &err));
    assert_same_file(inside("a/adapter_config.json"), inside("b/adapter_config.json"));
    assert_same_file(inside("a/adapter_model.safetensors"), inside("b/adapter_model.safetensors"));

    const fc_deltas *d = &run.state.deltas;
    const fc_real *A = t < d->tasks ? d->A + (size_t)t * d->n_A : run.state.global.p;
    const fc_real *B = t < d->tasks
                           ? d->B + (size_t)t * d->n_B
                           : run.state.global.p +
                                 run.state.global.spec[fc_train_B(&run.setup->net.shape, 0)].offset;
    fc_lora_apply(want, &run.setup->net.shape, run.setup->net.rank, A, B, 1);
    fc_real *ours = fc_arena_alloc(&arena, d->n_A + d->n_B, sizeof *ours, NULL);
    fc_real *to_A = ours, *to_B = ours + d->n_A;
    assert_int_equal(a.n_layers, run.setup->slots);
    for (int i = 0; i < a.n_layers; i++) {
        const fc_adapter_layer *l = &a.layer[i];
        assert_int_equal(l->rank, run.setup->net.rank);
        for (int k = 0; k < l->rank * l->cols; k++)
            *to_A++ = (fc_real)l->A[k];
        for (int k = 0; k < l->rank * l->rows; k++)
            *to_B++ = (fc_real)l->B[k];
    }
    fc_lora_apply(w, &run.setup->net.shape, run.setup->net.rank, ours, ours + d->n_A, 1);
    assert_memory_equal(w, want, run.setup->w0.n * sizeof *w);

    int first = run.setup->tasks.first[t], rows = run.setup->tasks.first[t + 1] - first;
    const fc_spec *head = &run.state.global.spec[fc_train_head(&run.state.global)];
    assert_int_equal(a.n_whole, 2);
    assert_string_equal(a.whole[0].name, "head.weight");
    assert_true(a.whole[0].dim[0] == rows && a.whole[0].dim[1] == 16);
    assert_true((fc_real)a.whole[0].v[1] ==
                run.state.global.p[head[0].offset + (size_t)first * 16 + 1]);
    assert_true((fc_real)a.whole[1].v[0] == run.state.global.p[head[1].offset + (size_t)first]);
}

static void check_method(const char *method, bool lora)
{
    const int at[][2] = {{0, 1}, {1, 2}, {2, 0}};
    for (int i = 0; i < 3; i++) {
        run_to(method, at[i][0], at[i][1]);
        int seen = at[i][0] + (at[i][1] > 0);
        assert_int_equal(fc_export_tasks(&run), seen);
        check_timm(seen);
        for (int t = 0; lora && t < seen; t++)
            check_peft(t);
        if (!lora)
            assert_says(fc_export_peft(&run, 0, "", inside("a"), &err), &err, FC_EUSAGE,
                        "export:", "leave no LoRA, expected --to timm");
        err = (fc_error){0};
        fc_run_close(&run, &setup);
        fc_config_free(&cfg);
        fc_remove_folder(inside("run"));
    }
}

static void test_lorm(void **state)
{
    (void)state;
    check_method("lorm", true);
}

static void test_fedavg_lora(void **state)
{
    (void)state;
    check_method("fedavg_lora", true);
}

static void test_fedavg(void **state)
{
    (void)state;
    check_method("fedavg", false);
}

static void test_head_only(void **state)
{
    (void)state;
    check_method("head_only", false);
}

static void test_flora(void **state)
{
    (void)state;
    check_method("flora", false);
}

static void test_lora_merge(void **state)
{
    (void)state;
    check_method("lora_merge", true);
}

static void test_nothing_done(void **state)
{
    (void)state;
    run_to("lorm", 0, 0);
    assert_says(fc_export_timm(&run, inside("m"), &err), &err, FC_EDATA, inside("m"),
                "no round of the run is done yet");
}

/* Metadata that is damaged. */
static void test_bad_metadata(void **state)
{
    (void)state;
    static const struct {
        const char *const pair[2][2];
        const char *says;
    } rows[] = {
        {{{"classes", "[0, 1"}, {"tasks", "[2]"}}, "metadata: classes: found"},
        {{{"classes", "[0, x]"}, {"tasks", "[2]"}}, "metadata: classes: element 2"},
        {{{"classes", "[0, -1]"}, {"tasks", "[2]"}}, "metadata: classes: element 2"},
        {{{"classes", "[0, 1, 2]"}, {"tasks", "[3]"}}, "a list of 3, expected the 2 rows"},
        {{{"classes", "[0, 0]"}, {"tasks", "[2]"}}, "class 0 is there twice"},
        {{{"classes", "[0, 1]"}, {"tasks", "[1]"}}, "sizes do not add up to the 2 classes"},
        {{{"classes", "[0, 1]"}, {"tasks", "[2, 1]"}}, "sizes do not add up to the 2 classes"},
        {{{"tasks", "[2, 1]"}, {"x", "y"}}, "sizes do not add up to the 0 classes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fc_model_meta meta;
        err = (fc_error){0};
        fc_status s = fc_model_meta_read(&meta, rows[i].pair, 2, "m.safetensors", 2, &arena, &err);
        print_message("%s\n", err.msg);
        assert_says(s, &err, FC_EDATA, "m.safetensors", rows[i].says);
    }
    static const char *const foreign[][2] = {{"data.nonsense", "1"},   {"data.path", "/etc"},
                                             {"data.synth_size", "8"}, {"date", "x"},
                                             {"fed.clients", "3"},     {"format", "pt"}};
    fc_model_meta meta;
    err = (fc_error){0};
    ok(fc_model_meta_read(&meta, foreign, 6, "m.safetensors", 2, &arena, &err));
    assert_int_equal(meta.n_settings, 1);
    assert_string_equal(meta.setting[0].key, "synth_size");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lorm),  TEST(test_fedavg_lora), TEST(test_fedavg),       TEST(test_head_only),
        TEST(test_flora), TEST(test_lora_merge),  TEST(test_nothing_done), TEST(test_bad_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
