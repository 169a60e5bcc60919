/* Who works on which run: files in one folder that all workers see, safe on NFS.
 *
 * Generation g of a run is claimed by exclusive create of <id>.<g>; the highest g owns. Its owner
 * rewrites the file every few seconds. An owner that is gone is followed by g + 1; it learns that
 * from the file of g + 1 and lets go. Nothing is ever locked, nothing removed before the run is
 * published. */
#ifndef FC_SWEEP_CLAIM_H
#define FC_SWEEP_CLAIM_H

#include "core/base/status.h"

#include <stdbool.h>

/* A claim of ours. */
typedef struct fc_claim {
    char path[4096];
    const char *dir, *id; /* the caller's */
    int generation;
    unsigned long beat;
} fc_claim;

/* *taken: generation g is ours; false: somebody else was first. Errors: FC_EFAIL if the folder
 * cannot be written. */
fc_status fc_claim_take(bool *taken, fc_claim *c, const char *dir, const char *id, int g,
                        fc_error *err);

/* Say that we are alive. False: the claim is lost, as somebody took the next generation, or
 * published the run. */
bool fc_claim_beat(fc_claim *c);

/* Let go: the next generation is free at once. Nothing is done if the claim is gone. */
void fc_claim_release(fc_claim *c);

/* A claim as others see it. */
typedef struct fc_claim_info {
    bool released;
    bool dead; /* its process was on this machine and is no more */
    char host[65];
    long pid;
    unsigned long beat; /* grows while the owner is alive */
    double age_s;       /* seconds since it last did, by the clock of the file system */
} fc_claim_info;

/* False if there is no such claim. */
bool fc_claim_read(fc_claim_info *info, const char *dir, const char *id, int g);

/* "0123abcd.7" -> its generation, with id; -1 if that is no name of a claim. */
int fc_claim_name(char id[9], const char *name);

#endif
