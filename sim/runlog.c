#include "sim/runlog.h"

#include "core/file.h"
#include "sim/checkpoint.h"
#include "sim/outfile.h"
#include "sim/tensorboard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const file_name[FC_LOG_N] = {
    [FC_LOG_ROUNDS] = "rounds.csv",
    [FC_LOG_TASKS] = "tasks.csv",
    [FC_LOG_CLIENTS] = "clients.csv",
    [FC_LOG_EVENTS] = "events.jsonl",
    [FC_LOG_TENSORBOARD] = "events.out.tfevents.0.fcil", /* found by its second and third word */
};
static const char *const header[FC_LOG_N] = {
    [FC_LOG_ROUNDS] =
        ("task,round,step,acc,acc_task_mean,correct,total,loss,train_loss,clients_ok,"
         "clients_dropped,bytes_down,bytes_up,bytes_down_cum,bytes_up_cum,train_s,merge_s,eval_s,"
         "wall_s,cpu_s,rss_mib,sim_s,sim_s_cum,merge_scale,merge_extra\n"),
    [FC_LOG_TASKS] = "after_task,eval_task,correct,total,acc,acc_masked\n",
    [FC_LOG_CLIENTS] = ("task,round,client,status,n_samples,n_classes,steps,loss_first,loss_last,"
                        "loss_mean,bytes_down,bytes_up,train_s,sim_s\n"),
    [FC_LOG_EVENTS] = "",
    [FC_LOG_TENSORBOARD] = "", /* a record that holds the time */
};
static const char *const mark[] = {"DONE", "FAILED", "STOPPED"};
enum { NMARK = sizeof mark / sizeof mark[0] };

static void remove_in(const char *dir, const char *name)
{
    char path[FC_PATH_MAX];
    if (fc_out_path(path, NULL, "%s/%s", dir, name) == FC_OK)
        unlink(path);
}

static bool wanted(const fc_runlog *log, int which)
{
    return which == FC_LOG_CLIENTS       ? log->options.clients
           : which == FC_LOG_TENSORBOARD ? log->options.tensorboard
                                         : true;
}

/* Seconds since 1970. */
static double unix_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- opening ---------------------------------------------------------------------------------- */

static fc_status open_file(fc_runlog *log, int which, bool fresh, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(fc_out_path(path, err, "%s/%s", log->dir, file_name[which]));
    int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | (fresh ? O_CREAT : 0), 0666);
    if (fd < 0 && errno == ENOENT && !fresh)
        return fc_fail(err, FC_ECKPT, "%s: missing, but the checkpoint counts on its rows", path);
    log->file[which] = fd < 0 ? NULL : fdopen(fd, "a");
    if (!log->file[which]) {
        fc_fail(err, FC_EFAIL, "%s: cannot open for writing: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return FC_EFAIL;
    }
    return FC_OK;
}

/* Every row reaches the kernel at once, so that kill -9 loses none. */
static fc_status end_row(fc_runlog *log, int which, fc_error *err)
{
    errno = 0;
    if (fflush(log->file[which]) == 0 && !ferror(log->file[which]))
        return FC_OK;
    return fc_fail(err, FC_EFAIL, "%s/%s: cannot write: %s", log->dir, file_name[which],
                   strerror(errno));
}

/* Rows of another version have other cells. */
static fc_status check_header(const fc_runlog *log, int which, fc_error *err)
{
    char found[512] = "";
    size_t n = strlen(header[which]);
    assert(n <= sizeof found);
    if (pread(fileno(log->file[which]), found, n, 0) == (ssize_t)n &&
        memcmp(found, header[which], n) == 0)
        return FC_OK;
    return fc_fail(err, FC_ECKPT,
                   "%s/%s: its columns are those of another version of fcil, which can go on with "
                   "this run",
                   log->dir, file_name[which]);
}

/* Cut to `size` bytes; an empty file gets its header. */
static fc_status cut(fc_runlog *log, int which, int64_t size, fc_error *err)
{
    struct stat st;
    FILE *f = log->file[which];
    if (fstat(fileno(f), &st) != 0)
        return fc_fail(err, FC_EFAIL, "%s/%s: cannot stat: %s", log->dir, file_name[which],
                       strerror(errno));
    if (st.st_size < size)
        return fc_fail(err, FC_ECKPT,
                       "%s/%s: %lld bytes, but the checkpoint counts on the first %lld", log->dir,
                       file_name[which], (long long)st.st_size, (long long)size);
    if (st.st_size > size && ftruncate(fileno(f), size) != 0)
        return fc_fail(err, FC_EFAIL, "%s/%s: cannot cut to %lld bytes: %s", log->dir,
                       file_name[which], (long long)size, strerror(errno));
    if (size > 0)
        return check_header(log, which, err);
    if (which == FC_LOG_TENSORBOARD)
        fc_tb_version(f, unix_time());
    fputs(header[which], f);
    return end_row(log, which, err);
}

/* Two processes in one run directory would mix their rows. The lock goes with the process. Whoever
 * asks fc_runlog_busy holds it too, for a moment. */
static fc_status lock(fc_runlog *log, fc_error *err)
{
    const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
    enum { TRIES = 20 };
    for (int i = 0; i < TRIES; i++) {
        if (flock(fileno(log->file[FC_LOG_EVENTS]), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            return FC_OK; /* some network file systems have no locks */
        nanosleep(&moment, NULL);
    }
    return fc_fail(err, FC_EFAIL, "%s: another process is writing this run", log->dir);
}

bool fc_runlog_busy(const char *dir)
{
    char path[FC_PATH_MAX];
    if (fc_out_path(path, NULL, "%s/%s", dir, file_name[FC_LOG_EVENTS]) != FC_OK)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool busy = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return busy;
}

/* What an older run left behind. Its state goes first: it counts on the rows. */
static fc_status clear(fc_runlog *log, bool fresh, fc_error *err)
{
    char ckpt[FC_PATH_MAX];
    FC_TRY(fc_out_path(ckpt, err, "%s/ckpt", log->dir));
    fc_out_sweep(log->dir);
    fc_out_sweep(ckpt);
    for (int i = 0; i < NMARK; i++)
        remove_in(log->dir, mark[i]);
    if (!fresh)
        return FC_OK;
    remove_in(log->dir, "acc_matrix.csv");
    remove_in(log->dir, "summary.json");
    remove_in(log->dir, "report.html");
    for (int i = 0; i < FC_LOG_N; i++)
        if (!wanted(log, i))
            remove_in(log->dir, file_name[i]);
    return fc_checkpoint_clear(log->dir, err);
}

static fc_status open_all(fc_runlog *log, const int64_t *offset, fc_error *err)
{
    int64_t size[FC_LOG_N] = {0};
    if (offset)
        memcpy(size, offset, sizeof size);
    FC_TRY(open_file(log, FC_LOG_EVENTS, !offset, err));
    FC_TRY(lock(log, err));
    FC_TRY(clear(log, !offset, err));
    for (int i = 0; i < FC_LOG_N; i++) {
        if (!wanted(log, i))
            continue;
        if (i != FC_LOG_EVENTS) /* size 0 if it was switched on after the checkpoint */
            FC_TRY(open_file(log, i, size[i] == 0, err));
        FC_TRY(cut(log, i, size[i], err));
    }
    return FC_OK;
}

fc_status fc_runlog_open(fc_runlog *log, const char *dir, const int64_t offset[FC_LOG_N],
                         const fc_log_options *options, fc_error *err)
{
    *log = (fc_runlog){.options = *options};
    if (snprintf(log->dir, sizeof log->dir, "%s", dir) >= (int)sizeof log->dir)
        return fc_fail(err, FC_EFAIL, "%.60s...: path of %zu bytes, expected less than %zu", dir,
                       strlen(dir), sizeof log->dir);
    fc_status s = open_all(log, offset, err);
    if (s != FC_OK)
        fc_runlog_close(log);
    return s;
}

void fc_runlog_close(fc_runlog *log)
{
    for (int i = 0; i < FC_LOG_N; i++)
        if (log->file[i])
            fclose(log->file[i]);
    *log = (fc_runlog){0};
}

fc_status fc_runlog_sync(fc_runlog *log, int64_t offset[FC_LOG_N], fc_error *err)
{
    for (int i = 0; i < FC_LOG_N; i++) {
        struct stat st;
        offset[i] = 0;
        if (!log->file[i])
            continue;
        FC_TRY(end_row(log, i, err));
        if (fsync(fileno(log->file[i])) != 0 || fstat(fileno(log->file[i]), &st) != 0)
            return fc_fail(err, FC_EFAIL, "%s/%s: cannot sync: %s", log->dir, file_name[i],
                           strerror(errno));
        offset[i] = st.st_size;
    }
    return FC_OK;
}

/* --- rows ------------------------------------------------------------------------------------- */

/* The cell of a number; empty where there is none (NaN). */
static void real_cell(FILE *f, double x, int decimals)
{
    if (isnan(x))
        fputc(',', f);
    else
        fprintf(f, ",%.*f", decimals, x);
}

/* A scalar at a round, under task_end/ at the end of a task; none where there is no number (NaN).
 */
static void scalar(const fc_runlog *log, int task, int round, const char *name, double x)
{
    int R = log->options.rounds;
    bool end = round > R;
    char tag[FC_TB_TAG_MAX + 1];
    snprintf(tag, sizeof tag, "%s%s", end ? "task_end/" : "", name);
    if (!isnan(x))
        fc_tb_scalar(log->file[FC_LOG_TENSORBOARD], unix_time(),
                     (int64_t)(task - 1) * R + (end ? R : round), tag, x);
}

static fc_status round_scalars(fc_runlog *log, const fc_round_row *r, fc_error *err)
{
    bool tested = r->total > 0;
    const struct {
        const char *name;
        double x;
    } scalars[] = {
        {"acc", tested ? r->acc : NAN},
        {"acc_task_mean", tested ? r->acc_task_mean : NAN},
        {"loss", tested ? r->loss : NAN},
        {"train_loss", r->train_loss},
        {"bytes_down_cum", (double)r->bytes_down_cum},
        {"bytes_up_cum", (double)r->bytes_up_cum},
    };
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        scalar(log, r->task, r->round, scalars[i].name, scalars[i].x);
    return end_row(log, FC_LOG_TENSORBOARD, err);
}

fc_status fc_runlog_round(fc_runlog *log, const fc_round_row *r, fc_error *err)
{
    FILE *f = log->file[FC_LOG_ROUNDS];
    fprintf(f, "%d,%d,%ld", r->task, r->round, r->step);
    if (r->total > 0) {
        real_cell(f, r->acc, 4);
        real_cell(f, r->acc_task_mean, 4);
        fprintf(f, ",%ld,%ld", r->correct, r->total);
        real_cell(f, r->loss, 6);
    } else {
        fputs(",,,,,", f);
    }
    real_cell(f, r->train_loss, 6);
    fprintf(f, ",%d,%d,%llu,%llu,%llu,%llu", r->clients_ok, r->clients_dropped,
            (unsigned long long)r->bytes_down, (unsigned long long)r->bytes_up,
            (unsigned long long)r->bytes_down_cum, (unsigned long long)r->bytes_up_cum);
    fprintf(f, ",%.3f,%.3f,%.3f,%.3f,%.3f,%.1f", r->train_s, r->merge_s, r->eval_s, r->wall_s,
            r->cpu_s, r->rss_mib);
    real_cell(f, r->sim_s, 6);
    real_cell(f, r->sim_s_cum, 6);
    real_cell(f, r->merge_scale, 6);
    real_cell(f, r->merge_extra, 0);
    fputc('\n', f);
    FC_TRY(end_row(log, FC_LOG_ROUNDS, err));
    return log->file[FC_LOG_TENSORBOARD] ? round_scalars(log, r, err) : FC_OK;
}

fc_status fc_runlog_client(fc_runlog *log, const fc_client_row *r, fc_error *err)
{
    FILE *f = log->file[FC_LOG_CLIENTS];
    if (!f)
        return FC_OK; /* switched off */
    fprintf(f, "%d,%d,%d,%s,%zu,%d,%ld", r->task, r->round, r->client, r->status, r->n_samples,
            r->n_classes, r->steps);
    real_cell(f, r->loss_first, 6);
    real_cell(f, r->loss_last, 6);
    real_cell(f, r->loss_mean, 6);
    fprintf(f, ",%llu,%llu,%.3f", (unsigned long long)r->bytes_down,
            (unsigned long long)r->bytes_up, r->train_s);
    real_cell(f, r->sim_s, 6);
    fputc('\n', f);
    return end_row(log, FC_LOG_CLIENTS, err);
}

fc_status fc_runlog_task(fc_runlog *log, const fc_task_row *r, fc_error *err)
{
    FILE *f = log->file[FC_LOG_TASKS];
    double acc = r->total > 0 ? 100.0 * (double)r->correct / (double)r->total : NAN;
    fprintf(f, "%d,%d,%ld,%ld", r->after_task, r->eval_task, r->correct, r->total);
    real_cell(f, acc, 4);
    real_cell(f, r->total > 0 ? 100.0 * (double)r->correct_masked / (double)r->total : NAN, 4);
    fputc('\n', f);
    FC_TRY(end_row(log, FC_LOG_TASKS, err));
    if (!log->file[FC_LOG_TENSORBOARD])
        return FC_OK;
    char name[32];
    snprintf(name, sizeof name, "task_%d", r->eval_task);
    scalar(log, r->after_task, log->options.rounds + 1, name, acc);
    return end_row(log, FC_LOG_TENSORBOARD, err);
}

fc_status fc_runlog_event(fc_runlog *log, const char *event, int task, int round, const char *text,
                          fc_error *err)
{
    json_t *o = json_pack("{s:s, s:i, s:i, s:o}", "event", event, "task", task, "round", round,
                          "text", fc_out_json_text(text));
    char *line = o ? json_dumps(o, JSON_PRESERVE_ORDER) : NULL;
    json_decref(o);
    if (!line)
        return fc_fail(err, FC_EFAIL, "%s/%s: cannot make the JSON of event %s: out of memory",
                       log->dir, file_name[FC_LOG_EVENTS], event);
    fprintf(log->file[FC_LOG_EVENTS], "%s\n", line);
    free(line);
    return end_row(log, FC_LOG_EVENTS, err);
}

/* --- whole files ------------------------------------------------------------------------------ */

static void matrix_rows(FILE *f, const fc_acc_matrix *m)
{
    fputs("after_task", f);
    for (int s = 0; s < m->tasks; s++)
        fprintf(f, ",task_%d", s + 1);
    fputs(",acc,acc_task_mean\n", f);
    for (int i = 0; i < m->done; i++) {
        fprintf(f, "%d", i + 1);
        for (int s = 0; s < m->tasks; s++)
            real_cell(f, s <= i ? fc_acc(m, i, s) : NAN, 4);
        real_cell(f, fc_acc_micro(m, i), 4);
        real_cell(f, fc_acc_task_mean(m, i), 4);
        fputc('\n', f);
    }
}

fc_status fc_runlog_matrix(const fc_runlog *log, const fc_acc_matrix *m, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(fc_out_path(path, err, "%s/acc_matrix.csv", log->dir));
    fc_draft csv;
    FC_TRY(fc_draft_begin(&csv, err));
    matrix_rows(csv.f, m);
    return fc_draft_save(&csv, FC_OK, path, err);
}

/* null where there is none (NaN). */
static json_t *number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

/* The accuracy after each task, as micro average or as mean of the tasks. */
static json_t *curve(const fc_acc_matrix *m, double (*acc)(const fc_acc_matrix *, int))
{
    json_t *a = json_array();
    for (int i = 0; i < m->done; i++)
        json_array_append_new(a, number(acc(m, i)));
    return a;
}

fc_status fc_runlog_summary(fc_runlog *log, const fc_summary *s, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(fc_out_path(path, err, "%s/summary.json", log->dir));
    fc_metrics m = fc_metrics_of(s->acc);
    json_t *metrics = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "faa", number(m.faa), "faa_task_mean",
        number(m.faa_task_mean), "aia", number(m.aia), "aia_task_mean", number(m.aia_task_mean),
        "forgetting_fedmammoth", number(m.forgetting_fedmammoth), "forgetting_max",
        number(m.forgetting_max), "bwt", number(m.bwt), "learning_accuracy",
        number(m.learning_accuracy), "acc_curve", curve(s->acc, fc_acc_micro),
        "acc_curve_task_mean", curve(s->acc, fc_acc_task_mean));
    json_t *seeds = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "run", (json_int_t)s->seed, "order",
                              (json_int_t)s->seed_order, "partition", (json_int_t)s->seed_partition,
                              "init", (json_int_t)s->seed_init, "train", (json_int_t)s->seed_train,
                              "device", (json_int_t)s->seed_device);
    json_t *o = json_pack(
        "{s:o, s:o, s:o, s:s, s:s, s:i, s:i}", "name", fc_out_json_text(s->name), "method",
        fc_out_json_text(s->method), "rule", s->rule ? fc_out_json_text(s->rule) : json_null(),
        "config_hash", s->config_hash, "status", s->acc->done == s->acc->tasks ? "done" : "partial",
        "tasks", s->acc->tasks, "tasks_done", s->acc->done);
    json_t *cost = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:o, s:f, s:f, s:f, s:o}", "steps", (json_int_t)s->steps,
        "bytes_up", (json_int_t)s->bytes_up, "bytes_down", (json_int_t)s->bytes_down,
        "clients_late", (json_int_t)s->clients_late, "clients_lost", (json_int_t)s->clients_lost,
        "sim_s", isnan(s->sim_s) ? json_null() : json_real(s->sim_s), "wall_s", s->wall_s, "cpu_s",
        s->cpu_s, "rss_mib", s->rss_mib, "seeds", seeds);
    /* one flat object; a part that is NULL (memory) makes the whole NULL */
    if (json_object_update(o, metrics) != 0 || json_object_update(o, cost) != 0) {
        json_decref(o);
        o = NULL;
    }
    json_decref(metrics);
    json_decref(cost);
    FC_TRY(fc_out_json(path, o, err));
    if (!log->file[FC_LOG_TENSORBOARD])
        return FC_OK;
    scalar(log, s->acc->done, log->options.rounds, "faa", m.faa);
    scalar(log, s->acc->done, log->options.rounds, "aia", m.aia);
    return end_row(log, FC_LOG_TENSORBOARD, err);
}

fc_status fc_runlog_mark(const char *dir, const char *state, const char *text, fc_error *err)
{
    char path[FC_PATH_MAX], line[FC_PATH_MAX];
    for (int i = 0; i < NMARK; i++)
        if (strcmp(mark[i], state) != 0)
            remove_in(dir, mark[i]);
    FC_TRY(fc_out_path(path, err, "%s/%s", dir, state));
    int n = snprintf(line, sizeof line, "%.*s\n", FC_PATH_MAX - 2, text);
    return fc_file_write_atomic(path, line, (size_t)n, err);
}
