/* SMILE: golden vectors, the hand example, batches against single tokens, edges; in float, and in
 * double in the gradient-check build. */
#include "core/linalg/gemm.h"
#include "core/linalg/linalg.h"
#include "core/merge/rules/smile.h"
#include "tests/support/engine.h"
#include "tests/support/updates.h"

static double smile_tolerance(void)
{
    return sizeof(fc_real) == sizeof(double) ? 1e-8 : 2e-5;
}

/* Y += the experts, one token at a time, from the definition with all singular vectors. */
static void smile_by_token(double *y, const weight *w, const fc_smile_options *o, const double *x,
                           const double *const *bias)
{
    int m = w->shape.rows, n = w->shape.cols, E = w->set.n;
    double logit[UPDATES], d[UPDATES][64], sum = 0, dense[SIZE];
    for (int e = 0; e < E; e++) {
        fc_arena arena = {0};
        fc_usv s;
        fc_tv_dense(dense, &w->tv[e], &w->shape);
        assert_int_equal(fc_svd(&s, dense, m, n, "", &arena, NULL), FC_OK);
        int k = o->k < 0 || o->k > s.k ? s.k : o->k;
        logit[e] = 0;
        memset(d[e], 0, sizeof d[e]);
        for (int j = 0; j < s.k; j++) {
            double vx = 0;
            for (int i = 0; i < n; i++)
                vx += s.Vt[j * n + i] * x[i];
            logit[e] += j < o->gate_k ? vx * vx : 0;
            for (int i = 0; i < m; i++)
                d[e][i] += j < k ? s.U[i * s.k + j] * s.S[j] * vx : 0;
        }
        logit[e] = sqrt(logit[e]);
        fc_arena_free(&arena);
    }
    int chosen[UPDATES] = {0};
    for (int c = 0; c < o->top_k; c++) {
        int best = -1;
        for (int e = 0; e < E; e++)
            if (!chosen[e] && (best < 0 || logit[e] > logit[best]))
                best = e;
        chosen[best] = 1;
        sum += exp(logit[best]);
    }
    for (int e = 0; e < E; e++)
        for (int i = 0; i < m && chosen[e]; i++)
            y[i] += exp(logit[e]) / sum * (d[e][i] + (bias ? bias[e][i] : 0));
}

static void to_real(fc_real *out, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (fc_real)x[i];
}

/* Y (tokens, rows) holds the base and gets the experts. */
static void smile_forward(fc_real *Y, double *logit, double *route, const weight *w,
                          const fc_smile_options *o, const fc_real *const *bias, const fc_real *X,
                          int tokens)
{
    fc_smile s;
    fc_arena arena = {0}, scratch = {0};
    const fc_smile_source from = {.in = &w->set, .bias = bias};
    assert_int_equal(fc_smile_init(&s, &from, o, &arena, &scratch, NULL), FC_OK);
    assert_int_equal(scratch.used, 0);
    fc_engine e = engine; /* with no more than it asks for */
    e.left = fc_smile_bytes(&e, w->shape.rows, w->shape.cols, w->set.n, o->gate_k, tokens);
    assert_true(e.left <= engine.left);
    fc_smile_route(&e, route, logit, &s, X, tokens);
    fc_smile_forward(&e, Y, &s, X, tokens);
    fc_arena_free(&arena);
    fc_arena_free(&scratch);
}

static void golden_smile(void **state)
{
    (void)state;
    gold g = gold_open("smile");
    const gold_tensor *W0 = gold_get(&g, "in.W0"), *b0 = gold_get(&g, "in.b0");
    const gold_tensor *x = gold_get(&g, "in.x");
    const char *runs[] = {"g1_k2_t1", "g2_k3_t1", "g2_k3_t2", "g3_k0_t3"};
    int m = W0->dim[0], n = W0->dim[1], tokens = x->dim[0];
    weight w;
    weight_init(&w, gold_count(&g, "in.W"), m, n);
    fc_real bias[UPDATES][64], X[SIZE], Y[SIZE];
    const fc_real *biases[UPDATES];
    double logit[SIZE], route[SIZE];
    for (int e = 0; e < w.set.n; e++) {
        double *d = numbers(&w, W0->n);
        for (size_t i = 0; i < W0->n; i++)
            d[i] = gold_item(&g, "in.W", e).v[i] - W0->v[i];
        w.tv[e].dense = d;
        for (int i = 0; i < m; i++)
            bias[e][i] = (fc_real)(gold_item(&g, "in.b", e).v[i] - b0->v[i]);
        biases[e] = bias[e];
    }
    to_real(X, x->v, x->n);
    for (int r = 0; r < 4; r++) {
        double base[SIZE];
        fc_dgemm(false, true, tokens, m, n, 1, x->v, n, W0->v, n, 0, base, m);
        for (int i = 0; i < tokens * m; i++)
            Y[i] = (fc_real)(base[i] + b0->v[i % m]);
        fc_smile_options o = {(int)gold_get(&g, "out.%s.gate_k", runs[r])->v[0],
                              (int)gold_get(&g, "out.%s.k", runs[r])->v[0],
                              (int)gold_get(&g, "out.%s.top_k", runs[r])->v[0],
                              .routing_use_diff = true};
        smile_forward(Y, logit, route, &w, &o, biases, X, tokens);
        const gold_tensor *y = gold_get(&g, "out.%s.y", runs[r]);
        const gold_tensor *l = gold_get(&g, "out.%s.router_logits", runs[r]);
        const gold_tensor *chosen = gold_get(&g, "out.%s.selected", runs[r]);
        assert_near(Y, y->v, y->n, smile_tolerance());
        assert_near(logit, l->v, l->n, smile_tolerance());
        for (int i = 0; i < tokens; i++) {
            int used = 0;
            for (int e = 0; e < w.set.n; e++)
                used += route[i * w.set.n + e] > 0;
            assert_int_equal(used, o.top_k);
            for (int c = 0; c < o.top_k; c++)
                assert_true(route[i * w.set.n + (int)chosen->v[i * o.top_k + c]] > 0);
        }
    }
    fc_arena_free(&w.arena);
    gold_close(&g);
}

static void smile_batches_equal_single_tokens(void **state)
{
    (void)state;
    enum { TOKENS = 37, M = 9, N = 12, E = 5 };
    const fc_smile_options options[] = {{1, 2, 1, true, false},
                                        {2, 3, 2, true, false},
                                        {3, 1, 4, true, false},
                                        {1, -1, 5, true, false},
                                        {12, 3, 2, true, false}};
    for (int r = 0; r < 4; r += 3)
        for (size_t c = 0; c < sizeof options / sizeof *options; c++) {
            if (r == 3 && options[c].gate_k > r)
                continue; /* vectors behind the rank: no definition to compare with */
            weight w;
            double logit[SIZE], route[SIZE], want[SIZE];
            fc_real X[SIZE], Y[SIZE] = {0}, bias[E][M];
            const fc_real *biases[E];
            const double *double_bias[E];
            random_weight(&w, E, M, N, r, 0.5);
            const double *x = normal(&w, TOKENS * N, 1, 77);
            to_real(X, x, TOKENS * N);
            for (int e = 0; e < E; e++) {
                double_bias[e] = normal(&w, M, 1, 100 + (uint64_t)e);
                to_real(bias[e], double_bias[e], M);
                biases[e] = bias[e];
            }
            smile_forward(Y, logit, route, &w, &options[c], biases, X, TOKENS);
            memset(want, 0, sizeof want);
            for (size_t i = 0; i < TOKENS; i++)
                smile_by_token(want + i * M, &w, &options[c], x + i * N, double_bias);
            assert_near(Y, want, TOKENS * M, smile_tolerance());
            fc_arena_free(&w.arena);
        }
}

static void smile_edges(void **state)
{
    (void)state;
    enum { M = 3, N = 4 };
    weight w;
    double logit[16], route[16], zero[M * N] = {0};
    fc_real X[2 * N] = {1, 2, 3, 4, 0, 0, 0, 0}, Y[2 * M] = {0};
    random_weight(&w, 2, M, N, 0, 1);
    w.tv[0].dense = w.tv[1].dense = zero; /* experts that equal the base: equal logits, no change */
    smile_forward(Y, logit, route, &w, &(fc_smile_options){1, 2, 1, true, false}, NULL, X, 2);
    for (int i = 0; i < 2 * M; i++)
        assert_close(Y[i], 0, 0, 0);
    assert_close(route[0], 1, 0, 0); /* the first of equals */
    assert_close(route[1], 0, 0, 0);

    fc_smile s;
    fc_arena arena = {0};
    const fc_smile_source from = {.in = &w.set};
    const fc_smile_options bad[] = {{0, 1, 1, true, false},
                                    {1, 0, 1, true, false},
                                    {1, 1, 0, true, false},
                                    {1, 1, 3, true, false}};
    for (int i = 0; i < 4; i++) {
        fc_error err = {0};
        assert_int_equal(fc_smile_init(&s, &from, &bad[i], &arena, &arena, &err), FC_EUSAGE);
        assert_non_null(strstr(err.msg, "SMILE"));
    }
    fc_error err = {0};
    zero[5] = (double)NAN;
    assert_int_equal(
        fc_smile_init(&s, &from, &(fc_smile_options){1, 1, 1, true, false}, &arena, &arena, &err),
        FC_EFAIL);
    assert_non_null(strstr(err.msg, "blocks.0.fc1"));
    fc_arena_free(&arena);
    fc_arena_free(&w.arena);
}

/* Behind the rank of an update there are no vectors to route by, nor any to add. */
static void smile_is_cut_to_the_rank(void **state)
{
    (void)state;
    enum { M = 6, N = 7 };
    weight w, dense;
    random_weight(&w, 2, M, N, 2, 1);
    random_weight(&dense, 2, M, N, 0, 1);
    for (int e = 0; e < 2; e++) {
        double *d = numbers(&w, M * N);
        fc_tv_dense(d, &w.tv[e], &w.shape);
        dense.tv[e].dense = d;
    }
    fc_smile s;
    fc_arena arena = {0};
    const fc_smile_source from = {.in = &dense.set};
    const fc_smile_options o = {5, 4, 1, true, false};
    assert_int_equal(fc_smile_init(&s, &from, &o, &arena, &arena, NULL), FC_OK);
    for (int e = 0; e < 2; e++) {
        assert_int_equal(s.gate[e], 2);
        assert_int_equal(s.of.expert[e].rank, 2);
    }
    fc_arena_free(&arena);
    fc_arena_free(&w.arena);
    fc_arena_free(&dense.arena);
}

/* The router's products are float ones in bf16 too. */
static void smile_routes_in_float(void **state)
{
    (void)state;
    enum { TOKENS = 9, M = 8, N = 40 };
    weight w;
    random_weight(&w, 3, M, N, 0, 1);
    fc_real X[TOKENS * N];
    double want[3 * TOKENS], logit[3 * TOKENS], route[3 * TOKENS];
    to_real(X, normal(&w, TOKENS * N, 1, 77), TOKENS * N);
    fc_smile s;
    const fc_smile_source from = {.in = &w.set};
    const fc_smile_options o = {3, 2, 1, true, false};
    assert_int_equal(fc_smile_init(&s, &from, &o, &w.arena, &w.arena, NULL), FC_OK);
    fc_smile_route(&engine, route, want, &s, X, TOKENS);
    fc_engine bf16 = engine;
    bf16.bf16 = true;
    fc_smile_route(&bf16, route, logit, &s, X, TOKENS);
    assert_memory_equal(logit, want, sizeof want);
    fc_arena_free(&w.arena);
}

static void hand_example_smile(void **state)
{
    (void)state;
    weight w;
    fc_real X[] = {1, (fc_real).5}, Y[2] = {0};
    double logit[2], route[2];
    dense_pair(&w, (const double[]){2, 0, 0, 0}, (const double[]){0, 0, 0, 1});
    smile_forward(Y, logit, route, &w, &(fc_smile_options){1, 1, 1, true, false}, NULL, X, 1);
    assert_all_close(Y, ((double[]){2, 0}), 2, 0, 1e-6);
    Y[0] = 0;
    smile_forward(Y, logit, route, &w, &(fc_smile_options){1, 1, 2, true, false}, NULL, X, 1);
    assert_all_close(Y, ((double[]){1.244919, .188770}), 2, 0, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_smile),
        cmocka_unit_test(hand_example_smile),
        cmocka_unit_test(smile_batches_equal_single_tokens),
        cmocka_unit_test(smile_is_cut_to_the_rank),
        cmocka_unit_test(smile_routes_in_float),
        cmocka_unit_test(smile_edges),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
