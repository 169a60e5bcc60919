/* Keyed random numbers: Philox4x32-10 (Salmon et al., SC 2011) through Random123.
 *
 * A stream is a pure function of its key, so that skipping one draw shifts no other: there is no
 * generator state to save in a checkpoint and no order between threads to keep. */
#ifndef FC_RNG_H
#define FC_RNG_H

#include "core/base/real.h"
#include "core/base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef enum fc_stream {
    FC_STREAM_ORDER = 1, /* class order */
    FC_STREAM_PARTITION, /* sample -> client */
    FC_STREAM_INIT_HEAD, /* classifier weights */
    FC_STREAM_INIT_LORA, /* LoRA A (sample = slot) */
    FC_STREAM_INIT_VIT,  /* backbone weights from scratch */
    FC_STREAM_SHUFFLE,   /* order of a client's samples in an epoch */
    FC_STREAM_AUGMENT,   /* augmentation of one image in one epoch */
    FC_STREAM_GRAM,      /* order and augmentation of the Gram passes */
    FC_STREAM_CLIENTS,   /* which clients take part */
    FC_STREAM_SYNTH,     /* procedural images */
    FC_STREAM_TEST,      /* tests */
    FC_STREAM_SWEEP,     /* random options of a sweep */
    FC_STREAM_DEVICE,    /* speeds of a client's device */
    FC_STREAM_REACH,     /* is a client within reach in a round */
    FC_STREAM_LOSS,      /* is a client lost in a round, and when */
    FC_STREAM_DARE,      /* entries of a task vector that are dropped (sample = tensor) */
    FC_STREAM_ADAPT,     /* order of a task's unlabelled images */
    FC_STREAM_INIT_GATE, /* gates between experts (sample = tensor) */
    FC_STREAM_MERGE,     /* which images of a task a merge looks at */
    FC_STREAM_SERVER,    /* what the server step of a method draws */
    FC_STREAM_REPLAY,    /* second batch of a step (sample = step) */
    FC_STREAM_STATISTICS /* augmentation of one image in a pass for statistics */
} fc_stream;

/* Fields that do not apply stay 0. */
typedef struct fc_key {
    uint64_t seed;
    uint32_t stream, task, round, client, epoch, sample;
} fc_key;

typedef struct fc_rng {
    uint32_t key[2], ctr[4], buf[4];
    int left; /* unused words in buf */
} fc_rng;

fc_rng fc_rng_at(fc_key key);

uint32_t fc_rng_u32(fc_rng *g);
double fc_rng_uniform(fc_rng *g);             /* [0, 1), 53 bits */
double fc_rng_normal(fc_rng *g);              /* N(0, 1), Box-Muller, one value per two uniforms */
uint32_t fc_rng_below(fc_rng *g, uint32_t n); /* 0 .. n-1 without bias, n >= 1 */
double fc_rng_gamma(fc_rng *g, double a);     /* Gamma(a, 1), a > 0; Marsaglia and Tsang 2000 */

/* p (k) ~ Dirichlet(a_0 .. a_{k-1}); values below 1e-20 become 0; redrawn when all gammas are 0. */
void fc_rng_dirichlet(fc_rng *g, double *p, const double *a, int k);

/* Fisher-Yates shuffle of x (n). */
void fc_rng_shuffle(fc_rng *g, uint32_t *x, size_t n);

#endif
