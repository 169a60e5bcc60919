/* Progress on stderr: a bar with the ETA of the whole run on a terminal, one line per round
 * elsewhere; and clocks. */
#ifndef FC_PROGRESS_H
#define FC_PROGRESS_H

#include <stdbool.h>

typedef enum fc_verbosity { FC_QUIET, FC_NORMAL, FC_VERBOSE } fc_verbosity;

typedef struct fc_progress {
    fc_verbosity verbosity;
    bool bar;                /* stderr is a terminal, TERM is not dumb, not quiet */
    bool colour;             /* and NO_COLOR is not set */
    int columns;             /* $COLUMNS; 0 = ask the terminal at each redraw */
    double total, done;      /* work of the whole run in FLOP, and what is done of it */
    double start_done;       /* done when this process started (resume) */
    double start, last_draw; /* seconds, fc_wall() */
} fc_progress;

void fc_progress_init(fc_progress *p, fc_verbosity v, double total, double done);
/* Thread-safe (takes the omp critical fc_progress): work done; redraws the bar at most ten times a
 * second. text: what is being done, e.g. "task 3/10 round 2/5". */
void fc_progress_add(fc_progress *p, double work, const char *text);
/* A line of its own (erases the bar first). level: shown if verbosity >= level. */
void fc_progress_line(fc_progress *p, fc_verbosity level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void fc_progress_end(fc_progress *p);
/* "1 h 23 min", "4 min 05 s", "12 s" into buf; also estimated seconds left (NaN if unknown yet). */
const char *fc_duration(char buf[32], double seconds);
double fc_progress_eta(const fc_progress *p);

double fc_wall(void);     /* monotonic seconds */
double fc_cpu(void);      /* user + system seconds of the process */
double fc_rss_peak(void); /* peak resident MiB */

#endif
