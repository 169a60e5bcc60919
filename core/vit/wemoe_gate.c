#include "core/vit/wemoe_gate.h"

#include "core/vit/kernels.h"

#include <string.h>

enum { MLP_SLOT = 2, SLOTS = 4 }; /* fc1 is slot 2 of the four of a block, fc2 slot 3 */

int fc_wemoe_slot(int i)
{
    return i / 2 * SLOTS + MLP_SLOT + i % 2;
}

const fc_experts *fc_wemoe_experts(const fc_wemoe *m, int slot)
{
    return slot % SLOTS < MLP_SLOT ? NULL : &m->mlp[slot / SLOTS * 2 + slot % SLOTS - MLP_SLOT];
}

double fc_wemoe_flop(const fc_wemoe *m, int T, int depth)
{
    double D = m->width, sum = m->router_layers == 2 ? 2 * D * D * depth : 0;
    for (int i = 0; i < 2 * depth; i++)
        sum += fc_experts_flop(&m->mlp[i]);
    return sum * T;
}

fc_gate fc_wemoe_gate(const fc_wemoe *m, fc_real *block, int l)
{
    size_t D = (size_t)m->width, E = (size_t)m->tasks;
    size_t first = m->router_layers == 2 ? D * D + D : 0, second = m->router_layers > 0 ? E * D : 0;
    fc_real *p = block + (size_t)l * (first + second + E);
    return (fc_gate){.width = m->width,
                     .tasks = m->tasks,
                     .layers = m->router_layers,
                     .batch_reduce = m->batch_reduce,
                     .W1 = p,
                     .b1 = p + D * D,
                     .W2 = p + first,
                     .b2 = p + first + second};
}

/* ---- forward and backward ----------------------------------------------------------------- */

size_t fc_gate_bytes(const fc_engine *e, int width, int images, int rows)
{
    enum { ALIGN = 64 };
    size_t D = (size_t)width;
    return ((size_t)images + 2 * (size_t)rows) * D * sizeof(fc_real) + 3 * ALIGN +
           fc_linear_bytes(e, width, width, 0, rows);
}

static fc_linear first_gate_layer(const fc_gate *g)
{
    return (fc_linear){.d_in = g->width, .d_out = g->width, .W = g->W1, .b = g->b1};
}

/* Each of the n rows of w (n, E) becomes their mean. */
static void average_rows(double *w, int n, int E)
{
    for (int i = 0; i < E; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++)
            sum += w[j * E + i];
        for (int j = 0; j < n; j++)
            w[j * E + i] = sum / n;
    }
}

/* mean (D) over the T rows of x. */
static void mean_row(fc_real *mean, const fc_real *x, size_t T, size_t D)
{
    memset(mean, 0, D * sizeof *mean);
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < D; j++)
            mean[j] += x[t * D + j];
    for (size_t j = 0; j < D; j++)
        mean[j] /= (fc_real)T;
}

/* The mean over tokens is taken before W2, which is linear. */
void fc_gate_forward(const fc_engine *e, double *w, fc_real *mean, fc_real *z, const fc_gate *g,
                     const fc_real *h, int n, int T)
{
    size_t N = (size_t)n, rows = (size_t)T, D = (size_t)g->width, E = (size_t)g->tasks;
    /* z = relu(h W1^T + b1)    h (n T, D), W1 (D, D) */
    if (g->layers == 2) {
        fc_linear l = first_gate_layer(g);
        fc_linear_forward(e, z, NULL, &l, h, NULL, n * T);
        for (size_t i = 0; i < N * rows * D; i++)
            z[i] = z[i] < 0 ? 0 : z[i]; /* NaN stays */
    }
    /* w_i = W2 mean_t(x_t) + b2    W2 (tasks, D), x = z, or h without W1 */
    const fc_real *x = g->layers == 2 ? z : h;
    for (size_t i = 0; i < N; i++) {
        if (g->layers > 0)
            mean_row(mean + i * D, x + i * rows * D, rows, D);
        for (size_t k = 0; k < E; k++) {
            double sum = (double)g->b2[k];
            for (size_t j = 0; g->layers > 0 && j < D; j++)
                sum += (double)g->W2[k * D + j] * (double)mean[i * D + j];
            w[i * E + k] = sum;
        }
    }
    if (g->batch_reduce)
        average_rows(w, n, g->tasks);
}

/* W2 and b2: their gradients, and dmean (n, D). */
static void second_layer_backward(fc_real *dmean, const fc_gate *d, const fc_gate *g,
                                  const double *dw, const fc_real *mean, int n)
{
    size_t D = (size_t)g->width, E = (size_t)g->tasks;
    memset(dmean, 0, (size_t)n * D * sizeof *dmean);
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t k = 0; k < E; k++) {
            /* db2 += dw, dW2 += dw^T mean (tasks, D), dmean = dw W2 (n, D) */
            fc_real dy = (fc_real)dw[i * E + k];
            if (d)
                d->b2[k] += dy;
            for (size_t j = 0; g->layers > 0 && j < D; j++) {
                dmean[i * D + j] += dy * g->W2[k * D + j];
                if (d)
                    d->W2[k * D + j] += dy * mean[i * D + j];
            }
        }
}

void fc_gate_backward(const fc_engine *e, fc_real *dh, const fc_gate *d, const fc_gate *g,
                      double *dw, const fc_real *h, const fc_real *mean, const fc_real *z, int n,
                      int T)
{
    size_t D = (size_t)g->width, rows = (size_t)n * (size_t)T;
    fc_engine work = *e;
    if (g->batch_reduce)
        average_rows(dw, n, g->tasks);
    fc_real *dmean = fc_engine_take(&work, (size_t)n * D * sizeof *dmean);
    second_layer_backward(dmean, d, g, dw, mean, n);
    if (g->layers == 0)
        return;
    /* dx_t = dmean / T for each token t; through the relu: 0 where z is 0 */
    fc_real *dx = fc_engine_take(&work, rows * D * sizeof *dx); /* of W2's input, token by token */
    for (size_t i = 0; i < rows * D; i++) {
        bool on = g->layers == 1 || z[i] > 0;
        dx[i] = on ? dmean[i / D / (size_t)T * D + i % D] / (fc_real)T : 0;
    }
    if (g->layers == 2) {
        /* dh = dz W1 (n T, D), dW1 += dz^T h (D, D) */
        fc_real *dz = dx;
        fc_linear l = first_gate_layer(g);
        fc_linear_grads grads = {.W = d ? d->W1 : NULL, .b = d ? d->b1 : NULL};
        dx = fc_engine_take(&work, rows * D * sizeof *dx);
        fc_linear_backward(&work, dx, &grads, &l, dz, h, NULL, n * T);
    }
    for (size_t i = 0; i < rows * D; i++)
        dh[i] += dx[i];
}
