/* The verbs of the command line. argv[0] is the verb. main prints err->msg and exits with the
 * status. */
#ifndef FC_CMD_H
#define FC_CMD_H

#include "core/base/status.h"

fc_status fc_cmd_run(int argc, char **argv, fc_error *err);
fc_status fc_cmd_pretrain(int argc, char **argv, fc_error *err);
fc_status fc_cmd_data(int argc, char **argv, fc_error *err);
fc_status fc_cmd_list(int argc, char **argv, fc_error *err);
fc_status fc_cmd_config(int argc, char **argv, fc_error *err);
fc_status fc_cmd_bench(int argc, char **argv, fc_error *err);
fc_status fc_cmd_sweep(int argc, char **argv, fc_error *err);
fc_status fc_cmd_plot(int argc, char **argv, fc_error *err);
fc_status fc_cmd_report(int argc, char **argv, fc_error *err);
fc_status fc_cmd_verify(int argc, char **argv, fc_error *err);
fc_status fc_cmd_export(int argc, char **argv, fc_error *err);
fc_status fc_cmd_eval(int argc, char **argv, fc_error *err);
fc_status fc_cmd_stats(int argc, char **argv, fc_error *err);
fc_status fc_cmd_merge(int argc, char **argv, fc_error *err);

#endif
