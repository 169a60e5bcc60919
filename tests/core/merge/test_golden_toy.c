/* The whole LoRM protocol (3 tasks x 3 rounds x 3 clients in the committed files) on a toy network,
 *
 *     y = x + fc2(gelu(fc1(x))),   logits = head(y of token 0),   LoRA on fc1 and fc2,
 *
 * from the functions of core, against every number of the golden files e2e_toy_*. The network is a
 * ViT block of which only the MLP is used: the LoRA pairs of qkv and proj stay zero.
 * Built in float and in double, to 1e-10 of the largest element of a tensor in double, which proves
 * the formulas. Float: 1e-3 (measured: 6e-6, and up to 5e-4 with 40 other seeds and shapes), since
 * AdamW divides by |gradient| and so amplifies the rounding of tiny gradients. */
#include "core/base/threads.h"
#include "core/merge/merge.h"
#include "core/vit/deltas.h"
#include "core/vit/head.h"
#include "core/vit/kernels.h"
#include "core/vit/optim.h"
#include "tests/support/engine.h"
#include "tests/support/golden.h"

#include <string.h>

enum { FC1 = 2, FC2 = 3, SLOTS = 4 };
static const char *const layer_name[SLOTS] = {NULL, NULL, "fc1", "fc2"};

typedef struct toy {
    gold g;
    fc_arena arena;
    fc_vit_shape shape;
    int tokens, rank, clients, cpt, classes; /* cpt: classes per task */
    fc_params w, w_eval;                     /* backbone; the backbone plus deltas */
    fc_params server, client, grad, merged;  /* trained blocks */
    fc_grams grams, sum;
    fc_deltas deltas;
    fc_optim optim;
    /* activations and their gradients, for rows = images * tokens */
    fc_real *h, *a, *y, *dy, *da, *xa1, *xa2;
    fc_real *z, *logits, *dz, *dlogits; /* one row per image */
} toy;

static void check(const double *got, const gold_tensor *want)
{
    const double tol = sizeof(fc_real) == sizeof(float) ? 1e-3 : 1e-10;
    double top = 0;
    for (size_t i = 0; i < want->n; i++)
        top = fmax(top, fabs(want->v[i]));
    for (size_t i = 0; i < want->n; i++)
        fc_close_at(got[i], want->v[i], tol, tol * top, want->name, i, __FILE__, __LINE__);
}

static void check_real(const fc_real *got, const gold_tensor *want)
{
    double *copy = malloc(want->n * sizeof *copy);
    for (size_t i = 0; i < want->n; i++)
        copy[i] = (double)got[i];
    check(copy, want);
    free(copy);
}

/* rows of `cols` logits inside rows of `ld` */
static void check_logits(const fc_real *logits, int ld, const gold_tensor *want)
{
    for (int i = 0; i < want->dim[0]; i++) {
        gold_tensor row = *want;
        row.n = (size_t)want->dim[1];
        row.v += (size_t)i * row.n;
        check_real(logits + i * ld, &row);
    }
}

static void check_gram(const fc_grams *g, int slot, const gold_tensor *dense)
{
    const fc_gram_slot *s = &g->slot[slot];
    gold_tensor want = *dense;
    if (!s->full) {
        want.n = (size_t)s->dim;
        want.v = malloc(want.n * sizeof *want.v);
        for (size_t i = 0; i < want.n; i++)
            want.v[i] = dense->v[i * (want.n + 1)];
    }
    check(g->g + s->offset, &want);
    if (!s->full)
        free(want.v);
}

static void set(fc_real *x, const gold_tensor *t)
{
    for (size_t i = 0; i < t->n; i++)
        x[i] = (fc_real)t->v[i];
}

static fc_real *A_of(const toy *y, const fc_params *train, int slot)
{
    (void)y;
    return train->p + train->spec[fc_train_A(slot)].offset;
}

static fc_real *B_of(const toy *y, const fc_params *train, int slot)
{
    return train->p + train->spec[fc_train_B(&y->shape, slot)].offset;
}

static fc_real *head_W(const fc_params *train)
{
    return train->p + train->spec[fc_train_head(train)].offset;
}

static fc_real *head_b(const fc_params *train)
{
    return train->p + train->spec[fc_train_head(train) + 1].offset;
}

/* ---- the network */

/* Layer fc1 or fc2 of backbone w with the LoRA pair of `train`, times scale. */
static fc_linear layer(const toy *y, const fc_params *w, const fc_params *train, int slot,
                       double scale)
{
    int d_out, d_in, t = fc_slot_tensor(slot);
    fc_slot_dims(&y->shape, slot, &d_out, &d_in);
    return (fc_linear){.d_in = d_in,
                       .d_out = d_out,
                       .rank = y->rank,
                       .W = w->p + w->spec[t].offset,
                       .b = w->p + w->spec[t + 1].offset,
                       .A = A_of(y, train, slot),
                       .B = B_of(y, train, slot),
                       .scale = (fc_real)scale};
}

static fc_linear head(const toy *y, const fc_params *train)
{
    return (fc_linear){
        .d_in = y->shape.width, .d_out = y->classes, .W = head_W(train), .b = head_b(train)};
}

/* Logits of n images x; stats, if not NULL, gets the inputs of fc1, fc2 and the head. */
static void forward(toy *y, const fc_params *w, const fc_params *train, double scale,
                    const fc_real *x, int n, fc_grams *stats)
{
    int rows = n * y->tokens, d = y->shape.width, hidden = y->shape.hidden;
    fc_linear fc1 = layer(y, w, train, FC1, scale), fc2 = layer(y, w, train, FC2, scale);
    fc_linear out = head(y, train);
    fc_linear_forward(&engine, y->h, y->xa1, &fc1, x, NULL, rows);
    fc_gelu_forward(&engine, y->a, y->h, (size_t)rows * (size_t)hidden);
    fc_linear_forward(&engine, y->y, y->xa2, &fc2, y->a, x, rows);
    for (int i = 0; i < n; i++)
        memcpy(y->z + i * d, y->y + i * y->tokens * d, (size_t)d * sizeof *y->z);
    fc_linear_forward(&engine, y->logits, NULL, &out, y->z, NULL, n);
    if (stats) {
        fc_grams_add(stats, FC1, x, rows, d);
        fc_grams_add(stats, FC2, y->a, rows, hidden);
        fc_grams_add(stats, SLOTS, y->y, n, y->tokens * d); /* token 0 of every image */
    }
}

/* Gradients of what is in `groups`, from dlogits, after forward with the same arguments. */
static void backward(toy *y, unsigned groups, const fc_real *x, int n)
{
    int rows = n * y->tokens, d = y->shape.width, hidden = y->shape.hidden;
    bool A = groups >> FC_GROUP_A & 1, B = groups >> FC_GROUP_B & 1;
    fc_linear fc1 = layer(y, &y->w, &y->client, FC1, 1), fc2 = layer(y, &y->w, &y->client, FC2, 1);
    fc_linear out = head(y, &y->client);
    fc_linear_grads g1 = {.A = A ? A_of(y, &y->grad, FC1) : NULL,
                          .B = B ? B_of(y, &y->grad, FC1) : NULL};
    fc_linear_grads g2 = {.A = A ? A_of(y, &y->grad, FC2) : NULL,
                          .B = B ? B_of(y, &y->grad, FC2) : NULL};
    fc_linear_grads go = {.W = head_W(&y->grad), .b = head_b(&y->grad)};
    memset(y->grad.p, 0, y->grad.n * sizeof *y->grad.p);
    fc_linear_backward(&engine, y->dz, &go, &out, y->dlogits, y->z, NULL, n);
    memset(y->dy, 0, (size_t)rows * (size_t)d * sizeof *y->dy);
    for (int i = 0; i < n; i++)
        memcpy(y->dy + i * y->tokens * d, y->dz + i * d, (size_t)d * sizeof *y->dz);
    fc_linear_backward(&engine, y->da, &g2, &fc2, y->dy, y->a, y->xa2, rows);
    fc_gelu_backward(&engine, y->da, y->h, (size_t)rows * (size_t)hidden);
    fc_linear_backward(&engine, NULL, &g1, &fc1, y->da, x, y->xa1, rows);
}

/* ---- the protocol */

static fc_real *real(toy *y, int a, int b)
{
    fc_real *p = fc_arena_alloc(&y->arena, (size_t)a * (size_t)b, sizeof *p, NULL);
    assert_non_null(p);
    return p;
}

static void set_up(toy *y, const char *name)
{
    *y = (toy){.g = gold_open(name)};
    const gold *g = &y->g;
    y->shape = (fc_vit_shape){.image = 1, .patch = 1, .depth = 1, .heads = 1};
    y->shape.width = gold_int(g, "param.d");
    y->shape.hidden = gold_int(g, "param.hidden");
    y->tokens = gold_int(g, "param.tokens");
    y->rank = gold_int(g, "param.r");
    y->clients = gold_int(g, "param.clients");
    y->cpt = gold_int(g, "param.classes_per_task");
    int tasks = gold_int(g, "param.tasks");
    y->classes = y->cpt * tasks;

    fc_params layout;
    fc_vit_layout(&layout, &y->shape, &y->arena, NULL);
    fc_params_alloc(&y->w, &layout, &y->arena, NULL);
    fc_params_alloc(&y->w_eval, &layout, &y->arena, NULL);
    const char *const from[2][2] = {{"w1", "b1"}, {"w2", "b2"}};
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            set(y->w.p + y->w.spec[fc_slot_tensor(FC1 + i) + j].offset,
                gold_get(g, "in.base.%s", from[i][j]));
    fc_train_layout(&layout, &y->shape, FC_TRAIN_LORA, y->rank, y->classes, &y->arena, NULL);
    fc_params *const block[] = {&y->server, &y->client, &y->grad, &y->merged};
    for (int i = 0; i < 4; i++)
        fc_params_alloc(block[i], &layout, &y->arena, NULL);
    set(head_W(&y->server), gold_get(g, "in.base.hw"));
    set(head_b(&y->server), gold_get(g, "in.base.hb"));

    int dims[SLOTS + 1], d_out;
    double alpha[SLOTS + 1];
    for (int i = 0; i < SLOTS; i++) {
        fc_slot_dims(&y->shape, i, &d_out, &dims[i]);
        alpha[i] = gold_scalar(g, "param.alpha_backbone");
    }
    dims[SLOTS] = y->shape.width;
    alpha[SLOTS] = gold_scalar(g, "param.alpha_head");
    fc_grams_init(&y->grams, SLOTS + 1, dims, alpha, &y->arena, NULL);
    fc_grams_init(&y->sum, SLOTS + 1, dims, alpha, &y->arena, NULL);
    fc_deltas_init(&y->deltas, &y->shape, y->rank, tasks, &y->grams, &y->arena, NULL);

    int n = 0; /* most images of a client */
    for (int t = 0; t < tasks; t++)
        for (int k = 0; k < y->clients; k++) {
            int here = gold_get(g, "in.data.%d.%d.x", t, k)->dim[0];
            n = here > n ? here : n;
        }
    int rows = n * y->tokens, d = y->shape.width, hidden = y->shape.hidden;
    y->h = real(y, rows, hidden);
    y->a = real(y, rows, hidden);
    y->da = real(y, rows, hidden);
    y->y = real(y, rows, d);
    y->dy = real(y, rows, d);
    y->xa1 = real(y, rows, y->rank);
    y->xa2 = real(y, rows, y->rank);
    y->z = real(y, n, d);
    y->dz = real(y, n, d);
    y->logits = real(y, n, y->classes);
    y->dlogits = real(y, n, y->classes);
    fc_optim_config unset = {.kind = FC_ADAMW};
    fc_optim_init(&y->optim, &unset, &y->server, &y->arena, NULL);
}

/* Images of a client, and their number. */
static fc_real *images(toy *y, int t, int k, int *n)
{
    const gold_tensor *x = gold_get(&y->g, "in.data.%d.%d.x", t, k);
    fc_real *p = real(y, 1, (int)x->n);
    set(p, x);
    *n = x->dim[0];
    return p;
}

static fc_optim_config optimiser(const toy *y, unsigned groups)
{
    fc_optim_config c = {.kind = FC_ADAMW, .groups = groups};
    c.lr[FC_GROUP_A] = gold_scalar(&y->g, "param.lr_A");
    c.lr[FC_GROUP_B] = gold_scalar(&y->g, "param.lr_B");
    c.lr[FC_GROUP_HEAD] = gold_scalar(&y->g, "param.lr_head");
    c.weight_decay = gold_scalar(&y->g, "param.wd");
    c.beta1 = 0.9;
    c.beta2 = 0.999;
    c.eps = 1e-8;
    return c;
}

/* The mean of the deltas of tasks 0 .. t: backbone into w_eval; scale of the current B A. */
static double mixed(toy *y, int t)
{
    memcpy(y->w_eval.p, y->w.p, y->w.n * sizeof *y->w.p);
    fc_deltas_add_sum(y->w_eval.p, &y->deltas, t, 1.0 / (t + 1));
    return 1.0 / (t + 1);
}

static void finished_grams(toy *y, const fc_params *train, int t, const fc_real *x, int n)
{
    fc_grams_zero(&y->grams);
    forward(y, &y->w_eval, train, mixed(y, t), x, n, &y->grams);
    fc_grams_finish(&y->grams);
}

/* Client k trains from the server's block: all its images are one batch. */
static void train_client(toy *y, unsigned groups, int t, int r, int k, const fc_real *x, int n)
{
    const gold_tensor *labels = gold_get(&y->g, "in.data.%d.%d.y", t, k);
    const gold_tensor *losses = gold_get(&y->g, "out.tasks.%d.rounds.%d.losses", t, r);
    int label[64], epochs = gold_int(&y->g, "param.epochs"), lo = t * y->cpt;
    assert_true(n <= 64);
    for (int i = 0; i < n; i++)
        label[i] = (int)labels->v[i];
    memcpy(y->client.p, y->server.p, y->server.n * sizeof *y->server.p);
    fc_optim_config c = optimiser(y, groups);
    fc_optim_reset(&y->optim, &c, &y->client);
    for (int e = 0; e < epochs; e++) {
        forward(y, &y->w, &y->client, 1, x, n, NULL);
        gold_tensor want = *losses;
        want.v += k * epochs + e;
        want.n = 1;
        double loss = fc_ce(y->dlogits, y->logits, label, n, y->classes, lo, lo + y->cpt, n) / n;
        check(&loss, &want);
        backward(y, groups, x, n);
        fc_optim_step(&y->optim, &y->client, y->grad.p, 1, 0);
    }
}

static void check_block(const toy *y, const fc_params *p, int t, int r, const char *who)
{
    const gold *g = &y->g;
    for (int i = FC1; i <= FC2; i++) {
        const char *l = layer_name[i];
        check_real(A_of(y, p, i), gold_get(g, "out.tasks.%d.rounds.%d.%sA.%s", t, r, who, l));
        check_real(B_of(y, p, i), gold_get(g, "out.tasks.%d.rounds.%d.%sB.%s", t, r, who, l));
    }
    check_real(head_W(p), gold_get(g, "out.tasks.%d.rounds.%d.%shead_w", t, r, who));
}

static void check_client0(const toy *y, int t, int r)
{
    check_block(y, &y->client, t, r, "client0.");
    for (int i = FC1; i <= FC2; i++)
        check_gram(&y->grams, i,
                   gold_get(&y->g, "out.tasks.%d.rounds.%d.client0.gram.%s", t, r, layer_name[i]));
    check_gram(&y->grams, SLOTS, gold_get(&y->g, "out.tasks.%d.rounds.%d.client0.gram.head", t, r));
}

static void run_round(toy *y, int t, int r)
{
    unsigned groups = 1u << FC_GROUP_HEAD | 1u << (r % 2 == 0 ? FC_GROUP_B : FC_GROUP_A);
    int slot_A[SLOTS], slot_B[SLOTS], n;
    for (int i = 0; i < SLOTS; i++) {
        slot_A[i] = fc_train_A(i);
        slot_B[i] = fc_train_B(&y->shape, i);
    }
    fc_merge_job job = {.base = &y->server,
                        .groups = groups,
                        .slots = SLOTS,
                        .slot_A = slot_A,
                        .slot_B = slot_B,
                        .head_W = fc_train_head(&y->server),
                        .shape = &y->grams,
                        .weighted = true};
    const fc_merge_method *lorm = fc_merge_find("lorm");
    fc_arena arena = {0};
    void *state;
    assert_int_equal(lorm->begin(&state, &job, &arena, NULL), FC_OK);
    for (int k = 0; k < y->clients; k++) {
        fc_mark mark = fc_arena_mark(&y->arena);
        fc_real *x = images(y, t, k, &n);
        train_client(y, groups, t, r, k, x, n);
        finished_grams(y, &y->client, t, x, n);
        if (k == 0)
            check_client0(y, t, r);
        fc_update u = {k, (size_t)n, &y->client, &y->grams, NULL};
        assert_int_equal(lorm->fold(state, &job, &u, NULL), FC_OK);
        fc_arena_release(&y->arena, mark);
    }
    assert_int_equal(lorm->finish(state, &job, &y->merged, NULL), FC_OK);
    fc_arena_free(&arena);
    memcpy(y->server.p, y->merged.p, y->server.n * sizeof *y->server.p);
    check_block(y, &y->server, t, r, "");
    check_real(head_b(&y->server), gold_get(&y->g, "out.tasks.%d.rounds.%d.head_b", t, r));

    fc_real *x = images(y, t, 0, &n);
    forward(y, &y->w_eval, &y->server, mixed(y, t), x, n, NULL);
    check_logits(y->logits, y->classes,
                 gold_get(&y->g, "out.tasks.%d.rounds.%d.eval_logits_client0", t, r));
}

static void end_task(toy *y, int t)
{
    const gold *g = &y->g;
    fc_grams_zero(&y->sum);
    int n;
    for (int k = 0; k < y->clients; k++) {
        fc_real *x = images(y, t, k, &n);
        finished_grams(y, &y->server, t, x, n);
        fc_grams_accumulate(&y->sum, &y->grams);
    }
    for (int i = FC1; i <= FC2; i++)
        check_gram(&y->sum, i, gold_get(g, "out.tasks.%d.end_task_gram.%s", t, layer_name[i]));
    assert_int_equal(fc_deltas_push(&y->deltas, &y->server, &y->sum, NULL), FC_OK);
    memcpy(y->w_eval.p, y->w.p, y->w.n * sizeof *y->w.p);
    if (t == 0)
        fc_deltas_add_sum(y->w_eval.p, &y->deltas, 1, 1);
    else
        assert_int_equal(fc_deltas_add_gram_merge(y->w_eval.p, &y->deltas, NULL), FC_OK);
    for (int i = FC1; i <= FC2; i++)
        check_real(y->w_eval.p + y->w_eval.spec[fc_slot_tensor(i)].offset,
                   gold_get(g, "out.tasks.%d.final.%s", t, layer_name[i]));
    char name[64];
    snprintf(name, sizeof name, "out.tasks.%d.final_logits", t);
    for (int u = 0; u <= t; u++) {
        fc_real *x = images(y, u, 0, &n);
        forward(y, &y->w_eval, &y->server, 0, x, n, NULL);
        gold_tensor want = gold_item(g, name, u);
        check_logits(y->logits, y->classes, &want);
    }
}

static void run(const char *name)
{
    toy y;
    set_up(&y, name);
    for (int t = 0; t < gold_int(&y.g, "param.tasks"); t++) {
        for (int i = FC1; i <= FC2; i++) {
            set(A_of(&y, &y.server, i), gold_get(&y.g, "in.A_init.%d.%s", t, layer_name[i]));
            const fc_spec *B = &y.server.spec[fc_train_B(&y.shape, i)];
            memset(B_of(&y, &y.server, i), 0, (size_t)B->rows * (size_t)B->cols * sizeof(fc_real));
        }
        for (int r = 0; r < gold_int(&y.g, "param.rounds"); r++)
            run_round(&y, t, r);
        end_task(&y, t);
    }
    fc_arena_free(&y.arena);
    gold_close(&y.g);
}

static void test_diagonal_grams(void **state)
{
    (void)state;
    run("e2e_toy_diag");
}

static void test_half_grams(void **state)
{
    (void)state;
    run("e2e_toy_half");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diagonal_grams),
        cmocka_unit_test(test_half_grams),
    };
    fc_threads_init(2, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
