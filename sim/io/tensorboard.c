#include "sim/io/tensorboard.h"

#include <assert.h>
#include <string.h>

/* Wire types of protobuf, and the fields of the messages (tensorflow's event.proto and
 * summary.proto). */
enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };
enum { EVENT_WALL_TIME = 1, EVENT_STEP, EVENT_FILE_VERSION, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE = 2 };

uint32_t fc_crc32c(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t crc = ~UINT32_C(0);
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

/* --- messages --------------------------------------------------------------------------------- */

/* The longest is an event with a tag of FC_TB_TAG_MAX bytes: 100 bytes. */
typedef struct message {
    unsigned char p[FC_TB_TAG_MAX + 65];
    size_t n;
} message;

static void put_raw(message *m, const void *data, size_t n)
{
    assert(n <= sizeof m->p - m->n);
    memcpy(m->p + m->n, data, n);
    m->n += n;
}

/* Little-endian. */
static void put_little_endian(message *m, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++, x >>= 8)
        put_raw(m, &(unsigned char){x & 255}, 1);
}

/* Seven bits a byte, the low ones first; the high bit says that more follow. */
static void put_varint(message *m, uint64_t x)
{
    for (; x > 127; x >>= 7)
        put_little_endian(m, (x & 127) | 128, 1);
    put_little_endian(m, x, 1);
}

static void put_field_key(message *m, int field, int wire_type)
{
    put_varint(m, (uint64_t)(field << 3 | wire_type));
}

static void put_byte_field(message *m, int field, const void *data, size_t n)
{
    put_field_key(m, field, BYTES);
    put_varint(m, n);
    put_raw(m, data, n);
}

static message event_at(double wall_time)
{
    message m = {.n = 0};
    uint64_t bits;
    memcpy(&bits, &wall_time, sizeof bits);
    put_field_key(&m, EVENT_WALL_TIME, FIXED64);
    put_little_endian(&m, bits, 8);
    return m;
}

/* --- records ---------------------------------------------------------------------------------- */

/* A CRC of data that holds CRCs is weak: stored ones are rotated and moved. */
static uint32_t masked_crc(const void *data, size_t n)
{
    uint32_t crc = fc_crc32c(data, n);
    return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}

static void write_record(FILE *f, const message *data)
{
    message head = {.n = 0}, tail = {.n = 0};
    put_little_endian(&head, data->n, 8);
    put_little_endian(&head, masked_crc(head.p, 8), 4);
    put_little_endian(&tail, masked_crc(data->p, data->n), 4);
    fwrite(head.p, 1, head.n, f);
    fwrite(data->p, 1, data->n, f);
    fwrite(tail.p, 1, tail.n, f);
}

void fc_tb_version(FILE *f, double wall_time)
{
    static const char version[] = "brain.Event:2";
    message event = event_at(wall_time);
    put_byte_field(&event, EVENT_FILE_VERSION, version, strlen(version));
    write_record(f, &event);
}

void fc_tb_scalar(FILE *f, double wall_time, int64_t step, const char *tag, double value)
{
    assert(step >= 0 && strlen(tag) <= FC_TB_TAG_MAX);
    float simple = (float)value;
    uint32_t bits;
    memcpy(&bits, &simple, sizeof bits);

    message item = {.n = 0}, summary = {.n = 0}, event = event_at(wall_time);
    put_byte_field(&item, VALUE_TAG, tag, strlen(tag));
    put_field_key(&item, VALUE_SIMPLE, FIXED32);
    put_little_endian(&item, bits, 4);
    put_byte_field(&summary, SUMMARY_VALUE, item.p, item.n);
    put_field_key(&event, EVENT_STEP, VARINT);
    put_varint(&event, (uint64_t)step);
    put_byte_field(&event, EVENT_SUMMARY, summary.p, summary.n);
    write_record(f, &event);
}
