#include "sim/fed/evaluate.h"

#include "sim/fed/pieces.h"

fc_status fc_eval_run(fc_run *r, const fc_model *m, int t, const bool *skip, fc_error *err)
{
    fc_model packed = *m;
    packed.packed = &r->scratch.packed_scratch;
    fc_packed_fill(&r->scratch.packed_scratch, &r->setup->net.shape, m->w);
    fc_progress_test(&r->scratch.progress);
    const fc_piece_server server = fc_pieces_of_method(&r->state, r->setup);
    const fc_test test = {.net = &r->setup->net,
                          .model = &packed,
                          .images = &r->setup->data.test,
                          .tasks = &r->setup->tasks,
                          .seen = t + 1,
                          .crew = &r->scratch.crew,
                          .progress = &r->scratch.progress,
                          .ranks = &r->scratch.ranks,
                          .predict = r->setup->method->predict,
                          .server = &server,
                          .skip = skip};
    return fc_test_run(&r->state.eval, &test, &r->scratch.arena, err);
}
