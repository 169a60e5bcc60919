/* Ranks where MPI is missing: there is always one. */
#include "sim/parallel/ranks.h"

fc_status fc_ranks_open(int launched, fc_error *err)
{
    if (launched == 1)
        return FC_OK;
    return fc_fail(err, FC_EUSAGE,
                   "run: started as %d ranks, but this fcil was built without MPI (install "
                   "libopenmpi-dev and build again)",
                   launched);
}

void fc_ranks_close(void)
{
}

fc_ranks fc_ranks_world(void)
{
    return (fc_ranks){.n = 1};
}

fc_status fc_ranks_agree(fc_ranks *k, fc_status s, fc_error *err)
{
    (void)k;
    (void)err;
    return s;
}

fc_status fc_ranks_share(fc_ranks *k, fc_status s, void *p, size_t n, fc_error *err)
{
    (void)p;
    (void)n;
    return fc_ranks_agree(k, s, err);
}

fc_status fc_ranks_unite(fc_ranks *k, fc_status s, void *p, size_t n, fc_error *err)
{
    return fc_ranks_share(k, s, p, n, err);
}

void fc_ranks_poll(fc_ranks *k)
{
    (void)k;
}

void fc_ranks_send(fc_ranks *k, const void *p, size_t n)
{
    (void)k;
    (void)p;
    (void)n;
}

void fc_ranks_receive(fc_ranks *k, void *p, size_t n, int from)
{
    (void)p;
    (void)from;
    fc_ranks_send(k, p, n);
}
