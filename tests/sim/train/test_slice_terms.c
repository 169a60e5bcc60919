/* Loss terms of logits and features, with a teacher: their gradient in a step of training, what the
 * teacher sees, and its memory. */
#include "tests/support/tiny_net.h"

#include "sim/train/fit.h"

#include <string.h>

enum { PER_CLASS = 4, N = TINY_CLASSES * PER_CLASS };
enum { BACKBONE = 1u << FC_GROUP_BACKBONE, A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B };
enum { HEAD = 1u << FC_GROUP_HEAD };

typedef struct fixture {
    tiny_net t;
    fc_crew crew;
    fc_real *teacher; /* block */
    uint32_t sample[N];
} fixture;

/* weight / 2 of the squares of x - y, per image; d += their gradient in the mean over the batch. */
static double squares(fc_real *d, const fc_real *x, const fc_real *y, int n, double weight,
                      int batch)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double gap = (double)x[i] - (double)y[i];
        sum += 0.5 * weight * gap * gap;
        d[i] += (fc_real)(weight * gap / batch);
    }
    return sum;
}

/* Logits by 0.3, features by 0.2. */
static double distil(const fc_piece_slice *s)
{
    return squares(s->dlogits, s->logits, s->teacher_logits, s->n * s->classes, 0.3, s->batch) +
           squares(s->dfeatures, s->features, s->teacher_features, s->n * s->width, 0.2, s->batch);
}

static const fc_loss_term from_start = {.slice = distil, .teacher = FC_TEACHER_START};
static const fc_loss_term from_array = {
    .slice = distil, .teacher = FC_TEACHER_ARRAY, .teacher_array = 2};
static const fc_piece start_piece = {.name = "start", .term = &from_start};
static const fc_piece array_piece = {.name = "array", .term = &from_array};

static void open_fixture(fixture *f, fc_train_mode mode, bool teacher, bool bf16)
{
    *f = (fixture){0};
    tiny_net_open(&f->t, mode, PER_CLASS, 0);
    f->t.net.engine.bf16 = bf16;
    for (int i = 0; i < N; i++)
        f->sample[i] = (uint32_t)i;
    fc_crew_plan plan = {.net = &f->t.net,
                         .like = &f->t.start,
                         .threads = 1,
                         .clients = 1,
                         .batch = N,
                         .samples = N,
                         .max_side = 8,
                         .slice_terms = true,
                         .teacher = teacher};
    assert_int_equal(fc_crew_init(&f->crew, &plan, &f->t.err), FC_OK);
    assert_int_equal(f->crew.worker[0].teacher != NULL, teacher);
    f->teacher = fc_arena_alloc(&f->t.arena, f->t.start.n, sizeof *f->teacher, &f->t.err);
    for (size_t i = 0; i < f->t.start.n; i++)
        f->teacher[i] = (fc_real)(0.7 * (double)f->t.start.p[i] + 0.05 * ((double)(i % 5) - 2));
}

static void close_fixture(fixture *f)
{
    fc_crew_free(&f->crew);
    tiny_net_close(&f->t);
}

/* One plain step from w; the loss before it. piece NULL: of the images alone. */
static double step(fixture *f, const fc_real *w, const fc_piece *piece, fc_real *teacher,
                   unsigned groups)
{
    fc_trainer *t = &f->crew.trainer[0];
    fc_fit_result r;
    fc_packed packed = {0};
    bool full = f->t.net.mode == FC_TRAIN_FULL;
    fc_piece_client at = {
        .piece = piece, .layout = &f->t.start, .groups = groups, .start = teacher, .w = t->local.p};
    at.array[2] = (fc_array){.p = teacher, .n = f->t.start.n};
    fc_fit fit = tiny_net_fit(&f->t, groups, f->sample);
    fit.optim.kind = FC_SGD;
    for (int g = 0; g < FC_NGROUP; g++)
        fit.optim.lr[g] = 1;
    fit.batch = N;
    fit.n = N;
    fit.key = (fc_key){.seed = 9};
    fit.at = &at;
    fit.pieces = piece != NULL;
    if (full) {
        assert_int_equal(
            fc_packed_new(&packed, &f->t.net.shape, false, &f->t.net.engine, &f->t.err), FC_OK);
        fc_packed_fill(&packed, &f->t.net.shape, teacher);
        fit.teacher_packed = &packed;
    }
    memcpy(t->local.p, w, f->t.start.n * sizeof *w);
    if (fc_fit_run(&r, t, &fit, &f->t.err) != FC_OK)
        fail_msg("%s", f->t.err.msg);
    fc_packed_free(&packed);
    return r.loss_first;
}

/* The change of the block, and the loss along it and along a random direction. */
static void check_gradient(fc_train_mode mode, unsigned groups, const fc_piece *piece)
{
    fixture f;
    open_fixture(&f, mode, true, false);
    size_t n = f.t.start.n;
    double *g = fc_arena_alloc(&f.t.arena, n, sizeof *g, &f.t.err);
    fc_real *w = fc_arena_alloc(&f.t.arena, n, sizeof *w, &f.t.err);
    double plain = step(&f, f.t.start.p, NULL, f.teacher, groups), norm = 0;
    assert_true(step(&f, f.t.start.p, piece, f.teacher, groups) > 1.02 * plain);
    for (size_t i = 0; i < n; i++) {
        g[i] = (double)f.t.start.p[i] - (double)f.crew.trainer[0].local.p[i];
        norm += g[i] * g[i];
    }
    for (uint32_t k = 0; k < 4; k++) {
        const double h = 0.01 / sqrt(norm);
        fc_rng rng = fc_rng_at((fc_key){.seed = 4, .stream = FC_STREAM_TEST, .sample = k});
        double slope = 0, loss[2];
        double *v = fc_arena_alloc(&f.t.arena, n, sizeof *v, &f.t.err);
        for (size_t i = 0; i < n; i++) {
            /* frozen numbers stand still, as their part of g is 0 */
            v[i] = g[i] == 0 ? 0
                   : k == 0  ? g[i]
                             : g[i] + 0.3 * sqrt(norm / (double)n) * fc_rng_normal(&rng);
            slope += g[i] * v[i];
        }
        for (int side = 0; side < 2; side++) {
            for (size_t i = 0; i < n; i++)
                w[i] = (fc_real)((double)f.t.start.p[i] + (side ? h : -h) * v[i]);
            loss[side] = step(&f, w, piece, f.teacher, groups);
        }
        assert_close((loss[1] - loss[0]) / (2 * h), slope, 1e-2, 0);
    }
    close_fixture(&f);
}

static void test_gradient(void **state)
{
    (void)state;
    const fc_piece *const piece[] = {&start_piece, &array_piece};
    for (int i = 0; i < 2; i++) {
        check_gradient(FC_TRAIN_LORA, A | B | HEAD, piece[i]);
        check_gradient(FC_TRAIN_LORA, B | HEAD, piece[i]);
        check_gradient(FC_TRAIN_FULL, BACKBONE | HEAD, piece[i]);
        check_gradient(FC_TRAIN_HEAD, HEAD, piece[i]);
    }
}

/* A teacher that is the block itself says the same: the term is nothing at all. */
static void test_teacher_is_the_block(void **state)
{
    (void)state;
    static const fc_train_mode mode[] = {FC_TRAIN_LORA, FC_TRAIN_FULL, FC_TRAIN_HEAD};
    static const unsigned groups[] = {A | B | HEAD, BACKBONE | HEAD, HEAD};
    for (int i = 0; i < 6; i++) {
        fixture f;
        open_fixture(&f, mode[i % 3], true, i >= 3);
        double plain = step(&f, f.t.start.p, NULL, f.t.start.p, groups[i % 3]);
        double same = step(&f, f.t.start.p, &start_piece, f.t.start.p, groups[i % 3]);
        double other = step(&f, f.t.start.p, &array_piece, f.teacher, groups[i % 3]);
        assert_close(same, plain, 1e-5, 0);
        assert_true(other > 1.01 * plain && isfinite(other));
        close_fixture(&f);
    }
}

static void test_no_teacher_no_memory(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FC_TRAIN_LORA, false, false); /* asserts it */
    assert_non_null(f.crew.worker[0].dfeatures);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_teacher_is_the_block),
        cmocka_unit_test(test_no_teacher_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
