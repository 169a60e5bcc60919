/* Who takes part in a round, and whose update arrives in time: all of it follows from the options,
 * the seeds and the simulated clock, before anybody trains.
 *
 * Drawn are max(1, floor(participation * clients)) clients, over_select times as many with a model
 * of devices: once per task from all clients, of whom those within reach take part in each round;
 * or in each round from those within reach. A client that takes part needs
 *
 *   bytes down / bandwidth down + FLOP / speed + bytes up / bandwidth up     seconds,
 *
 * in which it may be lost (device.dropout, or its window ends). The round ends when every update
 * has arrived or is lost; with over_select, when the wanted number has arrived (in a tie, some
 * more); and at fed.deadline_s. What arrives later is late. If nobody is within reach, a round with
 * a deadline passes idle; one without starts when the next window opens.
 *
 * Only the client's time is simulated: the server computes and answers at once. */
#ifndef FC_COHORT_H
#define FC_COHORT_H

#include "sim/fed/plan.h"

typedef enum fc_fate {
    FC_FATE_OK,   /* merged */
    FC_FATE_LATE, /* sent, but after the round */
    FC_FATE_LOST  /* never sent */
} fc_fate;

typedef struct fc_member {
    int client;
    fc_fate fate;
    double seconds; /* from the start of the round until its update arrives or it is lost */
} fc_member;

typedef struct fc_cohort {
    fc_member *member; /* (n) ascending by client */
    int n;
    size_t bytes_down, bytes_up; /* of one client's messages */
    double sim_s;                /* the clock goes on by this; 0 without a model of devices */
    int *id;                     /* scratch */
    double *arrival;             /* scratch */
} fc_cohort;

/* Who takes part in round `round` of task t if it is opened at *clock, ascending, into id
 * (fc_plan_cohort_max); returns how many. *clock becomes the moment at which the round starts. */
int fc_participants(const fc_setup *s, int t, int round, double *clock, int *id);

/* Room for any round. Errors: FC_EFAIL when memory is out. */
fc_status fc_cohort_init(fc_cohort *c, const fc_setup *s, fc_arena *arena, fc_error *err);
/* Fills c for the round of that work, opened at `clock`. */
fc_status fc_cohort_draw(fc_cohort *c, const fc_setup *s, const fc_work *work, double clock,
                         fc_error *err);

#endif
