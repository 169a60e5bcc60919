/* fcil export RUN_DIR --to peft|timm -o TO */
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/fed/saved.h"
#include "sim/io/outfile.h"
#include "sim/run/experiment.h"
#include "sim/run/export.h"

#include <stdio.h>

typedef struct options {
    fc_args args;
    int to;
} options;

enum { TO, OUTPUT };
enum { PEFT, TIMM };
static const fc_flag flags[] = {
    [TO] = FC_FLAG_CHOICE("--to", "FORMAT", options, to, NULL, "peft|timm",
                          "timm: the model that it tested last, with timm's names; peft: one LoRA "
                          "adapter for each task, DIR/task01, DIR/task02, ..., in PEFT's format, "
                          "with the rows of the head of that task; a task that is not finished: as "
                          "far as it has come. A backbone that was random is written to "
                          "DIR/base.safetensors"),
    [OUTPUT] = FC_FLAG_OUTPUT("TO", "the file, or the folder of the adapters"),
    FC_FLAG_DATA,
    FC_FLAG_THREADS};

/* The adapters of all tasks; their folders go to stdout. */
static fc_status export_peft(fc_run *r, const char *dir, fc_error *err)
{
    char path[FC_PATH_MAX];
    const char *base = r->setup->weights_path;
    int n = fc_export_tasks(r);
    if (n == 0)
        return fc_fail(err, FC_EDATA, "%s: no round of the run is done yet", dir);
    for (int t = 0; t < n; t++) {
        FC_TRY(fc_out_path(path, err, "%s/task%02d", dir, t + 1));
        FC_TRY(fc_export_peft(r, t, *base ? base : "../base.safetensors", path, err));
        puts(path);
    }
    if (*base)
        return FC_OK;
    FC_TRY(fc_out_path(path, err, "%s/base.safetensors", dir));
    FC_TRY(fc_export_base(r, path, err));
    puts(path);
    return FC_OK;
}

static fc_status export_run(fc_run *r, const fc_args *a, bool peft, fc_error *err)
{
    bool found;
    FC_TRY(fc_run_restore(r, a->config, &found, err));
    if (!found)
        return fc_fail(err, FC_EDATA, "%s: no checkpoint there", a->config);
    if (peft)
        return export_peft(r, a->output, err);
    FC_TRY(fc_export_timm(r, a->output, err));
    puts(a->output);
    return FC_OK;
}

static fc_status open_and_export(const fc_args *a, fc_error *err)
{
    const options *o = (const options *)a;
    char path[FC_PATH_MAX];
    fc_config c;
    fc_experiment e;
    if (!a->config || a->n_extra > 0 || !a->output || !fc_args_given(a, TO))
        return fc_fail(err, FC_EUSAGE,
                       "export: expected one run; usage: fcil export RUN_DIR --to peft|timm -o TO");
    if (!fc_out_find(path, a->config, "config.yaml"))
        return fc_fail(err, FC_EDATA, "%s: no config.yaml there, expected the folder of a run",
                       a->config);
    FC_TRY(fc_config_load(&c, path, a->override, a->n_override, err));
    fc_console console = {FC_QUIET, FC_COLOUR_NEVER};
    fc_status s = fc_experiment_open(&e, &c, console, err);
    if (s == FC_OK) {
        s = export_run(&e.run, a, o->to == PEFT, err);
        fc_experiment_close(&e);
    }
    fc_config_free(&c);
    return s;
}

fc_status fc_cmd_export(int argc, char **argv, fc_error *err)
{
    static const fc_verb verb = {
        .name = "export",
        .run = open_and_export,
        .flag = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .takes = FC_FLAGS_ALL,
        .usage =
            "usage: fcil export RUN_DIR --to timm -o FILE.safetensors [section.key=value ...]\n"
            "       fcil export RUN_DIR --to peft -o DIR [section.key=value ...]\n\n"
            "What a run has learnt, from its last checkpoint; it may be going on. The data and\n"
            "weights of the run are needed.\n\n",
        .notes = "\nMetadata: the class of each row of the head, the tasks, and how images are "
                 "prepared, so that\n"
                 "fcil eval needs no config.\n"};
    options o = {0};
    return fc_verb_run(&verb, &o.args, argc, argv, err);
}
