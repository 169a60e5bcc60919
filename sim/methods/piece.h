/* A piece of a round: what a method, or an option of every method, owns of it.
 *
 *   arrays       named numbers of the server, of each client, or sent up; only they survive a round
 *   loss terms   value and gradient with respect to the trained block, the logits or the features
 *   statistics   what a client makes of its training, or of a pass over its images, and sends up
 *   server step  what the server does once the rule has merged; end of a task
 *
 * A method has one (fc_method.piece); those of piece_table.def (piece_<name>.c) go with every
 * method, and are on or off by an option of theirs. sim/fed calls the functions; NULL members mean
 * that there is nothing of the kind. A piece keeps no memory of its own: what is to survive is
 * declared. */
#ifndef FC_PIECE_H
#define FC_PIECE_H

#include "core/base/opt.h"
#include "core/base/params.h"
#include "core/base/rng.h"
#include "core/base/status.h"
#include "core/merge/merge.h"
#include "core/vit/optim.h"
#include "core/vit/vit_layout.h"

#include <stdbool.h>
#include <stdint.h>

/* What is const in a run, as methods and pieces see it. */
typedef struct fc_method_setup {
    const void *options;         /* the method's own */
    const fc_merge_method *rule; /* of the rounds, and its options */
    const void *rule_options;
    const char *method; /* its name, for messages */
    const fc_vit_shape *shape;
    const fc_params *w0;     /* pretrained backbone */
    const fc_params *layout; /* of the block that is trained (p NULL) */
    fc_train_mode mode;
    bool folds;    /* rounds add what they merge to the weights that clients train on */
    bool weighted; /* means weigh clients by their samples (merge.weighted) */
    int rank, classes, tasks, rounds, clients;
    const int *first;      /* (tasks + 1) logits first[t] .. first[t + 1] - 1 are those of task t */
    fc_optim_config optim; /* of the clients, all groups */
    fc_schedule schedule;
    double warmup;
    uint64_t seed; /* of training */
} fc_method_setup;

/* --- arrays ---------------------------------------------------------------------------------- */

typedef enum fc_array_owner {
    FC_OF_SERVER, /* one; fc_piece.server_step and fold write it */
    FC_OF_CLIENT, /* one for each client, kept from round to round; 0 before its first one */
    FC_SENT_UP    /* part of a client's message; 0 unless it fills it in */
} fc_array_owner;

typedef enum fc_when { FC_NEVER, FC_EACH_TASK, FC_EACH_ROUND } fc_when;

typedef struct fc_array_spec {
    const char *name; /* of letters and _; one of its piece */
    fc_array_owner owner;
    int rows, cols;
    size_t n;     /* = rows cols, or of a whole block (rows = cols = 0) */
    bool sum;     /* server: doubles, a running sum of what a round sends */
    fc_when sent; /* server: down, at the start of each task or round. Sent up: FC_EACH_TASK: at the
                     end of a task only (fc_statistics); else with each update */
    fc_when reset; /* to 0, at the start of each task or round; what is reset each round is not part
                      of a checkpoint */
    char saved_as[FC_NAME_MAX]; /* filled in by sim/fed/pieces.c */
} fc_array_spec;

enum { FC_ARRAYS_MAX = 8, FC_PIECES_MAX = 8 };

/* An array in use. */
typedef struct fc_array {
    fc_real *p;  /* (n), or */
    double *sum; /* (n) */
    size_t n;
} fc_array;

/* --- the client ------------------------------------------------------------------------------- */

typedef struct fc_piece fc_piece;

/* A piece at work on one client. */
typedef struct fc_piece_client {
    const fc_piece *piece;
    const fc_method_setup *setup;
    const void *options; /* the piece's own */
    const fc_params *layout;
    unsigned groups; /* trained in this round */
    int task, round, client;
    size_t n_samples;
    long steps;              /* done so far */
    const fc_real *start;    /* (layout->n) block as received */
    const fc_real *w;        /* (layout->n) block now */
    const fc_real *gradient; /* (layout->n) of the mean loss over all its images at `start`; NULL
                                unless fc_piece.gradient */
    fc_array array[FC_ARRAYS_MAX]; /* as declared: of the server as received, to be read only; its
                                      own; what it sends */
} fc_piece_client;

/* Images of a slice of a batch, while its gradient is made, or of a pass for statistics. */
typedef struct fc_piece_slice {
    const fc_piece_client *client;
    int n, batch;                     /* images of the slice, of the batch */
    int classes, width, lo, hi;       /* logits of the task: lo .. hi - 1 */
    bool second;                      /* of the second batch of the step (fc_loss_term.second) */
    const uint32_t *sample;           /* (n) which training images they are */
    const int *label;                 /* (n) */
    const fc_real *logits, *features; /* (n, classes), (n, width) */
    const fc_real *teacher_logits, *teacher_features; /* alike; NULL without a teacher */
    fc_real *dlogits,
        *dfeatures; /* += gradient of the term's mean over the batch; NULL in a pass */
} fc_piece_slice;

/* What a client finds out about its images: a forward pass of its model over all of them, once each
 * and in the order of their numbers. */
typedef struct fc_statistics {
    bool augmented; /* images as training sees them, else as tests do */
    /* Is there a pass in this round: after the training, of the model that it ended with; or (round
     * == setup->rounds) when the task is over, of the model that its last round made? NULL: in each
     * round. */
    bool (*now)(const fc_method_setup *s, const void *options, int task, int round);
    /* One slice after the other, into the arrays that are sent up. */
    void (*slice)(fc_piece_client *c, const fc_piece_slice *s);
} fc_statistics;

/* Does the method need more than the images' own loss? The total loss of a batch is the mean of its
 * cross-entropies plus all terms. */
typedef struct fc_loss_term {
    /* The term for a batch; grad (layout->n) += its gradient in the trained groups. */
    double (*block)(fc_real *grad, const fc_piece_client *c);
    /* The sum of the term over the images of a slice. */
    double (*slice)(const fc_piece_slice *s);
    /* A second forward pass under a teacher: the block as received (FC_TEACHER_START), or the array
     * `teacher_array` of the server, a whole block. */
    enum { FC_NO_TEACHER, FC_TEACHER_START, FC_TEACHER_ARRAY } teacher;
    int teacher_array;
    /* A second batch, e.g. of a memory: fills sample (most) with training images of the client and
     * returns how many (0: none in this step). `slice` is called for them too, with `second` set,
     * and nothing else of the loss is. NULL: none. */
    int (*second)(uint32_t *sample, int most, const fc_piece_client *c, fc_rng *rng);
    /* Is there a term in this task? NULL: always. */
    bool (*now)(const fc_method_setup *s, const void *options, int task);
} fc_loss_term;

/* --- the server ------------------------------------------------------------------------------- */

/* A piece at work on the server. */
typedef struct fc_piece_server {
    const fc_method_setup *setup;
    const void *options;
    const fc_params *layout;
    unsigned groups; /* trained in this round; 0 at the end of a task */
    int task, round;
    int clients;                   /* whose updates were folded */
    const fc_real *start;          /* (layout->n) block at the start of the round */
    fc_real *global;               /* (layout->n) what the rule has made of the updates */
    double note;                   /* for events.jsonl, with fc_piece.note; NAN: none */
    fc_array array[FC_ARRAYS_MAX]; /* as declared: the server's; others are empty */
} fc_piece_server;

/* What a client has sent, for fc_piece.fold. */
typedef struct fc_piece_update {
    int client;
    size_t n_samples;      /* 0: it has not trained */
    double weight;         /* in a mean: n_samples, or 1 of those that trained (merge.weighted) */
    long steps;            /* of its optimiser */
    const fc_real *block;  /* (layout->n) its block, in the trained groups; at the end of a task,
                              when  only statistics are sent: NULL */
    const fc_array *array; /* as declared: those sent up */
} fc_piece_update;

/* scores (n, classes), whose largest is the answer, from logits (n, classes) and features (n,
 * width), and the arrays of a method's piece. */
typedef void fc_predict(fc_real *scores, const fc_real *logits, const fc_real *features, int n,
                        const fc_piece_server *v);

struct fc_piece {
    const char *name, *paper, *help; /* of piece_table.def; a method's piece has those of it */
    /* Rows of the config section of that name, and are they on? */
    const char *section;
    const fc_opt *options;
    int n_options;
    size_t options_size;
    bool (*on)(const void *options);
    /* FC_EUSAGE with the reason, and the way out, where it does not go with the rest. */
    fc_status (*check)(const fc_method_setup *s, const void *options, fc_error *err);
    /* Fills out (FC_ARRAYS_MAX) and returns how many. */
    int (*arrays)(fc_array_spec *out, const fc_method_setup *s, const void *options);
    const fc_loss_term *term;
    /* Is the gradient of the mean loss over all images of a client taken before it trains? One more
     * pass. */
    bool (*gradient)(const fc_method_setup *s, const void *options);
    /* Before the training: w (layout->n) is what it received, and becomes what it starts from;
     * c->start stays what it received. NULL: the same. */
    void (*client_begin)(fc_real *w, const fc_piece_client *c);
    /* After the training: what becomes of its arrays, and what it sends. */
    void (*client_end)(fc_piece_client *c);
    const fc_statistics *statistics; /* after that */
    /* What a client has sent, in the order of their ids, into the arrays of the server. */
    void (*fold)(fc_piece_server *v, const fc_piece_update *u);
    /* After the merge of a round. Its own random numbers: keyed by setup->seed, FC_STREAM_SERVER.
     */
    fc_status (*server_step)(fc_piece_server *v, fc_error *err);
    const char *note; /* what fc_piece_server.note is */
    /* When a task is over, before its delta is taken. */
    fc_status (*end_task)(fc_piece_server *v, fc_error *err);
};

extern const fc_piece *const fc_piece_table[];
extern const int fc_piece_count;
const fc_piece *fc_piece_find(const char *name); /* NULL if unknown */

#endif
