/* TensorBoard event files: TFRecords of the protobuf message tensorflow.Event, of which only what
 * scalars need is written.
 *
 * A record is: length of the data (8 bytes), masked CRC32C of these 8 bytes, the data, masked
 * CRC32C of the data (4 bytes each); all little-endian. */
#ifndef FC_TENSORBOARD_H
#define FC_TENSORBOARD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { FC_TB_TAG_MAX = 63 }; /* bytes of a tag */

/* CRC with Castagnoli's polynomial (RFC 3720, 12.1). */
uint32_t fc_crc32c(const void *data, size_t n);

/* The first record of a file: Event{wall_time, file_version "brain.Event:2"}. wall_time in seconds
 * since 1970. A failed write is left to ferror(f). */
void fc_tb_version(FILE *f, double wall_time);

/* Event{wall_time, step, summary{value{tag, simple_value}}}; step >= 0. The value is stored as a
 * float. */
void fc_tb_scalar(FILE *f, double wall_time, int64_t step, const char *tag, double value);

#endif
