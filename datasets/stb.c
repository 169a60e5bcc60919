/* stb_image (Sean Barrett, public domain): JPEG only, from memory only. Its PNM reader takes what a
 * truncated file does not have from uninitialised memory, so that decode.c has its own. */
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_MAX_DIMENSIONS 20000
#include <stb/stb_image.h>
