/* What happens in each round of a run, before anybody trains: who trains what, what is tested, what
 * is sent and how much. All of it follows from the set-up. */
#ifndef FC_PLAN_H
#define FC_PLAN_H

#include "core/merge/merge.h"
#include "sim/fed/state.h"

fc_work fc_plan_work(const fc_setup *s, int t, int round);

/* Groups trained, sent and merged in a round (bits 1 << fc_group). */
unsigned fc_plan_groups(const fc_setup *s, int round);

/* Does the task end with messages: of Grams, or of the statistics of pieces? */
bool fc_plan_ends_with_messages(const fc_setup *s, int t);

/* Is there a test after task t at all? */
bool fc_plan_tests_task(const fc_setup *s, int t);
/* Is there a test after this round of task t (round == fed.rounds: at the end of a task, beside the
 * one of its last round)? */
bool fc_plan_evaluates(const fc_setup *s, int t, int round);

/* Updates that a round wants, and the most clients that take part in it. */
int fc_plan_wanted(const fc_setup *s);
int fc_plan_cohort_max(const fc_setup *s);

/* Bytes of the message that one client makes, and of what it sends (none where nothing is sent). */
fc_status fc_plan_message(size_t *bytes, const fc_setup *s, const fc_work *w, fc_error *err);
fc_status fc_plan_bytes_up(size_t *bytes, const fc_setup *s, const fc_work *w, fc_error *err);
/* The layout of the Grams that it sends; n = 0: none. */
fc_grams fc_plan_grams(const fc_setup *s, const fc_work *w);

/* Messages held at a time, but two for each thread at least: clients train in waves, so that memory
 * does not grow with their number. */
enum { FC_WAVE_BYTES = 64 << 20 };
/* Messages of a wave, of so many bytes each and n clients in all, on so many threads. */
int fc_plan_wave(size_t bytes, int n, int threads);

/* The merge of a round of so many updates, at most; base and sum: the server's block, and what its
 * rounds add up to (NULL unless setup.folds). */
fc_merge_job fc_plan_merge_job(const fc_setup *s, const fc_params *base, fc_real *sum, int t,
                               int round, int clients);

#endif
