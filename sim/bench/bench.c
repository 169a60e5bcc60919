/* What the benchmarks share: the networks, how times are taken, and how they are printed. */
#include "sim/bench/bench.h"

#include "core/base/opt.h"
#include "core/base/select.h"
#include "sim/io/progress.h"

#include <stdio.h>
#include <stdlib.h>

const fc_vit_shape fc_bench_shape[FC_BENCH_SHAPES] = {{32, 4, 192, 6, 3, 768},
                                                      {224, 16, 192, 12, 3, 768},
                                                      {96, 16, 192, 12, 3, 768},
                                                      {224, 16, 768, 12, 12, 3072}};

bool fc_bench_wants(const fc_bench_options *o, int shape)
{
    return o->shape == shape || o->shape == FC_BENCH_SHAPES;
}

json_t *fc_bench_word(const char *choices, int index)
{
    char buf[64];
    const fc_opt row = {.type = FC_OPT_CHOICE, .choices = choices};
    return json_string(fc_opt_choice(&row, index, buf, sizeof buf));
}

json_t *fc_bench_shape_name(int shape)
{
    return fc_bench_word(FC_BENCH_SHAPE_CHOICES, shape);
}

/* ---- times ---------------------------------------------------------------------------------- */

void fc_bench_sort(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, fc_ascending);
}

fc_spread fc_spread_of(double *x, int n)
{
    fc_bench_sort(x, n);
    return (fc_spread){
        .median = (x[(n - 1) / 2] + x[n / 2]) / 2, .p10 = x[n / 10], .p90 = x[n - 1 - n / 10]};
}

fc_spread fc_bench_time(void (*work)(void *ctx), void *ctx, double seconds)
{
    enum { CALLS_MIN = 3, CALLS_MAX = 1000 };
    double taken[CALLS_MAX], total = 0;
    int n = 0;
    work(ctx);
    while (n < CALLS_MAX && (n < CALLS_MIN || total < seconds)) {
        double begin = fc_wall();
        work(ctx);
        total += taken[n++] = fc_wall() - begin;
    }
    return fc_spread_of(taken, n);
}

void fc_bench_add(json_t *line, const char *key, fc_spread s)
{
    json_object_set_new(line, key, json_real(s.median));
    json_object_set_new(line, "p10", json_real(s.p10));
    json_object_set_new(line, "p90", json_real(s.p90));
}

fc_status fc_bench_print(json_t *line, fc_error *err)
{
    char *text = json_dumps(line, JSON_REAL_PRECISION(5));
    json_decref(line);
    if (!text)
        return fc_fail(err, FC_EFAIL, "bench: out of memory");
    puts(text);
    fflush(stdout);
    free(text);
    return FC_OK;
}
