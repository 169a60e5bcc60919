/* Progress on stderr: two calm lines on a terminal, with the ETA of the whole run; one line per
 * round elsewhere; and clocks. */
#ifndef FC_PROGRESS_H
#define FC_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum fc_verbosity { FC_QUIET, FC_NORMAL, FC_VERBOSE } fc_verbosity;

/* AUTO: unless NO_COLOR is set. */
#define FC_COLOUR_CHOICES "auto|always|never"
typedef enum fc_colour { FC_COLOUR_AUTO, FC_COLOUR_ALWAYS, FC_COLOUR_NEVER } fc_colour;

/* How to report, as the user wants it; {0} is silence. */
typedef struct fc_console {
    fc_verbosity verbosity;
    fc_colour colour;
} fc_console;

/* "task 3/10"; at > of is the end of it: "round end". of == 0: not shown. */
typedef struct fc_counter {
    const char *name;
    int at, of;
} fc_counter;

typedef struct fc_progress {
    fc_console console;
    bool terminal;           /* stderr is one, TERM is not dumb, not quiet: the display is used */
    bool colour;             /* in the display */
    int columns;             /* $COLUMNS; 0 = ask the terminal at each redraw */
    double total, done;      /* work of the whole run in FLOP, and what is done of it */
    double start_done;       /* done before this process (resume), or by nobody */
    double start, last_draw; /* seconds, fc_wall() */
    bool drawn;              /* the display stands on the terminal, the cursor at its end */

    /* the stage */
    fc_counter outer, inner;
    int clients, clients_done;
    bool testing;
    bool counts_only;             /* nothing is trained here: no loss, no images */
    double loss_sum, loss_images; /* of its training steps: loss times images, and images */

    /* images per second: a mean that forgets with time */
    double images;       /* since rate_at */
    double rate, weight; /* sum of weighted rates, and of the weights */
    double rate_at;      /* seconds, fc_wall() */
} fc_progress;

void fc_progress_init(fc_progress *p, fc_console console, double total, double done);

/* All below are thread-safe (they take the omp critical fc_progress). */

/* What begins now, e.g. {"task", 3, 10}, {"round", 2, 5} with 7 clients (0: none). */
void fc_progress_stage(fc_progress *p, fc_counter outer, fc_counter inner, int clients);
/* A client of the stage has finished. */
void fc_progress_client(fc_progress *p);
/* The clients of the stage are done, the test begins. */
void fc_progress_test(fc_progress *p);
/* Work in FLOP that is done, with this many images; loss: mean of a training step, or NaN. Redraws
 * the display if the last time was long enough ago. */
void fc_progress_add(fc_progress *p, double work, int images, double loss);
/* Work that needs not be done: it says nothing about the speed. */
void fc_progress_skip(fc_progress *p, double work);
/* A line of its own, above the display. level: shown if verbosity >= level. */
void fc_progress_line(fc_progress *p, fc_verbosity level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes the display away for good. */
void fc_progress_end(fc_progress *p);

/* "1 h 23 min", "4 min 05 s", "12 s" into buf; also estimated seconds left (NaN if unknown yet). */
const char *fc_duration(char buf[32], double seconds);
double fc_progress_eta(const fc_progress *p);

/* The display into buf, as it is drawn in that many columns, eta seconds before the end:
 *   task  3/10  round 2/5  clients  7/10  loss 0.812   340 images/s
 *   [===================>                  ]  41 %  4 min 05 s left
 * Fields keep their widths during a run; those without room are left out. */
enum { FC_DISPLAY_MAX = 256 };
void fc_progress_display(char buf[FC_DISPLAY_MAX], const fc_progress *p, int columns, double eta);

double fc_wall(void);     /* monotonic seconds */
double fc_cpu(void);      /* user + system seconds of the process */
double fc_rss_peak(void); /* peak resident MiB */

#endif
