#include "sim/record/runlog.h"

#include "core/base/file.h"
#include "sim/io/csv.h"
#include "sim/io/outfile.h"
#include "sim/io/tensorboard.h"
#include "sim/record/checkpoint.h"

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

/* --- columns ---------------------------------------------------------------------------------- */

#define FIELD(row, field, kind, digits, maybe)                                                     \
    {                                                                                              \
        .name = #field, .type = FC_CSV_##kind, .offset = offsetof(row, field), .decimals = digits, \
        .optional = maybe                                                                          \
    }
#define ROUND(field, kind) FIELD(fc_round_row, field, kind, 0, false)
#define ROUND_REAL(field, decimals) FIELD(fc_round_row, field, REAL, decimals, false)
#define ROUND_TESTED(field, kind, decimals) FIELD(fc_round_row, field, kind, decimals, true)
static const fc_csv_field round_field[] = {ROUND(task, INT),
                                           ROUND(round, INT),
                                           ROUND(step, LONG),
                                           ROUND_TESTED(acc, REAL, 4),
                                           ROUND_TESTED(acc_task_mean, REAL, 4),
                                           ROUND_TESTED(correct, LONG, 0),
                                           ROUND_TESTED(total, LONG, 0),
                                           ROUND_TESTED(loss, REAL, 6),
                                           ROUND_REAL(train_loss, 6),
                                           ROUND(clients_ok, INT),
                                           ROUND(clients_dropped, INT),
                                           ROUND(bytes_down, U64),
                                           ROUND(bytes_up, U64),
                                           ROUND(bytes_down_cum, U64),
                                           ROUND(bytes_up_cum, U64),
                                           ROUND_REAL(train_s, 3),
                                           ROUND_REAL(merge_s, 3),
                                           ROUND_REAL(eval_s, 3),
                                           ROUND_REAL(wall_s, 3),
                                           ROUND_REAL(cpu_s, 3),
                                           ROUND_REAL(rss_mib, 1),
                                           ROUND_REAL(sim_s, 6),
                                           ROUND_REAL(sim_s_cum, 6),
                                           ROUND_REAL(merge_scale, 6),
                                           ROUND_REAL(merge_extra, 0)};

#define CLIENT(field, kind) FIELD(fc_client_row, field, kind, 0, false)
#define CLIENT_REAL(field, decimals) FIELD(fc_client_row, field, REAL, decimals, false)
static const fc_csv_field client_field[] = {
    CLIENT(task, INT),         CLIENT(round, INT),         CLIENT(client, INT),
    CLIENT(status, TEXT),      CLIENT(n_samples, SIZE),    CLIENT(n_classes, INT),
    CLIENT(steps, LONG),       CLIENT_REAL(loss_first, 6), CLIENT_REAL(loss_last, 6),
    CLIENT_REAL(loss_mean, 6), CLIENT(bytes_down, U64),    CLIENT(bytes_up, U64),
    CLIENT_REAL(train_s, 3),   CLIENT_REAL(sim_s, 6)};

/* What a row of tasks.csv says: the counts of the row, and what follows from them. */
typedef struct task_cells {
    int after_task, eval_task;
    long correct, total;
    double acc, acc_masked;
} task_cells;
#define TASK(field, kind) FIELD(task_cells, field, kind, 0, false)
#define TASK_REAL(field) FIELD(task_cells, field, REAL, 4, false)
static const fc_csv_field task_field[] = {TASK(after_task, INT), TASK(eval_task, INT),
                                          TASK(correct, LONG),   TASK(total, LONG),
                                          TASK_REAL(acc),        TASK_REAL(acc_masked)};

static const struct {
    const fc_csv_field *field; /* (n) */
    int n;                     /* 0: no CSV file */
} table[FC_LOG_N] = {
    [FC_LOG_ROUNDS] = {round_field, sizeof round_field / sizeof *round_field},
    [FC_LOG_TASKS] = {task_field, sizeof task_field / sizeof *task_field},
    [FC_LOG_CLIENTS] = {client_field, sizeof client_field / sizeof *client_field},
};

/* --- files ------------------------------------------------------------------------------------ */

const char *const fc_run_mark_name[FC_MARKS] = {
    [FC_MARK_DONE] = "DONE", [FC_MARK_FAILED] = "FAILED", [FC_MARK_STOPPED] = "STOPPED"};

static void remove_in(const char *dir, const char *name)
{
    char path[FC_PATH_MAX];
    if (fc_out_path(path, NULL, "%s/%s", dir, name) == FC_OK)
        unlink(path);
}

static bool wants_file(const fc_runlog *log, int which)
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
    char found[512], want[512] = "";
    if (table[which].n == 0)
        return FC_OK;
    FILE *f = fmemopen(want, sizeof want, "w");
    if (!f)
        return fc_fail(err, FC_EFAIL, "%s/%s: out of memory", log->dir, file_name[which]);
    fc_csv_put_header(f, table[which].field, table[which].n);
    fclose(f);
    size_t n = strlen(want);
    assert(n + 1 < sizeof want);
    if (pread(fileno(log->file[which]), found, n, 0) == (ssize_t)n && memcmp(found, want, n) == 0)
        return FC_OK;
    return fc_fail(err, FC_ECKPT,
                   "%s/%s: its columns are those of another version of fcil, which can go on with "
                   "this run",
                   log->dir, file_name[which]);
}

/* Cut to `size` bytes; an empty file gets its header. */
static fc_status cut_file(fc_runlog *log, int which, int64_t size, fc_error *err)
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
    if (table[which].n)
        fc_csv_put_header(f, table[which].field, table[which].n);
    return end_row(log, which, err);
}

/* Two processes in one run directory would mix their rows. The lock goes with the process. Whoever
 * asks fc_runlog_busy holds it too, for a moment. */
static fc_status lock_run(fc_runlog *log, fc_error *err)
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
static fc_status clear_run(fc_runlog *log, bool fresh, fc_error *err)
{
    char ckpt[FC_PATH_MAX];
    FC_TRY(fc_out_path(ckpt, err, "%s/ckpt", log->dir));
    fc_out_sweep(log->dir);
    fc_out_sweep(ckpt);
    for (int i = 0; i < FC_MARKS; i++)
        remove_in(log->dir, fc_run_mark_name[i]);
    if (!fresh)
        return FC_OK;
    remove_in(log->dir, "acc_matrix.csv");
    remove_in(log->dir, "summary.json");
    remove_in(log->dir, "report.html");
    for (int i = 0; i < FC_LOG_N; i++)
        if (!wants_file(log, i))
            remove_in(log->dir, file_name[i]);
    return fc_checkpoint_clear(log->dir, err);
}

static fc_status open_files(fc_runlog *log, const int64_t *offset, fc_error *err)
{
    int64_t size[FC_LOG_N] = {0};
    if (offset)
        memcpy(size, offset, sizeof size);
    FC_TRY(open_file(log, FC_LOG_EVENTS, !offset, err));
    FC_TRY(lock_run(log, err));
    FC_TRY(clear_run(log, !offset, err));
    for (int i = 0; i < FC_LOG_N; i++) {
        if (!wants_file(log, i))
            continue;
        if (i != FC_LOG_EVENTS) /* size 0 if it was switched on after the checkpoint */
            FC_TRY(open_file(log, i, size[i] == 0, err));
        FC_TRY(cut_file(log, i, size[i], err));
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
    fc_status s = open_files(log, offset, err);
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

/* A scalar at a round, under task_end/ at the end of a task; none where there is no number (NaN).
 */
static void write_scalar(const fc_runlog *log, int task, int round, const char *name, double x)
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
        write_scalar(log, r->task, r->round, scalars[i].name, scalars[i].x);
    return end_row(log, FC_LOG_TENSORBOARD, err);
}

static fc_status add_row(fc_runlog *log, int which, const void *row, bool all, fc_error *err)
{
    fc_csv_put_row(log->file[which], table[which].field, table[which].n, row, all);
    return end_row(log, which, err);
}

fc_status fc_runlog_round(fc_runlog *log, const fc_round_row *r, fc_error *err)
{
    FC_TRY(add_row(log, FC_LOG_ROUNDS, r, r->total > 0, err)); /* else acc .. loss stay empty */
    return log->file[FC_LOG_TENSORBOARD] ? round_scalars(log, r, err) : FC_OK;
}

fc_status fc_runlog_client(fc_runlog *log, const fc_client_row *r, fc_error *err)
{
    if (!log->file[FC_LOG_CLIENTS])
        return FC_OK; /* switched off */
    return add_row(log, FC_LOG_CLIENTS, r, true, err);
}

static double percent_of(long part, long of)
{
    return of > 0 ? 100.0 * (double)part / (double)of : NAN;
}

fc_status fc_runlog_task(fc_runlog *log, const fc_task_row *r, fc_error *err)
{
    const task_cells cells = {.after_task = r->after_task,
                              .eval_task = r->eval_task,
                              .correct = r->correct,
                              .total = r->total,
                              .acc = percent_of(r->correct, r->total),
                              .acc_masked = percent_of(r->correct_masked, r->total)};
    FC_TRY(add_row(log, FC_LOG_TASKS, &cells, true, err));
    if (!log->file[FC_LOG_TENSORBOARD])
        return FC_OK;
    char name[32];
    snprintf(name, sizeof name, "task_%d", r->eval_task);
    write_scalar(log, r->after_task, log->options.rounds + 1, name, cells.acc);
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
        for (int s = 0; s < m->tasks; s++) {
            fputc(',', f);
            fc_csv_put_real(f, s <= i ? fc_acc(m, i, s) : NAN, 4);
        }
        fputc(',', f);
        fc_csv_put_real(f, fc_acc_micro(m, i), 4);
        fputc(',', f);
        fc_csv_put_real(f, fc_acc_task_mean(m, i), 4);
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

/* The accuracy after each task, as micro average or as mean of the tasks. */
static json_t *accuracy_curve(const fc_acc_matrix *m, double (*acc)(const fc_acc_matrix *, int))
{
    json_t *a = json_array();
    for (int i = 0; i < m->done; i++)
        json_array_append_new(a, fc_out_json_number(acc(m, i)));
    return a;
}

static json_t *metrics_json(const fc_metrics *m)
{
    static const struct {
        const char *name;
        size_t offset;
    } field[] = {
#define METRIC(name) {#name, offsetof(fc_metrics, name)}
        METRIC(faa),           METRIC(faa_task_mean),         METRIC(aia),
        METRIC(aia_task_mean), METRIC(forgetting_fedmammoth), METRIC(forgetting_max),
        METRIC(bwt),           METRIC(learning_accuracy)};
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof field / sizeof *field; i++) {
        const double *x = (const void *)((const char *)m + field[i].offset);
        json_object_set_new(o, field[i].name, fc_out_json_number(*x));
    }
    return o;
}

fc_status fc_runlog_summary(fc_runlog *log, const fc_summary *s, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(fc_out_path(path, err, "%s/summary.json", log->dir));
    fc_metrics m = fc_metrics_of(s->acc);
    json_t *metrics = metrics_json(&m);
    json_object_set_new(metrics, "acc_curve", accuracy_curve(s->acc, fc_acc_micro));
    json_object_set_new(metrics, "acc_curve_task_mean", accuracy_curve(s->acc, fc_acc_task_mean));
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
        "sim_s", fc_out_json_number(s->sim_s), "wall_s", s->wall_s, "cpu_s", s->cpu_s, "rss_mib",
        s->rss_mib, "seeds", seeds);
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
    write_scalar(log, s->acc->done, log->options.rounds, "faa", m.faa);
    write_scalar(log, s->acc->done, log->options.rounds, "aia", m.aia);
    return end_row(log, FC_LOG_TENSORBOARD, err);
}

fc_status fc_runlog_mark(const char *dir, fc_run_mark mark, const char *text, fc_error *err)
{
    char path[FC_PATH_MAX], line[FC_PATH_MAX];
    for (int i = 0; i < FC_MARKS; i++)
        if (i != (int)mark)
            remove_in(dir, fc_run_mark_name[i]);
    FC_TRY(fc_out_path(path, err, "%s/%s", dir, fc_run_mark_name[mark]));
    int n = snprintf(line, sizeof line, "%.*s\n", FC_PATH_MAX - 2, text);
    return fc_file_write_atomic(path, line, (size_t)n, err);
}
