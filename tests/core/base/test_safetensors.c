/* safetensors: what is written is read back; bytes of the format; every dtype; metadata. */
#include "core/base/safetensors.h"
#include "tests/support/tmp.h"

static void test_round_trip(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    const char *path = fc_tmp_path(&t, "w.safetensors");
    const float w[] = {1, -2, 3.5f, 0, 1e-30f, 7};
    const double d[] = {1.0 / 3};
    const int64_t steps[] = {-5, 1LL << 40};
    const fc_st_entry entry[] = {
        {.name = "w", .dtype = FC_F32, .ndim = 2, .dim = {2, 3}, .data = w},
        {.name = "none", .dtype = FC_F32, .ndim = 2, .dim = {0, 3}, .data = NULL},
        {.name = "scalar", .dtype = FC_F64, .ndim = 0, .data = d},
        {.name = "steps \"\xc3\xa9\"", .dtype = FC_I64, .ndim = 1, .dim = {2}, .data = steps}};
    const char *const meta[][2] = {{"z", "last"}, {"heads", "3"}};
    fc_error err = {0};
    assert_int_equal(fc_st_write(path, entry, 4, meta, 2, &err), FC_OK);

    fc_st f;
    assert_int_equal(fc_st_open(&f, path, &err), FC_OK);
    assert_int_equal(f.n, 4);
    assert_int_equal(f.n_metadata, 2);
    assert_string_equal(f.metadata[0][0], "heads"); /* sorted */
    assert_string_equal(fc_st_metadata(&f, "heads"), "3");
    assert_null(fc_st_metadata(&f, "w"));
    assert_null(fc_st_find(&f, "absent"));
    const fc_tensor *x = fc_st_find(&f, "w");
    assert_int_equal(x->ndim, 2);
    assert_int_equal(x->dim[0], 2);
    assert_int_equal(x->dim[1], 3);
    fc_real got[6];
    assert_int_equal(fc_st_read(got, &f, x, &err), FC_OK);
    assert_all_close(got, w, 6, 0, 0);
    double got_d[2];
    assert_int_equal(fc_st_read_double(got_d, &f, fc_st_find(&f, "scalar"), &err), FC_OK);
    assert_all_close(got_d, d, 1, 0, 0);
    assert_int_equal(fc_st_find(&f, "none")->count, 0);
    assert_int_equal(fc_st_read_double(got_d, &f, fc_st_find(&f, entry[3].name), &err), FC_OK);
    assert_all_close(got_d, steps, 2, 0, 0);
    fc_st_close(&f);
    fc_st_close(&f);
    fc_tmp_remove(&t);
}

/* The published example of the format, byte by byte. */
static void test_bytes(void **state)
{
    (void)state;
    static const char want[] = "\x38\0\0\0\0\0\0\0"
                               "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  "
                               "\0\0\x80\x3f\0\0\0\x40";
    const fc_st_entry e = {
        .name = "a", .dtype = FC_F32, .ndim = 1, .dim = {2}, .data = (const float[]){1, 2}};
    unsigned char *p;
    size_t n, size;
    assert_int_equal(fc_st_serialize(&p, &n, &e, 1, NULL, 0, NULL), FC_OK);
    assert_int_equal(n, sizeof want - 1);
    assert_memory_equal(p, want, n);
    assert_int_equal(fc_st_size(&size, &e, 1, NULL, 0, NULL), FC_OK);
    assert_int_equal(size, n);
    free(p);
}

static void read_bits(double *out, fc_dtype dtype, const void *bits, int n)
{
    const fc_st_entry e = {.name = "x", .dtype = dtype, .ndim = 1, .dim = {n}, .data = bits};
    unsigned char *p;
    size_t size;
    fc_st f;
    assert_int_equal(fc_st_serialize(&p, &size, &e, 1, NULL, 0, NULL), FC_OK);
    assert_int_equal(fc_st_parse(&f, p, size, "memory", NULL), FC_OK);
    assert_int_equal(fc_st_read_double(out, &f, f.tensor, NULL), FC_OK);
    fc_st_close(&f);
    free(p);
}

static void test_small_floats(void **state)
{
    (void)state;
    double got[8];
    const uint16_t f16[] = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x3555, 0x8000};
    const double want16[] = {1, -2, 65504, 0x1p-14, 0x1p-24, -1023 * 0x1p-24, 1365 * 0x1p-12, 0};
    read_bits(got, FC_F16, f16, 8);
    assert_all_close(got, want16, 8, 0, 0);
    assert_true(signbit(got[7]));
    const uint16_t bf16[] = {0x3f80, 0xc040, 0x7f7f, 0x0001};
    const double want_b[] = {1, -3, 255 * 0x1p120, 0x1p-133};
    read_bits(got, FC_BF16, bf16, 4);
    assert_all_close(got, want_b, 4, 0, 0);
    const unsigned char u8[] = {0, 255, 7};
    read_bits(got, FC_U8, u8, 3);
    assert_all_close(got, u8, 3, 0, 0);
}

/* A double that is finite but no float becomes infinite: refused where it is read as float. */
static void test_beyond_float(void **state)
{
    (void)state;
    const fc_st_entry e = {
        .name = "x", .dtype = FC_F64, .ndim = 1, .dim = {2}, .data = (const double[]){1, 1e300}};
    unsigned char *p;
    size_t size;
    fc_st f;
    fc_real out[2];
    fc_error err = {0};
    assert_int_equal(fc_st_serialize(&p, &size, &e, 1, NULL, 0, NULL), FC_OK);
    assert_int_equal(fc_st_parse(&f, p, size, "memory", NULL), FC_OK);
    assert_says(fc_st_read(out, &f, f.tensor, &err), &err, FC_EDATA, "memory: tensor x: element 1",
                "finite");
    fc_st_close(&f);
    free(p);
}

static void test_names_that_cannot_be_written(void **state)
{
    (void)state;
    const fc_st_entry same[] = {{.name = "a", .dtype = FC_U8}, {.name = "a", .dtype = FC_U8}};
    const fc_st_entry odd = {.name = "\xff", .dtype = FC_U8, .data = "x"};
    const char *const meta[][2] = {{"k", "1"}, {"k", "2"}};
    unsigned char *p;
    size_t n;
    fc_error err = {0};
    assert_says(fc_st_serialize(&p, &n, same, 2, NULL, 0, &err), &err, FC_EFAIL, "repeated", "");
    err = (fc_error){0};
    assert_says(fc_st_serialize(&p, &n, &odd, 1, NULL, 0, &err), &err, FC_EFAIL, "UTF-8", "");
    err = (fc_error){0};
    assert_says(fc_st_serialize(&p, &n, NULL, 0, meta, 2, &err), &err, FC_EFAIL, "repeated", "");
}

static void test_entry_of_params(void **state)
{
    (void)state;
    fc_spec spec[2];
    fc_params p = {0};
    fc_real block[10];
    fc_params_add(&p, spec, "skip", FC_GROUP_HEAD, 1, (int[]){4});
    fc_params_add(&p, spec, "w", FC_GROUP_HEAD, 2, (int[]){2, 3});
    p.p = block;
    fc_st_entry e = fc_st_entry_of(&p, &spec[1]);
    assert_string_equal(e.name, "w");
    assert_int_equal(e.dtype, FC_F32);
    assert_int_equal(e.ndim, 2);
    assert_int_equal(e.dim[0], 2);
    assert_int_equal(e.dim[1], 3);
    assert_ptr_equal(e.data, block + 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_small_floats),
        cmocka_unit_test(test_beyond_float),
        cmocka_unit_test(test_names_that_cannot_be_written),
        cmocka_unit_test(test_entry_of_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
