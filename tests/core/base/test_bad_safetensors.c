/* Every file of tests/bad/safetensors is refused with FC_EDATA and the right sentence. */
#include "core/base/safetensors.h"
#include "tests/support/tmp.h"

static const struct {
    const char *file, *says;
} rows[] = {
    {"bytes-after-end", "4 bytes after the last tensor, expected none"},
    {"dtype-missing", "tensor w: dtype is not a string, expected F32"},
    {"dtype-number", "tensor w: dtype is not a string, expected F32"},
    {"dtype-unknown", "tensor w: dtype is F8_E4M3, expected F32"},
    {"duplicate-name", "duplicate object key"},
    {"empty", "0 bytes, expected a safetensors file"},
    {"entry-is-number", "tensor w: dtype is not a string"},
    {"header-cut-off", "header is not valid JSON: byte 14"},
    {"header-deep", "maximum parsing depth"},
    {"header-empty", "does not start with '{'"},
    {"header-is-array", "does not start with '{'"},
    {"header-longer-than-file", "header of 1000 bytes in a file of 10"},
    {"header-not-utf8", "unable to decode byte 0xff"},
    {"header-of-2e64", "header of 18446744073709551615 bytes in a file of 10"},
    {"header-then-text", "end of file expected near 'x'"},
    {"hole", "tensor b: 4 bytes before it belong to no tensor"},
    {"hole-at-start", "tensor a: 4 bytes before it belong to no tensor"},
    {"inf-f16", "tensor a: element 0 is inf, expected a finite number"},
    {"metadata-list", "__metadata__ is not an object of strings"},
    {"metadata-number", "__metadata__: the value of heads is not a string"},
    {"nan-bf16", "tensor a: element 0 is nan"},
    {"nan-f32", "tensor a: element 1 is nan"},
    {"offsets-200-digits", "too big integer"},
    {"offsets-2e63", "too big integer"},
    {"offsets-float", "tensor w: data_offsets are not two integers"},
    {"offsets-missing", "tensor w: data_offsets are not two integers"},
    {"offsets-negative", "data_offsets [-4, 0] do not lie in the 4 bytes"},
    {"offsets-out-of-file", "data_offsets [4, 8] do not lie in the 4 bytes"},
    {"offsets-swapped", "data_offsets [4, 0] do not lie in the 4 bytes"},
    {"offsets-text", "tensor w: data_offsets are not two integers"},
    {"offsets-three", "tensor w: data_offsets are not two integers"},
    {"overlap", "tensor b: its data overlaps tensor a"},
    {"seven-bytes", "7 bytes, expected a safetensors file of at least 8"},
    {"shape-200-digits", "too big integer"},
    {"shape-bytes-overflow", "expected 4611686018427387904 elements of F32"},
    {"shape-float", "dimension 0 of the shape is not an integer >= 0"},
    {"shape-missing", "tensor w: shape is no array"},
    {"shape-negative", "dimension 0 of the shape is not an integer >= 0"},
    {"shape-nine-dims", "tensor w: shape of 9 numbers, expected 0 to 8"},
    {"shape-overflow", "tensor w: number of elements overflows"},
    {"shape-wrong", "tensor w: 4 bytes of data, expected 2 elements of F32"},
};

static fc_status open_and_read(const char *path, fc_error *err)
{
    fc_st f;
    fc_status s = fc_st_open(&f, path, err);
    for (int i = 0; s == FC_OK && i < f.n; i++) {
        double out[16];
        assert_true(f.tensor[i].count <= 16);
        s = fc_st_read_double(out, &f, &f.tensor[i], err);
    }
    fc_st_close(&f); /* {0} after a failed open */
    return s;
}

static void test_each_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[128];
        fc_error err = {0};
        snprintf(name, sizeof name, "bad/safetensors/%s", rows[i].file);
        const char *path = fc_tests_path(name);
        assert_says(open_and_read(path, &err), &err, FC_EDATA, path, rows[i].says);
    }
}

static void test_no_file_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(fc_count_files(fc_tests_path("bad/safetensors")), sizeof rows / sizeof *rows);
}

static void test_missing_and_folder(void **state)
{
    (void)state;
    fc_error err = {0};
    const char *path = fc_tests_path("bad/no-such-file");
    assert_says(open_and_read(path, &err), &err, FC_EDATA, path, "No such file");
    err = (fc_error){0};
    path = fc_tests_path("bad");
    assert_says(open_and_read(path, &err), &err, FC_EDATA, path, "is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_refused),
        cmocka_unit_test(test_no_file_is_left_out),
        cmocka_unit_test(test_missing_and_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
