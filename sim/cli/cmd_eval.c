/* fcil eval MODEL [CONFIG] [key=value ...] */
#include "core/base/file.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/io/outfile.h"
#include "sim/models/model_on_data.h"
#include "sim/report/confusion.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct options {
    fc_args args;
    const char *base;
} options;

static const fc_flag flags[] = {
    FC_FLAG_TEXT("--base", "FILE", options, base,
                 "the backbone of an adapter, instead of the one that its config names"),
    FC_FLAG_OUTPUT("DIR", "write the confusion matrix: DIR/confusion.csv and DIR/confusion.svg"),
    FC_FLAG_JSON("result as one JSON object"), FC_FLAG_DATA, FC_FLAG_THREADS};

static double percent(long part, long of)
{
    return 100.0 * (double)part / (double)of;
}

/* All tasks as one. */
static void add_up_tasks(long *correct, long *masked, long *total, const fc_eval *e)
{
    *correct = *masked = *total = 0;
    for (int t = 0; t < e->seen; t++) {
        *correct += e->correct[t];
        *masked += e->masked[t];
        *total += e->total[t];
    }
}

static void print_row(const char *task, int classes, long total, long correct, long masked)
{
    printf("%5s %8d %8ld %8ld %7.2f %11.2f\n", task, classes, total, correct,
           percent(correct, total), percent(masked, total));
}

static void print_table(const fc_model_on_data *d, const fc_eval *e)
{
    const fc_tasks *k = &d->tasks;
    long correct, masked, total;
    printf("%5s %8s %8s %8s %7s %11s\n", "task", "classes", "images", "correct", "acc",
           "acc_masked");
    for (int s = 0; s < e->seen; s++) {
        char task[16];
        snprintf(task, sizeof task, "%d", s + 1);
        print_row(task, k->first[s + 1] - k->first[s], e->total[s], e->correct[s], e->masked[s]);
    }
    add_up_tasks(&correct, &masked, &total, e);
    print_row("all", k->first[e->seen], total, correct, masked);
}

static fc_status print_json(const fc_model_on_data *d, const fc_eval *e, fc_error *err)
{
    const fc_tasks *k = &d->tasks;
    long correct, masked, total;
    json_t *list = json_array();
    add_up_tasks(&correct, &masked, &total, e);
    for (int s = 0; s < e->seen; s++)
        json_array_append_new(
            list, json_pack("{s:i, s:i, s:I, s:I, s:I, s:f, s:f}", "task", s + 1, "classes",
                            k->first[s + 1] - k->first[s], "total", (json_int_t)e->total[s],
                            "correct", (json_int_t)e->correct[s], "correct_masked",
                            (json_int_t)e->masked[s], "acc", percent(e->correct[s], e->total[s]),
                            "acc_masked", percent(e->masked[s], e->total[s])));
    json_t *o = json_pack("{s:o, s:I, s:I, s:I, s:f, s:f, s:f, s:o}", "model",
                          fc_out_json_text(d->file.path), "total", (json_int_t)total, "correct",
                          (json_int_t)correct, "correct_masked", (json_int_t)masked, "acc",
                          percent(correct, total), "acc_masked", percent(masked, total), "loss",
                          e->loss, "tasks", list);
    int bad = o ? json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12)) : -1;
    json_decref(o);
    putchar('\n');
    return bad ? fc_fail(err, FC_EFAIL, "eval: cannot make the JSON text: out of memory") : FC_OK;
}

static fc_status save_confusion(fc_model_on_data *d, const int *answer, const char *dir,
                                fc_error *err)
{
    char path[FC_PATH_MAX], *picture = NULL;
    size_t size;
    fc_confusion c;
    FC_TRY(fc_confusion_make(&c, &d->tasks, &d->data.test, answer, &d->arena, err));
    FC_TRY(fc_mkdirs(dir, err));
    FC_TRY(fc_out_path(path, err, "%s/confusion.csv", dir));
    FC_TRY(fc_confusion_csv(path, &c, err));
    FC_TRY(fc_out_path(path, err, "%s/confusion.svg", dir));
    FC_TRY(fc_confusion_draw(&picture, &size, &c, FC_PLOT_SVG, err));
    fc_status s = fc_file_write_atomic(path, picture, size, err);
    free(picture);
    return s;
}

static fc_status test_model(fc_model_on_data *d, const fc_args *a, fc_error *err)
{
    fc_eval e;
    int *answer = fc_arena_alloc(&d->arena, d->data.test.n, sizeof *answer, err);
    if (!answer)
        return FC_EFAIL;
    FC_TRY(fc_model_on_data_test(&e, answer, d, err));
    if (a->json)
        FC_TRY(print_json(d, &e, err));
    else
        print_table(d, &e);
    return a->output ? save_confusion(d, answer, a->output, err) : FC_OK;
}

static fc_status open_and_test(const fc_args *a, fc_error *err)
{
    fc_model_on_data d;
    if (!a->config || a->n_extra > 1)
        return fc_fail(
            err, FC_EUSAGE,
            "eval: which model? usage: fcil eval MODEL [CONFIG] [section.key=value ...]");
    fc_model_on_data_options o = {.model = a->config,
                                  .base = ((const options *)a)->base,
                                  .config = a->n_extra ? a->extra[0] : NULL,
                                  .override = a->override,
                                  .n_override = a->n_override};
    FC_TRY(fc_model_on_data_open(&d, &o, err));
    fc_status s = test_model(&d, a, err);
    fc_model_on_data_close(&d);
    return s;
}

fc_status fc_cmd_eval(int argc, char **argv, fc_error *err)
{
    static const fc_verb verb = {
        .name = "eval",
        .run = open_and_test,
        .flag = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .takes = FC_FLAGS_ALL,
        .usage =
            "usage: fcil eval MODEL [CONFIG] [section.key=value ...] [options]\n\n"
            "Tests a Vision Transformer with a head: MODEL is a safetensors file with timm's "
            "names, or an\n"
            "adapter folder in PEFT's format. What fcil export has written says itself what the "
            "classes\n"
            "are, which tasks they come from, and which data it was trained on; options replace "
            "that, e.g.\n"
            "data.path=DIR. For other models a CONFIG, or options, have it: data.*, tasks.*.\n\n",
        .notes = "\nacc: over the classes of all tasks; acc_masked: over the classes of the "
                 "image's own task.\n"};
    options o = {0};
    return fc_verb_run(&verb, &o.args, argc, argv, err);
}
