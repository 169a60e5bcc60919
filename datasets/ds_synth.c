/* synth: an endless world of procedural object classes, so that everything runs without a download.
 *
 * A world (its seed) owns small pools of outlines, textures and colours. A class, keyed by (seed,
 * class number), composes them: a textured body and one to three satellite parts at their places,
 * each a pool part with its own fine parameters. So classes share parts, which makes features
 * transfer from the classes 1000.. to the classes 0.., and differ in combination and detail. An
 * image, keyed by (seed, split, class, number), shows the object at a random place, size, angle,
 * mirroring, stretch, light and colour cast, over a textured background, among distractors made of
 * the same parts, with noise.
 *
 * Images depend on nothing but their key: the first so many of a larger data set are the smaller
 * one. difficulty (0..1) scales every variation within a class; it does not change the classes.
 *
 * Outlines are radial Fourier series, radius(angle) = 1 + sum over k of a_k cos(k angle) + b_k
 * sin(k angle); drawing needs no trigonometry but a polynomial sine for the textures. Lengths are
 * in image sides. */
#include "core/base/rng.h"
#include "core/base/threads.h"
#include "datasets/dataset.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HARMONICS = 5, /* of an outline: 2 .. 6 */
    OUTLINES = 14, /* pool sizes */
    TEXTURES = 16,
    COLOURS = 16,
    PARTS = 3, /* satellites of a class at most */
    DISTRACTORS = 3
};

/* What the random numbers are for: the task field of the key. */
enum { KEY_WORLD, KEY_CLASS, KEY_TRAIN, KEY_TEST };

typedef struct rgb {
    float c[3];
} rgb;

typedef struct outline {
    float a[HARMONICS], b[HARMONICS];
} outline;

/* Mixes two colours by 1/2 + gain (stripe s(x) + check s(x) s(y) + ring s(r)), s a sine of
 * frequency freq. */
typedef struct texture {
    float stripe, check, ring, freq, angle, gain;
} texture;

typedef struct world {
    outline shape[OUTLINES];
    texture skin[TEXTURES];
    rgb colour[COLOURS];
} world;

/* A part of an object in the object's frame, whose unit is the body's radius. */
typedef struct part {
    outline shape;
    texture skin;
    rgb light, dark;
    float x, y, size, angle, aspect;
} part;

typedef struct object {
    part part[1 + PARTS]; /* the body is the last: later parts hide earlier ones */
    int n;
} object;

/* A part placed in an image: local = m (pixel - centre). */
typedef struct layer {
    outline shape;
    texture skin;
    rgb light, dark;
    float x, y, m[2][2], radius; /* centre and largest extent, image sides */
    float phase[2], shade[2];    /* turns; brightness per local unit */
} layer;

static float between(fc_rng *g, double low, double high)
{
    return (float)(low + (high - low) * fc_rng_uniform(g));
}

static float normal(fc_rng *g, double sd)
{
    return (float)(sd * fc_rng_normal(g));
}

static fc_rng stream(uint64_t seed, uint32_t what, uint32_t klass, uint32_t sample)
{
    return fc_rng_at((fc_key){
        .seed = seed, .stream = FC_STREAM_SYNTH, .task = what, .client = klass, .sample = sample});
}

/* ---- the world and its classes ---- */

static void make_world(world *w, uint64_t seed)
{
    fc_rng g = stream(seed, KEY_WORLD, 0, 0);
    for (int i = 0; i < OUTLINES; i++) {
        /* One strong harmonic gives ovals, triangles, squares and stars, the rest character. */
        outline *o = &w->shape[i];
        for (int k = 0; k < HARMONICS; k++) {
            o->a[k] = normal(&g, 0.03);
            o->b[k] = normal(&g, 0.03);
        }
        o->a[i % HARMONICS] += between(&g, 0.12, 0.3);
    }
    for (int i = 0; i < TEXTURES; i++) {
        texture *t = &w->skin[i];
        int kind = i % 4; /* plain, stripes, checks, rings */
        *t = (texture){.stripe = kind == 1,
                       .check = kind == 2,
                       .ring = kind == 3,
                       .freq = between(&g, 0.8, 2.6),
                       .angle = between(&g, 0, 0.5),
                       .gain = between(&g, 0.5, 2)};
    }
    for (int i = 0; i < COLOURS; i++) {
        /* Hues around the circle; every other one pale or dark. */
        float hue = (float)i / COLOURS, value = between(&g, 0.35, 1), grey = between(&g, 0, 0.6);
        for (int c = 0; c < 3; c++) {
            float d = fabsf(hue - (float)c / 3), near = fminf(d, 1 - d);
            float pure = fminf(fmaxf(2 - 6 * near, 0), 1);
            w->colour[i].c[c] = value * (pure + (1 - pure) * grey);
        }
    }
}

/* Fine parameters of its own around a pool part. */
static part make_part(fc_rng *g, const world *w)
{
    part p = {.shape = w->shape[fc_rng_below(g, OUTLINES)],
              .skin = w->skin[fc_rng_below(g, TEXTURES)],
              .light = w->colour[fc_rng_below(g, COLOURS)],
              .dark = w->colour[fc_rng_below(g, COLOURS)],
              .size = 1,
              .angle = between(g, 0, 1),
              .aspect = between(g, 0.75, 1.33)};
    for (int k = 0; k < HARMONICS; k++) {
        p.shape.a[k] += normal(g, 0.02);
        p.shape.b[k] += normal(g, 0.02);
    }
    p.skin.freq *= between(g, 0.8, 1.25);
    p.skin.angle += normal(g, 0.04);
    for (int c = 0; c < 3; c++)
        p.dark.c[c] *= 0.5f; /* the two colours never are the same */
    return p;
}

static object make_object(const world *w, uint64_t seed, uint32_t klass)
{
    fc_rng g = stream(seed, KEY_CLASS, klass, 0);
    object o = {.n = 2 + (int)fc_rng_below(&g, PARTS)};
    for (int i = 0; i < o.n; i++) {
        part *p = &o.part[i];
        *p = make_part(&g, w);
        if (i == o.n - 1)
            break;
        float angle = 6.2831853f * between(&g, 0, 1), away = between(&g, 0.8, 1.15);
        p->size = between(&g, 0.35, 0.6);
        p->x = away * cosf(angle);
        p->y = away * sinf(angle);
    }
    return o;
}

/* ---- drawing ---- */

/* sin(2 pi t) to 0.1 %: a parabola per half wave, then one correction. */
static inline float wave(float t)
{
    t -= (float)(int)(t + (t > 0 ? 0.5f : -0.5f));
    float y = 8 * t - 16 * t * fabsf(t);
    return y + 0.225f * (y * fabsf(y) - y);
}

static inline float unit(float x)
{
    x = x > 0 ? x : 0;
    return x < 1 ? x : 1;
}

/* Blend one row of a layer: pixels x0 .. x1-1 of the row whose centre is at height y. */
static void draw_row(float *restrict red, float *restrict green, float *restrict blue, int x0,
                     int x1, float y, int size, const layer *l)
{
    const outline *o = &l->shape;
    const texture *t = &l->skin;
    float step = 1 / (float)size, edge = l->radius * (float)size;
    float tc = cosf(6.2831853f * t->angle) * t->freq, ts = sinf(6.2831853f * t->angle) * t->freq;
    float dy = y - l->y;
    for (int x = x0; x < x1; x++) {
        float dx = ((float)x + 0.5f) * step - l->x;
        float u = l->m[0][0] * dx + l->m[0][1] * dy, v = l->m[1][0] * dx + l->m[1][1] * dy;
        float r = sqrtf(u * u + v * v) + 1e-6f;
        float c = u / r, s = v / r, ck = c, sk = s, rim = 1;
        for (int k = 0; k < HARMONICS; k++) {
            float next = ck * c - sk * s;
            sk = sk * c + ck * s;
            ck = next;
            rim += o->a[k] * ck + o->b[k] * sk;
        }
        float cover = unit((rim - r) * edge + 0.5f);
        float p = wave(tc * u + ts * v + l->phase[0]), q = wave(tc * v - ts * u + l->phase[1]);
        float ring = wave(t->freq * r + l->phase[0]);
        float mix = unit(0.5f + t->gain * (t->stripe * p + t->check * p * q + t->ring * ring));
        float lit = 1 + l->shade[0] * u + l->shade[1] * v;
        const float *a = l->light.c, *b = l->dark.c;
        red[x] += cover * (lit * (b[0] + mix * (a[0] - b[0])) - red[x]);
        green[x] += cover * (lit * (b[1] + mix * (a[1] - b[1])) - green[x]);
        blue[x] += cover * (lit * (b[2] + mix * (a[2] - b[2])) - blue[x]);
    }
}

static void draw_layer(float *plane, int size, const layer *l)
{
    size_t area = (size_t)size * (size_t)size;
    float reach = 1.6f * l->radius * (float)size, cx = l->x * (float)size, cy = l->y * (float)size;
    int x0 = (int)fmaxf(cx - reach, 0), x1 = (int)fminf(cx + reach + 1, (float)size);
    int y0 = (int)fmaxf(cy - reach, 0), y1 = (int)fminf(cy + reach + 1, (float)size);
    for (int y = y0; y < y1; y++) {
        float *row = plane + (size_t)y * (size_t)size;
        draw_row(row, row + area, row + 2 * area, x0, x1, ((float)y + 0.5f) / (float)size, size, l);
    }
}

/* The pose of an object: image = centre + scale rotation(angle) diag(mirror aspect, 1 / aspect). */
typedef struct pose {
    float x, y, scale, angle, aspect;
    bool mirror;
} pose;

static layer place(fc_rng *g, const part *p, const pose *at, double vary)
{
    layer l = {.shape = p->shape, .skin = p->skin, .light = p->light, .dark = p->dark};
    float sx = at->scale * at->aspect * (at->mirror ? -1.0f : 1.0f), sy = at->scale / at->aspect;
    float c = cosf(6.2831853f * at->angle), s = sinf(6.2831853f * at->angle);
    float px = p->x + normal(g, 0.08 * vary), py = p->y + normal(g, 0.08 * vary);
    l.x = at->x + c * sx * px - s * sy * py;
    l.y = at->y + s * sx * px + c * sy * py;
    /* The part's own turn and stretch come before the object's pose; m is the inverse of both. */
    float size = p->size * (1 + normal(g, 0.1 * vary)), turn = p->angle + normal(g, 0.03 * vary);
    size = fmaxf(size, 0.3f * p->size);
    float pc = cosf(6.2831853f * turn), ps = sinf(6.2831853f * turn);
    float kx = 1 / (size * p->aspect), ky = p->aspect / size;
    float i[2][2] = {{c / sx, s / sx}, {-s / sy, c / sy}};
    for (int j = 0; j < 2; j++) {
        l.m[0][j] = kx * (pc * i[0][j] + ps * i[1][j]);
        l.m[1][j] = ky * (pc * i[1][j] - ps * i[0][j]);
    }
    l.radius = at->scale * size;
    l.skin.freq *= 1 + normal(g, 0.08 * vary);
    for (int j = 0; j < 2; j++) {
        l.phase[j] = between(g, 0, 1);
        l.shade[j] = normal(g, 0.2 * vary);
    }
    return l;
}

/* Individuals of a class differ in colour: towards a random one, and by a cast. */
static void tint(fc_rng *g, layer *l, const world *w, const float cast[3], double vary)
{
    rgb other = w->colour[fc_rng_below(g, COLOURS)];
    float share = between(g, 0, 0.5 * vary);
    for (int c = 0; c < 3; c++) {
        l->light.c[c] = (l->light.c[c] * (1 - share) + other.c[c] * share) * cast[c];
        l->dark.c[c] = (l->dark.c[c] * (1 - share) + 0.5f * other.c[c] * share) * cast[c];
    }
}

static void draw_image(uint8_t *out, float *plane, int size, const object *o, const world *w,
                       double difficulty, fc_rng *g)
{
    size_t area = (size_t)size * (size_t)size;
    double vary = 1.3 * difficulty;
    float cast[3];
    for (int c = 0; c < 3; c++)
        cast[c] = expf(normal(g, 0.15 * vary));
    memset(plane, 0, 3 * area * sizeof *plane); /* blending must not see an earlier image */
    /* The background is one layer larger than the image. */
    part ground = make_part(g, w);
    ground.skin.gain *= 0.3f;
    layer l = place(g, &ground, &(pose){0.5f, 0.5f, 4, between(g, 0, 1), 1, false}, vary);
    l.skin.freq *= 6;
    tint(g, &l, w, cast, vary);
    draw_layer(plane, size, &l);
    int distractors = (int)(vary * fc_rng_below(g, DISTRACTORS + 1) + 0.5);
    for (int i = 0; i < distractors; i++) {
        part p = make_part(g, w);
        pose at = {between(g, 0, 1), between(g, 0, 1), between(g, 0.06, 0.14), 0, 1, false};
        l = place(g, &p, &at, vary);
        tint(g, &l, w, cast, vary);
        draw_layer(plane, size, &l);
    }
    pose at = {.x = 0.5f + normal(g, 0.08 * vary),
               .y = 0.5f + normal(g, 0.08 * vary),
               .scale = 0.24f * expf(normal(g, 0.18 * vary)),
               .angle = normal(g, 0.06 * vary),
               .aspect = expf(normal(g, 0.08 * vary)),
               .mirror = fc_rng_below(g, 2)};
    for (int i = 0; i < o->n; i++) {
        l = place(g, &o->part[i], &at, vary);
        tint(g, &l, w, cast, vary);
        if (i == o->n - 1 || fc_rng_uniform(g) >= 0.15 * vary) /* a satellite may be hidden */
            draw_layer(plane, size, &l);
    }
    /* Noise from a cheap generator, two bytes summed, then to 8 bits, interleaved. */
    float noise = (float)(0.05 * vary), gain = 255 * expf(normal(g, 0.15 * vary));
    uint32_t state = fc_rng_u32(g) | 1;
    for (size_t i = 0; i < area; i++) {
        for (size_t c = 0; c < 3; c++) {
            state = state * 1664525u + 1013904223u;
            float n = (float)(state >> 24) + (float)(state >> 16 & 255) - 255;
            float v = gain * plane[c * area + i] + noise * n;
            out[3 * i + c] = (uint8_t)(255 * unit(v / 255) + 0.5f);
        }
    }
}

/* ---- the reader ---- */

typedef struct job {
    const fc_data_request *q;
    const world *w;
    const object *klass; /* (classes) */
    int size;
} job;

/* n = classes * per_class images, classes in turn, each drawn from its own key. */
static fc_status fill_split(fc_split *s, const job *j, uint32_t what, int per_class,
                            fc_arena *arena, fc_error *err)
{
    size_t side = (size_t)j->size, bytes = 3 * side * side, classes = (size_t)j->q->classes;
    s->n = classes * (size_t)per_class;
    s->image = fc_arena_alloc(arena, s->n, sizeof *s->image, err);
    s->label = fc_arena_alloc(arena, s->n, sizeof *s->label, err);
    uint8_t *pixel = fc_arena_alloc(arena, s->n, bytes, err);
    if (!s->image || !s->label || !pixel)
        return FC_EFAIL;
    int failed = 0;
/* OpenMP: images are independent, each iteration writes only its own. */
#pragma omp parallel num_threads(fc_threads()) reduction(| : failed)
    {
        float *plane = malloc(bytes * sizeof *plane);
        failed = !plane;
#pragma omp for schedule(static)
        for (size_t i = 0; i < s->n; i++) {
            size_t c = i % classes;
            uint8_t *p = pixel + i * bytes;
            s->label[i] = (int32_t)c;
            s->image[i] = (fc_image){p, j->size, j->size, 3 * j->size, 3, 1};
            fc_rng g = stream(j->q->seed, what, (uint32_t)j->q->first_class + (uint32_t)c,
                              (uint32_t)(i / classes));
            if (plane)
                draw_image(p, plane, j->size, &j->klass[c], j->w, j->q->difficulty, &g);
        }
        free(plane);
    }
    return failed ? fc_fail(err, FC_EFAIL, "synth: out of memory") : FC_OK;
}

static fc_status check_request(const fc_data_request *q, fc_error *err)
{
    const struct {
        const char *what;
        int value, low, high;
    } v[] = {{"classes", q->classes, 1, 100000},
             {"training images per class", q->per_class_train, 1, 1000000},
             {"test images per class", q->per_class_test, 1, 1000000},
             {"size", q->size, 4, 1024},
             {"first class", q->first_class, 0, 1000000000}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        if (v[i].value < v[i].low || v[i].value > v[i].high)
            return fc_fail(err, FC_EUSAGE, "synth: %s %d, expected %d to %d", v[i].what, v[i].value,
                           v[i].low, v[i].high);
    if (!(q->difficulty >= 0 && q->difficulty <= 1))
        return fc_fail(err, FC_EUSAGE, "synth: difficulty %g, expected 0 to 1", q->difficulty);
    return FC_OK;
}

static fc_status load_synth(fc_dataset *out, const fc_data_request *q, fc_error *err)
{
    FC_TRY(check_request(q, err));
    world w;
    make_world(&w, q->seed);
    size_t classes = (size_t)q->classes;
    fc_arena *a = &out->arena;
    out->name = "synth";
    out->path = "";
    out->classes = q->classes;
    object *klass = fc_arena_alloc(a, classes, sizeof *klass, err);
    const char **name = fc_arena_alloc(a, classes, sizeof *name, err);
    if (!klass || !name)
        return FC_EFAIL;
    out->class_name = name;
    for (size_t c = 0; c < classes; c++) {
        char text[32];
        uint32_t number = (uint32_t)q->first_class + (uint32_t)c;
        snprintf(text, sizeof text, "synth-%u", number);
        if (!(name[c] = fc_arena_strdup(a, text, err)))
            return FC_EFAIL;
        klass[c] = make_object(&w, q->seed, number);
    }
    job j = {q, &w, klass, q->size};
    FC_TRY(fill_split(&out->train, &j, KEY_TRAIN, q->per_class_train, a, err));
    return fill_split(&out->test, &j, KEY_TEST, q->per_class_test, a, err);
}

const fc_data_source fc_data_synth = {
    .name = "synth",
    .help = "procedural classes, any number and size, no files",
    .layout = "nothing: images are drawn from the seed",
    .load = load_synth,
};
