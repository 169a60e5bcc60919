/* fcil pretrain CONFIG [key=value ...] */
#include "sim/cmd.h"
#include "sim/make.h"
#include "sim/pretrain.h"
#include "sim/signals.h"

#include <stdio.h>

fc_status fc_cmd_pretrain(int argc, char **argv, fc_error *err)
{
    fc_args a;
    fc_config c;
    FC_TRY(fc_args_parse(&a, argc, argv, "--data --threads --quiet --verbose --color -o", err));
    if (a.help) {
        fputs("usage: fcil pretrain CONFIG [section.key=value ...] [-o FILE] [options]\n\n"
              "Trains a backbone from scratch and writes it as timm-named safetensors "
              "(pretrain.out, or -o).\n"
              "The checkpoint with the best accuracy on held-out training images is kept.\n\n"
              "  --data DIR, --threads N, --quiet, --verbose, --color WHEN   as in fcil run\n",
              stdout);
        fc_args_free(&a);
        return FC_OK;
    }
    fc_status s = a.config ? fc_config_load(&c, a.config, a.override, a.n_override, err)
                           : fc_fail(err, FC_EUSAGE,
                                     "pretrain: which config? usage: fcil pretrain CONFIG "
                                     "[section.key=value ...] [-o FILE]");
    if (s == FC_OK) {
        fc_console console = {a.quiet ? FC_QUIET : FC_VERBOSE, a.colour};
        fc_progress progress;
        fc_progress_init(&progress, console, 0, 0);
        fc_signals_install();
        fc_threads_open(&c, &progress);
        s = fc_pretrain(&c, a.output ? a.output : c.pretrain.out, console, err);
        fc_config_free(&c);
    }
    fc_args_free(&a);
    return s;
}
