/* The devices of the clients: how fast they compute and talk, and when they are within reach. Only
 * simulated time depends on it; a run without a model has none.
 *
 *   random   FLOP/s, bytes up and down per second: median e^(sigma z), z ~ N(0, 1), once per client
 *   trace    a CSV file: client,gflops,up_mbit,down_mbit[,available_from_s,available_to_s]; a row
 *            per window of time in which the client is within reach, with its speeds in it
 *
 * In both, a client is out of reach in a round with probability 1 - device.availability, and lost
 * during it with probability device.dropout. All draws are keyed by (seed.device; task, round,
 * client): none depends on another. */
#ifndef FC_DEVICES_H
#define FC_DEVICES_H

#include "core/base/arena.h"
#include "core/base/status.h"
#include "sim/config/config.h"

#include <stdbool.h>

enum { FC_DEVICES_NONE, FC_DEVICES_RANDOM, FC_DEVICES_TRACE }; /* device.model */

typedef struct fc_device {
    double flop_s, up_s, down_s; /* FLOP and bytes per second */
    double until;                /* s: end of its window; INFINITY: never */
} fc_device;

/* A row of a trace. */
typedef struct fc_device_window {
    int client;
    size_t line;
    double from, to; /* s, from <= time < to; of a period if the trace repeats */
    fc_device speed; /* until unused */
} fc_device_window;

typedef struct fc_devices {
    bool on;
    const fc_config *cfg;
    fc_device_window *window; /* of a trace: by client, then by time */
    size_t *start;            /* (clients + 1): windows of each client */
    char sha256[65];          /* of the trace; "" without */
} fc_devices;

/* Reads and checks the device options and the trace. Centralised methods have no devices (on =
 * false). Errors: FC_EUSAGE for options that do not go together; FC_EDATA with file:line for a
 * trace that is no trace, overlaps itself, or lacks one of the clients 0 .. clients-1. */
fc_status fc_devices_open(fc_devices *d, const fc_config *c, int clients, fc_arena *arena,
                          fc_error *err);

/* May a client be out of reach in one round and back in another? */
bool fc_devices_come_and_go(const fc_devices *d);

/* The first moment from `clock` (s) on in a window of the client; INFINITY if none is left. */
double fc_device_opens(const fc_devices *d, int client, double clock);

/* Is it within reach of a round that starts at `clock`? Always, without a model. */
bool fc_device_reachable(const fc_devices *d, int client, int task, int round, double clock);

/* The device in a round that starts at `clock`, when it is within reach. */
fc_device fc_device_at(const fc_devices *d, int client, double clock);

/* After how many of `seconds` the client is lost; INFINITY: it is not. */
double fc_device_lost(const fc_devices *d, int client, int task, int round, double seconds);

#endif
