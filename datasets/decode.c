#include "datasets/decode.h"

#include "core/base/file.h"
#include "datasets/files.h"

#include <ctype.h>
#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#include <stb/stb_image.h>

/* Room for the pixels of an image of checked size: interleaved, `channels` bytes a pixel. */
static fc_status new_pixels(fc_image *m, uint8_t **p, uint32_t width, uint32_t height, int channels,
                            const char *name, fc_arena *arena, fc_error *err)
{
    if (width == 0 || height == 0 || width > FC_SIDE_MAX || height > FC_SIDE_MAX ||
        (size_t)width * height > fc_pixels_max)
        return fc_fail(
            err, FC_EDATA,
            "%s: image of %u x %u pixels, expected 1 to %d on a side, at most %zu in all", name,
            width, height, FC_SIDE_MAX, fc_pixels_max);
    *p = fc_arena_alloc(arena, (size_t)width * height, (size_t)channels, err);
    if (!*p)
        return FC_EFAIL;
    *m = (fc_image){.p = *p,
                    .width = (int)width,
                    .height = (int)height,
                    .row = (ptrdiff_t)width * channels,
                    .col = channels,
                    .chan = 1};
    return FC_OK;
}

/* --- PNG -------------------------------------------------------------------------------------- */

/* What libpng's callbacks see. */
typedef struct png_io {
    const unsigned char *in; /* reading: what is left */
    size_t n_in;
    unsigned char *out; /* writing: malloc'ed */
    size_t n_out, room;
    const char *name, *what; /* head of messages */
    fc_status code;          /* of a failure */
    fc_error *err;
} png_io;

static void on_error(png_structp png, png_const_charp text)
{
    const png_io *io = png_get_error_ptr(png);
    fc_fail(io->err, io->code, "%s: %s: %s", io->name, io->what, text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep to, size_t n)
{
    png_io *io = png_get_io_ptr(png);
    if (n > io->n_in)
        png_error(png, "truncated: the file ends too early");
    memcpy(to, io->in, n);
    io->in += n;
    io->n_in -= n;
}

/* RGBA to RGB in place, on white. */
static void drop_alpha(fc_image *m, uint8_t *p)
{
    size_t n = (size_t)m->width * (size_t)m->height;
    for (size_t i = 0; i < n; i++) {
        int a = p[4 * i + 3];
        for (size_t c = 0; c < 3; c++)
            p[3 * i + c] = (uint8_t)((p[4 * i + c] * a + 255 * (255 - a) + 127) / 255);
    }
    m->col = 3;
    m->row = 3 * (ptrdiff_t)m->width;
}

/* May leave by longjmp to decode_png; not inlined there, so that no variable is clobbered. */
__attribute__((noinline)) static fc_status read_png(fc_image *out, png_structp png, png_infop info,
                                                    const png_io *io, fc_arena *arena)
{
    png_set_user_limits(png, FC_SIDE_MAX, FC_SIDE_MAX);
    png_read_info(png, info);
    bool alpha = png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA ||
                 png_get_valid(png, info, PNG_INFO_tRNS);
    png_set_expand(png); /* palettes, fewer than 8 bits, transparent colours */
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);

    fc_image m;
    int channels = alpha ? 4 : 3;
    uint8_t *p = NULL;
    FC_TRY(new_pixels(&m, &p, png_get_image_width(png, info), png_get_image_height(png, info),
                      channels, io->name, arena, io->err));
    if (png_get_rowbytes(png, info) != (size_t)m.row)
        png_error(png, "unexpected number of channels");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < m.height; y++)
            png_read_row(png, p + y * m.row, NULL);
    png_read_end(png, NULL);
    if (alpha)
        drop_alpha(&m, p);
    *out = m;
    return FC_OK;
}

static fc_status decode_png(fc_image *out, const unsigned char *data, size_t n, const char *name,
                            fc_arena *arena, fc_error *err)
{
    png_io io = {
        .in = data, .n_in = n, .name = name, .what = "corrupt PNG", .code = FC_EDATA, .err = err};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &io, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    fc_status s;
    if (!info) {
        s = fc_fail(err, FC_EFAIL, "%s: PNG: out of memory", name);
    } else if (setjmp(png_jmpbuf(png))) {
        s = FC_EDATA;
    } else {
        png_set_read_fn(png, &io, read_bytes);
        s = read_png(out, png, info, &io, arena);
    }
    png_destroy_read_struct(&png, &info, NULL);
    return s;
}

static void write_bytes(png_structp png, png_bytep from, size_t n)
{
    png_io *io = png_get_io_ptr(png);
    if (n > io->room - io->n_out) {
        size_t room = 2 * io->room + n;
        unsigned char *grown = realloc(io->out, room);
        if (!grown)
            png_error(png, "out of memory");
        io->out = grown;
        io->room = room;
    }
    memcpy(io->out + io->n_out, from, n);
    io->n_out += n;
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

/* May leave by longjmp to fc_png_write. */
__attribute__((noinline)) static void write_png(png_structp png, png_infop info, const uint8_t *rgb,
                                                int width, int height)
{
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int y = 0; y < height; y++)
        png_write_row(png, rgb + (size_t)y * (size_t)width * 3);
    png_write_end(png, info);
}

fc_status fc_png_write(const char *path, const uint8_t *rgb, int width, int height, fc_error *err)
{
    png_io io = {.name = path, .what = "cannot write PNG", .code = FC_EFAIL, .err = err};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &io, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    fc_status s;
    if (!info) {
        s = fc_fail(err, FC_EFAIL, "%s: PNG: out of memory", path);
    } else if (setjmp(png_jmpbuf(png))) {
        s = FC_EFAIL;
    } else {
        png_set_write_fn(png, &io, write_bytes, flush_nothing);
        write_png(png, info, rgb, width, height);
        s = fc_file_write_atomic(path, io.out, io.n_out, err);
    }
    png_destroy_write_struct(&png, &info);
    free(io.out);
    return s;
}

/* --- JPEG ------------------------------------------------------------------------------------- */

/* Huffman tables of a DHT segment (T.81, B.2.4.2): a byte, 16 counts of codes by length, that many
 * values. More than 256 codes would overflow stb_image's tables. */
static bool huffman_fits(const unsigned char *p, size_t n)
{
    while (n > 0) {
        size_t codes = 0;
        if (n < 17)
            return false;
        for (int i = 1; i <= 16; i++)
            codes += p[i];
        if (codes > 256 || codes > n - 17)
            return false;
        p += 17 + codes;
        n -= 17 + codes;
    }
    return true;
}

/* What stb_image does not notice: it fills what a cut-off file does not have with grey and trusts
 * the sizes of Huffman tables. Walk the markers (ITU T.81, B.1.1): segments carry their length; in
 * the scan that follows SOS, 0xff is data only before 0x00 or RST0..7. NULL if all is well. */
static const char *jpeg_fault(const unsigned char *p, size_t n)
{
    enum { DHT = 0xc4, RST0 = 0xd0, RST7 = 0xd7, EOI = 0xd9, SOS = 0xda, DQT = 0xdb };
    size_t i = 2; /* SOI */
    bool scan = false, seen[256] = {false};
    while (i + 1 < n) {
        int marker = p[i + 1];
        if (p[i] != 0xff || marker == 0 || (RST0 <= marker && marker <= RST7)) {
            if (!scan)
                return "corrupt JPEG: bytes outside of any segment";
            i++;
        } else if (marker == 0xff) { /* fill byte */
            i++;
        } else if (marker == EOI) {
            return seen[SOS] ? NULL : "corrupt JPEG: no pixels";
        } else {
            size_t length = i + 3 < n ? (size_t)p[i + 2] << 8 | p[i + 3] : 0;
            if (length < 2 || length > n - i - 2)
                break;
            if (marker == DHT && !huffman_fits(p + i + 4, length - 2))
                return "corrupt JPEG: bad Huffman table";
            if (marker == SOS && !(seen[DHT] && seen[DQT]))
                return "corrupt JPEG: no tables before the pixels";
            i += 2 + length;
            scan = marker == SOS;
            seen[marker] = true;
        }
    }
    return "truncated JPEG: no end-of-image marker";
}

static fc_status decode_jpeg(fc_image *out, const unsigned char *data, size_t n, const char *name,
                             fc_arena *arena, fc_error *err)
{
    int width, height, channels;
    if (n > INT32_MAX)
        return fc_fail(err, FC_EDATA, "%s: JPEG of %zu bytes, expected at most 2^31 - 1", name, n);
    const char *fault = jpeg_fault(data, n);
    if (fault)
        return fc_fail(err, FC_EDATA, "%s: %s", name, fault);
    if (!stbi_info_from_memory(data, (int)n, &width, &height, &channels))
        return fc_fail(err, FC_EDATA, "%s: corrupt JPEG: %s", name, stbi_failure_reason());
    fc_image m;
    uint8_t *p = NULL;
    FC_TRY(new_pixels(&m, &p, (uint32_t)width, (uint32_t)height, 3, name, arena, err));
    stbi_uc *rgb = stbi_load_from_memory(data, (int)n, &width, &height, &channels, 3);
    if (!rgb)
        return fc_fail(err, FC_EDATA, "%s: corrupt JPEG: %s", name, stbi_failure_reason());
    memcpy(p, rgb, 3 * (size_t)m.width * (size_t)m.height);
    stbi_image_free(rgb);
    *out = m;
    return FC_OK;
}

/* --- PPM and PGM -------------------------------------------------------------------------------
 */

/* A decimal number after white space and # comments; -1 if there is none of at most 9 digits. */
static long pnm_number(const unsigned char *data, size_t n, size_t *pos)
{
    size_t i = *pos;
    while (i < n && (isspace(data[i]) || data[i] == '#')) {
        if (data[i] == '#')
            while (i + 1 < n && data[i + 1] != '\n')
                i++;
        i++;
    }
    long v = 0;
    size_t first = i;
    while (i < n && data[i] >= '0' && data[i] <= '9' && i - first < 9)
        v = 10 * v + (data[i++] - '0');
    *pos = i;
    return i > first ? v : -1;
}

/* http://netpbm.sourceforge.net/doc/ppm.html; raw formats, one picture, 1 or 2 bytes a sample. */
static fc_status decode_pnm(fc_image *out, const unsigned char *data, size_t n, const char *name,
                            fc_arena *arena, fc_error *err)
{
    size_t pos = 2;
    long width = pnm_number(data, n, &pos), height = pnm_number(data, n, &pos);
    long maxval = pnm_number(data, n, &pos);
    if (!(width > 0 && height > 0 && 0 < maxval && maxval <= 65535) || pos == n)
        return fc_fail(err, FC_EDATA, "%s: corrupt PPM header, expected width, height, 1 to 65535",
                       name);
    pos++; /* one white space */
    fc_image m;
    uint8_t *p = NULL;
    FC_TRY(new_pixels(&m, &p, (uint32_t)width, (uint32_t)height, 3, name, arena, err));
    size_t channels = data[1] == '6' ? 3 : 1, bytes = maxval > 255 ? 2 : 1;
    size_t pixels = (size_t)width * (size_t)height, want = pixels * channels * bytes;
    if (n - pos != want)
        return fc_fail(err, FC_EDATA, "%s: PPM of %ld x %ld with %zu bytes of pixels, expected %zu",
                       name, width, height, n - pos, want);
    const unsigned char *in = data + pos;
    for (size_t i = 0; i < pixels * 3; i++) {
        size_t k = (channels == 3 ? i : i / 3) * bytes;
        long v = bytes == 2 ? in[k] << 8 | in[k + 1] : in[k];
        p[i] = (uint8_t)(((v < maxval ? v : maxval) * 255 + maxval / 2) / maxval);
    }
    *out = m;
    return FC_OK;
}

/* --- any -------------------------------------------------------------------------------------- */

fc_status fc_decode_memory(fc_image *out, const unsigned char *data, size_t n, const char *name,
                           fc_arena *arena, fc_error *err)
{
    if (n >= 8 && png_sig_cmp(data, 0, 8) == 0)
        return decode_png(out, data, n, name, arena, err);
    if (n >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff)
        return decode_jpeg(out, data, n, name, arena, err);
    if (n >= 3 && data[0] == 'P' && (data[1] == '5' || data[1] == '6'))
        return decode_pnm(out, data, n, name, arena, err);
    return fc_fail(err, FC_EDATA, "%s: %zu bytes that are no PNG, JPEG or raw PPM image", name, n);
}

fc_status fc_decode_file(fc_image *out, const char *path, fc_arena *arena, fc_error *err)
{
    void *data;
    size_t n;
    FC_TRY(fc_file_map(&data, &n, path, FC_EDATA, err));
    fc_status s = fc_decode_memory(out, data, n, path, arena, err);
    fc_file_unmap(data, n);
    return s;
}
