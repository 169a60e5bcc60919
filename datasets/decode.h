/* PNG through libpng, JPEG and PPM through stb_image; PNG writing. */
#ifndef FC_DECODE_H
#define FC_DECODE_H

#include "core/base/arena.h"
#include "core/base/status.h"
#include "datasets/dataset.h"

/* Decode a file by its content (not its name) to 8-bit RGB, interleaved, pixels from arena. 16-bit
 * is scaled down, palettes are expanded, alpha is composited on white, interlace is undone, grey is
 * repeated. Errors FC_EDATA with path. */
fc_status fc_decode_file(fc_image *out, const char *path, fc_arena *arena, fc_error *err);
fc_status fc_decode_memory(fc_image *out, const unsigned char *data, size_t n, const char *name,
                           fc_arena *arena, fc_error *err);

/* rgb (height, width, 3) as PNG, written atomically. Errors FC_EFAIL. */
fc_status fc_png_write(const char *path, const uint8_t *rgb, int width, int height, fc_error *err);

#endif
