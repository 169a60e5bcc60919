#include "sim/fed/devices.h"

#include "core/base/file.h"
#include "core/base/rng.h"
#include "sim/io/csv.h"
#include "sim/methods/method.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static fc_device speeds(double gflops, double up_mbit, double down_mbit)
{
    return (fc_device){.flop_s = gflops * 1e9,
                       .up_s = up_mbit * 1e6 / 8,
                       .down_s = down_mbit * 1e6 / 8,
                       .until = INFINITY};
}

/* --- reading a trace --------------------------------------------------------------------------
 */

static const char *const column[] = {"client",    "gflops",           "up_mbit",
                                     "down_mbit", "available_from_s", "available_to_s"};
enum { SPEEDS = 4, ALL = 6 };

static fc_status check_header(const fc_csv *csv, fc_error *err)
{
    bool good = csv->columns == SPEEDS || csv->columns == ALL;
    for (int i = 0; good && i < csv->columns; i++)
        good = strcmp(csv->name[i], column[i]) == 0;
    if (good)
        return FC_OK;
    return fc_fail(err, FC_EDATA,
                   "%s:1: expected the header client,gflops,up_mbit,down_mbit or the same with "
                   ",available_from_s,available_to_s",
                   csv->path);
}

static fc_status read_window(fc_device_window *w, const fc_csv *csv, size_t row, int clients,
                             double period, fc_error *err)
{
    double v[ALL] = {[ALL - 1] = INFINITY};
    for (int i = 0; i < csv->columns; i++)
        v[i] = fc_csv_number(csv, row, i);
    *w = (fc_device_window){.line = row + 2, .from = v[SPEEDS], .to = v[ALL - 1]};
    if (!(v[0] >= 0 && v[0] < clients && v[0] == floor(v[0])))
        return fc_fail(err, FC_EDATA, "%s:%zu: client '%s', expected a whole number from 0 to %d",
                       csv->path, w->line, csv->cell[row * (size_t)csv->columns], clients - 1);
    for (int i = 1; i < SPEEDS; i++)
        if (!(v[i] >= 1e-9 && v[i] <= 1e12)) /* times stay finite */
            return fc_fail(err, FC_EDATA, "%s:%zu: %s '%s', expected a number from 1e-9 to 1e12",
                           csv->path, w->line, column[i],
                           csv->cell[row * (size_t)csv->columns + (size_t)i]);
    double end = period > 0 ? period : 1e12;
    if (csv->columns == ALL && !(w->from >= 0 && w->from < w->to && w->to <= end))
        return fc_fail(
            err, FC_EDATA, "%s:%zu: available from '%s' to '%s', expected 0 <= from < to <= %g%s",
            csv->path, w->line, csv->cell[row * ALL + SPEEDS], csv->cell[row * ALL + SPEEDS + 1],
            end, period > 0 ? ", the period device.trace_period_s" : "");
    w->client = (int)v[0];
    w->speed = speeds(v[1], v[2], v[3]);
    return FC_OK;
}

static int by_client_and_time(const void *a, const void *b)
{
    const fc_device_window *x = a, *y = b;
    if (x->client != y->client)
        return x->client < y->client ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* d->start; the windows are sorted. */
static fc_status index_windows(fc_devices *d, const char *path, size_t n, int clients,
                               fc_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const fc_device_window *w = &d->window[i];
        if (i && w->client == w[-1].client && w->from < w[-1].to) {
            bool later = w->line > w[-1].line;
            return fc_fail(err, FC_EDATA, "%s:%zu: client %d: overlaps its window of line %zu",
                           path, later ? w->line : w[-1].line, w->client,
                           later ? w[-1].line : w->line);
        }
        d->start[w->client + 1] = i + 1;
    }
    for (int k = 0; k < clients; k++)
        if (d->start[k + 1] == 0)
            return fc_fail(err, FC_EDATA, "%s: no row for client %d, expected clients 0 to %d",
                           path, k, clients - 1);
    return FC_OK;
}

static fc_status read_trace(fc_devices *d, int clients, fc_arena *arena, fc_error *err)
{
    const char *path = d->cfg->device.trace;
    void *map;
    size_t size;
    fc_csv csv;
    FC_TRY(fc_file_map(&map, &size, path, FC_EDATA, err));
    fc_sha256(d->sha256, map, size);
    fc_status s = fc_csv_parse(&csv, path, map, size, arena, err);
    fc_file_unmap(map, size);
    FC_TRY(s);
    FC_TRY(check_header(&csv, err));
    d->window = fc_arena_alloc(arena, csv.rows, sizeof *d->window, err);
    d->start = fc_arena_alloc(arena, (size_t)clients + 1, sizeof *d->start, err);
    if (!d->window || !d->start)
        return FC_EFAIL;
    for (size_t i = 0; i < csv.rows; i++)
        FC_TRY(read_window(&d->window[i], &csv, i, clients, d->cfg->device.trace_period_s, err));
    qsort(d->window, csv.rows, sizeof *d->window, by_client_and_time);
    return index_windows(d, path, csv.rows, clients, err);
}

/* --- options ----------------------------------------------------------------------------------
 */

/* What has no meaning without a simulated clock is refused, not ignored. */
static fc_status check_none(const fc_config *c, fc_error *err)
{
    const char *set = c->fed.deadline_s > 0        ? "fed.deadline_s"
                      : c->fed.over_select > 1     ? "fed.over_select"
                      : c->device.availability < 1 ? "device.availability"
                      : c->device.dropout > 0      ? "device.dropout"
                      : *c->device.trace           ? "device.trace"
                                                   : NULL;
    if (!set)
        return FC_OK;
    return fc_fail(err, FC_EUSAGE, "%s: is set, but device.model is none, expected random or trace",
                   set);
}

fc_status fc_devices_open(fc_devices *d, const fc_config *c, int clients, fc_arena *arena,
                          fc_error *err)
{
    *d = (fc_devices){.cfg = c};
    int model = c->device.model;
    bool trace = *c->device.trace;
    if (model == FC_DEVICES_NONE)
        return check_none(c, err);
    if (trace != (model == FC_DEVICES_TRACE))
        return fc_fail(err, FC_EUSAGE,
                       trace ? "device.trace: is set, but device.model is random, expected trace"
                             : "device.trace: empty, expected the file of device.model trace");
    if (c->method->centralised)
        return FC_OK;
    d->on = true;
    return trace ? read_trace(d, clients, arena, err) : FC_OK;
}

/* --- one client -------------------------------------------------------------------------------
 */

bool fc_devices_come_and_go(const fc_devices *d)
{
    return d->on && (d->window || d->cfg->device.availability < 1);
}

/* The window of a trace that is open at `clock`, or the next one; NULL: none is left. *base = start
 * of the period that it is meant in. */
static const fc_device_window *next_window(double *base, const fc_devices *d, int client,
                                           double clock)
{
    double period = d->cfg->device.trace_period_s;
    *base = period > 0 ? clock - fmod(clock, period) : 0;
    const fc_device_window *first = d->window + d->start[client],
                           *end = d->window + d->start[client + 1];
    for (const fc_device_window *w = first; w < end; w++)
        if (*base + w->to > clock)
            return w;
    *base += period;
    return period > 0 ? first : NULL;
}

double fc_device_opens(const fc_devices *d, int client, double clock)
{
    double base;
    if (!d->window)
        return clock;
    const fc_device_window *w = next_window(&base, d, client, clock);
    return w ? fmax(clock, base + w->from) : INFINITY;
}

static fc_key key_of(const fc_devices *d, fc_stream stream, int client)
{
    return (fc_key){
        .seed = fc_seed(d->cfg, d->cfg->seed.device), .stream = stream, .client = (uint32_t)client};
}

static fc_rng round_rng(const fc_devices *d, fc_stream stream, int client, int task, int round)
{
    fc_key key = key_of(d, stream, client);
    key.task = (uint32_t)task;
    key.round = (uint32_t)round;
    return fc_rng_at(key);
}

bool fc_device_reachable(const fc_devices *d, int client, int task, int round, double clock)
{
    if (!d->on)
        return true;
    if (fc_device_opens(d, client, clock) > clock)
        return false;
    if (d->cfg->device.availability >= 1)
        return true;
    fc_rng g = round_rng(d, FC_STREAM_REACH, client, task, round);
    return fc_rng_uniform(&g) < d->cfg->device.availability;
}

/* End of the windows that follow one another without a gap from w on. */
static double end_of_windows(const fc_devices *d, const fc_device_window *w, double base)
{
    double period = d->cfg->device.trace_period_s;
    size_t first = d->start[w->client], end = d->start[w->client + 1];
    for (size_t i = 0; i < end - first; i++) {
        const fc_device_window *next = w + 1 < d->window + end ? w + 1 : d->window + first;
        double wrap = next > w ? 0 : period;
        if (next->from + wrap != w->to)
            return base + w->to;
        base += wrap;
        w = next;
    }
    return INFINITY; /* all round the period */
}

fc_device fc_device_at(const fc_devices *d, int client, double clock)
{
    double base;
    if (d->window) {
        const fc_device_window *w = next_window(&base, d, client, clock);
        fc_device device = w->speed;
        device.until = end_of_windows(d, w, base);
        return device;
    }
    fc_rng g = fc_rng_at(key_of(d, FC_STREAM_DEVICE, client));
    double gflops = d->cfg->device.gflops * exp(d->cfg->device.gflops_sigma * fc_rng_normal(&g));
    double up = d->cfg->device.up_mbit * exp(d->cfg->device.up_sigma * fc_rng_normal(&g));
    double down = d->cfg->device.down_mbit * exp(d->cfg->device.down_sigma * fc_rng_normal(&g));
    return speeds(gflops, up, down);
}

double fc_device_lost(const fc_devices *d, int client, int task, int round, double seconds)
{
    if (d->cfg->device.dropout <= 0)
        return INFINITY;
    fc_rng g = round_rng(d, FC_STREAM_LOSS, client, task, round);
    if (!(fc_rng_uniform(&g) < d->cfg->device.dropout))
        return INFINITY;
    return seconds * fc_rng_uniform(&g);
}
