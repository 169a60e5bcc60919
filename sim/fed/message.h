/* What a client and the server send each other, as the bytes that would go over the wire
 * (safetensors).
 *
 * The server reads clients only through these bytes, so that what is counted is what is used. One
 * tensor per trained group
 * ("backbone", "lora_A", "lora_B", "head"), float32, and "fisher", Fisher information. Grams travel
 * as float32 in one tensor "grams": the diagonal of a diagonal slot, the lower triangle of a full
 * one. Sizes: LoRM per B-round 9 L D r + 7 L D + C (D + 1) + D (D + 1) / 2 numbers. */
#ifndef FC_MESSAGE_H
#define FC_MESSAGE_H

#include "core/base/params.h"
#include "core/vit/stats.h"
#include "core/base/status.h"

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

/* groups: bits 1 << fc_group of p; p (no groups), grams and fisher may be NULL. Errors FC_EFAIL. */
fc_status fc_message_pack(fc_message *out, const fc_message_head *head, const fc_params *p,
                          unsigned groups, const fc_grams *grams, const fc_params *fisher,
                          fc_error *err);
/* Bytes of that message, whatever its head says. */
fc_status fc_message_size(size_t *bytes, const fc_params *p, unsigned groups, const fc_grams *grams,
                          const fc_params *fisher, fc_error *err);
/* Fills the groups of p, grams and fisher, that the message holds. It must hold exactly these:
 * FC_ECKPT otherwise. */
fc_status fc_message_unpack(fc_message_head *head, fc_params *p, unsigned groups, fc_grams *grams,
                            fc_params *fisher, const fc_message *m, fc_error *err);
void fc_message_free(fc_message *m);

/* Bytes of a message of the server: the groups of p, and so many numbers of what earlier tasks and
 * rounds have learnt. */
fc_status fc_message_down_size(size_t *bytes, const fc_params *p, unsigned groups, size_t deltas,
                               fc_error *err);

/* Numbers of the Grams on the wire. */
size_t fc_message_gram_count(const fc_grams *grams);

#endif
