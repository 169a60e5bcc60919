/* Layouts, starts, files and the plumbing of forward and backward (gradients: test_grad_vit). */
#include "core/base/rng.h"
#include "core/base/safetensors.h"
#include "core/vit/head.h"
#include "core/vit/vit.h"
#include "tests/support/close.h"
#include "tests/support/engine.h"

#include <string.h>
#include <unistd.h>

static const fc_vit_shape small = {
    .image = 8, .patch = 4, .width = 12, .depth = 3, .heads = 2, .hidden = 20};
static const fc_vit_shape vit_tiny = {
    .image = 96, .patch = 16, .width = 192, .depth = 12, .heads = 3, .hidden = 768};
enum { RANK = 2, CLASSES = 5, IMAGES = 4, PIXELS = 3 * 8 * 8 };
static const unsigned every_group = (1u << FC_NGROUP) - 1;

static fc_arena arena; /* of one test */

static int teardown(void **state)
{
    (void)state;
    fc_arena_free(&arena);
    return 0;
}

static void ok(fc_status status, const fc_error *err)
{
    if (status != FC_OK)
        fail_msg("%s", err->msg);
}

static fc_params backbone(const fc_vit_shape *s)
{
    fc_error err = {0};
    fc_params layout, w;
    ok(fc_vit_layout(&layout, s, &arena, &err), &err);
    ok(fc_params_alloc(&w, &layout, &arena, &err), &err);
    return w;
}

static fc_params trained(const fc_vit_shape *s, fc_train_mode mode)
{
    fc_error err = {0};
    fc_params layout, t;
    ok(fc_train_layout(&layout, s, mode, RANK, CLASSES, &arena, &err), &err);
    ok(fc_params_alloc(&t, &layout, &arena, &err), &err);
    return t;
}

static void fill(fc_real *p, size_t n, double std, uint32_t sample)
{
    fc_rng g = fc_rng_at((fc_key){.seed = 9, .stream = FC_STREAM_TEST, .sample = sample});
    for (size_t i = 0; i < n; i++)
        p[i] = (fc_real)(std * fc_rng_normal(&g));
}

/* ---- layouts ------------------------------------------------------------------------------ */

static void test_backbone_layout(void **state)
{
    (void)state;
    fc_params w = backbone(&vit_tiny);
    assert_int_equal(w.nspec, FC_VIT_BLOCK0 + 12 * FC_VIT_PER_BLOCK + 2);
    /* timm's 5,717,416 without the head of 1000 classes, and 37 instead of 197 tokens */
    assert_int_equal(w.n, 5717416 - 1000 * 193 - 160 * 192);
    for (int i = 0; i < w.nspec; i++)
        assert_int_equal(fc_vit_offset(&vit_tiny, i), w.spec[i].offset);
    assert_string_equal(w.spec[FC_VIT_POS].name, "pos_embed");
    assert_string_equal(w.spec[w.nspec - 1].name, "norm.bias");
    const fc_spec *fc2 = fc_params_find(&w, "blocks.11.mlp.fc2.weight");
    assert_ptr_equal(fc2, &w.spec[fc_slot_tensor(47)]);
    assert_true(fc2->rows == 192 && fc2->cols == 768);
}

static void test_train_layouts(void **state)
{
    (void)state;
    fc_params w = backbone(&small), lora = trained(&small, FC_TRAIN_LORA);
    for (int i = 0; i < fc_vit_slots(&small); i++) {
        const fc_spec *W = &w.spec[fc_slot_tensor(i)], *A = &lora.spec[fc_train_A(i)];
        const fc_spec *B = &lora.spec[fc_train_B(&small, i)];
        int d_out, d_in;
        fc_slot_dims(&small, i, &d_out, &d_in);
        assert_true(W->rows == d_out && W->cols == d_in);
        assert_true(A->rows == RANK && A->cols == d_in && A->group == FC_GROUP_A);
        assert_true(B->rows == d_out && B->cols == RANK && B->group == FC_GROUP_B);
        size_t layer = strlen(W->name) - strlen("weight"), a, b;
        assert_memory_equal(A->name, W->name, layer);
        assert_string_equal(A->name + layer, "lora_A");
        assert_memory_equal(B->name, W->name, layer);
        assert_string_equal(B->name + layer, "lora_B");
        fc_slot_offsets(&small, i, RANK, &a, &b);
        assert_int_equal(a, A->offset);
        assert_int_equal(b, B->offset - lora.spec[fc_train_B(&small, 0)].offset);
    }
    static const fc_train_mode modes[] = {FC_TRAIN_LORA, FC_TRAIN_FULL, FC_TRAIN_HEAD};
    for (int i = 0; i < 3; i++) {
        fc_params t = trained(&small, modes[i]);
        const fc_spec *head = &t.spec[fc_train_head(&t)];
        assert_string_equal(head[0].name, "head.weight");
        assert_string_equal(head[1].name, "head.bias");
        assert_int_equal(head[1].offset + CLASSES, t.n);

        fc_model m = fc_model_of(&small, modes[i], RANK, CLASSES, w.p, &t);
        fc_grads g = fc_grads_of(modes[i], &t, every_group);
        assert_ptr_equal(m.w, modes[i] == FC_TRAIN_FULL ? t.p : w.p);
        assert_ptr_equal(g.w, modes[i] == FC_TRAIN_FULL ? t.p : NULL);
        assert_int_equal(m.rank, modes[i] == FC_TRAIN_LORA ? RANK : 0);
        assert_ptr_equal(m.A, g.A);
        assert_ptr_equal(m.B, g.B);
        assert_ptr_equal(m.head_w, g.head_w);
        assert_ptr_equal(m.head_b, g.head_b);
        assert_ptr_equal(m.head_b, t.p + head[1].offset);
        g = fc_grads_of(modes[i], &t, 0);
        assert_true(!g.w && !g.A && !g.B && !g.head_w && !g.head_b);
    }
}

static void test_check(void **state)
{
    (void)state;
    static const struct {
        fc_vit_shape shape;
        const char *says;
    } bad[] = {{{10, 4, 12, 3, 2, 20}, "image side 10 is not a multiple of the patch side 4"},
               {{8, 4, 12, 3, 5, 20}, "width 12 is not a multiple of the 5 heads"},
               {{8, 0, 12, 3, 2, 20}, "patch is 0, expected 1 to 4096"},
               {{8, 4, 12, -1, 2, 20}, "depth is -1"},
               {{8, 4, 1 << 30, 3, 2, 20}, "width is 1073741824"},
               {{4096, 1, 12, 3, 2, 20}, "4096 patches along a side"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fc_error err = {0};
        assert_int_equal(fc_vit_check(&bad[i].shape, "config.yaml:3", &err), FC_EUSAGE);
        assert_non_null(strstr(err.msg, bad[i].says));
        assert_memory_equal(err.msg, "config.yaml:3: ", 15);
    }
    assert_int_equal(fc_vit_check(&vit_tiny, "", NULL), FC_OK);
}

/* Counted independently of fcil, for LoRA of rank 16 with B trained at 96 pixels. */
static void test_flop(void **state)
{
    (void)state;
    unsigned B = 1u << FC_GROUP_B, head = 1u << FC_GROUP_HEAD;
    assert_close(fc_vit_flop(&vit_tiny, 0, 100, FC_TRAIN_HEAD, 0, false), 416e6, 2e-3, 0);
    assert_close(fc_vit_flop(&vit_tiny, 16, 100, FC_TRAIN_LORA, B | head, true), 938e6, 2e-3, 0);
}

/* ---- starts ------------------------------------------------------------------------------- */

static void moments(const fc_params *p, const char *name, double *mean, double *std, double *max)
{
    const fc_spec *s = fc_params_find(p, name);
    size_t n = (size_t)s->rows * (size_t)s->cols;
    double sum = 0, square = 0;
    *max = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)p->p[s->offset + i];
        sum += x;
        square += x * x;
        *max = fmax(*max, fabs(x));
    }
    *mean = sum / (double)n;
    *std = sqrt(square / (double)n - *mean * *mean);
}

static void test_starts(void **state)
{
    (void)state;
    double mean, std, max;
    fc_params w = backbone(&vit_tiny), t = trained(&vit_tiny, FC_TRAIN_LORA);
    fc_vit_init(&w, 1);
    moments(&w, "blocks.3.mlp.fc1.weight", &mean, &std, &max);
    assert_close(mean, 0, 0, 3e-4);
    assert_close(std, 0.02, 0.01, 0);
    moments(&w, "patch_embed.proj.weight", &mean, &std, &max);
    assert_true(max <= 1 / sqrt(768.0) && max > 0.99 / sqrt(768.0));
    moments(&w, "cls_token", &mean, &std, &max);
    assert_true(max > 0 && max < 1e-5);
    moments(&w, "blocks.0.attn.qkv.bias", &mean, &std, &max);
    assert_true(max == 0);
    moments(&w, "norm.weight", &mean, &std, &max);
    assert_true(mean == 1 && max == 1);

    fc_head_init(&t, 1);
    moments(&t, "head.weight", &mean, &std, &max);
    assert_close(std, 0.02, 0.1, 0);
    fc_lora_init(&t, &vit_tiny, 1, 0);
    moments(&t, "blocks.2.mlp.fc2.lora_A", &mean, &std, &max);
    assert_true(max <= 1 / sqrt(768.0) && max > 0.99 / sqrt(768.0));
    moments(&t, "blocks.2.mlp.fc2.lora_B", &mean, &std, &max);
    assert_true(max == 0);
    fc_real kept = t.p[0];
    fc_lora_init(&t, &vit_tiny, 1, 1);
    assert_true(t.p[0] != kept); /* each task has its own */
    fc_lora_init(&t, &vit_tiny, 1, 0);
    assert_true(t.p[0] == kept);
}

/* ---- forward and backward ----------------------------------------------------------------- */

typedef struct rig {
    fc_params w, t, grad;
    fc_model m;
    fc_acts *acts;
    fc_real x[IMAGES * PIXELS];
} rig;

static void rig_init(rig *r, bool backward)
{
    fc_error err = {0};
    r->w = backbone(&small);
    r->t = trained(&small, FC_TRAIN_LORA);
    r->grad = trained(&small, FC_TRAIN_LORA);
    fill(r->w.p, r->w.n, 0.3, 1);
    fill(r->t.p, r->t.n, 0.3, 2);
    fill(r->x, IMAGES * PIXELS, 1, 3);
    r->m = fc_model_of(&small, FC_TRAIN_LORA, RANK, CLASSES, r->w.p, &r->t);
    ok(fc_acts_new(
           &r->acts, &small,
           &(fc_acts_size){.rank = RANK, .classes = CLASSES, .n_max = IMAGES, .backward = backward},
           &engine, &err),
       &err);
}

static fc_grams grams_new(double alpha, bool with_head)
{
    fc_grams s;
    fc_error err = {0};
    int dims[13], n = fc_vit_slots(&small), d_out;
    double alphas[13];
    for (int i = 0; i <= n; i++) {
        fc_slot_dims(&small, i < n ? i : 0, &d_out, &dims[i]);
        alphas[i] = alpha;
    }
    ok(fc_grams_init(&s, n + with_head, dims, alphas, &arena, &err), &err);
    return s;
}

/* Keeping activations or not, collecting statistics, the size of the batch: nothing changes the
 * outputs.
 */
static void test_forward_variants(void **state)
{
    (void)state;
    rig train, eval;
    rig_init(&train, true);
    rig_init(&eval, false);
    fc_real logits[IMAGES * CLASSES];
    fc_vit_forward(train.acts, &train.m, train.x, IMAGES, NULL, NULL);
    memcpy(logits, fc_acts_logits(train.acts), sizeof logits);
    fc_vit_forward(eval.acts, &eval.m, eval.x, IMAGES, NULL, NULL);
    assert_memory_equal(fc_acts_logits(eval.acts), logits, sizeof logits);
    fc_vit_forward(train.acts, &train.m, train.x, IMAGES, NULL, NULL);
    assert_memory_equal(fc_acts_logits(train.acts), logits, sizeof logits);

    fc_grams stats = grams_new(0, true);
    fc_vit_forward(eval.acts, &eval.m, eval.x, IMAGES, &stats, NULL);
    assert_all_close(fc_acts_logits(eval.acts), logits, IMAGES * CLASSES, 0, 1e-5);
    for (int i = 0; i < IMAGES; i++) {
        fc_vit_forward(eval.acts, &eval.m, eval.x + i * PIXELS, 1, NULL, NULL);
        assert_all_close(fc_acts_logits(eval.acts), logits + i * CLASSES, CLASSES, 0, 1e-5);
    }
    fc_acts_free(train.acts);
    fc_acts_free(eval.acts);
}

/* The factored model equals the plain one with W + scale B A. */
static void test_lora_apply(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, false);
    fc_error err = {0};
    fc_real logits[IMAGES * CLASSES];
    r.m.scale = (fc_real)0.5;
    fc_vit_forward(r.acts, &r.m, r.x, IMAGES, NULL, NULL);
    memcpy(logits, fc_acts_logits(r.acts), sizeof logits);
    fc_lora_apply(r.w.p, &small, RANK, r.m.A, r.m.B, r.m.scale);
    fc_acts *plain;
    ok(fc_acts_new(&plain, &small, &(fc_acts_size){.classes = CLASSES, .n_max = IMAGES}, &engine,
                   &err),
       &err);
    r.m.rank = 0;
    r.m.A = r.m.B = NULL;
    fc_vit_forward(plain, &r.m, r.x, IMAGES, NULL, NULL);
    assert_all_close(fc_acts_logits(plain), logits, IMAGES * CLASSES, 0, 2e-5);

    r.m.head_w = r.m.head_b = NULL; /* features only */
    fc_vit_forward(plain, &r.m, r.x, IMAGES, NULL, NULL);
    assert_all_close(fc_acts_features(plain), fc_acts_features(r.acts), IMAGES * small.width, 0,
                     2e-5);
    fc_acts_free(plain);
    fc_acts_free(r.acts);
}

static double gram(const fc_grams *s, int slot, int j)
{
    int step = s->slot[slot].full ? s->slot[slot].dim + 1 : 1;
    return s->g[s->slot[slot].offset + (size_t)j * (size_t)step];
}

static fc_real *block_tensor(const rig *r, int block, int i)
{
    return r->w.p + fc_vit_offset(&small, FC_VIT_BLOCK0 + FC_VIT_PER_BLOCK * block + i);
}

/* In block 1 weights are chosen so that the inputs of all four layers are known: plain LayerNorms
 * give rows of squared length D; without weights, attention returns the bias of the values and the
 * MLP's hidden layer is gelu(bias). The head's inputs are the features. */
static void test_statistics(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, false);
    int D = small.width, rows = IMAGES * fc_vit_tokens(&small);
    memset(r.t.p, 0, r.t.n * sizeof *r.t.p);
    for (int i = 0; i < D; i++) {
        block_tensor(&r, 1, FC_N1W)[i] = block_tensor(&r, 1, FC_N2W)[i] = 1;
        block_tensor(&r, 1, FC_N1B)[i] = block_tensor(&r, 1, FC_N2B)[i] = 0;
    }
    memset(block_tensor(&r, 1, FC_QKVW), 0, (size_t)(3 * D * D) * sizeof(fc_real));
    memset(block_tensor(&r, 1, FC_FC1W), 0, (size_t)(small.hidden * D) * sizeof(fc_real));
    fc_grams s = grams_new(0, true);
    fc_vit_forward(r.acts, &r.m, r.x, IMAGES, &s, NULL);

    double trace1 = 0, trace2 = 0;
    for (int j = 0; j < D; j++) {
        double value = (double)block_tensor(&r, 1, FC_QKVB)[2 * D + j], features = 0;
        for (int i = 0; i < IMAGES; i++)
            features += pow((double)fc_acts_features(r.acts)[i * D + j], 2);
        trace1 += gram(&s, 4, j);
        trace2 += gram(&s, 6, j);
        assert_close(gram(&s, 5, j), rows * value * value, 1e-5, 0);
        assert_close(gram(&s, 12, j), features, 1e-6, 0);
    }
    assert_close(trace1, rows * D, 1e-4, 0);
    assert_close(trace2, rows * D, 1e-4, 0);
    for (int j = 0; j < small.hidden; j++) {
        double c = (double)block_tensor(&r, 1, FC_FC1B)[j], gelu = 0.5 * c * erfc(-c / sqrt(2.0));
        assert_close(gram(&s, 7, j), rows * gelu * gelu, 1e-5, 1e-10);
    }
    fc_acts_free(r.acts);
}

/* Diagonals of full Grams, collected in two calls, are the diagonal Grams of one call. */
static void test_full_statistics(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, false);
    fc_grams diagonal = grams_new(0, true), full = grams_new(1, false);
    fc_vit_forward(r.acts, &r.m, r.x, IMAGES, &diagonal, NULL);
    fc_vit_forward(r.acts, &r.m, r.x, 3, &full, NULL);
    fc_vit_forward(r.acts, &r.m, r.x + 3 * PIXELS, 1, &full, NULL);
    for (int s = 0; s < full.n; s++)
        for (int j = 0; j < full.slot[s].dim; j++) {
            assert_true(gram(&diagonal, s, j) > 0);
            assert_close(gram(&full, s, j), gram(&diagonal, s, j), 1e-4, 1e-6);
        }
    fc_acts_free(r.acts);
}

/* Slices of a batch, one after the other, add up to the gradient of the batch. */
static void test_gradients_of_slices(void **state)
{
    (void)state;
    rig whole, parts;
    rig_init(&whole, true);
    rig_init(&parts, true);
    static const int labels[IMAGES] = {0, 3, 2, 3};
    fc_real d[IMAGES * CLASSES];
    fc_grads g = fc_grads_of(FC_TRAIN_LORA, &whole.grad, every_group);
    fc_vit_forward(whole.acts, &whole.m, whole.x, IMAGES, NULL, &g);
    fc_ce(d, fc_acts_logits(whole.acts), labels, IMAGES, CLASSES, 0, CLASSES, IMAGES);
    fc_vit_backward(whole.acts, &whole.m, d, &g);
    g = fc_grads_of(FC_TRAIN_LORA, &parts.grad, every_group);
    for (int i = 0; i < IMAGES; i += 2) {
        fc_vit_forward(parts.acts, &parts.m, parts.x + i * PIXELS, 2, NULL, &g);
        fc_ce(d, fc_acts_logits(parts.acts), labels + i, 2, CLASSES, 0, CLASSES, IMAGES);
        fc_vit_backward(parts.acts, &parts.m, d, &g);
    }
    assert_all_close(parts.grad.p, whole.grad.p, whole.grad.n, 0, 1e-5);
    fc_acts_free(whole.acts);
    fc_acts_free(parts.acts);
}

/* Gradient of the loss of n images at once, or one by one. whole_block: the last block runs on all
 * tokens (as it does when statistics are taken) instead of on what the features depend on. */
static void gradient(fc_params *grad, const fc_vit_shape *s, const fc_model *m, fc_train_mode mode,
                     const fc_real *x, int n, int step, bool whole_block)
{
    enum { N = 12 };
    fc_error err = {0};
    fc_acts *acts;
    fc_real d[N * CLASSES];
    static const int labels[N] = {0, 3, 2, 3, 1, 0, 2, 2, 1, 3, 0, 1};
    fc_grams stats = {0};
    fc_grads g = fc_grads_of(mode, grad, ~0u);
    size_t pixels = 3 * (size_t)s->image * (size_t)s->image;
    memset(grad->p, 0, grad->n * sizeof *grad->p);
    ok(fc_acts_new(
           &acts, s,
           &(fc_acts_size){.rank = m->rank, .classes = CLASSES, .n_max = step, .backward = true},
           &engine, &err),
       &err);
    for (int i = 0; i < n; i += step) {
        fc_vit_forward(acts, m, x + (size_t)i * pixels, step, whole_block ? &stats : NULL, &g);
        fc_ce(d, fc_acts_logits(acts), labels + i, step, CLASSES, 0, CLASSES, n);
        fc_vit_backward(acts, m, d, &g);
    }
    fc_acts_free(acts);
}

/* Two chunks of images, weights packed once, and only what the class tokens need of the last block,
 * against one image at a time with all of it. */
static void test_chunks_and_class_tokens(void **state)
{
    (void)state;
    enum { N = 12, PIXELS_LARGE = 3 * 32 * 32 };
    static const fc_vit_shape shape = {
        .image = 32, .patch = 4, .width = 64, .depth = 2, .heads = 2, .hidden = 96};
    static fc_real x[N * PIXELS_LARGE];
    fill(x, N * PIXELS_LARGE, 1, 7);
    for (int mode = FC_TRAIN_LORA; mode <= FC_TRAIN_FULL; mode++) {
        fc_error err = {0};
        fc_params w = backbone(&shape), t = trained(&shape, mode);
        fc_params grad = trained(&shape, mode), want = trained(&shape, mode);
        fill(w.p, w.n, 0.2, 1);
        fill(t.p, t.n, 0.2, 2);
        int rank = mode == FC_TRAIN_LORA ? RANK : 0;
        fc_model m = fc_model_of(&shape, mode, rank, CLASSES, w.p, &t);
        gradient(&want, &shape, &m, mode, x, N, 1, true);
        fc_packed packed;
        ok(fc_packed_new(&packed, &shape, true, &engine, &err), &err);
        fc_packed_fill(&packed, &shape, m.w);
        m.packed = &packed;
        gradient(&grad, &shape, &m, mode, x, N, N, false);
        fc_packed_free(&packed);
        double square = 0;
        for (size_t i = 0; i < want.n; i++)
            square += (double)want.p[i] * (double)want.p[i];
        assert_true(square > 1e-6);
        assert_all_close(grad.p, want.p, want.n, 1e-3, 1e-4 * sqrt(square / (double)want.n));
    }
}

static void test_nan_reaches_the_logits(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, false);
    r.x[PIXELS + 5] = NAN;
    fc_vit_forward(r.acts, &r.m, r.x, 2, NULL, NULL);
    assert_false(isnan(fc_acts_logits(r.acts)[0]));
    assert_true(isnan(fc_acts_logits(r.acts)[CLASSES]));
    fc_acts_free(r.acts);
}

/* ---- files -------------------------------------------------------------------------------- */

static const char *temporary(char *buf, size_t size)
{
    const char *folder = getenv("TMPDIR");
    snprintf(buf, size, "%s/fcil_vit_XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(buf);
    assert_true(fd >= 0);
    close(fd);
    return buf;
}

static void test_save_and_load(void **state)
{
    (void)state;
    fc_error err = {0};
    fc_params w = backbone(&small), back;
    fc_vit_shape s;
    fill(w.p, w.n, 1, 1);
    fc_real head_w[CLASSES * 12] = {1, 2, 3}, head_b[CLASSES] = {4};
    char path[4096];
    temporary(path, sizeof path);
    const fc_model m = {
        .shape = &small, .w = w.p, .head_w = head_w, .head_b = head_b, .classes = CLASSES};
    static const char *const more[][2] = {{"classes", "[0, 1]"}, {"x", "y"}};
    ok(fc_vit_save(path, &m, &(fc_vit_extra){more, 2, NULL, 0}, &err), &err);
    assert_int_equal(fc_vit_load(&back, &s, path, 0, 7, &arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "heads, but 7 are asked for"));
    err = (fc_error){0};
    ok(fc_vit_load(&back, &s, path, 0, 0, &arena, &err), &err);
    assert_memory_equal(&s, &small, sizeof s);
    assert_int_equal(back.n, w.n);
    assert_memory_equal(back.p, w.p, w.n * sizeof *w.p);
    fc_st f;
    ok(fc_st_open(&f, path, &err), &err);
    assert_string_equal(fc_st_metadata(&f, "x"), "y");
    assert_string_equal(fc_st_metadata(&f, "image"), "8");
    fc_st_close(&f);

    /* A larger image: only the position embedding changes, and its class token does not. */
    ok(fc_vit_load(&back, &s, path, 16, 0, &arena, &err), &err);
    assert_int_equal(s.image, 16);
    assert_int_equal(fc_vit_tokens(&s), 17);
    const fc_spec *pos = &back.spec[FC_VIT_POS];
    assert_memory_equal(back.p + pos->offset, w.p + w.spec[FC_VIT_POS].offset,
                        (size_t)small.width * sizeof *w.p);
    size_t tail = back.spec[FC_VIT_PATCH_W].offset;
    assert_memory_equal(back.p + tail, w.p + w.spec[FC_VIT_PATCH_W].offset,
                        (back.n - tail) * sizeof *w.p);

    assert_int_equal(fc_vit_load(&back, &s, path, 10, 0, &arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "image side 10 is not a multiple of the patch side 4"));
    unlink(path);
}

/* A saved network with one fault. */
static void check_bad_file(const char *replace, int ndim, int64_t dim0, int64_t dim1, bool heads,
                           fc_status status, const char *says)
{
    fc_error err = {0};
    fc_params w = backbone(&small), back = {0};
    fc_st_entry entry[FC_VIT_BLOCK0 + 3 * FC_VIT_PER_BLOCK + 2];
    int n = 0;
    for (int i = 0; i < w.nspec; i++) {
        fc_st_entry e = fc_st_entry_of(&w, &w.spec[i]);
        if (strcmp(e.name, replace) == 0) {
            if (ndim == 0)
                continue;
            e.ndim = ndim;
            e.dim[ndim == 3] = dim0; /* pos_embed (1, T, D) */
            e.dim[ndim == 3 ? 2 : 1] = dim1;
        }
        entry[n++] = e;
    }
    const char *const metadata[][2] = {{"heads", "2"}};
    char path[4096];
    temporary(path, sizeof path);
    ok(fc_st_write(path, entry, n, heads ? metadata : NULL, heads, &err), &err);
    fc_vit_shape s = {0};
    assert_int_equal(fc_vit_load(&back, &s, path, 0, 0, &arena, &err), status);
    if (!strstr(err.msg, says) || !strstr(err.msg, path))
        fail_msg("message is \"%s\", expected it to name \"%s\" and the file", err.msg, says);
    assert_true(back.p == NULL && s.width == 0);
    unlink(path);
}

static void test_bad_files(void **state)
{
    (void)state;
    check_bad_file("norm.bias", 0, 0, 0, true, FC_EDATA, "no tensor norm.bias");
    check_bad_file("patch_embed.proj.weight", 0, 0, 0, true, FC_EDATA, "no tensor patch_embed");
    check_bad_file("blocks.1.attn.qkv.weight", 2, 35, 12, true, FC_EDATA,
                   "blocks.1.attn.qkv.weight has shape (35, 12), expected (36, 12)");
    check_bad_file("blocks.1.attn.qkv.weight", 1, 12, 0, true, FC_EDATA, "has 1 dimensions");
    check_bad_file("pos_embed", 3, 4, 12, true, FC_EDATA, "pos_embed has 4 tokens");
    check_bad_file("pos_embed", 3, 2, 12, false, FC_EUSAGE, "number of heads unknown");
    check_bad_file("pos_embed", 3, 0, 12, true, FC_EDATA, "pos_embed has 0 tokens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_backbone_layout, teardown),
        cmocka_unit_test_teardown(test_train_layouts, teardown),
        cmocka_unit_test_teardown(test_check, teardown),
        cmocka_unit_test_teardown(test_flop, teardown),
        cmocka_unit_test_teardown(test_starts, teardown),
        cmocka_unit_test_teardown(test_forward_variants, teardown),
        cmocka_unit_test_teardown(test_lora_apply, teardown),
        cmocka_unit_test_teardown(test_statistics, teardown),
        cmocka_unit_test_teardown(test_full_statistics, teardown),
        cmocka_unit_test_teardown(test_gradients_of_slices, teardown),
        cmocka_unit_test_teardown(test_chunks_and_class_tokens, teardown),
        cmocka_unit_test_teardown(test_nan_reaches_the_logits, teardown),
        cmocka_unit_test_teardown(test_save_and_load, teardown),
        cmocka_unit_test_teardown(test_bad_files, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
