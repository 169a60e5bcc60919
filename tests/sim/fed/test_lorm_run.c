/* The server's state machine against an oracle that forms every matrix densely, in double, by the
 * formulas of the papers: what clients train on, the model of the Grams, the merge of a round, the
 * model that is evaluated, the merge at the end of a task. Only local training itself is shared. */
#include "core/vit/head.h"
#include "sim/fed/cohort.h"
#include "sim/fed/down.h"
#include "sim/fed/server.h"
#include "sim/run/loop.h"
#include "sim/run/setup.h"
#include "tests/support/tmp.h"

enum { CLIENTS = 3, LAYERS = 8, ROUNDS = 3, SETTINGS = 8 };
enum { BACKBONE = 1u << FC_GROUP_BACKBONE, A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B };
enum { HEAD = 1u << FC_GROUP_HEAD };

static const char base_config[] =
    "run: {seed: 3, threads: 2}\n"
    "data: {name: synth, synth_classes: 6, synth_train: 12, synth_test: 9, synth_size: 8}\n"
    "tasks: {count: 3}\n"
    "fed: {clients: 3, rounds: 3, beta: 2, min_samples: 3}\n"
    "backbone: {patch: 4, width: 16, depth: 2, heads: 2}\n"
    "train: {epochs: 1, batch: 8, lr: 0.01, lr_A: 0.02, lr_B: 0.03, lr_backbone: 0.002,\n"
    "        lora_rank: 2}\n";

/* How finished tasks enter a model: not, their sum, their mean, or the mean of all tasks with the
 * current one as one of them. */
typedef enum share { NONE, SUM, MEAN, MEAN_OF_ALL } share;

typedef struct variant {
    const char *set[SETTINGS]; /* section.key=value */
    share train, eval, gram;
    bool grams;
    double alpha_backbone, alpha_head;
    unsigned groups[2]; /* trained in even and odd rounds */
    bool sends_deltas;  /* the clients need the finished tasks */
    bool strangers;     /* participants change from round to round */
    int first_eval;     /* first round of a task with a test */
} variant;

/* An adapted layer: offsets of its weight in the backbone and of A and B in a trained block. */
typedef struct layer {
    size_t w, A, B;
    int d_out, d_in;
    double *P, *Q; /* running sums over tasks, (d_out, d_in) and (d_in, d_in) */
} layer;

typedef struct oracle {
    const variant *v;
    fc_tmp tmp;
    fc_config cfg;
    fc_setup setup;
    fc_run run;
    fc_arena arena;
    fc_error err;
    fc_crew crew; /* of one thread */
    fc_trainer *trainer;
    int layers, rank;
    layer layer[LAYERS];
    size_t head_w, head_b; /* in a trained block */
    double *deltas;        /* sum of the finished tasks' B A, in the layout of the backbone */
    fc_real *w;            /* a dense model */
    fc_params before, client[CLIENTS];
    fc_grams gram[CLIENTS]; /* full, off-diagonals not scaled yet */
    size_t samples[CLIENTS];
    int id[CLIENTS], n; /* clients whose updates are merged */
    int idle, partial;  /* rounds without a client, and with some of them */
    double *want;       /* trained block after the round */
    long steps;
} oracle;

#define ok(o, call) assert_int_equal_or_say((o), (call), __LINE__)
static void assert_int_equal_or_say(const oracle *o, fc_status s, int line)
{
    if (s != FC_OK)
        print_error("%s:%d: %s\n", __FILE__, line, o->err.msg);
    assert_int_equal(s, FC_OK);
}

static void *get(oracle *o, size_t n, size_t size)
{
    void *p = fc_arena_alloc(&o->arena, n, size, &o->err);
    assert_non_null(p);
    return p;
}

/* --- dense matrices ---------------------------------------------------------------------------
 */

/* C (m, n) += A (m, k) B (k, n) */
static void add_product(double *c, const double *a, const double *b, int m, int k, int n)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            for (int l = 0; l < k; l++)
                c[i * n + j] += a[i * k + l] * b[l * n + j];
}

/* x (n, n) <- its inverse, by Gauss and Jordan with row exchanges. */
static void invert(oracle *o, double *x, int n)
{
    fc_mark mark = fc_arena_mark(&o->arena);
    int m = 2 * n;
    double *t = get(o, (size_t)n * (size_t)m, sizeof *t);
    for (int i = 0; i < n; i++) {
        memcpy(t + i * m, x + i * n, (size_t)n * sizeof *t);
        t[i * m + n + i] = 1;
    }
    for (int c = 0; c < n; c++) {
        int best = c;
        for (int i = c + 1; i < n; i++)
            best = fabs(t[i * m + c]) > fabs(t[best * m + c]) ? i : best;
        assert_true(t[best * m + c] != 0);
        for (int j = 0; j < m; j++) {
            double swap = t[c * m + j];
            t[c * m + j] = t[best * m + j];
            t[best * m + j] = swap;
        }
        for (int j = m; j-- > c;)
            t[c * m + j] /= t[c * m + c];
        for (int i = 0; i < n; i++)
            for (int j = m; i != c && j-- > c;)
                t[i * m + j] -= t[i * m + c] * t[c * m + j];
    }
    for (int i = 0; i < n; i++)
        memcpy(x + i * n, t + i * m + n, (size_t)n * sizeof *x);
    fc_arena_release(&o->arena, mark);
}

static double *to_double(oracle *o, const fc_real *x, int n)
{
    double *y = get(o, (size_t)n, sizeof *y);
    for (int i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}

static double *transposed(oracle *o, const double *x, int rows, int cols)
{
    double *y = get(o, (size_t)rows * (size_t)cols, sizeof *y);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            y[j * rows + i] = x[i * cols + j];
    return y;
}

/* out (d_out, d_in) += c B A of layer l in the trained block p */
static void add_delta(oracle *o, double *out, const layer *l, const fc_params *p, double c)
{
    for (int i = 0; i < l->d_out; i++)
        for (int j = 0; j < l->d_in; j++)
            for (int k = 0; k < o->rank; k++)
                out[i * l->d_in + j] += c * p->p[l->B + (size_t)(i * o->rank + k)] *
                                        p->p[l->A + (size_t)(k * l->d_in + j)];
}

/* --- models -----------------------------------------------------------------------------------
 */

/* o->w = W0 + the share of the finished tasks + now * (the trained block's B A at its share). */
static void dense_model(oracle *o, share s, const fc_params *p)
{
    int t = o->run.state.deltas.tasks;
    double old = s == SUM           ? 1
                 : s == MEAN        ? 1.0 / (t ? t : 1)
                 : s == MEAN_OF_ALL ? 1.0 / (t + 1)
                                    : 0;
    double now = !p ? 0 : s == MEAN_OF_ALL ? 1.0 / (t + 1) : 1;
    fc_mark mark = fc_arena_mark(&o->arena);
    double *w = to_double(o, o->run.setup->w0.p, (int)o->run.setup->w0.n);
    for (size_t i = 0; i < o->run.setup->w0.n; i++)
        w[i] += old * o->deltas[i];
    for (int i = 0; now != 0 && i < o->layers; i++)
        add_delta(o, w + o->layer[i].w, &o->layer[i], p, now);
    for (size_t i = 0; i < o->run.setup->w0.n; i++)
        o->w[i] = (fc_real)w[i];
    fc_arena_release(&o->arena, mark);
}

/* o->w, or the backbone that p has itself, with p's head and nothing else. */
static fc_model view(const oracle *o, const fc_params *p)
{
    bool own = o->run.setup->net.mode == FC_TRAIN_FULL;
    return (fc_model){.shape = &o->run.setup->net.shape,
                      .classes = o->run.setup->net.classes,
                      .w = own ? p->p : o->w,
                      .scale = 1,
                      .head_w = p->p + o->head_w,
                      .head_b = p->p + o->head_b};
}

/* Counts of the test images under o->w and their mean loss, one image at a time, against
 * r->state.eval. */
static void check_counts(oracle *o, int t)
{
    fc_run *r = &o->run;
    fc_model m = view(o, &r->state.global);
    fc_worker *w = &o->crew.worker[0];
    double loss = 0, images = 0;
    assert_int_equal(r->state.eval.seen, t + 1);
    for (int s = 0; s <= t; s++) {
        long correct = 0, masked = 0;
        for (size_t i = 0; i < r->setup->tasks.n_test[s]; i++) {
            uint32_t sample = r->setup->tasks.test[s][i];
            int best = 0, own = r->setup->tasks.first[s],
                label = r->setup->tasks.logit[r->setup->data.test.label[sample]];
            fc_worker_load(w, &r->setup->net, &r->setup->data.test, &sample, 1, (fc_key){0}, -1);
            fc_vit_forward(w->acts, &m, w->x, 1, NULL, NULL);
            const fc_real *z = fc_acts_logits(w->acts);
            for (int c = 0; c < r->setup->tasks.first[t + 1]; c++)
                best = z[c] > z[best] ? c : best;
            for (int c = own; c < r->setup->tasks.first[s + 1]; c++)
                own = z[c] > z[own] ? c : own;
            correct += best == label;
            masked += own == label;
            double sum = 0;
            for (int c = 0; c < r->setup->tasks.first[t + 1]; c++)
                sum += exp((double)(z[c] - z[label]));
            loss += log(sum);
            images++;
        }
        assert_int_equal(r->state.eval.correct[s], correct);
        assert_int_equal(r->state.eval.masked[s], masked);
        assert_int_equal(r->state.eval.total[s], r->setup->tasks.n_test[s]);
    }
    assert_close(r->state.eval.loss, loss / images, 1e-4, 0);
}

/* --- clients ----------------------------------------------------------------------------------
 */

static fc_key key_of(const oracle *o, int t, int round, int client)
{
    return (fc_key){.seed = fc_seed(&o->cfg, o->cfg.seed.train),
                    .task = (uint32_t)t,
                    .round = (uint32_t)round,
                    .client = (uint32_t)client};
}

static const uint32_t *samples_of(const oracle *o, int t, int client, size_t *n)
{
    const fc_partition *p = &o->run.setup->partition;
    *n = p->start[t][client + 1] - p->start[t][client];
    return p->sample[t] + p->start[t][client];
}

/* Participant i: trained from o->before on o->w. */
static void train(oracle *o, int i, int t, int round)
{
    const fc_tasks *k = &o->run.setup->tasks;
    fc_fit_result result;
    fc_fit f = {.w = o->w,
                .groups = o->v->groups[round % 2],
                .optim = {.kind = FC_ADAMW,
                          .lr = {[FC_GROUP_BACKBONE] = 0.002,
                                 [FC_GROUP_A] = 0.02,
                                 [FC_GROUP_B] = 0.03,
                                 [FC_GROUP_HEAD] = 0.01},
                          .groups = o->v->groups[round % 2],
                          .beta1 = 0.9,
                          .beta2 = 0.999,
                          .eps = 1e-8},
                .epochs = 1,
                .batch = 8,
                .lo = k->first[t],
                .hi = k->first[t + 1],
                .key = key_of(o, t, round, o->id[i]),
                .what = "oracle"};
    f.sample = samples_of(o, t, o->id[i], &f.n);
    memcpy(o->trainer->local.p, o->before.p, o->before.n * sizeof *o->before.p);
    ok(o, fc_fit_run(&result, o->trainer, &f, &o->err));
    memcpy(o->client[i].p, o->trainer->local.p, o->before.n * sizeof *o->before.p);
    o->samples[i] = f.n;
    o->steps += result.steps;
}

/* Full Grams of participant i under the dense model of p, then their off-diagonals times alpha. */
static void take_grams(oracle *o, int i, int t, int round, const fc_params *p)
{
    size_t n;
    const uint32_t *sample = samples_of(o, t, o->id[i], &n);
    fc_grams *g = &o->gram[i];
    dense_model(o, o->v->gram, p);
    fc_model m = view(o, p);
    ok(o,
       fc_fit_grams(g, o->trainer, &m, sample, n, 1, key_of(o, t, round, o->id[i]), NULL, &o->err));
    for (int s = 0; s < g->n; s++)
        for (int r = 0; r < g->slot[s].dim; r++)
            for (int c = 0; c < g->slot[s].dim; c++)
                g->g[g->slot[s].offset + (size_t)(r * g->slot[s].dim + c)] *=
                    r == c          ? 1
                    : s < o->layers ? o->v->alpha_backbone
                                    : o->v->alpha_head;
}

static const double *gram_of(const oracle *o, int i, int slot)
{
    return o->gram[i].g + o->gram[i].slot[slot].offset;
}

/* --- merges -----------------------------------------------------------------------------------
 */

/* o->want at X: (sum_i X_i M_i) (sum_i M_i)^-1, X (rows, cols); M_i = G_i, or A G_i A^T with the A
 * that all participants share. */
static void merge_by_grams(oracle *o, size_t X, int rows, int cols, int slot, const layer *common)
{
    fc_mark mark = fc_arena_mark(&o->arena);
    double *num = get(o, (size_t)(rows * cols), sizeof *num);
    double *den = get(o, (size_t)(cols * cols), sizeof *den);
    double *out = get(o, (size_t)(rows * cols), sizeof *out);
    for (int i = 0; i < o->n; i++) {
        const double *M = gram_of(o, i, slot);
        if (common) {
            int d = common->d_in;
            double *a = to_double(o, o->before.p + common->A, cols * d);
            double *AG = get(o, (size_t)(cols * d), sizeof *AG);
            double *S = get(o, (size_t)(cols * cols), sizeof *S);
            add_product(AG, a, M, cols, d, d);
            add_product(S, AG, transposed(o, a, cols, d), cols, d, cols);
            M = S;
        }
        add_product(num, to_double(o, o->client[i].p + X, rows * cols), M, rows, cols, cols);
        for (int j = 0; j < cols * cols; j++)
            den[j] += M[j];
    }
    invert(o, den, cols);
    add_product(out, num, den, rows, cols, cols);
    memcpy(o->want + X, out, (size_t)(rows * cols) * sizeof *out);
    fc_arena_release(&o->arena, mark);
}

static void average(oracle *o, const fc_spec *s)
{
    double N = 0;
    for (int i = 0; i < o->n; i++)
        N += (double)o->samples[i];
    for (size_t j = s->offset; j < s->offset + (size_t)s->rows * (size_t)s->cols; j++) {
        o->want[j] = 0;
        for (int i = 0; i < o->n; i++)
            o->want[j] += (double)o->samples[i] / N * o->client[i].p[j];
    }
}

static void merge(oracle *o, unsigned groups)
{
    const fc_params *p = &o->before;
    for (size_t j = 0; j < p->n; j++)
        o->want[j] = p->p[j];
    for (int i = 0; i < p->nspec; i++)
        if (groups >> p->spec[i].group & 1)
            average(o, &p->spec[i]);
    if (!o->v->grams)
        return;
    for (int i = 0; i < o->layers; i++) {
        layer *l = &o->layer[i];
        if (groups & A)
            merge_by_grams(o, l->A, o->rank, l->d_in, i, NULL);
        else
            merge_by_grams(o, l->B, l->d_out, o->rank, i, l);
    }
    merge_by_grams(o, o->head_w, o->run.setup->net.classes, o->run.setup->net.shape.width,
                   o->layers, NULL);
}

/* --- one run ----------------------------------------------------------------------------------
 */

/* Numbers that the server sends to one client: at the start of a task the new A, the head and,
 * where its models hold them, the finished tasks; later what was merged last, the head only for
 * training. A client that may be new in a round gets all. */
static void check_bytes_down(oracle *o, int t, int round)
{
    const fc_params *p = &o->run.state.global;
    bool lora = o->layers > 0, all = o->v->strangers && round > 0;
    unsigned groups = round == 0 ? o->v->groups[0] : o->v->groups[(round - 1) % 2];
    if (lora && (round == 0 || all))
        groups = A | HEAD | (all ? B : 0);
    if (round == ROUNDS)
        groups &= ~HEAD;
    size_t bytes, n = 0, offset, n_AB = 0;
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t count = fc_params_group(p, (fc_group)g, &offset);
        n += groups >> g & 1 ? count : 0;
        n_AB += g == FC_GROUP_A || g == FC_GROUP_B ? count : 0;
    }
    if (o->v->sends_deltas && (round == 0 || all))
        n += (size_t)t * n_AB;
    ok(o, fc_down_size(&bytes, &o->setup, t, round, &o->err));
    assert_in_range(bytes, 4 * n + 8, 4 * n + 400);
}

/* The clients whose updates are merged. */
static void find_clients(oracle *o, int t, int round)
{
    fc_run *r = &o->run;
    fc_cohort c;
    const fc_work work = fc_plan_work(r->setup, t, round);
    ok(o, fc_cohort_init(&c, r->setup, &o->arena, &o->err));
    ok(o, fc_cohort_draw(&c, r->setup, &work, r->state.sim_s, &o->err));
    o->n = 0;
    for (int i = 0; i < c.n; i++)
        if (c.member[i].fate == FC_FATE_OK)
            o->id[o->n++] = c.member[i].client;
    o->idle += o->n == 0;
    o->partial += o->n > 0 && o->n < CLIENTS;
}

static void as_before(oracle *o)
{
    for (size_t i = 0; i < o->before.n; i++)
        o->want[i] = o->before.p[i];
}

static void check_round(oracle *o, int t, int round)
{
    fc_run *r = &o->run;
    unsigned groups = o->v->groups[round % 2];
    memcpy(o->before.p, r->state.global.p, r->state.global.n * sizeof *r->state.global.p);
    find_clients(o, t, round);
    for (int i = 0; i < o->n; i++) {
        dense_model(o, o->v->train, NULL);
        train(o, i, t, round);
        if (o->v->grams)
            take_grams(o, i, t, round, &o->client[i]);
    }
    if (o->n)
        merge(o, groups);
    else
        as_before(o);
    check_bytes_down(o, t, round);

    ok(o, fc_server_round(r, t, round, &o->err));
    assert_int_equal(r->state.at.steps, o->steps);
    for (int i = 0; i < r->state.global.nspec; i++) {
        const fc_spec *s = &r->state.global.spec[i];
        size_t n = (size_t)s->rows * (size_t)s->cols;
        if (groups >> s->group & 1)
            assert_all_close(r->state.global.p + s->offset, o->want + s->offset, n, 1e-4, 1e-5);
        else
            assert_memory_equal(r->state.global.p + s->offset, o->before.p + s->offset,
                                n * sizeof(fc_real));
    }
    if (round < o->v->first_eval) {
        assert_int_equal(r->state.eval.seen, t);
        return;
    }
    dense_model(o, o->v->eval, o->layers ? &r->state.global : NULL);
    if (o->layers)
        assert_all_close(r->scratch.w_scratch, o->w, r->setup->w0.n, 1e-6, 1e-6);
    check_counts(o, t);
}

/* o->w = W0 + P Q^-1, P = sum of (B A) G and Q = sum of G over tasks; after the first W0 + B A. */
static void gram_merge_of_tasks(oracle *o, int t)
{
    fc_run *r = &o->run;
    fc_mark mark = fc_arena_mark(&o->arena);
    for (int i = 0; i < o->n; i++)
        take_grams(o, i, t, ROUNDS, &r->state.global);
    memcpy(o->w, r->setup->w0.p, r->setup->w0.n * sizeof *o->w);
    for (int i = 0; i < o->layers; i++) {
        layer *l = &o->layer[i];
        int d = l->d_in;
        double *delta = get(o, (size_t)(l->d_out * d), sizeof *delta);
        double *G = get(o, (size_t)(d * d), sizeof *G), *Q = get(o, (size_t)(d * d), sizeof *Q);
        double *sum = get(o, (size_t)(l->d_out * d), sizeof *sum);
        add_delta(o, delta, l, &r->state.global, 1);
        for (int k = 0; k < o->n; k++)
            for (int j = 0; j < d * d; j++)
                G[j] += gram_of(o, k, i)[j];
        add_product(l->P, delta, G, l->d_out, d, d);
        for (int j = 0; j < d * d; j++)
            Q[j] = l->Q[j] += G[j];
        invert(o, Q, d);
        add_product(sum, l->P, Q, l->d_out, d, d);
        for (int j = 0; j < l->d_out * d; j++)
            o->w[l->w + (size_t)j] += (fc_real)(t ? sum[j] : delta[j]);
    }
    fc_arena_release(&o->arena, mark);
}

static void check_end_of_task(oracle *o, int t)
{
    fc_run *r = &o->run;
    long before = r->state.eval.correct[0];
    if (o->v->grams) {
        find_clients(o, t, ROUNDS);
        gram_merge_of_tasks(o, t);
        check_bytes_down(o, t, ROUNDS);
    }
    for (int i = 0; i < o->layers; i++)
        add_delta(o, o->deltas + o->layer[i].w, &o->layer[i], &r->state.global, 1);
    ok(o, fc_server_end_task(r, t, &o->err));
    if (o->v->grams) {
        assert_all_close(r->scratch.w_scratch, o->w, r->setup->w0.n, 1e-5, 1e-6);
        check_counts(o, t);
    } else {
        assert_int_equal(r->state.eval.correct[0], before); /* the last round's model stays */
    }
    assert_int_equal(r->state.acc.done, t + 1);
    for (int s = 0; s <= t; s++)
        assert_int_equal(r->state.acc.correct[t * r->state.acc.ld + s], r->state.eval.correct[s]);
}

/* A fresh A within its bounds, B = 0, the head as it was. */
static void check_begin_of_task(oracle *o, int t)
{
    fc_run *r = &o->run;
    memcpy(o->before.p, r->state.global.p, r->state.global.n * sizeof *r->state.global.p);
    ok(o, fc_server_begin_task(r, t, &o->err));
    fc_server_prepare_task(r);
    for (int i = 0; i < o->layers; i++) {
        const layer *l = &o->layer[i];
        int same = 0, outside = 0, n = o->rank * l->d_in;
        for (size_t j = l->A; j < l->A + (size_t)n; j++) {
            same += r->state.global.p[j] == o->before.p[j];
            outside += fabs((double)r->state.global.p[j]) > 1 / sqrt(l->d_in);
        }
        assert_int_equal(same, 0);
        assert_int_equal(outside, 0);
        for (int j = 0; j < l->d_out * o->rank; j++)
            assert_true(r->state.global.p[l->B + (size_t)j] == 0);
    }
    assert_memory_equal(r->state.global.p + o->head_w, o->before.p + o->head_w,
                        (r->state.global.n - o->head_w) * sizeof(fc_real));
}

/* The adapted layers, found by their names. */
static void find_layers(oracle *o)
{
    const fc_params *w = &o->run.setup->w0, *p = &o->run.state.global;
    for (int i = 0; i < w->nspec; i++) {
        char name[2][FC_NAME_MAX];
        int stem = (int)strlen(w->spec[i].name) - (int)strlen("weight");
        snprintf(name[0], FC_NAME_MAX, "%.*slora_A", stem > 0 ? stem : 0, w->spec[i].name);
        snprintf(name[1], FC_NAME_MAX, "%.*slora_B", stem > 0 ? stem : 0, w->spec[i].name);
        const fc_spec *a = fc_params_find(p, name[0]), *b = fc_params_find(p, name[1]);
        if (!a || strcmp(w->spec[i].name + stem, "weight") != 0)
            continue;
        assert_non_null(b);
        assert_true(o->layers < LAYERS);
        layer *l = &o->layer[o->layers++];
        *l = (layer){w->spec[i].offset, a->offset, b->offset, b->rows, a->cols, NULL, NULL};
        l->P = get(o, (size_t)(l->d_out * l->d_in), sizeof *l->P);
        l->Q = get(o, (size_t)(l->d_in * l->d_in), sizeof *l->Q);
        o->rank = a->rows;
    }
    assert_int_equal(o->layers, o->run.setup->net.mode == FC_TRAIN_LORA ? LAYERS : 0);
    o->head_w = fc_params_find(p, "head.weight")->offset;
    o->head_b = fc_params_find(p, "head.bias")->offset;
}

static void open_oracle(oracle *o, const variant *v)
{
    *o = (oracle){.v = v, .tmp = fc_tmp_new()};
    fc_run *r = &o->run;
    char *set[SETTINGS];
    int n = 0, dim[LAYERS + 1];
    double alpha[LAYERS + 1];
    for (; n < SETTINGS && v->set[n]; n++)
        set[n] = (char *)(uintptr_t)v->set[n];
    const char *path = fc_tmp_put(&o->tmp, "config.yaml", base_config, strlen(base_config));
    ok(o, fc_config_load(&o->cfg, path, set, n, &o->err));
    ok(o, fc_run_open(r, &o->setup, &o->cfg, (fc_console){0}, NULL, &o->err));
    ok(o, fc_run_start(r, o->tmp.dir, false, &o->err));
    find_layers(o);
    ok(o, fc_params_alloc(&o->before, &r->state.global, &o->arena, &o->err));
    o->deltas = get(o, r->setup->w0.n, sizeof *o->deltas);
    o->w = get(o, r->setup->w0.n, sizeof *o->w);
    o->want = get(o, r->state.global.n, sizeof *o->want);
    for (int i = 0; i <= o->layers; i++) {
        dim[i] = i < o->layers ? o->layer[i].d_in : r->setup->net.shape.width;
        alpha[i] = 1;
    }
    for (int i = 0; i < CLIENTS; i++) {
        ok(o, fc_params_alloc(&o->client[i], &r->state.global, &o->arena, &o->err));
        ok(o, fc_grams_init(&o->gram[i], o->layers + 1, dim, alpha, &o->arena, &o->err));
    }
    fc_crew_plan plan = {.net = &r->setup->net,
                         .like = &r->state.global,
                         .threads = 1,
                         .clients = 1,
                         .batch = 8,
                         .samples = r->setup->data.train.n,
                         .grams = &o->gram[0],
                         .max_side = r->setup->max_side};
    ok(o, fc_crew_init(&o->crew, &plan, &o->err));
    o->trainer = &o->crew.trainer[0];
}

static void check_run(const variant *v)
{
    oracle o;
    open_oracle(&o, v);
    for (int t = 0; t < o.run.setup->tasks.n; t++) {
        check_begin_of_task(&o, t);
        for (int round = 0; round < ROUNDS; round++)
            check_round(&o, t, round);
        check_end_of_task(&o, t);
    }
    if (o.run.setup->devices.on)
        assert_true(o.idle > 0 && o.partial > 0);
    fc_crew_free(&o.crew);
    fc_run_close(&o.run, &o.setup);
    fc_config_free(&o.cfg);
    fc_arena_free(&o.arena);
    fc_tmp_remove(&o.tmp);
}

/* --- LoRM -------------------------------------------------------------------------------------
 */

static variant lorm(double alpha_backbone, const char *set)
{
    return (variant){.set = {"method.name=lorm", set},
                     .eval = MEAN_OF_ALL,
                     .gram = MEAN_OF_ALL,
                     .grams = true,
                     .alpha_backbone = alpha_backbone,
                     .alpha_head = 0.5,
                     .groups = {B | HEAD, A | HEAD},
                     .sends_deltas = true};
}

static void test_lorm(void **state)
{
    (void)state;
    variant v = lorm(0, NULL);
    check_run(&v);
}

static void test_lorm_full_grams(void **state)
{
    (void)state;
    variant v = lorm(0.3, "method.alpha_backbone=0.3");
    check_run(&v);
}

static void test_lorm_two_of_three_clients(void **state)
{
    (void)state;
    variant v = lorm(0, "fed.participation=0.67");
    check_run(&v);
}

static void test_lorm_new_clients_each_round(void **state)
{
    (void)state;
    variant v = lorm(0, "fed.participation=0.67");
    v.set[2] = "fed.participation_draw=round";
    v.strangers = true;
    check_run(&v);
}

static void test_lorm_trained_gram_model(void **state)
{
    (void)state;
    variant v = lorm(0, "method.gram_model=trained");
    v.gram = NONE;
    v.sends_deltas = false;
    check_run(&v);
}

static void test_lorm_only_B(void **state)
{
    (void)state;
    variant v = lorm(0, "method.train_matrix=B");
    v.groups[1] = v.groups[0];
    check_run(&v);
}

/* With B = 0 the gradient of A is 0: only the head moves. */
static void test_lorm_only_A(void **state)
{
    (void)state;
    variant v = lorm(0, "method.train_matrix=A");
    v.groups[0] = v.groups[1];
    check_run(&v);
}

/* Only the end of a task is tested, or its last round too. */
static void test_lorm_seldom_tested(void **state)
{
    (void)state;
    variant v = lorm(0, "eval.rounds=none");
    v.first_eval = ROUNDS;
    check_run(&v);
    v = lorm(0, "eval.rounds=last");
    v.first_eval = ROUNDS - 1;
    check_run(&v);
}

/* --- any subset of the clients ----------------------------------------------------------------
 */

/* Rounds that lack some clients, and rounds without any. By this seed some Grams come at the end of
 * the first task: the oracle inverts their sum. */
static void check_devices(variant v)
{
    int n = 0;
    while (v.set[n])
        n++;
    v.set[n++] = "device.model=random";
    v.set[n++] = "device.availability=0.7";
    v.set[n++] = "device.dropout=0.4";
    v.set[n++] = "seed.device=2";
    v.strangers = true;
    check_run(&v);
}

static void test_devices(void **state)
{
    (void)state;
    check_devices(lorm(0, NULL));
    check_devices(lorm(0.3, "method.alpha_backbone=0.3"));
    check_devices((variant){.set = {"method.name=fedavg_lora"},
                            .eval = MEAN_OF_ALL,
                            .groups = {A | B | HEAD, A | B | HEAD}});
    check_devices((variant){
        .set = {"method.name=ffa_lora"}, .eval = MEAN_OF_ALL, .groups = {B | HEAD, B | HEAD}});
    check_devices(
        (variant){.set = {"method.name=fedavg"}, .groups = {BACKBONE | HEAD, BACKBONE | HEAD}});
    check_devices((variant){.set = {"method.name=head_only"}, .groups = {HEAD, HEAD}});
}

/* --- averages ---------------------------------------------------------------------------------
 */

/* even, odd: what is trained in the first round, and in the second */
static void check_cl_merge(const char *method, unsigned even, unsigned odd)
{
    static const struct {
        const char *set;
        share train, eval;
    } row[] = {{"method.cl_merge=run_sum", SUM, SUM},
               {"method.cl_merge=run_mean", MEAN, MEAN_OF_ALL},
               {"method.cl_merge=individual_sum", NONE, SUM},
               {"method.cl_merge=individual_mean", NONE, MEAN_OF_ALL}};
    for (int i = 0; i < 4; i++) {
        variant v = {.set = {method, row[i].set, "tasks.count=2"},
                     .train = row[i].train,
                     .eval = row[i].eval,
                     .groups = {even, odd},
                     .sends_deltas = row[i].train != NONE};
        check_run(&v);
    }
}

static void test_fedavg_lora(void **state)
{
    (void)state;
    check_cl_merge("method.name=fedavg_lora", A | B | HEAD, A | B | HEAD);
}

static void test_ffa_lora(void **state)
{
    (void)state;
    check_cl_merge("method.name=ffa_lora", B | HEAD, B | HEAD);
}

static void test_rolora(void **state)
{
    (void)state;
    check_cl_merge("method.name=rolora", B | HEAD, A | HEAD);
}

static void test_fedavg(void **state)
{
    (void)state;
    variant v = {.set = {"method.name=fedavg"}, .groups = {BACKBONE | HEAD, BACKBONE | HEAD}};
    check_run(&v);
}

/* A method without a model for the end of a task is tested after its last round at least. */
static void test_fedavg_seldom_tested(void **state)
{
    (void)state;
    variant v = {.set = {"method.name=fedavg", "eval.rounds=none"},
                 .groups = {BACKBONE | HEAD, BACKBONE | HEAD},
                 .first_eval = ROUNDS - 1};
    check_run(&v);
    v.set[1] = "eval.rounds=last";
    check_run(&v);
}

static void test_head_only(void **state)
{
    (void)state;
    variant v = {.set = {"method.name=head_only"}, .groups = {HEAD, HEAD}};
    check_run(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lorm),
        cmocka_unit_test(test_lorm_full_grams),
        cmocka_unit_test(test_lorm_two_of_three_clients),
        cmocka_unit_test(test_lorm_new_clients_each_round),
        cmocka_unit_test(test_lorm_trained_gram_model),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_lorm_only_B),
        cmocka_unit_test(test_lorm_only_A),
        cmocka_unit_test(test_lorm_seldom_tested),
        cmocka_unit_test(test_fedavg_lora),
        cmocka_unit_test(test_ffa_lora),
        cmocka_unit_test(test_rolora),
        cmocka_unit_test(test_fedavg),
        cmocka_unit_test(test_fedavg_seldom_tested),
        cmocka_unit_test(test_head_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
