/* fcil export RUN_DIR --to peft|timm -o TO */
#include "sim/cmd.h"
#include "sim/experiment.h"
#include "sim/export.h"
#include "sim/outfile.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: fcil export RUN_DIR --to timm -o FILE.safetensors [section.key=value ...]\n"
    "       fcil export RUN_DIR --to peft -o DIR [section.key=value ...]\n\n"
    "What a run has learnt, from its last checkpoint; it may be going on.\n\n"
    "  --to timm     the model that it tested last, with timm's names\n"
    "  --to peft     one LoRA adapter for each task, DIR/task01, DIR/task02, ..., in PEFT's "
    "format,\n"
    "                with the rows of the head of that task; a task that is not finished: as far "
    "as\n"
    "                it has come. A backbone that was random is written to DIR/base.safetensors.\n"
    "  --data DIR    data directory, as in fcil run; the data and weights of the run are needed\n"
    "  --threads N   same as run.threads=N\n\n"
    "Metadata: the class of each row of the head, the tasks, and how images are prepared, so that\n"
    "fcil eval needs no config.\n";

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
    char path[FC_PATH_MAX];
    fc_config c;
    fc_experiment e;
    if (!a->config || a->n_extra > 0 || !a->output || !a->to)
        return fc_fail(err, FC_EUSAGE,
                       "export: expected one run; usage: fcil export RUN_DIR --to peft|timm -o TO");
    bool peft = strcmp(a->to, "peft") == 0;
    if (!peft && strcmp(a->to, "timm") != 0)
        return fc_fail(err, FC_EUSAGE, "export: --to '%.60s', expected peft or timm", a->to);
    if (!fc_out_find(path, a->config, "config.yaml"))
        return fc_fail(err, FC_EDATA, "%s: no config.yaml there, expected the folder of a run",
                       a->config);
    FC_TRY(fc_config_load(&c, path, a->override, a->n_override, err));
    fc_console console = {FC_QUIET, FC_COLOUR_NEVER};
    fc_status s = fc_experiment_open(&e, &c, console, err);
    if (s == FC_OK) {
        s = export_run(&e.run, a, peft, err);
        fc_experiment_close(&e);
    }
    fc_config_free(&c);
    return s;
}

fc_status fc_cmd_export(int argc, char **argv, fc_error *err)
{
    fc_args a;
    fc_status s = FC_OK;
    FC_TRY(fc_args_parse(&a, argc, argv, "--to -o --data --threads", err));
    if (a.help)
        fputs(usage, stdout);
    else
        s = open_and_export(&a, err);
    fc_args_free(&a);
    return s;
}
