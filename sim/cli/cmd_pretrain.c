/* fcil pretrain CONFIG [key=value ...] */
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/config/make.h"
#include "sim/parallel/signals.h"
#include "sim/run/pretrain.h"

static const fc_flag flags[] = {FC_FLAG_OUTPUT("FILE", "where to write it instead of pretrain.out"),
                                FC_FLAG_DATA,
                                FC_FLAG_THREADS,
                                FC_FLAG_QUIET,
                                FC_FLAG_VERBOSE,
                                FC_FLAG_COLOUR};

static fc_status pretrain(const fc_args *a, fc_error *err)
{
    fc_config c;
    fc_progress progress;
    if (!a->config)
        return fc_fail(
            err, FC_EUSAGE,
            "pretrain: which config? usage: fcil pretrain CONFIG [section.key=value ...] "
            "[-o FILE]");
    FC_TRY(fc_config_load(&c, a->config, a->override, a->n_override, err));
    fc_console console = fc_args_console(a, FC_VERBOSE);
    fc_progress_init(&progress, console, 0, 0);
    fc_signals_install();
    fc_threads_open(&c, &progress);
    fc_status s = fc_pretrain(&c, a->output ? a->output : c.pretrain.out, console, err);
    fc_config_free(&c);
    return s;
}

fc_status fc_cmd_pretrain(int argc, char **argv, fc_error *err)
{
    static const fc_verb verb = {
        .name = "pretrain",
        .run = pretrain,
        .flag = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .takes = FC_FLAGS_ALL,
        .usage = "usage: fcil pretrain CONFIG [section.key=value ...] [-o FILE] [options]\n\n"
                 "Trains a backbone from scratch and writes it as timm-named safetensors "
                 "(pretrain.out, or -o).\n"
                 "The checkpoint with the best accuracy on held-out training images is kept.\n\n"};
    fc_args a = {0};
    return fc_verb_run(&verb, &a, argc, argv, err);
}
