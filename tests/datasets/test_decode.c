/* Decoding: one picture in every kind of PNG, JPEG and PPM; writing PNG. */
#include "datasets/decode.h"
#include "tests/support/tmp.h"

enum { W = 5, H = 4 };

/* The pictures of tests/make_files.py. */
static int colour(int x, int y, int c)
{
    return c == 0 ? 50 * x : c == 1 ? 60 * y : 10 * x * y + 3;
}

static int grey(int x, int y)
{
    return 13 * (W * y + x);
}

static int on_white(int v, int alpha)
{
    return (v * alpha + 255 * (255 - alpha) + 127) / 255;
}

static fc_image decode(const char *name, fc_arena *arena)
{
    char file[64];
    fc_image m = {0};
    fc_error err = {0};
    snprintf(file, sizeof file, "data/images/%s", name);
    fc_status s = fc_decode_file(&m, fc_tests_path(file), arena, &err);
    assert_string_equal(err.msg, "");
    assert_int_equal(s, FC_OK);
    return m;
}

static int pixel(const fc_image *m, int x, int y, int c)
{
    return m->p[y * m->row + x * m->col + c * m->chan];
}

static void check(const char *name, int (*want)(int x, int y, int c))
{
    fc_arena arena = {0};
    fc_image m = decode(name, &arena);
    assert_int_equal(m.width, W);
    assert_int_equal(m.height, H);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < 3; c++)
                if (pixel(&m, x, y, c) != want(x, y, c))
                    fail_msg("%s: (%d, %d, %d) is %d, expected %d", name, x, y, c,
                             pixel(&m, x, y, c), want(x, y, c));
    fc_arena_free(&arena);
}

static int want_grey(int x, int y, int c)
{
    (void)c;
    return grey(x, y);
}

/* alpha: 255, but 0 right of x = 1 and 128 in the last row */
static int alpha_at(int x, int y)
{
    return y == 3 ? 128 : x >= 2 ? 0 : 255;
}

static int want_alpha(int x, int y, int c)
{
    return on_white(colour(x, y, c), alpha_at(x, y));
}

static int want_grey_alpha(int x, int y, int c)
{
    (void)c;
    return on_white(grey(x, y), alpha_at(x, y));
}

static int want_first_half_white(int x, int y, int c)
{
    return W * y + x < 10 ? 255 : colour(x, y, c);
}

static int want_one_colour_white(int x, int y, int c)
{
    return x == 1 && y == 1 ? 255 : colour(x, y, c);
}

static int want_bits(int x, int y, int c)
{
    (void)y, (void)c;
    return x % 2 ? 0 : 255; /* 10101 */
}

static void test_every_kind(void **state)
{
    (void)state;
    check("rgb8.png", colour);
    check("rgb8-interlaced.png", colour);
    check("rgb8-gamma.png", colour);
    check("rgb16.png", colour);
    check("palette.png", colour);
    check("palette-alpha.png", want_first_half_white);
    check("rgb8-transparent-colour.png", want_one_colour_white);
    check("rgba8.png", want_alpha);
    check("grey8.png", want_grey);
    check("grey16-alpha.png", want_grey_alpha);
    check("grey1.png", want_bits);
    check("rgb.ppm", colour);
    check("rgb16.ppm", colour);
    check("grey.pgm", want_grey);
}

/* Samples are scaled to 0 .. 255 and rounded; one above the maximum counts as the maximum. */
static void test_pnm_maximum(void **state)
{
    (void)state;
    static const unsigned char pgm[] = "P5\n#c\n5 1 7\n\0\1\4\7\10";
    static const int want[] = {0, 36, 146, 255, 255};
    fc_arena arena = {0};
    fc_image m;
    assert_int_equal(fc_decode_memory(&m, pgm, sizeof pgm - 1, "pgm", &arena, NULL), FC_OK);
    for (int x = 0; x < 5; x++)
        assert_int_equal(pixel(&m, x, 0, 1), want[x]);
    fc_arena_free(&arena);
}

/* 8 x 8 blocks of one colour each: without subsampling a JPEG keeps them to a few levels. */
static void test_jpeg(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int tolerance;
    } files[] = {{"444.jpg", 4}, {"progressive.jpg", 4}, {"420.jpg", 12}};
    for (int f = 0; f < 3; f++) {
        fc_arena arena = {0};
        fc_image m = decode(files[f].name, &arena);
        assert_int_equal(m.width, 8 * W);
        assert_int_equal(m.height, 8 * H);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int c = 0; c < 3; c++)
                    assert_close(pixel(&m, 8 * x + 4, 8 * y + 4, c), colour(x, y, c), 0,
                                 files[f].tolerance);
        fc_arena_free(&arena);
    }
}

static void test_png_write(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    fc_arena arena = {0};
    fc_error err = {0};
    fc_image m;
    uint8_t rgb[H][W][3];
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < 3; c++)
                rgb[y][x][c] = (uint8_t)colour(x, y, c);
    const char *path = fc_tmp_path(&t, "out.png");
    assert_int_equal(fc_png_write(path, rgb[0][0], W, H, &err), FC_OK);
    assert_int_equal(fc_decode_file(&m, path, &arena, &err), FC_OK);
    assert_int_equal(m.width, W);
    assert_int_equal(m.height, H);
    assert_memory_equal(m.p, rgb, sizeof rgb);
    path = fc_tmp_path(&t, "no/folder.png");
    assert_says(fc_png_write(path, rgb[0][0], W, H, &err), &err, FC_EFAIL, path, "No such file");
    err = (fc_error){0};
    path = fc_tmp_path(&t, "flat.png");
    assert_says(fc_png_write(path, rgb[0][0], W, 0, &err), &err, FC_EFAIL, path,
                "cannot write PNG");
    fc_arena_free(&arena);
    fc_tmp_remove(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_pnm_maximum),
        cmocka_unit_test(test_jpeg),
        cmocka_unit_test(test_png_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
