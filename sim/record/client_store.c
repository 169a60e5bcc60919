#include "sim/record/client_store.h"

#include "core/base/file.h"
#include "sim/io/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* What stands before the numbers of a record. */
typedef struct record_head {
    uint32_t client, crc;
} record_head;

fc_status fc_client_store_init(fc_client_store *s, size_t numbers, int clients, int most,
                               fc_arena *arena, fc_error *err)
{
    *s = (fc_client_store){.fd = -1, .numbers = numbers, .clients = clients};
    s->records = (int64_t)2 * clients + most;
    s->taken = fc_arena_alloc(arena, (size_t)s->records, 1, err);
    return s->taken ? FC_OK : FC_EFAIL;
}

fc_status fc_client_store_open(fc_client_store *s, const char *dir, bool fresh, fc_error *err)
{
    char folder[FC_PATH_MAX];
    FC_TRY(fc_out_path(folder, err, "%s/ckpt", dir));
    FC_TRY(fc_mkdir(folder, err));
    snprintf(s->path, sizeof s->path, "%s/clients.bin", folder);
    s->fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | (fresh ? O_TRUNC : 0), 0666);
    if (s->fd < 0)
        return fc_fail(err, FC_EFAIL, "%s: cannot open: %s", s->path, strerror(errno));
    s->open = true;
    return FC_OK;
}

void fc_client_store_close(fc_client_store *s)
{
    if (s->open)
        close(s->fd);
    *s = (fc_client_store){.fd = -1};
}

void fc_client_store_round(fc_client_store *s, int64_t *record, int64_t *before, bool reset)
{
    memset(s->taken, 0, (size_t)s->records);
    s->next = 0;
    for (int i = 0; i < s->clients; i++) {
        if (record[i] >= 0)
            s->taken[record[i]] = 1;
        if (before[i] >= 0)
            s->taken[before[i]] = 1;
        before[i] = record[i];
        if (reset)
            record[i] = -1;
    }
}

static size_t record_bytes(const fc_client_store *s)
{
    return sizeof(record_head) + s->numbers * sizeof(float);
}

static uint32_t checksum_of_record(int client, const float *own, size_t n)
{
    uint32_t id = (uint32_t)client;
    uLong crc = crc32_z(0, (const unsigned char *)&id, sizeof id);
    return (uint32_t)crc32_z(crc, (const unsigned char *)own, n * sizeof *own);
}

fc_status fc_client_store_get(float *own, const fc_client_store *s, int client, int64_t record,
                              fc_error *err)
{
    record_head head;
    memset(own, 0, s->numbers * sizeof *own);
    if (record < 0)
        return FC_OK;
    int64_t at = record * (int64_t)record_bytes(s);
    bool ok = record < s->records && fc_file_read_at(s->fd, &head, sizeof head, at) &&
              fc_file_read_at(s->fd, own, s->numbers * sizeof *own, at + (int64_t)sizeof head) &&
              head.client == (uint32_t)client &&
              head.crc == checksum_of_record(client, own, s->numbers);
    return ok ? FC_OK
              : fc_fail(err, FC_ECKPT,
                        "%s: record %lld of client %d is not what was written: remove the folder "
                        "of the run to start it over",
                        s->path, (long long)record, client);
}

fc_status fc_client_store_put(int64_t *record, fc_client_store *s, int client, const float *own,
                              fc_error *err)
{
    record_head head = {(uint32_t)client, checksum_of_record(client, own, s->numbers)};
    while (s->taken[s->next])
        s->next++;
    int64_t at = s->next * (int64_t)record_bytes(s);
    if (!fc_file_write_at(s->fd, &head, sizeof head, at) ||
        !fc_file_write_at(s->fd, own, s->numbers * sizeof *own, at + (int64_t)sizeof head))
        return fc_fail(err, FC_EFAIL, "%s: cannot write: %s", s->path, strerror(errno));
    *record = s->next++;
    return FC_OK;
}

fc_status fc_client_store_sync(const fc_client_store *s, fc_error *err)
{
    return !s->open || fdatasync(s->fd) == 0
               ? FC_OK
               : fc_fail(err, FC_EFAIL, "%s: cannot write: %s", s->path, strerror(errno));
}
