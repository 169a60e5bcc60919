/* Resampling against Pillow (golden), exact cases, and the boxes of every augmentation. */
#include "core/base/rng.h"
#include "datasets/transform.h"
#include "tests/support/close.h"

#include <string.h>

static fc_image interleaved(const uint8_t *p, int w, int h)
{
    return (fc_image){p, w, h, 3 * w, 3, 1};
}

static void new_resampler(fc_resampler **r, int side, int size)
{
    fc_error err = {0};
    assert_int_equal(fc_resampler_new(r, side, size, &err), FC_OK);
}

static void read_bytes(FILE *f, uint8_t *p, int n)
{
    for (int i = 0; i < n; i++) {
        int v;
        assert_int_equal(fscanf(f, "%d", &v), 1);
        p[i] = (uint8_t)v;
    }
}

/* pillow_bicubic.txt: name, source size, output size, box; source pixels; Image.resize(BICUBIC,
 * box). */
static void test_pillow(void **state)
{
    (void)state;
    char path[512], name[64];
    fc_golden(path, sizeof path, "transform/pillow_bicubic.txt");
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    int cases = 0, w, h, ow, oh;
    double x, y, bw, bh;
    while (fscanf(f, "%63s %d %d %d %d %lf %lf %lf %lf", name, &w, &h, &ow, &oh, &x, &y, &bw,
                  &bh) == 9) {
        uint8_t src[32 * 32 * 3], want[32 * 32 * 3];
        float got[3 * 32 * 32];
        assert_true(w <= 32 && h <= 32 && ow <= 32 && oh <= 32);
        read_bytes(f, src, 3 * w * h);
        read_bytes(f, want, 3 * ow * oh);
        fc_image image = interleaved(src, w, h);
        fc_resampler *r;
        new_resampler(&r, w > h ? w : h, ow > oh ? ow : oh);
        fc_resample_box(got, ow, oh, &image, x, y, bw, bh, r);
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < ow * oh; i++) /* Pillow rounds twice, each time by at most 1/2 */
                fc_close_at(got[c * ow * oh + i], want[3 * i + c], 0, 1.1, name, (size_t)i,
                            __FILE__, __LINE__);
        fc_resampler_free(r);
        cases++;
    }
    fclose(f);
    assert_true(cases >= 6);
}

enum { SIDE = 12 };

/* A smooth image and the identity transform of its size; std such that values are the bytes. */
static void ramp(uint8_t p[3 * SIDE * SIDE])
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++)
                p[3 * (y * SIDE + x) + c] = (uint8_t)(10 + 15 * x + 4 * y + 3 * c);
}

static fc_transform bytes_out(int size)
{
    float unit = 1.0f / 255;
    return (fc_transform){.size = size, .scale_low = 0.3, .std = {unit, unit, unit}};
}

static void test_identity_planar_and_grey(void **state)
{
    (void)state;
    uint8_t p[3 * SIDE * SIDE], planar[3 * SIDE * SIDE];
    ramp(p);
    for (int i = 0; i < SIDE * SIDE; i++)
        for (int c = 0; c < 3; c++)
            planar[c * SIDE * SIDE + i] = p[3 * i + c];
    fc_resampler *r;
    new_resampler(&r, SIDE, SIDE);
    fc_transform t = bytes_out(SIDE);
    fc_real out[3 * SIDE * SIDE];
    fc_image a = interleaved(p, SIDE, SIDE), b = {planar, SIDE, SIDE, SIDE, 1, SIDE * SIDE};
    fc_transform_apply(out, &a, &t, NULL, r);
    assert_all_close(out, planar, 3 * SIDE * SIDE, 1e-6, 0);
    fc_transform_apply(out, &b, &t, NULL, r);
    assert_all_close(out, planar, 3 * SIDE * SIDE, 1e-6, 0);
    b.chan = 0;
    fc_transform_apply(out, &b, &t, NULL, r);
    for (int c = 0; c < 3; c++)
        assert_all_close(out + c * SIDE * SIDE, planar, SIDE * SIDE, 1e-6, 0);
    fc_resampler_free(r);
}

static void test_normalisation(void **state)
{
    (void)state;
    uint8_t p[3 * 16];
    for (int i = 0; i < 16; i++)
        for (int c = 0; c < 3; c++)
            p[3 * i + c] = (uint8_t)(51 * (c + 1));
    fc_image image = interleaved(p, 4, 4);
    fc_resampler *r;
    new_resampler(&r, 4, 8);
    fc_transform t = {.size = 8, .mean = {0.1f, 0.5f, 0}, .std = {0.5f, 0.25f, 2}};
    fc_real out[3 * 64];
    fc_transform_apply(out, &image, &t, NULL, r);
    const double want[] = {(0.2 - 0.1) / 0.5, (0.4 - 0.5) / 0.25, 0.6 / 2};
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 64; i++)
            assert_close(out[64 * c + i], want[c], 1e-5, 1e-6);
    fc_resampler_free(r);
}

/* On a linear ramp bicubic is exact away from the border: the box can be read off the pixels. */
static void test_centre_crop_of_a_wide_image(void **state)
{
    (void)state;
    enum { W = 64, H = 32, N = 14 };
    static uint8_t p[3 * W * H];
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            p[3 * (y * W + x)] = (uint8_t)(3 * x);
            p[3 * (y * W + x) + 1] = (uint8_t)(5 * y);
        }
    fc_image image = interleaved(p, W, H);
    fc_resampler *r;
    new_resampler(&r, W, N);
    fc_transform t = bytes_out(N);
    t.test = FC_TEST_CENTRE;
    fc_real out[3 * N * N];
    fc_transform_apply(out, &image, &t, NULL, r);
    /* side 32 * 224 / 256 = 28, from (18, 2): output pixel i is centred at 18 + 2 i + 1 */
    for (int y = 1; y < N - 1; y++)
        for (int x = 1; x < N - 1; x++) {
            assert_close(out[y * N + x], 3 * (18 + 2 * x + 0.5), 0, 1e-3);
            assert_close(out[N * N + y * N + x], 5 * (2 + 2 * y + 0.5), 0, 1e-3);
        }
    fc_resampler_free(r);
}

static void test_pad_shifts_with_black(void **state)
{
    (void)state;
    enum { N = 16, PAD = 2 };
    uint8_t p[3 * N * N];
    for (int i = 0; i < 3 * N * N; i++)
        p[i] = (uint8_t)(1 + (i * 37) % 251);
    fc_image image = interleaved(p, N, N);
    fc_resampler *r;
    new_resampler(&r, N, N);
    fc_transform t = bytes_out(N);
    t.augment = FC_AUG_PAD;
    int seen[2 * PAD + 1][2 * PAD + 1][2] = {0};
    for (uint32_t s = 0; s < 400; s++) {
        fc_rng g = fc_rng_at((fc_key){.seed = 1, .stream = FC_STREAM_TEST, .sample = s});
        fc_real out[3 * N * N];
        fc_transform_apply(out, &image, &t, &g, r);
        int found = 0;
        for (int dy = -PAD; dy <= PAD; dy++)
            for (int dx = -PAD; dx <= PAD; dx++)
                for (int flip = 0; flip < 2; flip++) {
                    int same = 1;
                    for (int i = 0; i < 3 * N * N && same; i++) {
                        int c = i / (N * N), y = i / N % N + dy, x = i % N;
                        x = (flip ? N - 1 - x : x) + dx;
                        int inside = x >= 0 && x < N && y >= 0 && y < N;
                        double want = inside ? p[3 * (y * N + x) + c] : 0;
                        same = fabs((double)out[i] - want) < 1e-3;
                    }
                    found += same;
                    seen[dy + PAD][dx + PAD][flip] += same;
                }
        assert_int_equal(found, 1);
    }
    for (int i = 0; i < 2 * (2 * PAD + 1) * (2 * PAD + 1); i++)
        assert_true((&seen[0][0][0])[i] > 0);
    fc_resampler_free(r);
}

/* Red = 2 x, green = 2 y of the source: slope and offset of the output give the box. */
static void test_random_boxes(void **state)
{
    (void)state;
    enum { S = 100, N = 10 };
    static uint8_t p[3 * S * S];
    for (int y = 0; y < S; y++)
        for (int x = 0; x < S; x++) {
            p[3 * (y * S + x)] = (uint8_t)(2 * x);
            p[3 * (y * S + x) + 1] = (uint8_t)(2 * y);
        }
    fc_image image = interleaved(p, S, S);
    fc_resampler *r;
    new_resampler(&r, S, N);
    fc_transform t = bytes_out(N);
    int flips = 0;
    double area = 0, log_ratio = 0, area_low = 1;
    enum { DRAWS = 1000 };
    for (uint32_t s = 0; s < 2 * DRAWS; s++) {
        t.augment = s < DRAWS ? FC_AUG_RRC : FC_AUG_CROP;
        fc_rng g = fc_rng_at((fc_key){.seed = 2, .stream = FC_STREAM_TEST, .sample = s});
        fc_real out[3 * N * N];
        fc_transform_apply(out, &image, &t, &g, r);
        const fc_real *red = out + 5 * N, *green = out + N * N + 5;
        double w = ((double)red[6] - red[4]) / 4 * N,
               h = ((double)green[6 * N] - green[4 * N]) / 4 * N;
        flips += w < 0;
        w = fabs(w);
        /* the middle of the box, from output pixels 4 and 5 */
        double x = ((double)red[4] + red[5]) / 4 + 0.5,
               y = ((double)green[4 * N] + green[5 * N]) / 4 + 0.5;
        assert_true(x - w / 2 > -0.1 && x + w / 2 < S + 0.1 && y - h / 2 > -0.1 &&
                    y + h / 2 < S + 0.1);
        if (t.augment == FC_AUG_CROP) {
            assert_close(w, 87.5, 0, 0.1);
            assert_close(h, 87.5, 0, 0.1);
        } else {
            assert_true(w / h > 0.74 && w / h < 1.35);
            area += w * h / (S * S) / DRAWS;
            area_low = fmin(area_low, w * h / (S * S));
            log_ratio += log(w / h) / DRAWS;
        }
    }
    assert_close(flips, DRAWS, 0, 5 * sqrt(DRAWS / 2.0));
    /* uniform on [0.3, 1], less the boxes near 1 that do not fit */
    assert_true(area > 0.58 && area < 0.65 && area_low > 0.298 && area_low < 0.32);
    assert_close(log_ratio, 0, 0, 0.03);
    fc_resampler_free(r);
}

static void test_none_and_flip(void **state)
{
    (void)state;
    uint8_t p[3 * SIDE * SIDE];
    ramp(p);
    fc_image image = interleaved(p, SIDE, SIDE);
    fc_resampler *r;
    new_resampler(&r, SIDE, SIDE);
    fc_transform t = bytes_out(SIDE);
    int flipped = 0;
    for (uint32_t s = 0; s < 100; s++) {
        for (int aug = 0; aug < 2; aug++) {
            t.augment = aug ? FC_AUG_FLIP : FC_AUG_NONE;
            fc_rng g = fc_rng_at((fc_key){.seed = 4, .stream = FC_STREAM_TEST, .sample = s});
            fc_rng copy = g;
            fc_real out[3 * SIDE * SIDE], again[3 * SIDE * SIDE];
            fc_transform_apply(out, &image, &t, &g, r);
            fc_transform_apply(again, &image, &t, &copy, r);
            assert_memory_equal(out, again, sizeof out);
            int flip = out[0] > out[SIDE - 1];
            assert_true(aug || !flip);
            assert_close(out[flip ? SIDE - 1 : 0], p[0], 1e-6, 0);
            flipped += flip;
        }
    }
    assert_true(flipped > 25 && flipped < 75);
    fc_resampler_free(r);
}

/* A pixel is black if and only if its centre is outside, whatever the scale. */
static void test_outside_is_black(void **state)
{
    (void)state;
    uint8_t p[3 * 8 * 8];
    memset(p, 200, sizeof p);
    fc_image image = interleaved(p, 8, 8);
    fc_resampler *r;
    new_resampler(&r, 8, 12);
    for (int n = 3; n <= 12; n++) {
        float out[3 * 12 * 12];
        fc_resample_box(out, n, n, &image, -2, 3, 8, 8, r);
        for (int y = 0; y < n; y++)
            for (int x = 0; x < n; x++) {
                double cx = (x + 0.5) * 8 / n - 2, cy = (y + 0.5) * 8 / n + 3;
                assert_close(out[y * n + x], cx < 0 || cy > 8 ? 0 : 200, 0, 1e-3);
            }
    }
    fc_resampler_free(r);
}

/* Extreme shapes: one pixel, one row, shrinking 300 to 3, all inside a sanitizer build. */
static void test_extreme_sizes(void **state)
{
    (void)state;
    static uint8_t p[3 * 300 * 300];
    memset(p, 200, sizeof p);
    const int sizes[][3] = {{1, 1, 32}, {300, 1, 3}, {1, 300, 7}, {300, 300, 1}, {299, 301 - 2, 3}};
    for (int i = 0; i < 5; i++)
        for (int aug = FC_AUG_NONE; aug <= FC_AUG_RRC; aug++) {
            int w = sizes[i][0], h = sizes[i][1], n = sizes[i][2];
            fc_image image = interleaved(p, w, h);
            fc_resampler *r;
            new_resampler(&r, w > h ? w : h, n);
            fc_transform t = bytes_out(n);
            t.augment = (fc_augment)aug;
            fc_real out[3 * 32 * 32];
            fc_rng g = fc_rng_at((fc_key){.seed = 5, .stream = FC_STREAM_TEST});
            fc_transform_apply(out, &image, &t, &g, r);
            for (int k = 0; k < 3 * n * n; k++)
                assert_true(fabs((double)out[k] - 200) < 1e-3 ||
                            (aug == FC_AUG_PAD && out[k] == 0));
            fc_resampler_free(r);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pillow),
        cmocka_unit_test(test_identity_planar_and_grey),
        cmocka_unit_test(test_normalisation),
        cmocka_unit_test(test_centre_crop_of_a_wide_image),
        cmocka_unit_test(test_pad_shifts_with_black),
        cmocka_unit_test(test_random_boxes),
        cmocka_unit_test(test_none_and_flip),
        cmocka_unit_test(test_outside_is_black),
        cmocka_unit_test(test_extreme_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
