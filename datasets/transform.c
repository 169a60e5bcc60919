/* Resampling and augmentation: one geometric step per image, then normalisation.
 *
 * Filter: Keys' cubic (a = -0.5) widened by the scale when shrinking, cut at the image border and
 * renormalised, rows first: what Pillow's resize(BICUBIC, box=...) and torch's antialias=True
 * compute. Deviation: each pass is clamped to [0, 255] as in Pillow, but never rounded to 8 bits.
 *
 * Every augmentation is one box in source coordinates. The published pipelines first resize to the
 * network's size and crop from that, resampling twice; one box differs by that interpolation and by
 * offsets that are real numbers instead of whole pixels.
 *
 * Output pixels whose centre lies outside the image are black: so a box that sticks out is a padded
 * image, and whole-pixel shifts of it equal "resize, then pad with zeros". */
#include "datasets/transform.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Red, green, blue and an unused lane: one SIMD register. */
typedef float px4 __attribute__((vector_size(16)));

/* The weights of one axis: output i = sum over k < n[i] of w[start[i] + k] * input[first[i] + k].
 */
typedef struct axis {
    int *first, *n; /* (outputs) */
    size_t *start;  /* (outputs) */
    float *w;
    int lo, hi; /* inputs used by any output: lo .. hi-1 */
    int max_n;
} axis;

struct fc_resampler {
    int max_side, size;
    fc_arena arena;
    axis x, y;
    px4 *line;    /* (max_side) one source row */
    px4 *rows;    /* (max_side, size) ring of rows after the horizontal pass */
    px4 *sum;     /* (size) one output row */
    float *plane; /* (3, size, size) */
};

static double cubic(double x)
{
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/* Weights that resample [in0, in0 + len) of an axis of n_in pixels to n_out pixels. At most
 * 4 scale + 1 inputs reach an output, so that 6 n_in + 6 n_out weights are enough for any box. */
static void axis_fill(axis *a, double in0, double len, int n_in, int n_out)
{
    double scale = len / n_out, width = scale > 1 ? scale : 1;
    size_t used = 0;
    a->lo = n_in;
    a->hi = a->max_n = 0;
    for (int i = 0; i < n_out; i++) {
        double centre = in0 + (i + 0.5) * scale;
        a->first[i] = a->n[i] = 0;
        a->start[i] = used;
        if (!(centre >= 0 && centre <= n_in))
            continue;
        double from = centre - 2 * width + 0.5, to = centre + 2 * width + 0.5;
        int lo = from > 0 ? (int)from : 0, hi = to < n_in ? (int)to : n_in;
        double sum = 0;
        for (int k = lo; k < hi; k++)
            sum += cubic((k + 0.5 - centre) / width);
        for (int k = lo; k < hi; k++)
            a->w[used++] = (float)(cubic((k + 0.5 - centre) / width) / sum);
        a->first[i] = lo;
        a->n[i] = hi - lo;
        a->lo = lo < a->lo ? lo : a->lo;
        a->hi = hi > a->hi ? hi : a->hi;
        a->max_n = hi - lo > a->max_n ? hi - lo : a->max_n;
    }
    assert(used <= 6 * ((size_t)n_in + (size_t)n_out));
}

static bool axis_new(axis *a, fc_arena *arena, int max_in, int max_out, fc_error *err)
{
    size_t n = (size_t)max_out;
    return (a->first = fc_arena_alloc(arena, n, sizeof *a->first, err)) &&
           (a->n = fc_arena_alloc(arena, n, sizeof *a->n, err)) &&
           (a->start = fc_arena_alloc(arena, n, sizeof *a->start, err)) &&
           (a->w = fc_arena_alloc(arena, 6 * (n + (size_t)max_in), sizeof *a->w, err));
}

fc_status fc_resampler_new(fc_resampler **out, int max_side, int size, fc_error *err)
{
    *out = NULL;
    assert(max_side > 0 && size > 0);
    fc_resampler *r = calloc(1, sizeof *r);
    if (!r)
        return fc_fail(err, FC_EFAIL, "resampler: out of memory");
    r->max_side = max_side;
    r->size = size;
    fc_arena *a = &r->arena;
    size_t side = (size_t)max_side, n = (size_t)size;
    if (!axis_new(&r->x, a, max_side, size, err) || !axis_new(&r->y, a, max_side, size, err) ||
        !(r->line = fc_arena_alloc(a, side, sizeof *r->line, err)) ||
        !(r->rows = fc_arena_alloc(a, side * n, sizeof *r->rows, err)) ||
        !(r->sum = fc_arena_alloc(a, n, sizeof *r->sum, err)) ||
        !(r->plane = fc_arena_alloc(a, 3 * n * n, sizeof *r->plane, err))) {
        fc_resampler_free(r);
        return FC_EFAIL;
    }
    *out = r;
    return FC_OK;
}

void fc_resampler_free(fc_resampler *r)
{
    if (!r)
        return;
    fc_arena_free(&r->arena);
    free(r);
}

static void clamp_bytes(px4 *row, int n)
{
    float *v = (float *)row;
    for (int i = 0; i < 4 * n; i++) {
        float x = v[i] > 0 ? v[i] : 0;
        v[i] = x < 255 ? x : 255;
    }
}

/* out (n) = source row y resampled along x. */
static void filter_row(px4 *out, int n, const fc_image *image, int y, const axis *a, px4 *line)
{
    const uint8_t *p = image->p + y * image->row;
    for (int x = a->lo; x < a->hi; x++) {
        const uint8_t *q = p + x * image->col;
        line[x] = (px4){q[0], q[image->chan], q[2 * image->chan], 0};
    }
    for (int i = 0; i < n; i++) {
        const float *w = a->w + a->start[i];
        const px4 *in = line + a->first[i];
        px4 sum = {0};
        for (int k = 0; k < a->n[i]; k++)
            sum += w[k] * in[k];
        out[i] = sum;
    }
    clamp_bytes(out, n);
}

void fc_resample_box(float *dst, int size_w, int size_h, const fc_image *image, double x0,
                     double y0, double w, double h, fc_resampler *r)
{
    assert(image->width <= r->max_side && image->height <= r->max_side);
    assert(size_w > 0 && size_h > 0 && size_w <= r->size && size_h <= r->size);
    axis_fill(&r->x, x0, w, image->width, size_w);
    axis_fill(&r->y, y0, h, image->height, size_h);
    /* Output rows need ever later source rows: a ring of the longest filter holds them. */
    int ring = r->y.max_n, done = r->y.lo;
    size_t area = (size_t)size_w * (size_t)size_h;
    for (int i = 0; i < size_h; i++) {
        int first = r->y.first[i], n = r->y.n[i];
        for (; done < first + n; done++)
            filter_row(r->rows + (size_t)(done % ring) * (size_t)size_w, size_w, image, done, &r->x,
                       r->line);
        memset(r->sum, 0, (size_t)size_w * sizeof *r->sum);
        for (int k = 0; k < n; k++) {
            float wk = r->y.w[r->y.start[i] + (size_t)k];
            const px4 *row = r->rows + (size_t)((first + k) % ring) * (size_t)size_w;
            for (int x = 0; x < size_w; x++)
                r->sum[x] += wk * row[x];
        }
        clamp_bytes(r->sum, size_w);
        float *red = dst + (size_t)i * (size_t)size_w, *green = red + area, *blue = green + area;
        for (int x = 0; x < size_w; x++) {
            red[x] = r->sum[x][0];
            green[x] = r->sum[x][1];
            blue[x] = r->sum[x][2];
        }
    }
}

typedef struct box {
    double x, y, w, h;
} box;

static double between(fc_rng *g, double low, double high)
{
    return low + (high - low) * fc_rng_uniform(g);
}

/* Random resized crop as torchvision's get_params: ten tries of an area and a log-uniform ratio,
 * then the largest centred box whose ratio is allowed. */
static box random_resized_crop(fc_rng *g, double width, double height, double scale_low)
{
    const double ratio_low = 3.0 / 4, ratio_high = 4.0 / 3;
    for (int try = 0; try < 10; try++) {
        double area = width * height * between(g, scale_low, 1);
        double ratio = exp(between(g, log(ratio_low), log(ratio_high)));
        double w = sqrt(area * ratio), h = sqrt(area / ratio);
        if (w <= width && h <= height) {
            double x = between(g, 0, width - w);
            return (box){x, between(g, 0, height - h), w, h};
        }
    }
    double w = fmin(width, height * ratio_high), h = fmin(height, width / ratio_low);
    return (box){(width - w) / 2, (height - h) / 2, w, h};
}

/* The part of the image that becomes the network's input; rng NULL: the test transform. */
static box choose_box(const fc_image *image, const fc_transform *t, fc_rng *rng)
{
    double width = image->width, height = image->height;
    double side = fmin(width, height) * 224 / 256;
    if (!rng)
        return t->test == FC_TEST_CENTRE
                   ? (box){(width - side) / 2, (height - side) / 2, side, side}
                   : (box){0, 0, width, height};
    if (t->augment == FC_AUG_RRC)
        return random_resized_crop(rng, width, height, t->scale_low);
    if (t->augment == FC_AUG_CROP) {
        double x = between(rng, 0, width - side);
        return (box){x, between(rng, 0, height - side), side, side};
    }
    if (t->augment == FC_AUG_PAD) {
        int pad = t->size / 8;
        int dx = (int)fc_rng_below(rng, 2 * (uint32_t)pad + 1) - pad;
        int dy = (int)fc_rng_below(rng, 2 * (uint32_t)pad + 1) - pad;
        return (box){dx * width / t->size, dy * height / t->size, width, height};
    }
    return (box){0, 0, width, height};
}

void fc_transform_apply(fc_real *out, const fc_image *image, const fc_transform *t, fc_rng *rng,
                        fc_resampler *r)
{
    int n = t->size;
    box b = choose_box(image, t, rng);
    bool flip = rng && t->augment != FC_AUG_NONE && fc_rng_below(rng, 2);
    fc_resample_box(r->plane, n, n, image, b.x, b.y, b.w, b.h, r);
    for (int c = 0; c < 3; c++) {
        fc_real gain = 1 / (255 * t->std[c]), shift = -t->mean[c] / t->std[c];
        for (int y = 0; y < n; y++) {
            size_t at = ((size_t)c * (size_t)n + (size_t)y) * (size_t)n;
            const float *in = r->plane + at;
            fc_real *o = out + at;
            if (flip)
                for (int x = 0; x < n; x++)
                    o[x] = in[n - 1 - x] * gain + shift;
            else
                for (int x = 0; x < n; x++)
                    o[x] = in[x] * gain + shift;
        }
    }
}
