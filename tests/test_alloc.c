/* Failing allocation: the Nth one fails, for N = 0, 1, ... until the code under test succeeds. Each
 * time: FC_EFAIL, a message, and nothing left allocated. Linked with --wrap (tests/meson.build),
 * which sends the allocations of our own code, not those of libraries, through here; each piece of
 * an arena counts, not only its chunks. */
#include "core/base/arena.h"
#include "core/base/file.h"
#include "core/base/safetensors.h"
#include "core/base/threads.h"
#include "core/merge/merge.h"
#include "core/merge/rules/smile.h"
#include "core/merge/rules/wemoe.h"
#include "core/vit/deltas.h"
#include "core/vit/vit.h"
#include "sim/config/config.h"
#include "sim/report/compare.h"
#include "sim/sweep/recipe.h"
#include "sim/sweep/sweep_load.h"
#include "sim/train/adamerging.h"
#include "sim/train/fit_fisher.h"
#include "sim/train/regmean_pp.h"
#include "tests/support/expert_fixture.h"
#include "tests/support/merge_fixture.h"
#include "tests/support/tiny_net.h"
#include "tests/support/tmp.h"
#include "tests/support/tv_fixture.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

/* ---- the allocator under our hand */

static atomic_int countdown = -1; /* allocations until the failing one; negative: none fails */
static atomic_int failures;
enum { LIVE_MAX = 4096 };
static _Atomic(void *) live[LIVE_MAX]; /* what was handed out and not yet freed */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
char *__real_strdup(const char *s);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);
void *__real_fc_arena_alloc(fc_arena *a, size_t n, size_t size, fc_error *err);
char *__real_fc_arena_strdup(fc_arena *a, const char *s, fc_error *err);
void *__wrap_fc_arena_alloc(fc_arena *a, size_t n, size_t size, fc_error *err);
char *__wrap_fc_arena_strdup(fc_arena *a, const char *s, fc_error *err);
char *__wrap_fc_arena_format(fc_arena *a, fc_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool fails_now(void)
{
    bool now = atomic_fetch_sub(&countdown, 1) == 0;
    if (now)
        atomic_fetch_add(&failures, 1);
    return now;
}

static void *remember(void *p)
{
    for (int i = 0; p && i < LIVE_MAX; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(&live[i], &none, p))
            break;
    }
    return p;
}

static void forget(void *p)
{
    for (int i = 0; p && i < LIVE_MAX; i++) {
        void *same = p;
        if (atomic_compare_exchange_strong(&live[i], &same, NULL))
            break;
    }
}

static int count_live(void)
{
    int n = 0;
    for (int i = 0; i < LIVE_MAX; i++)
        n += live[i] != NULL;
    return n;
}

void *__wrap_malloc(size_t n)
{
    return fails_now() ? NULL : remember(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : remember(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (fails_now())
        return NULL;
    forget(p);
    return remember(__real_realloc(p, n));
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return fails_now() ? NULL : remember(__real_aligned_alloc(align, n));
}

char *__wrap_strdup(const char *s)
{
    return fails_now() ? NULL : remember(__real_strdup(s));
}

void __wrap_free(void *p)
{
    forget(p);
    __real_free(p);
}

static bool arena_fails_now(fc_error *err)
{
    return fails_now() && fc_fail(err, FC_EFAIL, "out of memory, as wanted") != FC_OK;
}

void *__wrap_fc_arena_alloc(fc_arena *a, size_t n, size_t size, fc_error *err)
{
    return arena_fails_now(err) ? NULL : __real_fc_arena_alloc(a, n, size, err);
}

char *__wrap_fc_arena_strdup(fc_arena *a, const char *s, fc_error *err)
{
    return arena_fails_now(err) ? NULL : __real_fc_arena_strdup(a, s, err);
}

char *__wrap_fc_arena_format(fc_arena *a, fc_error *err, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    assert_in_range(vsnprintf(text, sizeof text, fmt, ap), 0, sizeof text - 1);
    va_end(ap);
    return arena_fails_now(err) ? NULL : __real_fc_arena_strdup(a, text, err);
}

/* run() owns nothing when it returns. */
static void fail_each_allocation(fc_status (*run)(fc_error *err))
{
    for (int n = 0;; n++) {
        fc_error err = {0};
        int before = count_live();
        failures = 0;
        countdown = n;
        fc_status status = run(&err);
        countdown = -1;
        assert_int_equal(count_live(), before);
        if (failures == 0) {
            if (status != FC_OK)
                print_error("%s\n", err.msg);
            assert_int_equal(status, FC_OK);
            assert_true(n > 0); /* it did allocate */
            return;
        }
        assert_int_equal(status, FC_EFAIL);
        assert_int_equal(err.code, FC_EFAIL);
        assert_true(strlen(err.msg) > 0);
    }
}

/* ---- the code under test */

static fc_status run_arena(fc_error *err)
{
    fc_arena a = {0};
    bool ok = fc_arena_alloc(&a, 1000, 1, err) && fc_arena_strdup(&a, "text", err) &&
              fc_arena_alloc(&a, 1 << 20, 1, err) && fc_arena_alloc(&a, 1 << 21, 1, err);
    fc_arena_free(&a);
    return ok ? FC_OK : FC_EFAIL;
}

static void test_arena(void **state)
{
    (void)state;
    fail_each_allocation(run_arena);
}

static fixture fix; /* made before anything fails */
static const char *rule;

static fc_status run_merge(fc_error *err)
{
    return fx_merge(&fix, rule, err);
}

static void test_merge(void **state)
{
    (void)state;
    for (int r = 0; r < fc_merge_count; r++)
        for (int alpha = 0; alpha < 2; alpha++) {
            rule = fc_merge_table[r]->name;
            fx_init(&fix, (fx_shape){.slots = 3,
                                     .d_out = {5, 9, 4},
                                     .d_in = {7, 5, 11},
                                     .rank = 2,
                                     .classes = 6,
                                     .width = 8,
                                     .alpha_backbone = alpha,
                                     .alpha_head = alpha,
                                     .clients = 2});
            const unsigned A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B, head = 1u << FC_GROUP_HEAD;
            const fc_merge_method *m = fc_merge_table[r];
            if (m->begin) {
                fx_random(&fix, B | head, 5, 1); /* 5 < 8: singular */
                fail_each_allocation(run_merge);
                fx_random(&fix, A | head, 5, 1);
                fail_each_allocation(run_merge);
            }
            fx_random(&fix, A | B | head, 5, 1);
            fix.job.product = true;
            fix.job.options = fx_options(&fix, m);
            for (int s = 0; s < 3 && m->combine; s++) {
                fix.job.space.kind = (fc_space_kind)s;
                if (s == FC_SPACE_FULL || !m->full_only)
                    fail_each_allocation(run_merge);
            }
            fx_free(&fix);
        }
}

static const fc_vit_shape shape = {
    .image = 4, .patch = 2, .width = 6, .depth = 2, .heads = 2, .hidden = 9};

static fc_status deltas_steps(fc_arena *a, fc_error *err)
{
    fc_params layout, w, train;
    fc_grams G;
    fc_deltas d;
    int dims[8], d_out;
    double alpha[8];
    for (int i = 0; i < 8; i++) {
        fc_slot_dims(&shape, i, &d_out, &dims[i]);
        alpha[i] = i % 2;
    }
    FC_TRY(fc_vit_layout(&layout, &shape, a, err));
    FC_TRY(fc_params_alloc(&w, &layout, a, err));
    FC_TRY(fc_train_layout(&layout, &shape, FC_TRAIN_LORA, 2, 3, a, err));
    FC_TRY(fc_params_alloc(&train, &layout, a, err));
    FC_TRY(fc_grams_init(&G, 8, dims, alpha, a, err));
    FC_TRY(fc_deltas_init(&d, &shape, 2, 2, &G, a, err));
    FC_TRY(fc_deltas_push(&d, &train, &G, err));
    return fc_deltas_add_gram_merge(w.p, &d, err);
}

static fc_status run_deltas(fc_error *err)
{
    fc_arena a = {0};
    fc_status status = deltas_steps(&a, err);
    fc_arena_free(&a);
    return status;
}

static void test_deltas(void **state)
{
    (void)state;
    fail_each_allocation(run_deltas);
}

static fc_status run_acts(fc_error *err)
{
    fc_acts *acts = NULL;
    fc_status status = fc_acts_new(
        &acts, &shape, &(fc_acts_size){.rank = 2, .classes = 3, .n_max = 2, .backward = true},
        &engine, err);
    fc_acts_free(acts);
    return status;
}

static void test_acts(void **state)
{
    (void)state;
    fail_each_allocation(run_acts);
}

static xf network; /* with updates of its backbone, made before anything fails */
static const fc_smile_options smile_options = {2, 1, 2, false, true};

static fc_status run_smile(fc_error *err)
{
    fc_arena a = {0};
    fc_smile s[8];
    fc_status status =
        fc_smile_backbone(s, network.w.p, &xf_shape, &network.set, &smile_options, &a, err);
    fc_arena_free(&a);
    return status;
}

static fc_status run_wemoe(fc_error *err)
{
    fc_arena a = {0};
    fc_wemoe m;
    const fc_wemoe_options o = {0.3, 2, false};
    fc_status status = fc_wemoe_init(&m, network.w.p, &xf_shape, &network.set, &o, 1, &a, err);
    fc_arena_free(&a);
    return status;
}

/* Forward and backward take their scratch from the activations. */
static void step_allocates_nothing(const fc_model *m, const fc_grads *g)
{
    const fc_acts_size size = {.classes = XF_CLASSES,
                               .n_max = XF_IMAGES,
                               .backward = true,
                               .experts = network.set.n,
                               .gate_k = smile_options.gate_k,
                               .gates = m->wemoe};
    fc_acts *acts;
    fc_real dlogits[XF_IMAGES * XF_CLASSES] = {1};
    assert_int_equal(fc_acts_new(&acts, &xf_shape, &size, &engine, NULL), FC_OK);
    failures = 0;
    countdown = 0;
    fc_vit_forward(acts, m, network.x, XF_IMAGES, NULL, g);
    fc_vit_backward(acts, m, dlogits, g);
    countdown = -1;
    assert_int_equal(failures, 0);
    fc_acts_free(acts);
}

static void test_smile(void **state)
{
    (void)state;
    fc_smile s[8];
    fc_real head[XF_CLASSES * 12];
    xf_init(&network, 2, 0, 0.2);
    fail_each_allocation(run_smile);
    assert_int_equal(fc_smile_backbone(s, network.w.p, &xf_shape, &network.set, &smile_options,
                                       &network.arena, NULL),
                     FC_OK);
    fc_model m = xf_model(&network);
    m.smile = s;
    step_allocates_nothing(&m, &(fc_grads){.head_w = head});
    xf_free(&network);
}

static void test_wemoe(void **state)
{
    (void)state;
    fc_wemoe wemoe;
    const fc_wemoe_options o = {0.3, 2, false};
    xf_init(&network, 2, 0, 0.2);
    fail_each_allocation(run_wemoe);
    assert_int_equal(
        fc_wemoe_init(&wemoe, network.w.p, &xf_shape, &network.set, &o, 1, &network.arena, NULL),
        FC_OK);
    fc_model m = xf_model(&network);
    m.wemoe = &wemoe;
    fc_real *gates = xf_alloc(&network, wemoe.gates.n, sizeof *gates);
    step_allocates_nothing(&m, &(fc_grads){.gates = gates});
    xf_free(&network);
}

/* ---- merges that look at images */

/* Two updates of the first weight and of the position embedding; made before anything fails. */
static tiny_net tiny;
static fc_crew crew;
static tvx updates;
static const int merged_tensors[2] = {FC_VIT_BLOCK0 + FC_QKVW, FC_VIT_POS};
static const uint32_t images[] = {0, 1, 2, 3};

static fc_status run_adamerge(fc_error *err)
{
    const fc_task_images task[] = {{images, 2, 0, 2}, {images + 2, 2, 2, 5}};
    const fc_real *head = tiny.start.p + tiny.start.spec[fc_train_head(&tiny.start)].offset;
    fc_adamerging_job j = {.options = {true, 0.3, 1e-3},
                           .w0 = &tiny.w0,
                           .in = &updates.set,
                           .tensor = merged_tensors,
                           .head_w = head,
                           .head_b = head,
                           .entropy = {.net = &tiny.net,
                                       .crew = &crew,
                                       .split = tiny.net.train,
                                       .task = task,
                                       .tasks = 2,
                                       .steps = 1,
                                       .batch = 2,
                                       .what = "AdaMerging"}};
    fc_arena a = {0};
    fc_adamerging coefficients;
    fc_entropy_result r;
    fc_status status = fc_adamerging_run(&coefficients, updates.out, &r, &j, &a, err);
    fc_arena_free(&a);
    return status;
}

static fc_status run_regmean_pp(fc_error *err)
{
    const fc_task_images task[] = {{images, 2, 0, 2}, {images + 2, 2, 2, 5}};
    fc_regmean_pp_job j = {.net = &tiny.net,
                           .crew = &crew,
                           .split = tiny.net.train,
                           .w0 = &tiny.w0,
                           .in = &updates.set,
                           .tensor = merged_tensors,
                           .task = task,
                           .off_diagonal = 0.9};
    return fc_regmean_pp_run(updates.out, &j, err);
}

static fc_status fisher_steps(fc_arena *a, fc_error *err)
{
    fc_params layout;
    FC_TRY(fc_train_layout(&layout, &tiny.net.shape, FC_TRAIN_FULL, 0, TINY_CLASSES, a, err));
    double *F = fc_arena_alloc(a, layout.n, sizeof *F, err);
    if (!F)
        return FC_EFAIL;
    fc_model m = fc_model_of(&tiny.net.shape, tiny.net.mode, tiny.net.rank, TINY_CLASSES, tiny.w0.p,
                             &tiny.start);
    fc_fisher_job j = {.net = &tiny.net,
                       .crew = &crew,
                       .m = &m,
                       .hi = TINY_CLASSES,
                       .split = tiny.net.train,
                       .sample = images,
                       .n = 2};
    fc_fisher_room room = {0};
    FC_TRY(fc_fisher_room_init(&room, &tiny.net, &crew, a, err));
    return fc_fit_fisher_alone(F, &layout, &j, err);
}

static fc_status run_fisher(fc_error *err)
{
    fc_arena a = {0};
    fc_status status = fisher_steps(&a, err);
    fc_arena_free(&a);
    return status;
}

static void test_with_images(void **state)
{
    (void)state;
    int dims[2][2];
    tiny_net_open(&tiny, FC_TRAIN_LORA, 2, 0);
    for (int t = 0; t < 2; t++) {
        dims[t][0] = tiny.w0.spec[merged_tensors[t]].rows;
        dims[t][1] = tiny.w0.spec[merged_tensors[t]].cols;
    }
    tvx_init(&updates, 2, 2, (const int(*)[2])dims);
    tvx_random(&updates, 1, 2);
    fc_crew_plan plan = {.net = &tiny.net,
                         .like = &tiny.start,
                         .threads = 2,
                         .clients = 1,
                         .batch = 1,
                         .samples = 1,
                         .max_side = 8};
    assert_int_equal(fc_crew_init(&crew, &plan, NULL), FC_OK);
    fail_each_allocation(run_adamerge);
    fail_each_allocation(run_regmean_pp);
    fail_each_allocation(run_fisher);
    fc_crew_free(&crew);
    tvx_free(&updates);
    tiny_net_close(&tiny);
}

static char folder[] = "/tmp/fcil-alloc-XXXXXX", path[64];

static fc_status safetensors_steps(fc_st *f, fc_error *err)
{
    static const float x[6] = {1, 2, 3, 4, 5, 6};
    static const char *const metadata[][2] = {{"heads", "3"}};
    const fc_st_entry entry[] = {{"a", FC_F32, 2, {2, 3}, x}, {"b", FC_F32, 1, {2}, x}};
    fc_real back[6];
    FC_TRY(fc_st_write(path, entry, 2, metadata, 1, err));
    FC_TRY(fc_st_open(f, path, err));
    return fc_st_read(back, f, fc_st_find(f, "a"), err);
}

static fc_status run_safetensors(fc_error *err)
{
    fc_st f = {0};
    fc_status status = safetensors_steps(&f, err);
    fc_st_close(&f);
    return status;
}

static void test_safetensors(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    fail_each_allocation(run_safetensors);
    unlink(path);
}

static fc_status run_config(fc_error *err)
{
    static char lr[] = "train.lr=0.5";
    char *override[] = {lr};
    fc_config c = {0};
    fc_status status = fc_config_load(&c, path, override, 1, err);
    if (status == FC_OK && !fc_config_dump(&c, false, err))
        status = FC_EFAIL;
    fc_config_free(&c);
    return status;
}

static void test_config(void **state)
{
    (void)state;
    static const char text[] = "run: {name: x}\ntasks: {sizes: [1, 2]}\ntrain:\n  epochs: 2\n";
    snprintf(path, sizeof path, "%s/x.yaml", folder);
    assert_int_equal(fc_file_write_atomic(path, text, sizeof text - 1, NULL), FC_OK);
    fail_each_allocation(run_config);
    unlink(path);
}

static fc_tmp tmp;

static void put(const char *name, const char *text)
{
    fc_tmp_put(&tmp, name, text, strlen(text));
}

static fc_status results_steps(fc_result **run, fc_arena *a, fc_error *err)
{
    const char *const dir[] = {fc_tmp_path(&tmp, "a"), fc_tmp_path(&tmp, "b")};
    fc_result_group *group;
    const fc_metric **metric;
    fc_comparison c;
    fc_table t;
    int n_groups, n_metrics;
    FC_TRY(fc_results_read(run, dir, 2, err));
    FC_TRY(fc_result_groups(&group, &n_groups, *run, 2, a, err));
    FC_TRY(fc_metric_list(&metric, &n_metrics, "faa,bytes_up", a, err));
    FC_TRY(fc_compare(&c, group, n_groups, metric, n_metrics, 0, a, err));
    FC_TRY(fc_compare_table(&t, &c, a, err));
    FC_TRY(fc_compare_differences(&t, &c, a, err));
    return fc_compare_numbers(&t, &c, a, err);
}

static fc_status run_results(fc_error *err)
{
    fc_result *run = NULL;
    fc_arena a = {0};
    fc_status status = results_steps(&run, &a, err);
    fc_results_free(run, 2);
    fc_arena_free(&a);
    return status;
}

static void test_results(void **state)
{
    (void)state;
    tmp = fc_tmp_new();
    put("a/config.yaml", "tasks: {count: 1}\nfed: {beta: 0.5}\n");
    put("b/config.yaml", "tasks: {count: 1}\nfed: {beta: 0.1}\n");
    put("b/FAILED", "why\n");
    for (int i = 0; i < 2; i++) {
        put(i ? "b/tasks.csv" : "a/tasks.csv",
            "after_task,eval_task,correct,total,acc,acc_masked\n1,1,8,10,80,90\n");
        put(i ? "b/rounds.csv" : "a/rounds.csv", "task,round,bytes_up_cum\n1,1,20\n");
    }
    fail_each_allocation(run_results);
    fc_tmp_remove(&tmp);
}

static fc_status run_recipe(fc_error *err)
{
    fc_recipe r;
    fc_status status = fc_recipe_load(&r, fc_tmp_path(&tmp, "recipe.yaml"), NULL, 0, err);
    fc_recipe_free(&r);
    return status;
}

static fc_status run_sweep(fc_error *err)
{
    static char lr[] = "train.lr=0.5";
    char *override[] = {lr};
    fc_sweep s;
    fc_status status = fc_sweep_load(&s, fc_tmp_path(&tmp, "sweep.yaml"), override, 1, err);
    fc_sweep_free(&s);
    return status;
}

static void test_sweep(void **state)
{
    (void)state;
    tmp = fc_tmp_new();
    put("base.yaml", "fed: {clients: 3}\n");
    put("recipe.yaml", "name: x\nconfig: base.yaml\nexpect: {faa: {mean: 1, tolerance: 1}}\n"
                       "source: {kind: own run, text: here}\nrecorded: kept\n");
    put("sweep.yaml",
        "name: x\nconfig: base.yaml\nset: {fed.rounds: 2}\n"
        "axes: {\"train.lr_A, train.lr_B\": [[1, 2]], train.momentum: {linear: [0, 1]}}\n"
        "draws: {count: 1}\nseeds: 1\nwhere: train.lr_A < 3\n"
        "baseline: {train.lr_A: 1}\nsearch: {halving: {budget: train.epochs, "
        "values: [1, 2], metric: aia}}\n");
    fail_each_allocation(run_recipe);
    fail_each_allocation(run_sweep);
    fc_tmp_remove(&tmp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena),       cmocka_unit_test(test_merge),
        cmocka_unit_test(test_deltas),      cmocka_unit_test(test_acts),
        cmocka_unit_test(test_smile),       cmocka_unit_test(test_wemoe),
        cmocka_unit_test(test_safetensors), cmocka_unit_test(test_config),
        cmocka_unit_test(test_results),     cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_with_images),
    };
    fc_threads_init(2, NULL);
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed != 0;
}
