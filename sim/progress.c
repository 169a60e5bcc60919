#include "sim/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const double redraw_s = 0.1;
enum { COLUMNS_DEFAULT = 80, COLUMNS_MAX = 500, BAR_MAX = 40, BAR_MIN = 5 };

/* --- clocks ----------------------------------------------------------------------------------- */

double fc_wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

double fc_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return seconds(u.ru_utime) + seconds(u.ru_stime);
}

double fc_rss_peak(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024.0; /* Linux counts KiB */
}

const char *fc_duration(char buf[32], double s)
{
    if (!(s >= 0 && s < 1e12)) {
        snprintf(buf, 32, "?");
        return buf;
    }
    /* round first, so that 59.7 s becomes a minute */
    long sec = lround(s), min = lround(s / 60);
    if (sec < 60)
        snprintf(buf, 32, "%ld s", sec);
    else if (sec < 3600)
        snprintf(buf, 32, "%ld min %02ld s", sec / 60, sec % 60);
    else if (min < 48 * 60)
        snprintf(buf, 32, "%ld h %02ld min", min / 60, min % 60);
    else
        snprintf(buf, 32, "%ld d %02ld h", min / 1440, min / 60 % 24);
    return buf;
}

double fc_progress_eta(const fc_progress *p)
{
    double here = p->done - p->start_done, elapsed = fc_wall() - p->start;
    if (!(here > 0 && elapsed > 0))
        return NAN;
    return fmax(p->total - p->done, 0) * elapsed / here;
}

/* --- terminal --------------------------------------------------------------------------------- */

static int env_columns(void)
{
    const char *env = getenv("COLUMNS");
    char *end = NULL;
    long n = env ? strtol(env, &end, 10) : 0;
    return env && end != env && *end == '\0' && n > 0 && n <= COLUMNS_MAX ? (int)n : 0;
}

static int columns(const fc_progress *p)
{
    struct winsize w;
    if (p->columns > 0)
        return p->columns;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col == 0)
        return COLUMNS_DEFAULT;
    return w.ws_col < COLUMNS_MAX ? w.ws_col : COLUMNS_MAX;
}

void fc_progress_init(fc_progress *p, fc_verbosity v, double total, double done)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    double now = fc_wall();
    *p = (fc_progress){.verbosity = v,
                       .columns = env_columns(),
                       .total = total,
                       .done = done,
                       .start_done = done,
                       .start = now,
                       .last_draw = now - redraw_s};
    p->bar = v != FC_QUIET && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    p->colour = p->bar && !(no_colour && *no_colour);
}

/* One line, written in one go over the last one and narrower than the terminal: nothing flickers or
 * wraps. task 3/10 round 2/5  [=========>              ]  41 %  4 min 05 s left */
static void draw(const fc_progress *p, const char *text)
{
    char duration[32], left[48], tail[64], bar[BAR_MAX + 1] = "";
    double eta = fc_progress_eta(p), part = p->total > 0 ? fmin(p->done / p->total, 1) : 0;
    /* of one length, so that the bar does not jump */
    snprintf(left, sizeof left, "%s left", fc_duration(duration, eta));
    snprintf(tail, sizeof tail, "%3.0f %%  %-16s", floor(100 * part), isnan(eta) ? "" : left);

    int width = columns(p) - 1, room = width - (int)strlen(tail) - 1;
    int n_text = (int)strlen(text) < room ? (int)strlen(text) : room > 0 ? room : 0;
    int n_bar = room - n_text - 4; /* brackets and blanks */
    n_bar = n_bar > BAR_MAX ? BAR_MAX : n_bar;
    if (n_bar < BAR_MIN) {
        fprintf(stderr, "\r%.*s %.*s\033[K", n_text, text, width > 1 ? width - 1 : 0, tail);
        return;
    }
    int filled = (int)(part * n_bar);
    memset(bar, '=', (size_t)filled);
    fprintf(stderr, "\r%.*s  [%s%-*s%s] %s\033[K", n_text, text, p->colour ? "\033[32m" : "", n_bar,
            bar, p->colour ? "\033[0m" : "", tail);
}

void fc_progress_add(fc_progress *p, double work, const char *text)
{
#pragma omp critical(fc_progress)
    {
        p->done += work;
        double now = fc_wall();
        if (p->bar && now - p->last_draw >= redraw_s) {
            p->last_draw = now;
            draw(p, text);
        }
    }
}

static void erase(const fc_progress *p)
{
    if (p->bar)
        fputs("\r\033[K", stderr);
}

void fc_progress_line(fc_progress *p, fc_verbosity level, const char *fmt, ...)
{
    if (p->verbosity < level)
        return;
    va_list ap;
    va_start(ap, fmt);
#pragma omp critical(fc_progress)
    {
        erase(p);
        vfprintf(stderr, fmt, ap);
        fputc('\n', stderr);
        p->last_draw = 0; /* the next add brings the bar back */
    }
    va_end(ap);
}

void fc_progress_end(fc_progress *p)
{
    erase(p);
    p->bar = false;
}
