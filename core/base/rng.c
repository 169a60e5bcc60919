#include "core/base/rng.h"

#include <Random123/philox.h>

static void philox(uint32_t out[4], const uint32_t ctr[4], const uint32_t key[2])
{
    philox4x32_ctr_t c = {{ctr[0], ctr[1], ctr[2], ctr[3]}};
    philox4x32_key_t k = {{key[0], key[1]}};
    philox4x32_ctr_t r = philox4x32(c, k);
    for (int i = 0; i < 4; i++)
        out[i] = r.v[i];
}

/* The key has 256 bits, Philox takes 64 + 96: (seed; stream, task, round) is hashed to the 64-bit
 * key by Philox itself, (client, epoch, sample) go into the counter. */
fc_rng fc_rng_at(fc_key k)
{
    fc_rng g = {0};
    uint32_t seed[2] = {(uint32_t)k.seed, (uint32_t)(k.seed >> 32)};
    uint32_t ctr[4] = {k.stream, k.task, k.round, 0x6663696cu}, out[4];
    philox(out, ctr, seed);
    g.key[0] = out[0];
    g.key[1] = out[1];
    g.ctr[1] = k.client;
    g.ctr[2] = k.epoch;
    g.ctr[3] = k.sample;
    return g;
}

uint32_t fc_rng_u32(fc_rng *g)
{
    if (g->left == 0) {
        philox(g->buf, g->ctr, g->key);
        g->ctr[0]++;
        g->left = 4;
    }
    return g->buf[4 - g->left--];
}

double fc_rng_uniform(fc_rng *g)
{
    uint32_t hi = fc_rng_u32(g) >> 5, lo = fc_rng_u32(g) >> 6;
    return (hi * 67108864.0 + lo) / 9007199254740992.0;
}

double fc_rng_normal(fc_rng *g)
{
    double u = 1.0 - fc_rng_uniform(g), v = fc_rng_uniform(g);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint32_t fc_rng_below(fc_rng *g, uint32_t n)
{
    /* Reject the words of the last, incomplete run of n. */
    uint32_t limit = (uint32_t)(-n) % n, x;
    do
        x = fc_rng_u32(g);
    while (x < limit);
    return x % n;
}

double fc_rng_gamma(fc_rng *g, double a)
{
    if (a < 1) {
        double u = 1.0 - fc_rng_uniform(g);
        return fc_rng_gamma(g, a + 1) * pow(u, 1 / a);
    }
    double d = a - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = fc_rng_normal(g), v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        double u = 1.0 - fc_rng_uniform(g);
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

void fc_rng_dirichlet(fc_rng *g, double *p, const double *a, int k)
{
    double sum;
    do {
        sum = 0;
        for (int i = 0; i < k; i++)
            sum += p[i] = fc_rng_gamma(g, a[i]);
    } while (!(sum > 0));
    for (int i = 0; i < k; i++) {
        p[i] /= sum;
        if (p[i] < 1e-20)
            p[i] = 0;
    }
}

void fc_rng_shuffle(fc_rng *g, uint32_t *x, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = fc_rng_below(g, (uint32_t)i);
        uint32_t t = x[i - 1];
        x[i - 1] = x[j];
        x[j] = t;
    }
}
