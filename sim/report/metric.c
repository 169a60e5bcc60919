#include "sim/report/metric.h"

#include "core/base/opt.h"
#include "sim/record/runlog.h"

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

static double acc_masked_of(const fc_result *r)
{
    return fc_result_masked(r);
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

#define MATRIX(metric, title, better, formula, help)                                               \
    {                                                                                              \
        .name = #metric, title, 1, 1, better, metric##_of, true, formula, help                     \
    }
#define OTHER(metric, title, unit, decimals, better, formula, help)                                \
    {                                                                                              \
        .name = #metric, title, unit, decimals, better, metric##_of, false, formula, help          \
    }
/* clang-format off */
const fc_metric fc_metric_table[] = {
    MATRIX(faa, "FAA (%)", 1,
           "acc after task T-1",
           "final average accuracy, over samples"),
    MATRIX(faa_task_mean, "FAA, task mean (%)", 1,
           "mean over s of a(T-1, s)",
           "final average accuracy, over tasks"),
    MATRIX(aia, "AIA (%)", 1,
           "mean over i of acc after task i",
           "average incremental accuracy, over samples"),
    MATRIX(aia_task_mean, "AIA, task mean (%)", 1,
           "mean over i of acc_task_mean after task i",
           "average incremental accuracy, over tasks"),
    MATRIX(forgetting_max, "forgetting (points)", -1,
           "sum over s < T-1 of (max over l in s .. T-2 of a(l, s) - a(T-1, s)) / (T-1)",
           "forgetting against the best earlier accuracy, Chaudhry et al. 2018"),
    MATRIX(forgetting_fedmammoth, "forgetting, fed-mammoth (points)", -1,
           "sum over s of (a(s, s) - a(T-1, s)) / T",
           "forgetting as fed-mammoth prints it"),
    MATRIX(bwt, "BWT (points)", 1,
           "sum over s < T-1 of (a(T-1, s) - a(s, s)) / (T-1)",
           "backward transfer, Lopez-Paz and Ranzato 2017"),
    MATRIX(learning_accuracy, "learning accuracy (%)", 1,
           "mean over s of a(s, s)",
           "accuracy on each task right after learning it"),
    OTHER(acc_masked, "task known (%)", 1, 1, 1,
          "argmax over the classes of task s only",
          "task-incremental accuracy: the task of each sample is known"),
    OTHER(bwt_masked, "BWT, task known (points)", 1, 1, 1,
          "bwt of acc_masked: both a(i, s) over the classes of task s only",
          "backward transfer where the task of each sample is known"),
    OTHER(bytes_up, "up (MB)", 1e6, 1, -1,
          "bytes_up_cum of the last row of rounds.csv",
          "bytes that all clients have sent"),
    OTHER(bytes_down, "down (MB)", 1e6, 1, -1,
          "bytes_down_cum of the last row of rounds.csv",
          "bytes that were sent to all clients"),
    OTHER(wall_s, "time (s)", 1, 1, -1,
          "wall_s of the last row of rounds.csv",
          "seconds that the run took"),
    OTHER(cpu_s, "CPU time (s)", 1, 1, -1,
          "cpu_s of the last row of rounds.csv",
          "user and system seconds of all cores"),
    OTHER(rss_mib, "memory (MiB)", 1, 0, -1,
          "largest rss_mib of rounds.csv",
          "peak of memory"),
    OTHER(merge_s, "merge (s)", 1, 1, -1,
          "merge_s of the last row of rounds.csv, with tasks.merge",
          "seconds that the last merge of the tasks took, the search for its scale included"),
    OTHER(merge_scale, "factor on the merge", 1, 2, 0,
          "the one of task_merge.scales that was best on held-out images, else task_merge.scale",
          "factor on the update of the last merge of the tasks"),
    OTHER(merge_extra, "beside the backbone (M numbers)", 1e6, 2, -1,
          "numbers of experts, gates, masks and factors (32 bits of a mask are one number)",
          "what the merged model of the tasks keeps beside one backbone"),
};
/* clang-format on */
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
