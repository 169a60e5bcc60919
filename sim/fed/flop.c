#include "sim/fed/flop.h"

#include "sim/fed/pieces.h"

double fc_forward_flop(const fc_setup *s)
{
    return fc_vit_flop(&s->net.shape, s->net.rank, s->net.classes, s->net.mode, 0, false);
}

double fc_client_fisher_flop(const fc_setup *s, int task, double n)
{
    int classes = s->tasks.first[task + 1] - s->tasks.first[task];
    double most = s->cfg->merge.samples;
    return (most > 0 && most < n ? most : n) * fc_fisher_flop((fc_fisher_kind)s->cfg->merge.fisher,
                                                              &s->net.shape, s->net.rank,
                                                              s->net.classes, classes);
}

double fc_client_flop(const fc_setup *s, const fc_work *w, int client)
{
    double n = (double)fc_client_samples(s, w->task, client), flop = 0;
    const fc_fit_extra extra = fc_pieces_extra(s, w->task);
    if (w->groups)
        flop += n * s->cfg->train.epochs * fc_fit_flop_with(&s->net, w->groups, &extra) +
                n * s->gradient * fc_fit_flop(&s->net, w->groups);
    for (int i = 0; i < s->n_pieces; i++)
        flop += fc_piece_takes(s, i, w->task, w->round) ? n * fc_forward_flop(s) : 0;
    if (w->grams)
        flop += n * s->grams.passes * fc_forward_flop(s);
    if (w->fisher)
        flop += fc_client_fisher_flop(s, w->task, n);
    return flop;
}
