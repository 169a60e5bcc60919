/* Checkpoints: the server's whole state at a round boundary as safetensors (+ a small JSON for
 * people), the last two kept; and, inside long rounds, the messages of clients that are done.
 *
 * ckpt/state-<step 8 digits>.safetensors, ckpt/state-<...>.json;
 * ckpt/client-<task>-<round>-<client>.safetensors */
#ifndef FC_CHECKPOINT_H
#define FC_CHECKPOINT_H

#include "core/base/status.h"
#include <stddef.h>

/* One array of the state that a checkpoint holds. */
typedef struct fc_state_field {
    const char *name;
    int dtype; /* fc_dtype */
    size_t n;
    void *data;
} fc_state_field;

/* What must match between a checkpoint and the run that reads it. */
typedef struct fc_ckpt_id {
    const char *config_hash, *data_sha256, *weights_sha256, *partition_sha256;
} fc_ckpt_id;

/* dir is the run directory; seq grows by one per checkpoint. position is a human-readable line for
 * the JSON file. Written to a temporary name, fsync, rename; then all but the last two are removed.
 */
fc_status fc_checkpoint_save(const char *dir, long seq, const fc_ckpt_id *id, const char *position,
                             const fc_state_field *field, int n, fc_error *err);

/* Fill the fields from the newest readable checkpoint; *seq its number, -1 if there is none (fields
 * untouched). A damaged newest one falls back to the one before (it is then removed). Another
 * config, data, weights or partition: FC_ECKPT says which differs. */
fc_status fc_checkpoint_load(const char *dir, long *seq, const fc_ckpt_id *id,
                             const fc_state_field *field, int n, fc_error *err);

/* Messages of finished clients of round (task, round), and the numbers that the client keeps (own,
 * may be none). save is atomic. load: the n bytes, malloc'ed, and own filled in; NULL if absent,
 * damaged or of another config, data, weights or partition (then the client trains again). clear
 * removes all of them. */
fc_status fc_checkpoint_client_save(const char *dir, int task, int round, int client,
                                    const fc_ckpt_id *id, const void *data, size_t n,
                                    const float *own, size_t n_own, fc_error *err);
unsigned char *fc_checkpoint_client_load(const char *dir, int task, int round, int client,
                                         const fc_ckpt_id *id, size_t *n, float *own, size_t n_own);
fc_status fc_checkpoint_client_clear(const char *dir, fc_error *err);

/* Remove all checkpoints and messages: a run that starts afresh (fc_runlog_open calls it). */
fc_status fc_checkpoint_clear(const char *dir, fc_error *err);

#endif
