/* stb_image (Sean Barrett, public domain): JPEG only, from memory only. Its PNM reader takes what a
 * truncated file does not have from uninitialised memory, so that decode.c has its own. Zeroed
 * memory makes what a corrupt JPEG leaves out (tables, parts of the picture) harmless and the same
 * every time. */
#include <stdlib.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_MAX_DIMENSIONS 20000
#define STBI_MALLOC(n) calloc(1, n)
#define STBI_REALLOC(p, n) realloc(p, n)
#define STBI_FREE(p) free(p)
#include <stb/stb_image.h>
