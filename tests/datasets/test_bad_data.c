/* Bad data: every file of tests/bad/{pickle,npz,idx,decode} and every way a data set can be wrong
 * is refused with FC_EDATA and a sentence that names the file, what was found and what was
 * expected. */
#include "datasets/dataset.h"
#include "datasets/decode.h"
#include "datasets/idx.h"
#include "datasets/npz.h"
#include "datasets/pickle.h"
#include "tests/support/tmp.h"

/* --- files of one parser ------------------------------------------------------------------------
 */

typedef fc_status parser(const unsigned char *data, size_t n, const char *name, fc_arena *arena,
                         fc_error *err);

static fc_status parse_pickle(const unsigned char *data, size_t n, const char *name,
                              fc_arena *arena, fc_error *err)
{
    const fc_pickle *v;
    return fc_pickle_read(&v, data, n, name, arena, err);
}

static fc_status parse_npz(const unsigned char *data, size_t n, const char *name, fc_arena *arena,
                           fc_error *err)
{
    fc_npy a;
    bool found;
    return fc_npz_find(&a, &found, data, n, "x_train", name, arena, err);
}

static fc_status parse_idx(const unsigned char *data, size_t n, const char *name, fc_arena *arena,
                           fc_error *err)
{
    fc_idx x;
    return fc_idx_parse(&x, data, n, 3, name, arena, err);
}

static fc_status parse_image(const unsigned char *data, size_t n, const char *name, fc_arena *arena,
                             fc_error *err)
{
    fc_image m;
    return fc_decode_memory(&m, data, n, name, arena, err);
}

typedef struct row {
    const char *file, *says;
} row;

static void refuse_all(const char *folder, parser *parse, const row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++) {
        char name[128];
        void *map;
        size_t n;
        fc_arena arena = {0};
        fc_error err = {0};
        snprintf(name, sizeof name, "%s/%s", folder, rows[i].file);
        const char *path = fc_tests_path(name);
        assert_int_equal(fc_file_map(&map, &n, path, FC_EDATA, &err), FC_OK);
        unsigned char *exact = malloc(n ? n : 1); /* so that a sanitizer sees the end of it */
        memcpy(exact, map, n);
        assert_says(parse(exact, n, path, &arena, &err), &err, FC_EDATA, path, rows[i].says);
        free(exact);
        fc_file_unmap(map, n);
        fc_arena_free(&arena);
    }
    assert_int_equal(fc_count_files(fc_tests_path(folder)), n_rows);
}

static void test_pickle(void **state)
{
    (void)state;
    static const row rows[] = {
        {"append-to-none", "items for something that is no list"},
        {"array-in-fortran-order", "Fortran order"},
        {"array-of-float", "not of uint8"},
        {"array-shape-negative", "impossible shape"},
        {"array-shape-wrong", "shape does not match its bytes"},
        {"bytes-after-stop", "bytes after the end"},
        {"bytes-with-argument", "bytes() with arguments"},
        {"calls-a-string", "no known function"},
        {"calls-a-type", "a call of a type"},
        {"cut-in-array", "truncated"},
        {"cut-in-name", "truncated"},
        {"dtype-without-name", "dtype without a name"},
        {"empty", "not a pickle of protocol 2 to 5"},
        {"encode-again-and-again", "more bytes than the file has"},
        {"encode-not-latin1", "not latin-1"},
        {"encode-one-argument", "other arguments than (str, 'latin1')"},
        {"key-without-value", "a key without a value"},
        {"long-of-9-bytes", "more than 64 bits"},
        {"mark-in-tuple", "a mark where a value is expected"},
        {"memo-never-stored", "memo number was never stored"},
        {"memo-number-huge", "memo number is too large"},
        {"memo-of-nothing", "the stack is empty"},
        {"no-mark", "no mark on the stack"},
        {"no-stop", "truncated"},
        {"opcode-unknown", "byte 2: opcode 0xee"},
        {"pair-to-list", "entries for something that is no dict"},
        {"protocol-0", "not a pickle of protocol 2 to 5"},
        {"protocol-9", "not a pickle of protocol 2 to 5"},
        {"runs-eval-from-stack", "it wants builtins.eval"},
        {"runs-os-system", "it wants os.system"},
        {"state-of-four", "no array"},
        {"state-of-int", "no array"},
        {"stop-on-empty-stack", "the stack is empty"},
        {"stop-on-mark", "a mark where a value is expected"},
        {"string-of-2e64", "truncated"},
        {"string-of-4-gib", "truncated"},
    };
    refuse_all("bad/pickle", parse_pickle, rows, sizeof rows / sizeof *rows);
}

static void test_npz(void **state)
{
    (void)state;
    static const row rows[] = {
        {"checksum-wrong", "wrong checksum"},
        {"cut-off", "no end record"},
        {"deflate-corrupt", "deflate: corrupt"},
        {"directory-cut-off", "cut off at entry 0"},
        {"directory-damaged", "damaged at entry 0"},
        {"directory-out-of-file", "directory lies outside"},
        {"empty", "no end record"},
        {"encrypted", "x_train.npy is encrypted"},
        {"end-only-zip64", "zip64 archive, expected less than 4 GiB"},
        {"member-inflates-to-4-gb", "cannot inflate to 4026531840"},
        {"member-inflates-to-less", "deflate: ends too early"},
        {"member-inflates-to-more", "deflate: more data than expected"},
        {"member-method-99", "compression 99, expected 0 or 8"},
        {"member-out-of-file", "its header lies outside of the file"},
        {"member-stored-of-other-size", "16 bytes stored, expected 134"},
        {"member-too-long", "65535 bytes lie outside of the file"},
        {"member-zip64", "is zip64, expected less than 4 GiB"},
        {"not-a-zip", "not a zip archive"},
        {"npy-big-endian", "type '>i4', expected little-endian integers"},
        {"npy-data-long", "5 bytes of data, expected 4 elements of 1 bytes"},
        {"npy-data-short", "3 bytes of data, expected 4 elements of 1 bytes"},
        {"npy-five-dims", "shape (1, 1, 1, 1, 1), expected (...) of at most 4"},
        {"npy-float", "type '<f8', expected little-endian integers"},
        {"npy-fortran", "Fortran order, expected C order"},
        {"npy-header-empty-dict", "header without descr"},
        {"npy-header-too-long", "header of 65535 bytes in 14"},
        {"npy-no-magic", "not an npy file"},
        {"npy-object", "type '|O', expected little-endian integers"},
        {"npy-shape-40-digits", "of at most 4 numbers"},
        {"npy-shape-negative", "shape (-1,), expected"},
        {"npy-shape-open", "shape (3,, expected"},
        {"npy-shape-overflow", "shape (99999999999999999,99999999999999999), expected"},
        {"npy-shape-text", "shape (two,), expected"},
        {"npy-version-9", "not an npy file of version 1 to 3"},
    };
    refuse_all("bad/npz", parse_npz, rows, sizeof rows / sizeof *rows);
}

static void test_idx(void **state)
{
    (void)state;
    static const row rows[] = {
        {"cut-in-header", "10 bytes, expected an IDX header of 16"},
        {"data-long", "13 bytes of data, expected 12"},
        {"data-short", "11 bytes of data, expected 12"},
        {"dimensions-one", "starts with bytes 0 0 8 1, expected 0 0 8 3"},
        {"empty", "0 bytes, expected an IDX header"},
        {"gzip-bytes-after-end", "gzip: bytes after the end"},
        {"gzip-checksum-wrong", "gzip: corrupt"},
        {"gzip-corrupt", "gzip: corrupt"},
        {"gzip-cut-off", "gzip: truncated"},
        {"gzip-data-long", "gzip: more data than expected"},
        {"gzip-data-short", "gzip: ends too early"},
        {"gzip-only-magic", "gzip: truncated"},
        {"gzip-promises-8-gb", "29 bytes cannot hold the 8000000000"},
        {"size-overflow", "product of the dimensions overflows"},
        {"type-float", "starts with bytes 0 0 13 3"},
    };
    refuse_all("bad/idx", parse_idx, rows, sizeof rows / sizeof *rows);
}

static void test_images(void **state)
{
    (void)state;
    static const char no_end[] = "truncated JPEG: no end-of-image marker";
    static const char ppm_header[] = "corrupt PPM header, expected width, height, 1 to 65535";
    static const row rows[] = {
        {"empty", "0 bytes that are no PNG, JPEG or raw PPM"},
        {"gif-in-disguise.png", "no PNG, JPEG or raw PPM"},
        {"jpeg-cut-in-header.jpg", no_end},
        {"jpeg-cut-in-scan.jpg", no_end},
        {"jpeg-huffman-code-lengths.jpg", "corrupt JPEG: bad code lengths"},
        {"jpeg-huffman-of-300-codes.jpg", "corrupt JPEG: bad Huffman table"},
        {"jpeg-huffman-of-4080-codes.jpg", "corrupt JPEG: bad Huffman table"},
        {"jpeg-junk-between-segments.jpg", "corrupt JPEG: bytes outside of any segment"},
        {"jpeg-segment-past-end.jpg", no_end},
        {"jpeg-width-0.jpg", "corrupt JPEG"},
        {"jpeg-without-end.jpg", no_end},
        {"jpeg-without-scan.jpg", "corrupt JPEG: no pixels"},
        {"jpeg-without-tables.jpg", "corrupt JPEG: no tables before the pixels"},
        {"png-300-megapixels.png", "image of 20000 x 15000 pixels, expected 1 to 20000"},
        {"png-checksum-wrong.png", "corrupt PNG: IDAT: CRC error"},
        {"png-cut-in-header.png", "truncated: the file ends too early"},
        {"png-cut-in-pixels.png", "truncated: the file ends too early"},
        {"png-palette-missing.png", "Missing PLTE"},
        {"png-pixels-corrupt.png", "corrupt PNG: IDAT"},
        {"png-pixels-missing.png", "Not enough image data"},
        {"png-signature-only.png", "truncated: the file ends too early"},
        {"png-width-0.png", "Invalid IHDR data"},
        {"png-width-30000.png", "Invalid IHDR data"},
        {"png-without-end.png", "truncated: the file ends too early"},
        {"ppm-comment-open.ppm", ppm_header},
        {"ppm-cut-off.ppm", "59 bytes of pixels, expected 60"},
        {"ppm-header-cut-off.ppm", ppm_header},
        {"ppm-maxval-0.ppm", ppm_header},
        {"ppm-maxval-70000.ppm", ppm_header},
        {"ppm-too-long.ppm", "61 bytes of pixels, expected 60"},
        {"ppm-width-200-digits.ppm", ppm_header},
        {"ppm-width-huge.ppm", "image of 999999999 x 999999999 pixels"},
        {"text.png", "16 bytes that are no PNG"},
    };
    refuse_all("bad/decode", parse_image, rows, sizeof rows / sizeof *rows);
}

/* --- data sets ----------------------------------------------------------------------------------
 */

static void refuse(const char *reader, const char *path, const char *where, const char *says)
{
    fc_dataset d;
    fc_error err = {0};
    const fc_data_request q = {.name = reader, .path = path, .root = ""};
    assert_says(fc_dataset_load(&d, &q, &err), &err, FC_EDATA, where, says);
    assert_null(d.arena.first); /* {0} again */
    assert_int_equal(d.n_map, 0);
}

static void test_no_data(void **state)
{
    (void)state;
    static const char *const readers[] = {"cifar10", "cifar100", "imagefolder", "mnist", "npz"};
    fc_tmp t = fc_tmp_new();
    for (int i = 0; i < 5; i++) {
        const char *none = fc_tmp_path(&t, "none");
        refuse(readers[i], none, none, "no such file or folder, expected the folder of");
        refuse(readers[i], t.dir, t.dir, "data in this folder, expected");
    }
    fc_dataset d;
    fc_error err = {0};
    fc_data_request q = {.name = "cifar", .path = "", .root = ""};
    assert_says(fc_dataset_load(&d, &q, &err), &err, FC_EUSAGE, "unknown dataset 'cifar'",
                "did you mean 'cifar10'?");
    fc_tmp_remove(&t);
}

enum { RECORD = 3074 };

/* n records with labels 0, 1, ... 99, 0, ... */
static unsigned char *cifar100(int n)
{
    unsigned char *p = calloc((size_t)n + 1, RECORD);
    assert_non_null(p);
    for (int i = 0; i < n; i++)
        p[i * RECORD + 1] = (unsigned char)(i % 100);
    return p;
}

static void test_cifar_binary(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    unsigned char *p = cifar100(100);
    const size_t n = (size_t)100 * RECORD;
    const char *test = fc_tmp_path(&t, "test.bin");
    const char *train = fc_tmp_put(&t, "train.bin", p, n);
    refuse("cifar100", t.dir, test, "No such file");
    assert_int_equal(mkdir(test, 0777), 0);
    refuse("cifar100", t.dir, test, "is a directory, expected a regular file");
    assert_int_equal(rmdir(test), 0);
    fc_tmp_put(&t, "test.bin", "", 0);
    refuse("cifar100", t.dir, test, "is empty, expected data");
    fc_tmp_put(&t, "test.bin", p, n - 1);
    refuse("cifar100", t.dir, test,
           "307399 bytes are 99 records of 3074 bytes and 3073 bytes more, expected whole records");
    fc_tmp_put(&t, "test.bin", p, n + 5);
    refuse("cifar100", t.dir, test, "100 records of 3074 bytes and 5 bytes more");
    fc_tmp_put(&t, "test.bin", p, n - RECORD);
    refuse("cifar100", t.dir, t.dir, "class 99 has no test image, expected at least one");
    fc_tmp_put(&t, "test.bin", p, n);
    p[7 * RECORD + 1] = 100;
    fc_tmp_put(&t, "train.bin", p, n);
    refuse("cifar100", t.dir, train, "record 7: label 100, expected 0 to 99");
    p[7 * RECORD] = 20;
    fc_tmp_put(&t, "train.bin", p, n);
    refuse("cifar100", t.dir, train, "record 7: coarse label 20, expected 0 to 19");
    p[7 * RECORD] = 0;
    p[7 * RECORD + 1] = 8;
    fc_tmp_put(&t, "train.bin", p, n);
    refuse("cifar100", t.dir, t.dir, "class 7 has no training image");
    const char *names = fc_tmp_put(&t, "fine_label_names.txt", "a\nb\n\n", 5);
    refuse("cifar100", t.dir, names, "2 class names, expected 100");
    free(p);
    fc_tmp_remove(&t);
}

/* A pickled dict in the style of Python 2: {key: (3072 bytes of array), labels: [label]}. */
static size_t cifar_pickle(unsigned char *out, const char *key, int rows, int cols, int label,
                           int labels)
{
    size_t n = (size_t)rows * (size_t)cols;
    unsigned char *p = out;
    p +=
        sprintf((char *)p, "\x80\x02}(U\x04%scnumpy.core.multiarray\n_reconstruct\n)R(K\x01K", key);
    *p++ = (unsigned char)rows;
    *p++ = 'M';
    *p++ = (unsigned char)cols;
    *p++ = (unsigned char)(cols >> 8);
    p += sprintf((char *)p, "\x86%s", "cnumpy\ndtype\nU\x02u1\x85R\x89T");
    for (int i = 0; i < 4; i++)
        *p++ = (unsigned char)(n >> (8 * i));
    memset(p, 1, n);
    p += n;
    p += sprintf((char *)p, "tbU\x06labels](");
    for (int i = 0; i < labels; i++) {
        *p++ = 'K';
        *p++ = (unsigned char)label;
    }
    memcpy(p, "eu.", 3);
    return (size_t)(p + 3 - out);
}

static void test_cifar_python(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int rows, cols, label, labels;
        const char *says;
    } rows[] = {
        {"data", 2, 3072, 10, 2, "image 0: label 10, expected 0 to 9"},
        {"data", 2, 3072, 1, 1, "1 labels, expected 2, one for each image"},
        {"data", 2, 3071, 1, 2, "data has 2 dimensions, the last 3071, expected (n, 3072)"},
        {"Data", 2, 3072, 1, 2, "no array under the key \"data\""},
    };
    unsigned char p[8000];
    fc_tmp t = fc_tmp_new();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n =
            cifar_pickle(p, rows[i].key, rows[i].rows, rows[i].cols, rows[i].label, rows[i].labels);
        fc_tmp_put(&t, "data_batch_1", p, n);
        for (int b = 2; b <= 5; b++) {
            char name[32];
            snprintf(name, sizeof name, "data_batch_%d", b);
            fc_tmp_put(&t, name, p, cifar_pickle(p, "data", 1, 3072, b, 1));
        }
        refuse("cifar10", t.dir, fc_tmp_path(&t, "data_batch_1"), rows[i].says);
    }
    fc_tmp_remove(&t);
}

static size_t idx_images(unsigned char *p, int n, int width)
{
    const unsigned char h[16] = {0, 0, 8, 3, 0, 0, 0, (unsigned char)n,
                                 0, 0, 0, 2, 0, 0, 0, (unsigned char)width};
    memcpy(p, h, 16);
    memset(p + 16, 7, (size_t)n * 2 * (size_t)width);
    return 16 + (size_t)n * 2 * (size_t)width;
}

static size_t idx_labels(unsigned char *p, int n, int first)
{
    const unsigned char h[8] = {0, 0, 8, 1, 0, 0, 0, (unsigned char)n};
    memcpy(p, h, 8);
    for (int i = 0; i < n; i++)
        p[8 + i] = (unsigned char)(first + i);
    return 8 + (size_t)n;
}

static void test_mnist(void **state)
{
    (void)state;
    unsigned char p[200];
    fc_tmp t = fc_tmp_new();
    const char *images = fc_tmp_path(&t, "train-images-idx3-ubyte");
    const char *labels = fc_tmp_path(&t, "train-labels-idx1-ubyte");
    fc_tmp_put(&t, "train-images-idx3-ubyte", p, idx_images(p, 10, 3));
    refuse("mnist", t.dir, labels, "No such file");
    fc_tmp_put(&t, "train-labels-idx1-ubyte", p, idx_labels(p, 9, 0));
    refuse("mnist", t.dir, labels, "9 labels, expected 10, one for each image of");
    fc_tmp_put(&t, "train-labels-idx1-ubyte", p, idx_labels(p, 10, 1));
    refuse("mnist", t.dir, labels, "label 9 is 10, expected 0 to 9");
    fc_tmp_put(&t, "train-images-idx3-ubyte", p, idx_images(p, 10, 0));
    refuse("mnist", t.dir, images, "images of 0 x 2 pixels");
    fc_tmp_remove(&t);
}

static void test_imagefolder(void **state)
{
    (void)state;
    static const char ppm[] = "P6 1 1 255\nabc";
    fc_tmp t = fc_tmp_new();
    const char *train = fc_tmp_path(&t, "train"), *test = fc_tmp_path(&t, "test");
    fc_tmp_put(&t, "train/cat/1.ppm", ppm, 14);
    refuse("imagefolder", t.dir, fc_tmp_path(&t, "val"), "cannot list: No such file");
    fc_tmp_put(&t, "test/cat/1.ppm", ppm, 14);
    fc_tmp_put(&t, "test/dog/1.ppm", ppm, 14);
    refuse("imagefolder", t.dir, train, "no folder dog, expected the same classes as in");
    fc_tmp_put(&t, "train/dog/1.ppm", ppm, 14);
    fc_tmp_put(&t, "train/ant/readme.txt", "x", 1);
    refuse("imagefolder", t.dir, test, "no folder ant, expected the same classes as in");
    fc_tmp_put(&t, "test/ant/1.ppm", ppm, 14);
    refuse("imagefolder", t.dir, t.dir, "class 0 (ant) has no training image");
    const char *bad = fc_tmp_put(&t, "train/ant/1.bmp", "BM no bitmap here", 17);
    refuse("imagefolder", t.dir, bad, "17 bytes that are no PNG, JPEG or raw PPM image");
    fc_tmp_remove(&t);

    t = fc_tmp_new();
    fc_tmp_put(&t, "train", "x", 1);
    fc_tmp_put(&t, "test/cat/1.ppm", ppm, 14);
    refuse("imagefolder", t.dir, t.dir, "/train: cannot list: Not a directory");
    fc_tmp_remove(&t);
}

/* Archives made of stored members. */
typedef struct zip {
    unsigned char p[4096];
    size_t n;
    unsigned char central[2048];
    size_t n_central;
    int entries;
} zip;

static void put_le(unsigned char *p, size_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t crc32_of(const unsigned char *p, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Adds name.npy: dtype, shape, n zero-based bytes of data, each `value`. */
static void zip_add(zip *z, const char *name, const char *dtype, const char *shape, size_t n,
                    int value)
{
    unsigned char npy[512] = "\x93NUMPY\x01";
    char *dict = (char *)npy + 10;
    int header =
        snprintf(dict, 300, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", dtype, shape);
    put_le(npy + 8, (size_t)header, 2);
    memset(npy + 10 + header, value, n);
    size_t size = 10 + (size_t)header + n, n_name = strlen(name) + 4;
    unsigned char *c = z->central + z->n_central, *l = z->p + z->n;
    memset(c, 0, 46);
    memset(l, 0, 30);
    put_le(c, 0x02014b50, 4);
    put_le(c + 16, crc32_of(npy, size), 4);
    put_le(c + 20, size, 4);
    put_le(c + 24, size, 4);
    put_le(c + 28, n_name, 2);
    put_le(c + 42, z->n, 4);
    z->n_central += 46 + (size_t)sprintf((char *)c + 46, "%s.npy", name);
    put_le(l, 0x04034b50, 4);
    put_le(l + 26, n_name, 2);
    sprintf((char *)l + 30, "%s.npy", name);
    memcpy(l + 30 + n_name, npy, size);
    z->n += 30 + n_name + size;
    z->entries++;
}

static const char *zip_put(const fc_tmp *t, zip *z)
{
    unsigned char *e = z->p + z->n + z->n_central;
    memcpy(z->p + z->n, z->central, z->n_central);
    memset(e, 0, 22);
    put_le(e, 0x06054b50, 4);
    put_le(e + 10, (size_t)z->entries, 2);
    put_le(e + 12, z->n_central, 4);
    put_le(e + 16, z->n, 4);
    return fc_tmp_put(t, "data.npz", z->p, z->n + z->n_central + 22);
}

static void test_npz_arrays(void **state)
{
    (void)state;
    static const struct {
        const char *x_dtype, *x_shape;
        size_t x_bytes;
        const char *y_dtype, *y_shape;
        size_t y_bytes;
        int y_value;
        const char *says;
    } rows[] = {
        {"<u2", "(1, 2, 3)", 12, "|u1", "(1,)", 1, 0,
         "x_train: elements of 2 bytes, expected uint8"},
        {"|u1", "(2, 3)", 6, "|u1", "(2,)", 2, 0,
         "x_train: 2 dimensions, the last 3, expected (n,"},
        {"|u1", "(1, 2, 3, 2)", 12, "|u1", "(1,)", 1, 0, "x_train: 4 dimensions, the last 2"},
        {"|u1", "(2, 0, 3)", 0, "|u1", "(2,)", 2, 0, "x_train: images of 3 x 0, expected 1 to"},
        {"|u1", "(2, 1, 3)", 6, "|u1", "(3,)", 3, 0,
         "y_train: 3 labels in 1 dimensions, expected 2"},
        {"|u1", "(2, 1, 3)", 6, "|u1", "(1, 2)", 2, 0, "y_train: 2 labels in 2 dimensions"},
        {"|u1", "(1, 1, 3)", 3, "|i1", "(1,)", 1, 255,
         "y_train: label 0 is -1, expected 0 to 65535"},
        {"|u1", "(1, 1, 3)", 3, "<u4", "(1,)", 4, 1, "label 0 is 16843009, expected 0 to 65535"},
        {"|u1", "(1, 1, 3)", 3, "|u1", "(1,)", 1, 1, "class 0 has no training image"},
        {"|u1", "(0, 1, 3)", 0, "|u1", "(0,)", 0, 1, "class 0 has no training image"},
    };
    fc_tmp t = fc_tmp_new();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zip z = {.n = 0};
        zip_add(&z, "x_train", rows[i].x_dtype, rows[i].x_shape, rows[i].x_bytes, 5);
        zip_add(&z, "y_train", rows[i].y_dtype, rows[i].y_shape, rows[i].y_bytes, rows[i].y_value);
        zip_add(&z, "x_test", "|u1", "(1, 1, 3)", 3, 5);
        zip_add(&z, "test_labels", "|u1", "(1,)", 1, 0);
        const char *path = zip_put(&t, &z);
        refuse("npz", t.dir, path, rows[i].says);
        refuse("npz", path, path, rows[i].says);
    }
    zip z = {.n = 0};
    zip_add(&z, "x_train", "|u1", "(1, 1, 3)", 3, 5);
    refuse("npz", zip_put(&t, &z), t.dir, "no array y_train or train_labels");
    fc_tmp_remove(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pickle),       cmocka_unit_test(test_npz),
        cmocka_unit_test(test_idx),          cmocka_unit_test(test_images),
        cmocka_unit_test(test_no_data),      cmocka_unit_test(test_cifar_binary),
        cmocka_unit_test(test_cifar_python), cmocka_unit_test(test_mnist),
        cmocka_unit_test(test_imagefolder),  cmocka_unit_test(test_npz_arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
