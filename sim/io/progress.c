#include "sim/io/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const double redraw_s = 0.25;
static const double rate_s = 5; /* after this time, a rate counts 1/e */
enum { COLUMNS_DEFAULT = 80, COLUMNS_MAX = 500, WIDTH_MAX = 72, BAR_MIN = 5 };

/* --- clocks ----------------------------------------------------------------------------------- */

double fc_wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

double fc_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return seconds_of(u.ru_utime) + seconds_of(u.ru_stime);
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

static int terminal_columns(const fc_progress *p)
{
    struct winsize w;
    if (p->columns > 0)
        return p->columns;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col == 0)
        return COLUMNS_DEFAULT;
    return w.ws_col < COLUMNS_MAX ? w.ws_col : COLUMNS_MAX;
}

void fc_progress_init(fc_progress *p, fc_console console, double total, double done)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    double now = fc_wall();
    *p = (fc_progress){.console = console,
                       .columns = env_columns(),
                       .total = total,
                       .done = done,
                       .start_done = done,
                       .start = now,
                       .last_draw = now - redraw_s,
                       .rate_at = now};
    p->terminal =
        console.verbosity != FC_QUIET && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    p->colour = console.colour == FC_COLOUR_ALWAYS ||
                (console.colour == FC_COLOUR_AUTO && !(no_colour && *no_colour));
}

/* --- display ---------------------------------------------------------------------------------- */

/* A number in five characters. */
static const char *five(char buf[16], double x, int decimals)
{
    if (!isfinite(x))
        return "    -";
    for (; decimals >= 0; decimals--)
        if (snprintf(buf, 16, "%5.*f", decimals, x) <= 5)
            return buf;
    snprintf(buf, 16, "%5.0e", x);
    return buf;
}

/* A line of limited width. */
typedef struct text {
    char s[WIDTH_MAX + 1];
    int n, width;
} text;

/* Two blanks and a field, if there is room for all of it. */
__attribute__((format(printf, 2, 3))) static void add_field(text *t, const char *fmt, ...)
{
    char field[64];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(field, sizeof field, fmt, ap), gap = t->n > 0 ? 2 : 0;
    va_end(ap);
    if (n < (int)sizeof field && t->n + gap + n <= t->width)
        t->n += snprintf(t->s + t->n, sizeof t->s - (size_t)t->n, "%*s%s", gap, "", field);
}

static void add_counter(text *t, fc_counter c)
{
    int digits = snprintf(NULL, 0, "%d", c.of);
    if (c.of > 0 && c.at > c.of)
        add_field(t, "%s %-*s", c.name, 2 * digits + 1, "end");
    else if (c.of > 0)
        add_field(t, "%s %*d/%d", c.name, digits, c.at, c.of);
}

static text stage_text(const fc_progress *p, int width)
{
    text t = {.width = width};
    char buf[16];
    double rate = p->rate / p->weight; /* NaN at first */
    add_counter(&t, p->outer);
    add_counter(&t, p->inner);
    if (p->testing) /* as wide as the clients */
        add_field(&t, "%-*s", snprintf(NULL, 0, "clients %d/%d", p->clients, p->clients), "test");
    else
        add_counter(&t, (fc_counter){"clients", p->clients_done, p->clients});
    if (p->counts_only)
        return t;
    add_field(&t, "loss %s", five(buf, p->loss_sum / p->loss_images, 3));
    add_field(&t, "%s images/s", five(buf, rate, rate < 10));
    return t;
}

void fc_progress_display(char buf[FC_DISPLAY_MAX], const fc_progress *p, int columns, double eta)
{
    int width = columns - 1 < WIDTH_MAX ? columns - 1 : WIDTH_MAX; /* full lines would wrap */
    char duration[32], left[48], tail[64], bar[WIDTH_MAX + 1];
    text t = stage_text(p, width);
    double part = p->total > 0 ? fmin(p->done / p->total, 1) : 0;
    snprintf(left, sizeof left, "%s left", fc_duration(duration, eta));
    int n_tail = snprintf(tail, sizeof tail, "%3.0f %%  %-16s", floor(100 * part), left);
    int n_bar = width - n_tail - 4; /* brackets and blanks */
    if (n_bar < BAR_MIN) {
        snprintf(buf, FC_DISPLAY_MAX, "%s\033[K\n%.*s\033[K", t.s, width > 0 ? width : 0, tail);
        return;
    }
    memset(bar, '=', sizeof bar);
    snprintf(buf, FC_DISPLAY_MAX, "%s\033[K\n[%s%.*s%*s%s]  %s\033[K", t.s,
             p->colour ? "\033[32m" : "", (int)(part * n_bar), bar, n_bar - (int)(part * n_bar), "",
             p->colour ? "\033[0m" : "", tail);
}

/* In one go over the last one: nothing flickers. */
static void draw_display(fc_progress *p)
{
    char display[FC_DISPLAY_MAX];
    fc_progress_display(display, p, terminal_columns(p), fc_progress_eta(p));
    fprintf(stderr, "%s%s", p->drawn ? "\r\033[A" : "\r", display);
    p->drawn = true;
}

static void erase_display(fc_progress *p)
{
    if (p->drawn)
        fputs("\r\033[A\033[J", stderr);
    p->drawn = false;
}

/* Exponential weights over time, divided by their sum: a right mean from the start. */
static void measure_rate(fc_progress *p, double now)
{
    double dt = now - p->rate_at;
    if (!(dt > 0))
        return;
    double old = exp(-dt / rate_s);
    p->rate = old * p->rate + (1 - old) * p->images / dt;
    p->weight = old * p->weight + (1 - old);
    p->images = 0;
    p->rate_at = now;
}

/* --- what happens ----------------------------------------------------------------------------- */

void fc_progress_stage(fc_progress *p, fc_counter outer, fc_counter inner, int clients)
{
#pragma omp critical(fc_progress)
    {
        p->outer = outer;
        p->inner = inner;
        p->clients = clients;
        p->clients_done = 0;
        p->testing = false;
        p->loss_sum = p->loss_images = 0;
        if (p->weight == 0) /* nothing was measured yet */
            p->rate_at = fc_wall();
    }
}

void fc_progress_client(fc_progress *p)
{
#pragma omp critical(fc_progress)
    p->clients_done++;
}

void fc_progress_test(fc_progress *p)
{
#pragma omp critical(fc_progress)
    p->testing = true;
}

void fc_progress_add(fc_progress *p, double work, int images, double loss)
{
#pragma omp critical(fc_progress)
    {
        p->done += work;
        p->images += images;
        if (!isnan(loss)) {
            p->loss_sum += loss * images;
            p->loss_images += images;
        }
        double now = p->terminal ? fc_wall() : 0;
        if (p->terminal && now - p->last_draw >= redraw_s) {
            measure_rate(p, now);
            draw_display(p);
            p->last_draw = now;
        }
    }
}

void fc_progress_skip(fc_progress *p, double work)
{
#pragma omp critical(fc_progress)
    {
        p->done += work;
        p->start_done += work;
    }
}

void fc_progress_line(fc_progress *p, fc_verbosity level, const char *fmt, ...)
{
    if (p->console.verbosity < level)
        return;
    va_list ap;
    va_start(ap, fmt);
#pragma omp critical(fc_progress)
    {
        bool again = p->drawn;
        erase_display(p);
        vfprintf(stderr, fmt, ap);
        fputc('\n', stderr);
        if (again)
            draw_display(p);
    }
    va_end(ap);
}

void fc_progress_end(fc_progress *p)
{
    erase_display(p);
    p->terminal = false;
}
