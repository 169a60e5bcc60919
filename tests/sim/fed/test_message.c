/* Messages of clients: round trip, sizes by the published formulas, refusal of what does not fit.
 */
#include "sim/fed/message.h"

#include "core/base/rng.h"
#include "core/base/safetensors.h"
#include "core/vit/fisher.h"
#include "core/vit/vit.h"
#include "tests/support/tmp.h"

#include <limits.h>

enum { A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B, HEAD = 1u << FC_GROUP_HEAD };
enum { BACKBONE = 1u << FC_GROUP_BACKBONE };

static const fc_vit_shape tiny = {
    .image = 8, .patch = 4, .width = 6, .depth = 2, .heads = 2, .hidden = 12};
static const fc_message_head head = {.task = 2,
                                     .round = 3,
                                     .client = 7,
                                     .n_samples = 41,
                                     .n_classes = 5,
                                     .steps = 123456789012,
                                     .loss_first = 1.0 / 3,
                                     .loss_last = 1e-300,
                                     .loss_mean = 0.1};

/* A message of these parts. */
static fc_message_body body_of(const fc_params *p, unsigned groups, const fc_grams *grams,
                               const fc_params *fisher)
{
    return (fc_message_body){.p = p, .groups = groups, .grams = grams, .fisher = fisher};
}

static fc_status pack_body(fc_message *out, const fc_message_head *h, const fc_params *p,
                           unsigned groups, const fc_grams *grams, const fc_params *fisher,
                           fc_error *err)
{
    const fc_message_body body = body_of(p, groups, grams, fisher);
    return fc_message_pack(out, h, &body, err);
}

static fc_status size_up(size_t *bytes, const fc_params *p, unsigned groups, const fc_grams *grams,
                         const fc_params *fisher, fc_error *err)
{
    const fc_message_body body = body_of(p, groups, grams, fisher);
    return fc_message_size(bytes, true, &body, err);
}

static fc_status size_down(size_t *bytes, const fc_params *p, unsigned groups, size_t deltas)
{
    const fc_message_part part = {"deltas", deltas, NULL};
    fc_message_body body = body_of(p, groups, NULL, NULL);
    body.part = &part;
    body.parts = deltas > 0;
    return fc_message_size(bytes, false, &body, NULL);
}

static fc_status unpack(fc_message_head *h, fc_params *p, unsigned groups, fc_grams *grams,
                        fc_params *fisher, const fc_message *m, fc_error *err)
{
    const fc_message_body body = body_of(p, groups, grams, fisher);
    return fc_message_unpack(h, &body, m, err);
}

/* What a client holds. */
typedef struct sender {
    fc_arena arena;
    fc_params p;
    fc_grams grams;
    fc_error err;
} sender;

/* A trained block and Grams of all slots and the head: full where alpha is not 0. */
static void open_sender(sender *s, const fc_vit_shape *v, fc_train_mode mode, int rank, int classes,
                        double alpha_slots, double alpha_head)
{
    int dim[64], out, n = fc_vit_slots(v);
    double alpha[64];
    fc_params layout;
    *s = (sender){0};
    assert_true(n < 64);
    assert_int_equal(fc_train_layout(&layout, v, mode, rank, classes, &s->arena, &s->err), FC_OK);
    assert_int_equal(fc_params_alloc(&s->p, &layout, &s->arena, &s->err), FC_OK);
    for (int i = 0; i < n; i++) {
        fc_slot_dims(v, i, &out, &dim[i]);
        alpha[i] = alpha_slots;
    }
    dim[n] = v->width;
    alpha[n] = alpha_head;
    assert_int_equal(fc_grams_init(&s->grams, n + 1, dim, alpha, &s->arena, &s->err), FC_OK);
}

/* Random numbers everywhere; full Grams symmetric. */
static void fill(sender *s, uint64_t seed)
{
    fc_rng g = fc_rng_at((fc_key){.seed = seed, .stream = FC_STREAM_TEST});
    for (size_t i = 0; i < s->p.n; i++)
        s->p.p[i] = (fc_real)fc_rng_normal(&g);
    for (int i = 0; i < s->grams.n; i++) {
        const fc_gram_slot *q = &s->grams.slot[i];
        double *G = s->grams.g + q->offset;
        int d = q->dim;
        for (int r = 0; r < (q->full ? d : 1); r++)
            for (int c = q->full ? r : 0; c < d; c++) {
                G[r * d + c] = 1e3 * fc_rng_normal(&g);
                if (q->full)
                    G[c * d + r] = G[r * d + c];
            }
    }
}

static void close_sender(sender *s)
{
    fc_arena_free(&s->arena);
}

static fc_message pack(sender *s, unsigned groups, const fc_grams *grams)
{
    fc_message m;
    assert_int_equal(pack_body(&m, &head, groups ? &s->p : NULL, groups, grams, NULL, &s->err),
                     FC_OK);
    return m;
}

/* Numbers in the data part of a message; its header is short. */
static size_t numbers(const fc_message *m)
{
    uint64_t n = 0;
    for (int i = 8; i-- > 0;)
        n = n << 8 | m->data[i];
    assert_true(n < 1016);
    assert_int_equal((m->n - 8 - n) % 4, 0);
    return (m->n - 8 - n) / 4;
}

/* --- round trip -------------------------------------------------------------------------------
 */

static void check_round_trip(fc_train_mode mode, unsigned groups, bool with_grams,
                             double alpha_slots, double alpha_head)
{
    sender s, t;
    open_sender(&s, &tiny, mode, 3, 4, alpha_slots, alpha_head);
    open_sender(&t, &tiny, mode, 3, 4, alpha_slots, alpha_head);
    fill(&s, 1);
    fill(&t, 2);
    fc_message m = pack(&s, groups, with_grams ? &s.grams : NULL);
    fc_message_head got;
    fc_real *before = fc_arena_alloc(&t.arena, t.p.n, sizeof *before, NULL);
    memcpy(before, t.p.p, t.p.n * sizeof *before);
    assert_int_equal(unpack(&got, &t.p, groups, with_grams ? &t.grams : NULL, NULL, &m, &t.err),
                     FC_OK);

    assert_int_equal(got.task, head.task);
    assert_int_equal(got.round, head.round);
    assert_int_equal(got.client, head.client);
    assert_int_equal(got.n_samples, head.n_samples);
    assert_int_equal(got.n_classes, head.n_classes);
    assert_int_equal(got.steps, head.steps);
    assert_true(got.loss_first == head.loss_first && got.loss_last == head.loss_last &&
                got.loss_mean == head.loss_mean);
    for (int i = 0; i < t.p.nspec; i++) { /* sent groups are the sender's, others untouched */
        const fc_spec *e = &t.p.spec[i];
        size_t n = (size_t)e->rows * (size_t)e->cols * sizeof *before;
        const fc_real *want = groups >> e->group & 1 ? s.p.p : before;
        assert_memory_equal(t.p.p + e->offset, want + e->offset, n);
    }
    for (size_t i = 0; with_grams && i < s.grams.size; i++)
        assert_true(t.grams.g[i] == (double)(float)s.grams.g[i]);
    fc_message_free(&m);
    assert_null(m.data);
    close_sender(&s);
    close_sender(&t);
}

static void test_round_trip(void **state)
{
    (void)state;
    check_round_trip(FC_TRAIN_LORA, B | HEAD, true, 0, 0.5);
    check_round_trip(FC_TRAIN_LORA, A | HEAD, true, 0.3, 0.5);
    check_round_trip(FC_TRAIN_LORA, A | HEAD, true, 0, 0);
    check_round_trip(FC_TRAIN_LORA, A | B | HEAD, false, 0, 0);
    check_round_trip(FC_TRAIN_LORA, 0, true, 0, 0.5);
    check_round_trip(FC_TRAIN_FULL, BACKBONE | HEAD, true, 1, 1);
    check_round_trip(FC_TRAIN_HEAD, HEAD, false, 0, 0);
}

/* Fisher information: of all that full fine-tuning trains, or of the layers that LoRA adapts. */
static void test_fisher(void **state)
{
    (void)state;
    const fc_train_mode modes[] = {FC_TRAIN_FULL, FC_TRAIN_LORA};
    for (int k = 0; k < 2; k++) {
        const unsigned groups = HEAD | (k ? A | B : BACKBONE);
        sender s, t;
        fc_params layout, F, read, wrong; /* of LoRA: 18 6 + 6 6 + 2 (12 6) = 288 of a block */
        fc_message_head got;
        size_t size;
        open_sender(&s, &tiny, modes[k], 3, 4, 0, 0);
        open_sender(&t, &tiny, modes[k], 3, 4, 0, 0);
        fill(&s, 1);
        assert_int_equal(fc_fisher_layout(&layout, &tiny, modes[k], 4, &s.arena, &s.err), FC_OK);
        assert_int_equal(fc_params_alloc(&F, &layout, &s.arena, &s.err), FC_OK);
        assert_int_equal(fc_params_alloc(&read, &layout, &s.arena, &s.err), FC_OK);
        assert_int_equal(F.n, k ? 2 * 288 + 4 * 7 : s.p.n);
        for (size_t i = 0; i < F.n; i++)
            F.p[i] = (fc_real)i + (fc_real)0.5;
        fc_message m;
        assert_int_equal(pack_body(&m, &head, &s.p, groups, NULL, &F, &s.err), FC_OK);
        assert_int_equal(numbers(&m), s.p.n + F.n);
        assert_int_equal(size_up(&size, &s.p, groups, NULL, &layout, &s.err), FC_OK);
        assert_int_equal(size, m.n);
        assert_int_equal(unpack(&got, &t.p, groups, NULL, &read, &m, &s.err), FC_OK);
        assert_memory_equal(read.p, F.p, F.n * sizeof *F.p);
        assert_memory_equal(t.p.p, s.p.p, s.p.n * sizeof *s.p.p);

        fc_error err = {0};
        fc_status status = unpack(&got, &t.p, groups, NULL, NULL, &m, &err);
        assert_says(status, &err, FC_ECKPT, "tensors", "expected");
        wrong = read;
        wrong.n--;
        err = (fc_error){0};
        status = unpack(&got, &t.p, groups, NULL, &wrong, &m, &err);
        assert_says(status, &err, FC_ECKPT, "fisher", "another size");
        fc_message_free(&m);
        m = pack(&s, groups, NULL);
        err = (fc_error){0};
        status = unpack(&got, &t.p, groups, NULL, &read, &m, &err);
        assert_says(status, &err, FC_ECKPT, "fisher", "missing");
        fc_message_free(&m);
        close_sender(&s);
        close_sender(&t);
    }
}

/* A client that only took Grams has no losses. */
static void test_no_losses(void **state)
{
    (void)state;
    sender s;
    open_sender(&s, &tiny, FC_TRAIN_LORA, 2, 3, 0, 0);
    fc_message m;
    fc_message_head got, h = head;
    h.loss_first = h.loss_last = h.loss_mean = NAN;
    assert_int_equal(pack_body(&m, &h, NULL, 0, &s.grams, NULL, &s.err), FC_OK);
    assert_int_equal(unpack(&got, NULL, 0, &s.grams, NULL, &m, &s.err), FC_OK);
    assert_true(isnan(got.loss_first) && isnan(got.loss_last) && isnan(got.loss_mean));
    fc_message_free(&m);
    close_sender(&s);
}

/* A full Gram goes as its lower triangle, row by row, a diagonal one as it is. */
static void test_wire_order(void **state)
{
    (void)state;
    fc_arena arena = {0};
    fc_grams g;
    fc_message m;
    fc_st f;
    assert_int_equal(fc_grams_init(&g, 2, (int[]){2, 3}, (double[]){0, 1}, &arena, NULL), FC_OK);
    const double value[] = {1, 2, 10, 11, 12, 11, 13, 14, 12, 14, 15};
    const float want[] = {1, 2, 10, 11, 13, 12, 14, 15};
    memcpy(g.g, value, sizeof value);
    assert_int_equal(fc_message_gram_count(&g), 8);
    assert_int_equal(pack_body(&m, &head, NULL, 0, &g, NULL, NULL), FC_OK);
    assert_int_equal(fc_st_parse(&f, m.data, m.n, "m", NULL), FC_OK);
    const fc_tensor *t = fc_st_find(&f, "grams");
    assert_non_null(t);
    assert_int_equal(t->count, 8);
    assert_memory_equal(t->data, want, sizeof want);
    fc_st_close(&f);
    fc_message_free(&m);
    fc_arena_free(&arena);
}

/* --- sizes ------------------------------------------------------------------------------------
 */

static const fc_vit_shape vit_b = {
    .image = 224, .patch = 16, .width = 768, .depth = 12, .heads = 12, .hidden = 3072};

static size_t numbers_sent(sender *s, unsigned groups, int gram_slots)
{
    fc_grams g = fc_grams_first(&s->grams, gram_slots);
    fc_message m = pack(s, groups, gram_slots ? &g : NULL);
    size_t n = numbers(&m);
    fc_message_free(&m);
    return n;
}

/* The table of what is communicated for ViT-B/16 and 100 classes. */
static void test_published_sizes(void **state)
{
    (void)state;
    sender s;
    open_sender(&s, &vit_b, FC_TRAIN_LORA, 16, 100, 0, 0.5);
    assert_int_equal(numbers_sent(&s, B | HEAD, 49), 1763812);
    assert_int_equal(numbers_sent(&s, A | HEAD, 49), 1468900);
    assert_int_equal(numbers_sent(&s, 0, 48), 64512);
    assert_int_equal(numbers_sent(&s, A | B | HEAD, 0), 2436196);
    assert_int_equal(numbers_sent(&s, B | HEAD, 0), 1404004);
    close_sender(&s);
    open_sender(&s, &vit_b, FC_TRAIN_LORA, 1, 100, 0, 0.5);
    assert_int_equal(numbers_sent(&s, B | HEAD, 49), 519652);
    assert_int_equal(numbers_sent(&s, A | HEAD, 49), 501220);
    assert_int_equal(numbers_sent(&s, A | B | HEAD, 0), 224356);
    close_sender(&s);
    open_sender(&s, &vit_b, FC_TRAIN_LORA, 1, 100, 0, 0); /* without the head's off-diagonals */
    assert_int_equal(numbers_sent(&s, B | HEAD, 49), 225124);
    close_sender(&s);
}

/* FedAvg's 86 million numbers are counted without a block of that size. */
static void test_size_of_a_layout(void **state)
{
    (void)state;
    fc_arena arena = {0};
    fc_params layout;
    size_t bytes;
    assert_int_equal(fc_train_layout(&layout, &vit_b, FC_TRAIN_FULL, 0, 100, &arena, NULL), FC_OK);
    assert_int_equal(size_down(&bytes, &layout, BACKBONE | HEAD, 0), FC_OK);
    assert_in_range(bytes, 4 * 85875556 + 8, 4 * 85875556 + 1024);
    fc_arena_free(&arena);
}

/* The size of the server's message is that of the same tensors written out. */
static void check_down(unsigned groups, int n_deltas)
{
    sender s;
    size_t offset, bytes, n_real, n_AB;
    unsigned char *real;
    fc_st_entry e[4] = {0};
    const char *name[FC_NGROUP] = {"backbone", "lora_A", "lora_B", "head"};
    int n = 0;
    open_sender(&s, &tiny, FC_TRAIN_LORA, 3, 4, 0, 0);
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t count = groups >> g & 1 ? fc_params_group(&s.p, (fc_group)g, &offset) : 0;
        if (count)
            e[n++] = (fc_st_entry){name[g], FC_F32, 1, {(int64_t)count}, s.p.p + offset};
    }
    n_AB = fc_params_group(&s.p, FC_GROUP_A, &offset) + fc_params_group(&s.p, FC_GROUP_B, &offset);
    assert_int_equal(n_AB, 3 * 2 * 16 * tiny.width - 3 * 2 * 4 * tiny.width); /* hidden is 2 D */
    float *deltas = fc_arena_alloc(&s.arena, (size_t)n_deltas * n_AB + 1, sizeof *deltas, NULL);
    if (n_deltas)
        e[n++] = (fc_st_entry){"deltas", FC_F32, 1, {(int64_t)((size_t)n_deltas * n_AB)}, deltas};
    assert_int_equal(fc_st_serialize(&real, &n_real, e, n, NULL, 0, NULL), FC_OK);
    assert_int_equal(size_down(&bytes, &s.p, groups, (size_t)n_deltas * n_AB), FC_OK);
    assert_int_equal(bytes, n_real);
    free(real);
    close_sender(&s);
}

/* Known before anybody has trained, whatever the head will say. */
static void test_up_size(void **state)
{
    (void)state;
    static const fc_message_head heads[] = {
        {0},
        {INT_MAX, INT_MAX, INT_MAX, (size_t)1 << 53, INT_MAX, 1L << 53, NAN, -INFINITY, 0, 0},
        {1, 2, 3, 4, 5, 6, -2.2250738585072014e-308, 1.7976931348623157e308, 1.0 / 3, 7}};
    sender s;
    size_t want;
    open_sender(&s, &tiny, FC_TRAIN_LORA, 2, 3, 0.5, 0);
    for (int grams = 0; grams < 2; grams++) {
        const fc_grams *g = grams ? &s.grams : NULL;
        assert_int_equal(size_up(&want, &s.p, B | HEAD, g, NULL, &s.err), FC_OK);
        for (int i = 0; i < 3; i++) {
            fc_message m;
            assert_int_equal(pack_body(&m, &heads[i], &s.p, B | HEAD, g, NULL, &s.err), FC_OK);
            assert_int_equal(m.n, want);
            fc_message_free(&m);
        }
    }
    close_sender(&s);
}

static void test_down_size(void **state)
{
    (void)state;
    check_down(A | HEAD, 0);
    check_down(B | HEAD, 0);
    check_down(A | HEAD, 9);
    check_down(A | B | HEAD, 1);
}

/* --- refusals ---------------------------------------------------------------------------------
 */

static void refuse(sender *s, unsigned groups, fc_grams *grams, const fc_message *m, fc_status want,
                   const char *a, const char *b)
{
    fc_error err = {0};
    fc_message_head got;
    fc_status status = unpack(&got, groups ? &s->p : NULL, groups, grams, NULL, m, &err);
    assert_says(status, &err, want, a, b);
}

static void test_other_tensors_refused(void **state)
{
    (void)state;
    sender s, wide;
    open_sender(&s, &tiny, FC_TRAIN_LORA, 3, 4, 0, 0.5);
    open_sender(&wide, &tiny, FC_TRAIN_LORA, 3, 5, 0, 0.5);
    fc_message m = pack(&s, B | HEAD, &s.grams);
    refuse(&s, A | HEAD, &s.grams, &m, FC_ECKPT, "lora_A", "missing");
    refuse(&s, A | B | HEAD, &s.grams, &m, FC_ECKPT, "lora_A", "missing");
    refuse(&wide, B | HEAD, &s.grams, &m, FC_ECKPT, "head", "another size");
    fc_grams slots = fc_grams_first(&s.grams, s.grams.n - 1);
    refuse(&s, B | HEAD, &slots, &m, FC_ECKPT, "grams", "another size");
    refuse(&s, B, &s.grams, &m, FC_ECKPT, "3 tensors", "expected 2"); /* more than asked for */
    refuse(&s, B | HEAD, NULL, &m, FC_ECKPT, "3 tensors", "expected 2");
    fc_message_free(&m);
    m = pack(&s, B | HEAD, NULL);
    refuse(&s, B | HEAD, &s.grams, &m, FC_ECKPT, "grams", "missing");
    fc_message_free(&m);
    close_sender(&s);
    close_sender(&wide);
}

/* A message of one float with the given metadata. */
static void check_metadata(const char *key, const char *value, const char *a, const char *b)
{
    const char *meta[9][2] = {{"client", "0"},    {"loss_first", "1"}, {"loss_last", "1"},
                              {"loss_mean", "1"}, {"n_classes", "1"},  {"n_samples", "1"},
                              {"round", "0"},     {"steps", "1"},      {"task", "0"}};
    const char *kept[9][2];
    int n = 0;
    for (int i = 0; i < 9; i++) {
        bool this_one = strcmp(meta[i][0], key) == 0;
        if (this_one && !value)
            continue;
        kept[n][0] = meta[i][0];
        kept[n++][1] = this_one ? value : meta[i][1];
    }
    fc_message m;
    fc_message_head got;
    fc_error err = {0};
    assert_int_equal(
        fc_st_serialize(&m.data, &m.n, NULL, 0, (const char *const(*)[2])kept, n, NULL), FC_OK);
    fc_status s = unpack(&got, NULL, 0, NULL, NULL, &m, &err);
    if (a)
        assert_says(s, &err, FC_ECKPT, a, b);
    else
        assert_int_equal(s, FC_OK);
    fc_message_free(&m);
}

static void test_metadata_refused(void **state)
{
    (void)state;
    check_metadata("", NULL, NULL, NULL); /* all there */
    check_metadata("loss_mean", "nan", NULL, NULL);
    check_metadata("client", NULL, "client", "missing");
    check_metadata("steps", "", "steps", "number");
    check_metadata("round", "2x", "round", "2x");
    check_metadata("loss_last", "abc", "loss_last", "abc");
    const char *const integer[] = {"client", "n_classes", "n_samples", "round", "steps", "task"};
    for (int i = 0; i < 6; i++) {
        check_metadata(integer[i], "nan", integer[i], "nan");
        check_metadata(integer[i], "inf", integer[i], "inf");
        check_metadata(integer[i], "-1", integer[i], "-1");
        check_metadata(integer[i], "1e300", integer[i], "1e300");
        check_metadata(integer[i], "0.5", integer[i], "0.5");
    }
}

static void test_damage_refused(void **state)
{
    (void)state;
    sender s;
    fc_message_head got;
    open_sender(&s, &tiny, FC_TRAIN_LORA, 2, 3, 0, 0.5);
    fc_message m = pack(&s, B | HEAD, &s.grams), part = m;
    for (part.n = 0; part.n < m.n; part.n++)
        assert_int_not_equal(unpack(&got, &s.p, B | HEAD, &s.grams, NULL, &part, NULL), FC_OK);
    size_t header = m.n - 4 * numbers(&m);
    for (size_t i = 0; i < header;
         i++) /* refused, or read as another number; never out of bounds */
        for (int bit = 0; bit < 8; bit++) {
            m.data[i] ^= (unsigned char)(1u << bit);
            unpack(&got, &s.p, B | HEAD, &s.grams, NULL, &m, NULL);
            m.data[i] ^= (unsigned char)(1u << bit);
        }
    assert_int_equal(unpack(&got, &s.p, B | HEAD, &s.grams, NULL, &m, NULL), FC_OK);
    fc_message_free(&m);
    close_sender(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fisher),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_no_losses),
        cmocka_unit_test(test_wire_order),
        cmocka_unit_test(test_published_sizes),
        cmocka_unit_test(test_size_of_a_layout),
        cmocka_unit_test(test_up_size),
        cmocka_unit_test(test_down_size),
        cmocka_unit_test(test_other_tensors_refused),
        cmocka_unit_test(test_metadata_refused),
        cmocka_unit_test(test_damage_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
