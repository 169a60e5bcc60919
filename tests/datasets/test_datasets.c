/* Readers: the small files of tests/data and files made here, pixel by pixel. */
#include "datasets/dataset.h"
#include "datasets/decode.h"
#include "datasets/npz.h"
#include "datasets/pickle.h"
#include "tests/support/tmp.h"

#include <zlib.h>

static int pixel(const fc_image *m, int x, int y, int c)
{
    return m->p[y * m->row + x * m->col + c * m->chan];
}

static fc_dataset load(const fc_data_request *q)
{
    fc_dataset d;
    fc_error err = {0};
    fc_status s = fc_dataset_load(&d, q, &err);
    assert_string_equal(err.msg, "");
    assert_int_equal(s, FC_OK);
    assert_string_equal(d.name, q->name);
    assert_int_equal(strlen(d.sha256), 64);
    return d;
}

/* Pixel k of record i of make_files.py, as CIFAR stores it. */
static int cifar_pixel(int i, int x, int y, int c)
{
    return (i * 7 + c * 1024 + y * 32 + x) % 256;
}

static void check_cifar(const fc_split *s, size_t i, int record, int label)
{
    const fc_image *m = &s->image[i];
    assert_int_equal(m->width, 32);
    assert_int_equal(m->height, 32);
    assert_int_equal(s->label[i], label);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 32; y += 5)
            for (int x = 0; x < 32; x += 3)
                assert_int_equal(pixel(m, x, y, c), cifar_pixel(record, x, y, c));
}

static void test_cifar10_python(void **state)
{
    (void)state;
    fc_dataset d = load(&(fc_data_request){
        .name = "cifar10", .path = "", .root = fc_tests_path("data")}); /* finds the folder */
    assert_string_equal(d.path, fc_tests_path("data/cifar-10-batches-py"));
    assert_int_equal(d.classes, 10);
    assert_string_equal(d.class_name[9], "class9");
    assert_int_equal(d.train.n, 10);
    assert_int_equal(d.test.n, 10);
    for (int i = 0; i < 10; i++) {
        check_cifar(&d.train, (size_t)i, i, i);
        check_cifar(&d.test, (size_t)i, 100 + i, i);
    }
    fc_dataset_free(&d);
    fc_dataset_free(&d);
}

/* The same images in the binary format give the same hash. */
static void test_cifar10_binary(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    for (int b = 0; b < 6; b++) {
        unsigned char p[10 * 3073];
        char name[64];
        int n = b < 5 ? 2 : 10;
        for (int i = 0; i < n; i++) {
            p[i * 3073] = (unsigned char)(b < 5 ? 2 * b + i : i);
            for (int k = 0; k < 3072; k++)
                p[i * 3073 + 1 + k] =
                    (unsigned char)cifar_pixel(b < 5 ? 2 * b + i : 100 + i, k % 32, k / 32, 0);
        }
        snprintf(name, sizeof name,
                 b < 5 ? "cifar-10-batches-bin/data_batch_%d.bin"
                       : "cifar-10-batches-bin/test_batch.bin",
                 b + 1);
        fc_tmp_put(&t, name, p, (size_t)n * 3073);
    }
    fc_dataset d = load(&(fc_data_request){.name = "cifar10", .path = t.dir, .root = ""});
    fc_dataset python =
        load(&(fc_data_request){.name = "cifar10", .path = "", .root = fc_tests_path("data")});
    assert_null(d.class_name);
    check_cifar(&d.train, 9, 9, 9);
    assert_string_equal(d.sha256, python.sha256);
    assert_int_equal(d.n_map, 6);
    for (int i = 0; i < 10; i++) { /* read in place */
        const uint8_t *map = d.map[i / 2];
        assert_ptr_equal(d.train.image[i].p, map + (i % 2) * 3073 + 1);
    }
    fc_dataset_free(&python);
    fc_dataset_free(&d);
    fc_tmp_remove(&t);
}

static void test_cifar100_binary(void **state)
{
    (void)state;
    enum { RECORD = 3074, N = 300 };
    fc_tmp t = fc_tmp_new();
    unsigned char *p = calloc(N, RECORD);
    assert_non_null(p);
    for (int i = 0; i < N; i++) {
        p[i * RECORD] = 19;                           /* coarse */
        p[i * RECORD + 1] = (unsigned char)(i % 100); /* fine */
        p[i * RECORD + 2] = (unsigned char)(i / 100);
    }
    char names[1000] = "";
    for (int c = 0; c < 100; c++)
        sprintf(names + strlen(names), "n%d\r\n", c);
    fc_tmp_put(&t, "cifar100/train.bin", p, (size_t)N * RECORD);
    fc_tmp_put(&t, "cifar100/test.bin", p, (size_t)100 * RECORD);
    fc_tmp_put(&t, "cifar100/fine_label_names.txt", names, strlen(names));
    fc_data_request q = {.name = "cifar100", .path = "", .root = t.dir};
    fc_dataset all = load(&q);
    assert_int_equal(all.train.n, 300);
    assert_string_equal(all.class_name[99], "n99");

    q.max_train_per_class = 2; /* the first two of each, in file order */
    fc_dataset d = load(&q);
    assert_int_equal(d.train.n, 200);
    assert_int_equal(d.test.n, 100);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(d.train.label[i], i % 100);
        assert_int_equal(pixel(&d.train.image[i], 0, 0, 0), i / 100);
    }
    assert_string_not_equal(d.sha256, all.sha256);
    q.max_train_per_class = 3;
    fc_dataset_free(&d);
    d = load(&q);
    assert_string_equal(d.sha256, all.sha256);
    fc_dataset_free(&d);
    fc_dataset_free(&all);
    free(p);
    fc_tmp_remove(&t);
}

static void test_pickle_protocols(void **state)
{
    (void)state;
    for (int protocol = 2; protocol <= 4; protocol++) {
        char name[64];
        void *map;
        size_t n;
        fc_arena arena = {0};
        fc_error err = {0};
        const fc_pickle *d;
        snprintf(name, sizeof name, "data/pickle/protocol-%d", protocol);
        assert_int_equal(fc_file_map(&map, &n, fc_tests_path(name), FC_EDATA, &err), FC_OK);
        fc_status s = fc_pickle_read(&d, map, n, name, &arena, &err);
        assert_string_equal(err.msg, "");
        assert_int_equal(s, FC_OK);
        const fc_pickle *data = fc_pickle_get(d, "data"), *labels = fc_pickle_get(d, "labels");
        assert_int_equal(data->kind, FC_PICKLE_ARRAY);
        assert_int_equal(data->n, 12);
        assert_int_equal(data->n_item, 2);
        assert_int_equal(data->item[0]->i, 2);
        assert_int_equal(data->item[1]->i, 6);
        for (size_t i = 0; i < 12; i++) /* bytes above 127 have two bytes in protocol 2 */
            assert_int_equal(data->p[i], 200 + i);
        assert_int_equal(labels->kind, FC_PICKLE_LIST);
        assert_int_equal(labels->n_item, 2);
        assert_int_equal(labels->item[1]->i, 70000);
        assert_int_equal(fc_pickle_get(d, "none")->kind, FC_PICKLE_NONE);
        assert_true(fc_pickle_get(d, "long")->i == (int64_t)1 << 40);
        assert_int_equal(fc_pickle_get(d, "empty")->n, 0);
        assert_null(fc_pickle_get(d, "absent"));
        assert_null(fc_pickle_get(labels, "data"));
        fc_arena_free(&arena);
        fc_file_unmap(map, n);
    }
}

static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 3};
static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};

static void gz_put(const fc_tmp *t, const char *name, const void *data, size_t n)
{
    fc_tmp_put(t, name, "", 0);
    gzFile f = gzopen(fc_tmp_path(t, name), "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, data, (unsigned)n), n);
    assert_int_equal(gzclose(f), Z_OK);
}

static void test_mnist(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    unsigned char x[16 + 60];
    memcpy(x, images, 16);
    for (int i = 0; i < 60; i++)
        x[16 + i] = (unsigned char)(4 * i);
    fc_tmp_put(&t, "MNIST/raw/train-images-idx3-ubyte", x, sizeof x);
    gz_put(&t, "MNIST/raw/train-labels-idx1-ubyte.gz", labels, sizeof labels);
    gz_put(&t, "MNIST/raw/t10k-images-idx3-ubyte.gz", x, sizeof x);
    fc_tmp_put(&t, "MNIST/raw/t10k-labels-idx1-ubyte", labels, sizeof labels);
    fc_dataset d = load(&(fc_data_request){.name = "mnist", .path = "", .root = t.dir});
    const fc_split *split[] = {&d.train, &d.test};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(split[k]->n, 10);
        for (int i = 0; i < 10; i++) {
            const fc_image *m = &split[k]->image[i];
            assert_int_equal(split[k]->label[i], 9 - i);
            assert_int_equal(m->width, 3);
            assert_int_equal(m->height, 2);
            for (int c = 0; c < 3; c++) /* grey: the same in every channel */
                assert_int_equal(pixel(m, 2, 1, c), 4 * (6 * i + 5));
        }
    }
    fc_dataset_free(&d);
    fc_tmp_remove(&t);
}

/* x = 0, 1, 2, ... of shape (4, 2, 3, 3), y = 0 1 1 0; see make_files.py. */
static void test_npz(void **state)
{
    (void)state;
    fc_dataset d =
        load(&(fc_data_request){.name = "npz", .path = fc_tests_path("data/rgb.npz"), .root = ""});
    assert_int_equal(d.classes, 2);
    assert_int_equal(d.train.n, 4);
    assert_int_equal(d.test.n, 2);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(d.train.label[i], (i + 1) / 2 % 2);
        for (int c = 0; c < 3; c++)
            assert_int_equal(pixel(&d.train.image[i], 2, 1, c), ((i * 2 + 1) * 3 + 2) * 3 + c);
    }
    assert_int_equal(pixel(&d.test.image[1], 0, 0, 1), 18 + 1 + 100);
    fc_dataset_free(&d);

    d = load(&(fc_data_request){
        .name = "npz", .path = fc_tests_path("data/grey-deflated.npz"), .root = ""});
    assert_int_equal(d.train.n, 4);
    for (int c = 0; c < 3; c++) {
        assert_int_equal(pixel(&d.train.image[3], 2, 1, c), ((3 * 2 + 1) * 3 + 2) * 3);
        assert_int_equal(pixel(&d.test.image[1], 2, 1, c), ((1 * 2 + 1) * 3 + 2) * 3);
    }
    fc_dataset_free(&d);
}

static void test_npy_integers(void **state)
{
    (void)state;
    const unsigned char p[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                 0x01, 0x02, 0,    0,    0,    0,    0,    0x80};
    static const struct {
        char kind;
        int size;
        size_t i;
        int64_t want;
    } rows[] = {{'u', 1, 0, 255},    {'i', 1, 0, -1},
                {'u', 2, 4, 0x201},  {'i', 2, 0, -1},
                {'i', 4, 0, -1},     {'u', 4, 0, UINT32_MAX},
                {'i', 8, 0, -1},     {'u', 8, 0, INT64_MAX},
                {'i', 2, 7, -32768}, {'i', 8, 1, INT64_MIN + 0x201}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const fc_npy a = {.kind = rows[r].kind, .size = rows[r].size, .data = p};
        assert_true(fc_npy_int(&a, rows[r].i) == rows[r].want);
    }
}

static void put_picture(const fc_tmp *t, const char *name, int value)
{
    const uint8_t rgb[6] = {(uint8_t)value, 1, 2, 3, 4, 5};
    fc_tmp_put(t, name, "", 0); /* makes the folder */
    assert_int_equal(fc_png_write(fc_tmp_path(t, name), rgb, 2, 1, NULL), FC_OK);
}

static void test_imagefolder(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    static const char pgm[] = "P5 1 1 255\nA";
    put_picture(&t, "train/Zebra/10.png", 10);
    put_picture(&t, "train/Zebra/9.png", 9); /* byte order: after 10.png */
    put_picture(&t, "train/ant/sub/a.PNG", 20);
    put_picture(&t, "train/ant/z.jpeg", 21); /* the content counts; files before folders */
    fc_tmp_put(&t, "train/ant/notes.txt", "x", 1);
    fc_tmp_put(&t, "train/ant/.hidden.png", "x", 1);
    fc_tmp_put(&t, "train/index.csv", "x", 1);
    put_picture(&t, "val/Zebra/1.png", 30);
    fc_tmp_put(&t, "val/ant/1.pgm", pgm, 12);
    fc_data_request q = {.name = "imagefolder", .path = t.dir, .root = ""};
    fc_dataset d = load(&q);
    assert_int_equal(d.classes, 2);
    assert_string_equal(d.class_name[0], "Zebra");
    assert_string_equal(d.class_name[1], "ant");
    static const int want[] = {10, 9, 21, 20};
    assert_int_equal(d.train.n, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(d.train.label[i], i / 2);
        assert_int_equal(pixel(&d.train.image[i], 0, 0, 0), want[i]);
        assert_int_equal(pixel(&d.train.image[i], 1, 0, 2), 5);
    }
    assert_int_equal(d.test.image[1].width, 1);
    for (int c = 0; c < 3; c++)
        assert_int_equal(pixel(&d.test.image[1], 0, 0, c), 'A');
    fc_dataset_free(&d);
    q.max_train_per_class = 1; /* the others are not even decoded */
    fc_tmp_put(&t, "train/Zebra/9.png", "x", 1);
    d = load(&q);
    assert_int_equal(d.train.n, 2);
    assert_int_equal(pixel(&d.train.image[1], 0, 0, 0), 21);
    fc_dataset_free(&d);
    fc_tmp_remove(&t);
}

/* The hash of the definition in dataset.c, made here from one string. */
static void test_hash(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    static const char a[] = "P6 2 1 255\nabcdef", b[] = "P6 1 1 255\nxyz";
    static const char bytes[] = "\0\0\0\0\2\0\0\0\1\0\0\0"
                                "adbecf"
                                "\0\0\0\0\1\0\0\0\1\0\0\0"
                                "xyz";
    char want[65];
    fc_tmp_put(&t, "train/c/a.ppm", a, sizeof a - 1);
    fc_tmp_put(&t, "test/c/b.ppm", b, sizeof b - 1);
    fc_sha256(want, bytes, sizeof bytes - 1);
    fc_dataset d = load(&(fc_data_request){.name = "imagefolder", .path = t.dir, .root = ""});
    assert_string_equal(d.sha256, want);
    fc_dataset_free(&d);
    fc_tmp_remove(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cifar10_python),
        cmocka_unit_test(test_cifar10_binary),
        cmocka_unit_test(test_cifar100_binary),
        cmocka_unit_test(test_pickle_protocols),
        cmocka_unit_test(test_mnist),
        cmocka_unit_test(test_npz),
        cmocka_unit_test(test_npy_integers),
        cmocka_unit_test(test_imagefolder),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
