/* report.html of a run that goes on: made by `fcil report DIR` in the background, one at a time, at
 * low priority but for the last. Whatever goes wrong there is one warning and no failure of the
 * run. */
#ifndef FC_REPORTER_H
#define FC_REPORTER_H

#include "sim/io/progress.h"

#include <stdbool.h>
#include <sys/types.h>

/* {0} makes no reports. */
typedef struct fc_reporter {
    const char *dir;        /* NULL: off; the caller's, outlives the reporter */
    fc_progress *progress;  /* for the warning */
    pid_t child;            /* 0: none is at work */
    int messages;           /* its standard error */
    double started, rest_s; /* fc_wall() of the last start; pause before the next */
    bool warned;
} fc_reporter;

void fc_reporter_init(fc_reporter *r, const char *dir, fc_progress *progress);

/* After a round: starts a report unless one is at work, or the last one is too fresh: they take at
 * most a twentieth of the time of one core. Returns at once. */
void fc_reporter_round(fc_reporter *r);

/* At the end, with the mark of the run written: waits for the one at work, and makes the last. */
void fc_reporter_end(fc_reporter *r);

#endif
