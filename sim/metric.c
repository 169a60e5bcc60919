#include "sim/metric.h"

#include "core/opt.h"
#include "sim/runlog.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define OF_MATRIX(field)                                                                           \
    static double field##_of(const fc_result *r)                                                   \
    {                                                                                              \
        return r->acc.done > 0 ? fc_metrics_of(&r->acc).field : NAN;                               \
    }
OF_MATRIX(faa)
OF_MATRIX(faa_task_mean)
OF_MATRIX(aia)
OF_MATRIX(aia_task_mean)
OF_MATRIX(forgetting_fedmammoth)
OF_MATRIX(forgetting_max)
OF_MATRIX(bwt)
OF_MATRIX(learning_accuracy)

#define OF_ROUNDS(name, column)                                                                    \
    static double name##_of(const fc_result *r)                                                    \
    {                                                                                              \
        return fc_csv_last(&r->rounds, FC_ROUND_COLUMN(column));                                   \
    }
OF_ROUNDS(bytes_up, bytes_up_cum)
OF_ROUNDS(bytes_down, bytes_down_cum)
OF_ROUNDS(wall_s, wall_s)
OF_ROUNDS(cpu_s, cpu_s)
OF_ROUNDS(merge_scale, merge_scale)
OF_ROUNDS(merge_extra, merge_extra)

/* Of tasks.merge, not of the last round's updates. */
static double merge_s_of(const fc_result *r)
{
    return r->config.task_rule ? fc_csv_last(&r->rounds, FC_ROUND_COLUMN(merge_s)) : NAN;
}

static double bwt_masked_of(const fc_result *r)
{
    fc_acc_matrix m = r->acc;
    m.correct = r->masked;
    return m.done > 0 ? fc_metrics_of(&m).bwt : NAN;
}

/* The largest: a resumed process counts from its own start. */
static double rss_mib_of(const fc_result *r)
{
    double most = NAN;
    int column = fc_csv_column(&r->rounds, FC_ROUND_COLUMN(rss_mib));
    for (size_t i = 0; i < r->rounds.rows; i++)
        most = fmax(most, fc_csv_number(&r->rounds, i, column));
    return most;
}

const fc_metric fc_metric_table[] = {
    {"faa", "FAA (%)", 1, 1, 1, faa_of},
    {"faa_task_mean", "FAA, task mean (%)", 1, 1, 1, faa_task_mean_of},
    {"aia", "AIA (%)", 1, 1, 1, aia_of},
    {"aia_task_mean", "AIA, task mean (%)", 1, 1, 1, aia_task_mean_of},
    {"forgetting_max", "forgetting (points)", 1, 1, -1, forgetting_max_of},
    {"forgetting_fedmammoth", "forgetting, fed-mammoth (points)", 1, 1, -1,
     forgetting_fedmammoth_of},
    {"bwt", "BWT (points)", 1, 1, 1, bwt_of},
    {"learning_accuracy", "learning accuracy (%)", 1, 1, 1, learning_accuracy_of},
    {"acc_masked", "task known (%)", 1, 1, 1, fc_result_masked},
    {"bwt_masked", "BWT, task known (points)", 1, 1, 1, bwt_masked_of},
    {"bytes_up", "up (MB)", 1e6, 1, -1, bytes_up_of},
    {"bytes_down", "down (MB)", 1e6, 1, -1, bytes_down_of},
    {"wall_s", "time (s)", 1, 1, -1, wall_s_of},
    {"cpu_s", "CPU time (s)", 1, 1, -1, cpu_s_of},
    {"rss_mib", "memory (MiB)", 1, 0, -1, rss_mib_of},
    {"merge_s", "merge (s)", 1, 1, -1, merge_s_of},
    {"merge_scale", "factor on the merge", 1, 2, 0, merge_scale_of},
    {"merge_extra", "beside the backbone (M numbers)", 1e6, 2, -1, merge_extra_of},
};
enum { N_METRICS = sizeof fc_metric_table / sizeof *fc_metric_table };
const int fc_metric_count = N_METRICS;

fc_status fc_metric_find(const fc_metric **out, const char *name, fc_error *err)
{
    const char *names[N_METRICS];
    for (int i = 0; i < N_METRICS; i++) {
        names[i] = fc_metric_table[i].name;
        if (strcmp(names[i], name) == 0) {
            *out = &fc_metric_table[i];
            return FC_OK;
        }
    }
    const char *near = fc_nearest(name, names, N_METRICS);
    return fc_fail(err, FC_EUSAGE, "unknown metric '%.60s'%s%s%s", name,
                   near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

fc_status fc_metric_list(const fc_metric ***out, int *n, const char *names, fc_arena *arena,
                         fc_error *err)
{
    char *text = fc_arena_strdup(arena, names, err), *save = NULL;
    const fc_metric **list = fc_arena_alloc(arena, strlen(names) + 1, sizeof *list, err);
    if (!text || !list)
        return FC_EFAIL;
    *n = 0;
    for (char *name = strtok_r(text, ", ", &save); name; name = strtok_r(NULL, ", ", &save))
        FC_TRY(fc_metric_find(&list[(*n)++], name, err));
    if (*n == 0)
        return fc_fail(err, FC_EUSAGE, "expected the names of metrics, found none");
    *out = list;
    return FC_OK;
}

double fc_metric_final(const fc_metric *m, const fc_result *r)
{
    return r->acc.done == r->acc.tasks ? m->of(r) : NAN;
}

const char *fc_spread_text(char buf[FC_SPREAD_TEXT_MAX], const fc_mean *m, double unit,
                           int decimals)
{
    if (m->n == 0)
        snprintf(buf, FC_SPREAD_TEXT_MAX, "-");
    else if (m->n == 1)
        snprintf(buf, FC_SPREAD_TEXT_MAX, "%.*f", decimals, m->mean / unit);
    else
        snprintf(buf, FC_SPREAD_TEXT_MAX, "%.*f \302\261 %.*f", decimals, m->mean / unit, decimals,
                 m->sd / unit);
    return buf;
}
