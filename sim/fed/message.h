/* What a client and the server send each other, as the bytes that would go over the wire
 * (safetensors).
 *
 * The server reads clients only through these bytes, so that what is counted is what is used. One
 * tensor per trained group
 * ("backbone", "lora_A", "lora_B", "head"), float32, "fisher", Fisher information, and the arrays
 * of pieces. Grams travel as float32 in one tensor "grams": the diagonal of a diagonal slot, the
 * lower triangle of a full one. Sizes: LoRM per B-round 9 L D r + 7 L D + C (D + 1) + D (D + 1) / 2
 * numbers. */
#ifndef FC_MESSAGE_H
#define FC_MESSAGE_H

#include "core/base/params.h"
#include "core/vit/stats.h"

#include "core/base/status.h"
#include <stdbool.h>

typedef struct fc_message {
    unsigned char *data; /* malloc'ed */
    size_t n;
} fc_message;

/* What goes along with the numbers. */
typedef struct fc_message_head {
    int task, round, client;
    size_t n_samples;
    int n_classes;
    long steps;
    double loss_first, loss_last,
        loss_mean;  /* of the first and the last step, and over all of them; NaN without training */
    double train_s; /* seconds spent on this client */
} fc_message_head;

/* A named vector of a message. */
typedef struct fc_message_part {
    char name[FC_NAME_MAX];
    size_t n;
    fc_real *p; /* (n); NULL: only its size is wanted */
} fc_message_part;

enum { FC_PARTS_MAX = 64 };

/* What a message holds. All of it may be missing. */
typedef struct fc_message_body {
    const fc_params *p; /* of it, the groups (bits 1 << fc_group) */
    unsigned groups;
    const fc_grams *grams;
    const fc_params *fisher;
    const fc_message_part *part;
    int parts;
} fc_message_body;

/* Errors FC_EFAIL. head NULL: of the server. */
fc_status fc_message_pack(fc_message *out, const fc_message_head *head, const fc_message_body *body,
                          fc_error *err);
/* Bytes of that message, whatever its head says. */
fc_status fc_message_size(size_t *bytes, bool head, const fc_message_body *body, fc_error *err);
/* Fills what the body names from the message, which must hold exactly that: FC_ECKPT otherwise. */
fc_status fc_message_unpack(fc_message_head *head, const fc_message_body *body, const fc_message *m,
                            fc_error *err);
void fc_message_free(fc_message *m);

/* Numbers of the Grams on the wire. */
size_t fc_message_gram_count(const fc_grams *grams);

#endif
