/* The pieces of a run at work: what they declare becomes arrays of the state, of clients and of
 * messages, and their functions are called with these. Called by setup, state, client, round and
 * server; nobody else knows what a piece is. */
#ifndef FC_PIECES_H
#define FC_PIECES_H

#include "sim/fed/message.h"
#include "sim/fed/state.h"

/* s->piece and what follows from it. Errors: those of fc_piece.check. */
fc_status fc_pieces_init(fc_setup *s, fc_error *err);

/* Fresh arrays of the server, and room for those of clients. Memory from the arena. */
fc_status fc_pieces_state(fc_state *st, const fc_setup *s, fc_arena *arena, fc_error *err);
/* Fields of a checkpoint for them into f; st NULL: sizes only. Returns how many. */
int fc_pieces_fields(fc_state_field *f, const fc_setup *s, fc_state *st);
enum { FC_PIECE_FIELDS_MAX = FC_PIECES_MAX * FC_ARRAYS_MAX + 2 };

/* Arrays that are reset at the start of task t (round < 0), or of a round; at the end of the task
 * (fed.rounds) those of pieces that take statistics there. */
void fc_pieces_reset(fc_state *st, const fc_setup *s, int t, int round);
/* Is any client array reset at the start of a task? */
bool fc_pieces_forget(const fc_setup *s);

/* Does any piece take statistics in this round (fed.rounds: at the end of the task); does piece i?
 */
bool fc_pieces_statistics(const fc_setup *s, int task, int round);
bool fc_piece_takes(const fc_setup *s, int i, int task, int round);

/* Arrays that clients send, as parts of a message; the numbers of all arrays that are ever sent lie
 * one behind the other at `at` (NULL: sizes only). Returns how many; out (FC_PARTS_MAX). */
int fc_pieces_sent(fc_message_part *out, const fc_setup *s, const fc_work *w, fc_real *at);
/* Server arrays that go down in a round, into out. */
int fc_pieces_down(fc_message_part *out, const fc_setup *s, const fc_state *st, bool task_start);

/* Every piece at work on a client; own (own_numbers), sent (sent_numbers). */
void fc_pieces_client(fc_piece_client *out, const fc_setup *s, const fc_state *st,
                      const fc_piece_client *common, fc_real *own, fc_real *sent);

/* What a client has sent, and the step of the server after the merge: start is the block before it.
 * *note[i]: of each piece (NAN: none). */
void fc_pieces_fold(fc_state *st, const fc_setup *s, const fc_work *w,
                    const fc_piece_server *common, fc_real *sent, const fc_piece_update *update);
fc_status fc_pieces_step(double note[FC_PIECES_MAX], fc_state *st, const fc_setup *s,
                         const fc_piece_server *common, fc_error *err);
fc_status fc_pieces_end_task(fc_state *st, const fc_setup *s, const fc_piece_server *common,
                             fc_error *err);
/* The method's piece on the server, for fc_method.predict. */
fc_piece_server fc_pieces_of_method(const fc_state *st, const fc_setup *s);

/* What the loss terms of a task cost beside the images themselves. */
fc_fit_extra fc_pieces_extra(const fc_setup *s, int task);

/* The one teacher of full fine-tuning: an array, or the block at the start of the round. */
const fc_real *fc_pieces_teacher(const fc_state *st, const fc_setup *s, const fc_real *start);

#endif
