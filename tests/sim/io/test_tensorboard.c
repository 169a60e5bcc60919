/* TensorBoard event files: known checksums, and records byte by byte. */
#include "sim/io/tensorboard.h"

#include "tests/support/close.h"

#include <string.h>

/* RFC 3720, B.4, and the check value of the catalogue of CRCs. */
static void test_crc32c(void **state)
{
    (void)state;
    static const unsigned char read_10[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
    unsigned char p[32];
    assert_int_equal(fc_crc32c("", 0), 0);
    assert_int_equal(fc_crc32c("123456789", 9), 0xe3069283);
    memset(p, 0, sizeof p);
    assert_int_equal(fc_crc32c(p, sizeof p), 0x8a9136aa);
    memset(p, 255, sizeof p);
    assert_int_equal(fc_crc32c(p, sizeof p), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        p[i] = (unsigned char)i;
    assert_int_equal(fc_crc32c(p, sizeof p), 0x46dd794e);
    for (int i = 0; i < 32; i++)
        p[i] = (unsigned char)(31 - i);
    assert_int_equal(fc_crc32c(p, sizeof p), 0x113fdb5c);
    assert_int_equal(fc_crc32c(read_10, sizeof read_10), 0xd9963a56);
}

/* What a writer leaves in a file. */
static size_t written(unsigned char *buf, size_t size, void (*write)(FILE *f))
{
    FILE *f = tmpfile();
    assert_non_null(f);
    write(f);
    rewind(f);
    size_t n = fread(buf, 1, size, f);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
    return n;
}

static void write_version(FILE *f)
{
    fc_tb_version(f, 1.5);
}

static void write_acc(FILE *f)
{
    fc_tb_scalar(f, 2.0, 300, "acc", 62.5);
}

/* Length, its checksum; field 1 (64 bits): the time; field 2 (varint): the step, or field 3
 * (bytes): the version; field 5: the summary, in it field 1: the value, in it field 1: the tag, and
 * field 2 (32 bits); checksum. The checksums are from the reader of tests/e2e. */
static void test_records(void **state)
{
    (void)state;
    static const unsigned char version[] = "\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22"
                                           "\x09\0\0\0\0\0\0\xf8\x3f\x1a\x0d"
                                           "brain.Event:2\x2a\x28\x64\x6c";
    static const unsigned char acc[] = "\x1a\0\0\0\0\0\0\0\x12\x9b\xd8\x2d"
                                       "\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03"
                                       "acc\x15\0\0\x7a\x42\xb7\x24\x01\x81";
    unsigned char got[256];
    assert_int_equal(written(got, sizeof got, write_version), sizeof version - 1);
    assert_memory_equal(got, version, sizeof version - 1);
    assert_int_equal(written(got, sizeof got, write_acc), sizeof acc - 1);
    assert_memory_equal(got, acc, sizeof acc - 1);
}

/* The longest tag, the largest step, and a value that is no float: nothing is cut. */
static void write_long(FILE *f)
{
    char tag[FC_TB_TAG_MAX + 1];
    memset(tag, 't', FC_TB_TAG_MAX);
    tag[FC_TB_TAG_MAX] = '\0';
    fc_tb_scalar(f, 1e9, INT64_MAX, tag, 1e300);
}

/* 128 is the least step of two bytes. */
static void write_128(FILE *f)
{
    fc_tb_scalar(f, 0, 128, "t", 0);
}

static void test_two_bytes(void **state)
{
    (void)state;
    unsigned char got[256];
    written(got, sizeof got, write_128);
    assert_memory_equal(got + 12 + 9, "\x10\x80\x01\x2a", 4);
}

static void test_longest(void **state)
{
    (void)state;
    unsigned char got[256];
    size_t n = written(got, sizeof got, write_long);
    assert_int_equal(n, 12 + got[0] + 4);
    assert_int_equal(got[0], 9 + 10 + 2 + 2 + 2 + FC_TB_TAG_MAX + 5);
    for (int i = 22; i < 30; i++) /* behind time and key: 63 bits in 9 bytes, all ones */
        assert_int_equal(got[i], 255);
    assert_int_equal(got[30], 127);
    static const unsigned char infinite[] = {0x15, 0, 0, 0x80, 0x7f};
    assert_memory_equal(got + n - 9, infinite, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c), cmocka_unit_test(test_records),
        cmocka_unit_test(test_two_bytes), cmocka_unit_test(test_longest)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
