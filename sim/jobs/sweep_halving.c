/* Successive halving, Jamieson and Talwalkar 2016, with any option as the budget: which runs of a
 * sweep are wanted. A function of what is on disk, so that all workers agree. */
#include "sim/jobs/sweep_halving.h"

#include <math.h>

/* What a setting reached in one rung. */
typedef struct score {
    int runs;
    bool in, failed;
    double sum;
} score;

static bool before(const score *a, const score *b)
{
    if (a->failed != b->failed)
        return b->failed;
    return !a->failed && a->sum / a->runs > b->sum / b->runs;
}

/* How many settings rank before setting i: equal ones in plan order. */
static int rank_of(const score *s, int n, int i)
{
    int rank = 0;
    for (int j = 0; j < n; j++)
        rank += s[j].in && (before(&s[j], &s[i]) || (j < i && !before(&s[i], &s[j])));
    return rank;
}

/* Scores of the settings in a rung, and their number; 0 while a run of it is open. */
static int close_rung(score *s, const fc_sweep_view *v, int rung)
{
    int n = 0;
    for (int i = 0; i < v->sweep->n_settings; i++)
        s[i] = (score){0};
    for (int i = 0; i < v->sweep->n_runs; i++) {
        const fc_run_view *r = &v->run[i];
        score *to = &s[v->sweep->run[i].setting];
        if (v->sweep->run[i].rung != rung || !r->wanted)
            continue;
        if (r->state != FC_RUN_DONE && r->state != FC_RUN_FAILED)
            return 0;
        n += !to->in;
        to->in = true;
        to->runs++;
        to->failed = to->failed || r->state == FC_RUN_FAILED || isnan(r->metric);
        to->sum += r->metric;
    }
    return n;
}

void fc_halving_choose(fc_sweep_view *v)
{
    const fc_sweep *s = v->sweep;
    fc_mark mark = fc_arena_mark(&v->arena);
    score *score_of = fc_arena_alloc(&v->arena, (size_t)s->n_settings, sizeof *score_of, NULL);
    for (int i = 0; i < s->n_runs; i++)
        v->run[i].wanted = s->run[i].rung == 0;
    for (int rung = 1; score_of && rung < s->halving.rungs; rung++) {
        int n = close_rung(score_of, v, rung - 1);
        int keep = (int)ceil(s->halving.keep * n - 1e-9);
        for (int i = 0; i < s->n_runs; i++) {
            int setting = s->run[i].setting;
            if (s->run[i].rung == rung && score_of[setting].in)
                v->run[i].wanted = rank_of(score_of, s->n_settings, setting) < keep;
        }
        if (n == 0)
            break;
    }
    fc_arena_release(&v->arena, mark);
}

void fc_halving_look(fc_sweep_view *v)
{
    fc_sweep_view_read(v);
    fc_halving_choose(v);
}
