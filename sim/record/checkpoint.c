#include "sim/record/checkpoint.h"

#include "core/base/file.h"
#include "core/base/safetensors.h"
#include "sim/io/outfile.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define FORMAT "fcil-2" /* grows when the meaning of a field changes */

static const size_t size_of[] = {
    [FC_F32] = 4, [FC_F16] = 2, [FC_BF16] = 2, [FC_F64] = 8, [FC_I64] = 8, [FC_U8] = 1};

/* --- files of one checkpoint ------------------------------------------------------------------ */

static fc_status state_path(char path[FC_PATH_MAX], const char *dir, long seq, const char *end,
                            fc_error *err)
{
    return fc_out_path(path, err, "%s/ckpt/state-%08ld.%s", dir, seq, end);
}

static fc_status client_path(char path[FC_PATH_MAX], const char *dir, int task, int round,
                             int client, fc_error *err)
{
    return fc_out_path(path, err, "%s/ckpt/client-%d-%d-%d.safetensors", dir, task, round, client);
}

/* The largest checkpoint number below `limit`, -1 if there is none. */
static long newest_below(const char *dir, long limit)
{
    char path[FC_PATH_MAX];
    long best = -1;
    DIR *d = fc_out_path(path, NULL, "%s/ckpt", dir) == FC_OK ? opendir(path) : NULL;
    if (!d)
        return -1;
    for (struct dirent *e; (e = readdir(d));) {
        char want[64];
        long seq;
        if (sscanf(e->d_name, "state-%ld", &seq) != 1 || !(seq > best && seq < limit))
            continue;
        snprintf(want, sizeof want, "state-%08ld.safetensors", seq);
        if (strcmp(e->d_name, want) == 0)
            best = seq;
    }
    closedir(d);
    return best;
}

static void remove_state(const char *dir, long seq)
{
    char path[FC_PATH_MAX];
    if (state_path(path, dir, seq, "json", NULL) == FC_OK)
        unlink(path);
    /* last, since checkpoints are found by it: a kill in between leaves nothing that is not found
     */
    if (state_path(path, dir, seq, "safetensors", NULL) == FC_OK)
        unlink(path);
}

/* Keep seq and the one before it. */
static void prune(const char *dir, long seq)
{
    for (long old = newest_below(dir, newest_below(dir, seq)); old >= 0;
         old = newest_below(dir, old))
        remove_state(dir, old);
}

/* Remove everything in ckpt/ whose name starts with `prefix`. */
static fc_status remove_all(const char *dir, const char *prefix, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(fc_out_path(path, err, "%s/ckpt", dir));
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT
                   ? FC_OK
                   : fc_fail(err, FC_EFAIL, "%s: cannot read: %s", path, strerror(errno));
    fc_status s = FC_OK;
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 &&
            unlinkat(dirfd(d), e->d_name, 0) != 0)
            s = fc_fail(err, FC_EFAIL, "%s/%s: cannot remove: %s", path, e->d_name,
                        strerror(errno));
    closedir(d);
    return s;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void checksum_of_fields(char hex[9], const fc_state_field *field, int n)
{
    uLong crc = crc32(0, NULL, 0);
    for (int i = 0; i < n; i++)
        if (field[i].n > 0) /* for NULL crc32_z would start anew */
            crc = crc32_z(crc, field[i].data, field[i].n * size_of[field[i].dtype]);
    snprintf(hex, 9, "%08lx", crc);
}

static fc_status write_fields(const char *path, const fc_ckpt_id *id, const fc_state_field *field,
                              int n, fc_error *err)
{
    char crc[9];
    checksum_of_fields(crc, field, n);
    const char *const metadata[][2] = {{"format", FORMAT},
                                       {"config_hash", id->config_hash},
                                       {"data_sha256", id->data_sha256},
                                       {"weights_sha256", id->weights_sha256},
                                       {"partition_sha256", id->partition_sha256},
                                       {"crc32", crc}};
    fc_st_entry *entry = calloc((size_t)n, sizeof *entry);
    if (!entry)
        return fc_fail(err, FC_EFAIL, "%s: out of memory", path);
    for (int i = 0; i < n; i++)
        entry[i] = (fc_st_entry){.name = field[i].name,
                                 .dtype = (fc_dtype)field[i].dtype,
                                 .ndim = 1,
                                 .dim = {(int64_t)field[i].n},
                                 .data = field[i].data};
    fc_status s = fc_st_write(path, entry, n, metadata, sizeof metadata / sizeof metadata[0], err);
    free(entry);
    return s;
}

/* Not the folder of the run itself: one that was taken away does not come back with nothing but a
 * checkpoint in it. */
static fc_status make_folder(const char *dir, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(fc_out_path(path, err, "%s/ckpt", dir));
    return fc_mkdir(path, err);
}

fc_status fc_checkpoint_save(const char *dir, long seq, const fc_ckpt_id *id, const char *position,
                             const fc_state_field *field, int n, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(make_folder(dir, err));
    FC_TRY(state_path(path, dir, seq, "json", err));
    json_t *o = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "format", FORMAT, "sequence",
                          (json_int_t)seq, "position", position, "config_hash", id->config_hash,
                          "data_sha256", id->data_sha256, "weights_sha256", id->weights_sha256,
                          "partition_sha256", id->partition_sha256);
    FC_TRY(fc_out_json(path, o, err));
    /* last, so that a state that counts has its JSON file */
    FC_TRY(state_path(path, dir, seq, "safetensors", err));
    FC_TRY(write_fields(path, id, field, n, err));

    prune(dir, seq);
    return FC_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

static fc_status check_same(const fc_st *f, const char *key, const char *want, fc_error *err)
{
    const char *found = fc_st_metadata(f, key);
    if (found && strcmp(found, want) == 0)
        return FC_OK;
    return fc_fail(err, FC_ECKPT, "%s: its %s is %s, this run's is %s", f->path, key,
                   found ? found : "missing", want);
}

static fc_status check_id(const fc_st *f, const fc_ckpt_id *id, fc_error *err)
{
    FC_TRY(check_same(f, "format", FORMAT, err));
    FC_TRY(check_same(f, "config_hash", id->config_hash, err));
    FC_TRY(check_same(f, "data_sha256", id->data_sha256, err));
    FC_TRY(check_same(f, "weights_sha256", id->weights_sha256, err));
    return check_same(f, "partition_sha256", id->partition_sha256, err);
}

/* The bytes of the tensors against the checksum: the header checks cannot see a flipped bit.
 * Tensors are in file order, which is the order they were written in. */
static bool intact(const fc_st *f)
{
    char hex[9];
    const char *want = fc_st_metadata(f, "crc32");
    uLong crc = crc32(0, NULL, 0);
    for (int i = 0; i < f->n; i++)
        if (f->tensor[i].count > 0)
            crc = crc32_z(crc, f->tensor[i].data, f->tensor[i].count * size_of[f->tensor[i].dtype]);
    snprintf(hex, sizeof hex, "%08lx", crc);
    return want && strcmp(want, hex) == 0;
}

/* All fields are checked before the first is written. */
static fc_status read_fields(const fc_st *f, const fc_state_field *field, int n, fc_error *err)
{
    for (int i = 0; i < n; i++) {
        const fc_tensor *t = fc_st_find(f, field[i].name);
        if (!t)
            return fc_fail(err, FC_ECKPT, "%s: no tensor %s: written by another version?", f->path,
                           field[i].name);
        if (t->count != field[i].n || (int)t->dtype != field[i].dtype)
            return fc_fail(err, FC_ECKPT,
                           "%s: tensor %s: %zu elements of type %d, expected %zu of %d", f->path,
                           t->name, t->count, (int)t->dtype, field[i].n, field[i].dtype);
    }
    for (int i = 0; i < n; i++)
        if (field[i].n > 0)
            memcpy(field[i].data, fc_st_find(f, field[i].name)->data,
                   field[i].n * size_of[field[i].dtype]);
    return FC_OK;
}

/* *damaged: the file is there and can be read, but is not what was written. */
static fc_status load_file(const char *path, bool *damaged, const fc_ckpt_id *id,
                           const fc_state_field *field, int n, fc_error *err)
{
    fc_st f;
    fc_error why = {0};
    *damaged = false;
    if (access(path, R_OK) != 0)
        return fc_fail(err, FC_EFAIL, "%s: cannot read: %s", path, strerror(errno));
    fc_status s = fc_st_open(&f, path, &why);
    if (s == FC_EDATA || (s == FC_OK && !intact(&f))) {
        *damaged = true;
        fc_st_close(&f);
        return FC_OK;
    }
    if (s != FC_OK)
        return fc_fail(err, s, "%s", why.msg);
    s = check_id(&f, id, err);
    if (s == FC_OK)
        s = read_fields(&f, field, n, err);
    fc_st_close(&f);
    return s;
}

fc_status fc_checkpoint_load(const char *dir, long *seq, const fc_ckpt_id *id,
                             const fc_state_field *field, int n, fc_error *err)
{
    for (*seq = newest_below(dir, LONG_MAX); *seq >= 0; *seq = newest_below(dir, *seq)) {
        char path[FC_PATH_MAX];
        bool damaged;
        FC_TRY(state_path(path, dir, *seq, "safetensors", err));
        FC_TRY(load_file(path, &damaged, id, field, n, err));
        if (!damaged) {
            prune(dir, *seq); /* a kill may have come between writing and pruning */
            return FC_OK;
        }
        remove_state(dir, *seq);
    }
    return FC_OK;
}

/* --- messages of clients ---------------------------------------------------------------------- */

fc_status fc_checkpoint_client_save(const char *dir, int task, int round, int client,
                                    const fc_ckpt_id *id, const void *data, size_t n,
                                    const float *own, size_t n_own, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(make_folder(dir, err));
    FC_TRY(client_path(path, dir, task, round, client, err));
    const fc_state_field field[] = {{"message", FC_U8, n, (void *)(uintptr_t)data},
                                    {"own", FC_F32, n_own, (void *)(uintptr_t)own}};
    return write_fields(path, id, field, n_own ? 2 : 1, err);
}

unsigned char *fc_checkpoint_client_load(const char *dir, int task, int round, int client,
                                         const fc_ckpt_id *id, size_t *n, float *own, size_t n_own)
{
    char path[FC_PATH_MAX];
    fc_st f;
    unsigned char *data = NULL;
    if (client_path(path, dir, task, round, client, NULL) != FC_OK ||
        fc_st_open(&f, path, NULL) != FC_OK)
        return NULL;
    const fc_tensor *t = fc_st_find(&f, "message"), *o = n_own ? fc_st_find(&f, "own") : NULL;
    bool whole = n_own == 0 || (o && o->dtype == FC_F32 && o->count == n_own);
    if (whole && t && t->dtype == FC_U8 && intact(&f) && check_id(&f, id, NULL) == FC_OK)
        data = malloc(t->count ? t->count : 1);
    if (data) {
        memcpy(data, t->data, t->count);
        *n = t->count;
        if (n_own)
            memcpy(own, o->data, n_own * sizeof *own);
    }
    fc_st_close(&f);
    return data;
}

fc_status fc_checkpoint_client_clear(const char *dir, fc_error *err)
{
    return remove_all(dir, "client-", err);
}

fc_status fc_checkpoint_clear(const char *dir, fc_error *err)
{
    FC_TRY(remove_all(dir, "state-", err));
    return fc_checkpoint_client_clear(dir, err);
}
