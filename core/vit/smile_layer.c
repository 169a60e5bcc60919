#include "core/vit/smile_layer.h"

#include <math.h>

/* w (experts): softmax of the logits over the top_k largest, the first of equals; 0 elsewhere. */
static void choose_experts(double *w, const double *logit, int experts, int top_k)
{
    double top = logit[0], sum = 0;
    for (int e = 1; e < experts; e++)
        top = fmax(top, logit[e]);
    for (int e = 0; e < experts; e++) {
        int before = 0;
        for (int f = 0; f < experts; f++)
            before += logit[f] > logit[e] || (logit[f] == logit[e] && f < e);
        w[e] = before < top_k ? exp(logit[e] - top) : 0;
        sum += w[e];
    }
    for (int e = 0; e < experts; e++)
        w[e] /= sum;
}

/* The router's products are float ones. */
static fc_engine router_engine(const fc_engine *e)
{
    fc_engine f = *e;
    f.bf16 = false;
    return f;
}

size_t fc_smile_bytes(const fc_engine *e, int rows, int cols, int experts, int gate_k, int n)
{
    enum { ALIGN = 64 };
    fc_engine f = router_engine(e);
    int thin = rows < cols ? rows : cols;
    int vectors = experts * (gate_k < thin ? gate_k : thin);
    size_t N = (size_t)n, kept = 2 * (N * (size_t)experts * sizeof(double) + ALIGN);
    size_t route =
        N * (size_t)vectors * sizeof(fc_real) + fc_matmul_bytes(&f, n, vectors, cols) + ALIGN;
    size_t add = fc_experts_bytes(e, rows, cols, n);
    return kept + (route > add ? route : add);
}

void fc_smile_route(const fc_engine *e, double *w, double *logit, const fc_smile *s,
                    const fc_real *X, int n)
{
    int E = s->of.n, vectors = 0;
    for (int i = 0; i < E; i++)
        vectors += s->gate[i];
    fc_engine f = router_engine(e);
    fc_real *P = fc_engine_take(&f, (size_t)n * (size_t)vectors * sizeof *P);
    /* P = X G^T    (n, cols) (cols, vectors) */
    if (vectors > 0)
        fc_matmul(&f, false, true, n, vectors, s->of.cols, 1, X, s->of.cols, s->G, s->of.cols,
                  false, P, vectors);
    for (int i = 0; i < n; i++, w += E, logit += E) {
        for (int j = 0; j < E; j++) {
            /* logit_j = |V_j[:, :gate]^T x| */
            double norm2 = 0;
            for (int g = 0; g < s->gate[j]; g++, P++)
                norm2 += (double)*P * (double)*P;
            logit[j] = sqrt(norm2);
        }
        choose_experts(w, logit, E, s->top_k);
    }
}

void fc_smile_forward(const fc_engine *e, fc_real *Y, const fc_smile *s, const fc_real *X, int n)
{
    size_t size = (size_t)n * (size_t)s->of.n * sizeof(double);
    fc_engine work = *e;
    double *w = fc_engine_take(&work, size), *logit = fc_engine_take(&work, size);
    if (s->of.n == 0)
        return;
    /* Y += sum_e w_e (B_e A_e x + b_e) */
    fc_smile_route(&work, w, logit, s, X, n);
    fc_experts_forward(&work, Y, &s->of, X, w, 1, n);
}
