/* uint8 image -> normalised float tensor, in one resampling step on the worker thread that needs
 * it. */
#ifndef FC_TRANSFORM_H
#define FC_TRANSFORM_H

#include "core/base/real.h"
#include "core/base/rng.h"
#include "datasets/dataset.h"

typedef enum fc_augment {
    FC_AUG_NONE, /* resize to size */
    FC_AUG_FLIP, /* resize, flip with probability 1/2 */
    FC_AUG_CROP, /* resize so that the side is size * 256 / 224, random crop of size, flip */
    FC_AUG_PAD,  /* pad by size / 8 (zeros), random crop, flip: the CIFAR recipe */
    FC_AUG_RRC   /* random resized crop (area scale_low..1, log-uniform ratio 3/4..4/3), flip */
} fc_augment;

typedef enum fc_test_resize {
    FC_TEST_PLAIN, /* resize to size */
    FC_TEST_CENTRE /* resize to size * 256 / 224, centre crop: the published evaluation */
} fc_test_resize;

typedef struct fc_transform {
    int size; /* output side in pixels */
    fc_augment augment;
    fc_test_resize test;
    double scale_low;      /* FC_AUG_RRC */
    float mean[3], std[3]; /* of values in [0, 1] */
} fc_transform;

/* Scratch for one image of any size up to max_side on a side; one per thread. */
typedef struct fc_resampler fc_resampler;
fc_status fc_resampler_new(fc_resampler **out, int max_side, int size, fc_error *err);
void fc_resampler_free(fc_resampler *r);

/* out (3, size, size) = (image / 255 - mean) / std after the geometric step. Bicubic (a = -0.5)
 * with antialias, as Pillow; rng NULL: the test transform; else the augmentation, a pure function
 * of *rng. */
void fc_transform_apply(fc_real *out, const fc_image *image, const fc_transform *t, fc_rng *rng,
                        fc_resampler *r);

/* dst (3, size, size) in [0, 255] = box (x0, y0, w, h) of the image resampled; used by the above
 * and by contact sheets. */
void fc_resample_box(float *dst, int size_w, int size_h, const fc_image *image, double x0,
                     double y0, double w, double h, fc_resampler *r);

#endif
