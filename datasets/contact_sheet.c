#include "datasets/contact_sheet.h"

#include "datasets/transform.h"

#include <string.h>

typedef struct ink {
    uint8_t c[3];
} ink;

static const ink paper = {{255, 255, 255}}, grid = {{225, 225, 225}}, text = {{90, 90, 90}};

/* One colour per task, in turn (Paul Tol's "bright" scheme, safe for colour-blind eyes). */
static const ink task_ink[] = {{{68, 119, 170}}, {{238, 102, 119}}, {{34, 136, 51}},
                               {{204, 187, 68}}, {{102, 204, 238}}, {{170, 51, 119}}};
enum { TASK_INKS = sizeof task_ink / sizeof *task_ink };

/* Digits of 3 x 5 pixels, drawn twice as large: bit 14 is the top left one. */
enum { FONT = 2, DIGIT_WIDTH = 4 * FONT, DIGIT_HEIGHT = 5 * FONT };
static const uint16_t digits[10] = {0x7b6f, 0x2c97, 0x73e7, 0x73cf, 0x5bc9,
                                    0x79cf, 0x79ef, 0x7249, 0x7bef, 0x7bcf};

static fc_status picture_new(fc_picture *out, int width, int height, fc_arena *arena, fc_error *err)
{
    size_t n = 3 * (size_t)width * (size_t)height;
    *out = (fc_picture){fc_arena_alloc(arena, n, 1, err), width, height};
    if (!out->rgb)
        return FC_EFAIL;
    memset(out->rgb, 255, n);
    return FC_OK;
}

/* Blend ink into one pixel: share 0 .. 1. Outside the picture: nothing. */
static void dot(fc_picture *p, int x, int y, ink colour, float share)
{
    if (x < 0 || y < 0 || x >= p->width || y >= p->height)
        return;
    uint8_t *q = p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
    for (int c = 0; c < 3; c++)
        q[c] = (uint8_t)((float)q[c] + share * ((float)colour.c[c] - (float)q[c]) + 0.5f);
}

static void fill_rectangle(fc_picture *p, int x, int y, int w, int h, ink colour, float share)
{
    for (int j = y; j < y + h; j++)
        for (int i = x; i < x + w; i++)
            dot(p, i, j, colour, share);
}

/* Disc of this radius around the middle of the square of `side` pixels at (x, y). */
static void disc(fc_picture *p, int x, int y, int side, float radius, ink colour)
{
    float middle = (float)(side - 1) / 2;
    for (int j = 0; j < side; j++)
        for (int i = 0; i < side; i++) {
            float dx = (float)i - middle, dy = (float)j - middle;
            float cover = radius - sqrtf(dx * dx + dy * dy) + 0.5f;
            dot(p, x + i, y + j, colour, cover < 0 ? 0 : cover > 1 ? 1 : cover);
        }
}

static int number_width(int n)
{
    int width = DIGIT_WIDTH;
    for (; n >= 10; n /= 10)
        width += DIGIT_WIDTH;
    return width;
}

/* n >= 0 with its right end at x. */
static void number(fc_picture *p, int x, int y, int n)
{
    do {
        x -= DIGIT_WIDTH;
        for (int bit = 0; bit < 15; bit++)
            if (digits[n % 10] >> (14 - bit) & 1)
                fill_rectangle(p, x + bit % 3 * FONT, y + bit / 3 * FONT, FONT, FONT, text, 1);
        n /= 10;
    } while (n > 0);
}

static void paste(fc_picture *p, int x, int y, int cell, const fc_image *image, float *plane,
                  fc_resampler *r)
{
    int side = image->width < image->height ? image->width : image->height;
    fc_resample_box(plane, cell, cell, image, (image->width - side) / 2.0,
                    (image->height - side) / 2.0, side, side, r);
    for (int j = 0; j < cell; j++)
        for (int i = 0; i < cell; i++)
            for (int c = 0; c < 3; c++)
                p->rgb[3 * ((size_t)(y + j) * (size_t)p->width + (size_t)(x + i)) + (size_t)c] =
                    (uint8_t)(plane[(c * cell + j) * cell + i] + 0.5f);
}

static int longest_side(const fc_split *s)
{
    int side = 1;
    for (size_t i = 0; i < s->n; i++) {
        side = s->image[i].width > side ? s->image[i].width : side;
        side = s->image[i].height > side ? s->image[i].height : side;
    }
    return side;
}

fc_status fc_contact_sheet(fc_picture *out, const fc_dataset *d, const fc_split *split,
                           const int *order, int rows, int columns, int cell, fc_arena *arena,
                           fc_error *err)
{
    enum { GAP = 2 };
    rows = rows < d->classes ? rows : d->classes;
    int step = cell + GAP, left = number_width(d->classes - 1) + 2 * GAP;
    FC_TRY(picture_new(out, left + columns * step, GAP + rows * step, arena, err));
    size_t classes = (size_t)d->classes, pixels = (size_t)cell * (size_t)cell;
    float *plane = fc_arena_alloc(arena, 3 * pixels, sizeof *plane, err);
    int *row_of = fc_arena_alloc(arena, classes, sizeof *row_of, err);
    int *shown = fc_arena_alloc(arena, classes, sizeof *shown, err);
    fc_resampler *r;
    if (!plane || !row_of || !shown ||
        fc_resampler_new(&r, longest_side(split), cell, err) != FC_OK)
        return FC_EFAIL;
    fill_rectangle(out, left - GAP, 0, out->width, out->height, grid, 1);
    for (int i = 0; i < d->classes; i++)
        row_of[order[i]] = i;
    for (int i = 0; i < rows; i++) {
        number(out, left - 2 * GAP, GAP + i * step + (cell - DIGIT_HEIGHT) / 2, order[i]);
        for (int j = 0; j < columns; j++)
            fill_rectangle(out, left + j * step, GAP + i * step, cell, cell, paper, 1);
    }
    for (size_t i = 0; i < split->n; i++) {
        int c = split->label[i];
        if (row_of[c] < rows && shown[c] < columns) {
            paste(out, left + shown[c] * step, GAP + row_of[c] * step, cell, &split->image[i],
                  plane, r);
            shown[c]++;
        }
    }
    fc_resampler_free(r);
    return FC_OK;
}

/* count (rows, classes): samples of client i of the class learnt as logit k. Returns the largest.
 */
static uint32_t count_samples(uint32_t *count, int rows, const fc_partition *p, const fc_dataset *d,
                              const fc_tasks *t)
{
    uint32_t most = 1;
    for (int j = 0; j < p->tasks; j++)
        for (int k = 0; k < rows; k++)
            for (size_t i = p->start[j][k]; i < p->start[j][k + 1]; i++) {
                int logit = t->logit[d->train.label[p->sample[j][i]]];
                uint32_t n = ++count[(size_t)k * (size_t)t->classes + (size_t)logit];
                most = n > most ? n : most;
            }
    return most;
}

/* Every so many cells get a number, so that numbers `need` pixels long do not touch. */
static int tick_step(int need, int cell)
{
    static const int steps[] = {1, 2, 5, 10, 20, 50, 100, 200, 500};
    int i = 0;
    while (steps[i] * cell < need && i < 8)
        i++;
    return steps[i];
}

fc_status fc_partition_picture(fc_picture *out, const fc_partition *p, const fc_dataset *d,
                               const fc_tasks *t, fc_arena *arena, fc_error *err)
{
    enum { GAP = 4, DOTS_FROM = 8 };
    int rows = p->clients < FC_PARTITION_ROWS ? p->clients : FC_PARTITION_ROWS;
    int larger = rows > t->classes ? rows : t->classes;
    int cell = larger <= 40 ? 24 : larger <= 100 ? 12 : larger <= 400 ? 5 : 2;
    int left = number_width(rows) + GAP, bottom = DIGIT_HEIGHT + GAP;
    /* one free pixel column before each task for its frame */
    int width = left + t->classes * cell + t->n + 1 + GAP;
    FC_TRY(picture_new(out, width, GAP + rows * cell + bottom + GAP, arena, err));
    size_t cells = (size_t)rows * (size_t)t->classes;
    uint32_t *count = fc_arena_alloc(arena, cells, sizeof *count, err);
    if (!count)
        return FC_EFAIL;
    uint32_t most = count_samples(count, rows, p, d, t);
    for (int i = 0; i < rows; i += tick_step(DIGIT_HEIGHT + GAP, cell))
        number(out, left - GAP, GAP + i * cell + (cell - DIGIT_HEIGHT) / 2, i);
    int step = tick_step(number_width(t->classes - 1) + GAP, cell);
    for (int j = 0, x = left; j < t->n; j++) {
        fill_rectangle(out, x++, GAP, 1, rows * cell, grid, 1);
        for (int k = t->first[j]; k < t->first[j + 1]; k++, x += cell) {
            if (k % step == 0)
                number(out, x + (cell + number_width(t->order[k])) / 2, 2 * GAP + rows * cell,
                       t->order[k]);
            for (int i = 0; i < rows; i++) {
                uint32_t n = count[(size_t)i * (size_t)t->classes + (size_t)k];
                float size = sqrtf((float)n / (float)most);
                if (n > 0 && cell >= DOTS_FROM)
                    disc(out, x, GAP + i * cell, cell, size * (float)cell / 2,
                         task_ink[j % TASK_INKS]);
                else if (n > 0)
                    fill_rectangle(out, x, GAP + i * cell, cell, cell, task_ink[j % TASK_INKS],
                                   size);
            }
        }
    }
    fill_rectangle(out, width - GAP - 1, GAP, 1, rows * cell, grid, 1);
    fill_rectangle(out, left, GAP, width - left - GAP, 1, grid, 1);
    fill_rectangle(out, left, GAP + rows * cell, width - left - GAP, 1, grid, 1);
    return FC_OK;
}
