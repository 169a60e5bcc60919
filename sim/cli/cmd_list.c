/* fcil list: what the registries offer, and what each metric is. */
#include "core/merge/merge.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/io/text.h"
#include "sim/methods/method.h"
#include "sim/report/metric.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line of a list, whichever registry it comes from. */
typedef struct item {
    const char *name, *help;
    const char *label, *detail; /* "paper", "source", "files" or "formula", and its text */
    const char *section;        /* of its options */
    const fc_opt *options;
    int n_options;
    const char *reads;         /* options of section fed that a partition reads, NULL for others */
    const char *needs, *space; /* of merges, NULL for others */
} item;

static item dataset_item(int i)
{
    const fc_data_source *d = fc_data_table[i];
    return (item){.name = d->name, .help = d->help, .label = "files", .detail = d->layout};
}

static item method_item(int i)
{
    const fc_method *m = fc_method_table[i];
    return (item){.name = m->name,
                  .help = m->help,
                  .label = "paper",
                  .detail = m->paper,
                  .section = "method",
                  .options = m->options,
                  .n_options = m->n_options};
}

static item merge_item(int i)
{
    const fc_merge_method *m = fc_merge_table[i];
    item e = {.name = m->name,
              .help = m->help,
              .label = "paper",
              .detail = m->paper,
              .section = "merge",
              .options = m->options,
              .n_options = m->n_options};
    e.needs = m->needs & FC_MERGE_NEEDS_IMAGES  ? "all updates at once, unlabelled images of each"
              : m->needs & FC_MERGE_NEEDS_GRAMS ? "the updates and their Grams"
              : m->needs & FC_MERGE_NEEDS_FISHER
                  ? "the updates and their Fisher information (rounds: merge.fisher)"
              : m->begin || m->scale ? "the updates, one after the other"
                                     : "all updates at once";
    bool special = m->experts || m->needs & FC_MERGE_NEEDS_IMAGES;
    e.space = special        ? "full; not in rounds"
              : !m->combine  ? "none: merges parameters as clients send them"
              : m->full_only ? "full"
                             : "full, core, knots";
    return e;
}

static item partition_item(int i)
{
    const fc_partition_method *p = fc_partition_table[i];
    return (item){.name = p->name,
                  .help = p->help,
                  .label = "source",
                  .detail = p->source,
                  .reads = p->needs};
}

/* What is a number after each task, and not of a run as a whole. */
static const item curves[] = {{.name = "acc",
                               .detail = "100 correct / total",
                               .help = "accuracy over all test samples of the tasks seen so far"},
                              {.name = "acc_task_mean",
                               .detail = "mean over s <= i of a(i, s)",
                               .help = "mean of the accuracies of the tasks seen so far"}};
enum { CURVES = sizeof curves / sizeof *curves };

static item metric_item(int i)
{
    const fc_metric *m = i < CURVES ? NULL : &fc_metric_table[i - CURVES];
    item e = m ? (item){.name = m->name, .detail = m->formula, .help = m->help} : curves[i];
    e.label = "formula";
    return e;
}

static void print_labelled(const char *label, const char *text)
{
    char line[1024];
    snprintf(line, sizeof line, "%s: %s", label, text);
    fc_print_wrapped(stdout, "    ", line);
}

static void print_item(const item *e)
{
    printf("%s\n", e->name);
    fc_print_wrapped(stdout, "    ", e->help);
    print_labelled(e->label, e->detail);
    if (e->reads)
        print_labelled("reads", e->reads);
    if (e->needs)
        print_labelled("needs", e->needs);
    if (e->space)
        print_labelled("space", e->space);
    for (int i = 0; i < e->n_options; i++)
        fc_print_option(stdout, "    ", e->section, &e->options[i]);
}

static json_t *options_json(const item *e)
{
    json_t *list = json_array();
    for (int i = 0; i < e->n_options; i++) {
        const fc_opt *o = &e->options[i];
        char want[512];
        json_array_append_new(
            list, json_pack("{s:o, s:s, s:s, s:s}", "key",
                            json_sprintf("%s.%s", e->section, o->key), "default", o->def, "accepts",
                            fc_opt_expected(o, want, sizeof want), "help", o->help));
    }
    return list;
}

static fc_status print_list_json(item (*get)(int), int n, fc_error *err)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        item e = get(i);
        json_t *one =
            json_pack("{s:s, s:s?, s:s?}", "name", e.name, "help", e.help, e.label, e.detail);
        if (e.reads)
            json_object_set_new(one, "reads", json_string(e.reads));
        if (e.needs)
            json_object_set_new(one, "needs", json_string(e.needs));
        if (e.space)
            json_object_set_new(one, "space", json_string(e.space));
        if (e.section)
            json_object_set_new(one, "options", options_json(&e));
        json_array_append_new(list, one);
    }
    char *text = json_dumps(list, JSON_INDENT(2));
    json_decref(list);
    if (!text)
        return fc_fail(err, FC_EFAIL, "list: out of memory");
    puts(text);
    free(text);
    return FC_OK;
}

static fc_status print_list(item (*get)(int), int n, bool json, fc_error *err)
{
    if (json)
        return print_list_json(get, n, err);
    for (int i = 0; i < n; i++) {
        item e = get(i);
        print_item(&e);
    }
    return FC_OK;
}

#define LISTS "datasets|methods|merges|partitions|metrics"
enum { DATASETS, METHODS, MERGES, PARTITIONS, METRICS };

static fc_status list_names(const fc_args *a, fc_error *err)
{
    static const fc_opt row = {.type = FC_OPT_CHOICE, .choices = LISTS};
    const struct {
        item (*get)(int);
        int n;
    } lists[] = {[DATASETS] = {dataset_item, fc_data_count},
                 [METHODS] = {method_item, fc_method_count},
                 [MERGES] = {merge_item, fc_merge_count},
                 [PARTITIONS] = {partition_item, fc_partition_count},
                 [METRICS] = {metric_item, CURVES + fc_metric_count}};
    int which;
    FC_TRY(fc_opt_set(&which, &row, a->config ? a->config : "", "list", NULL, err));
    if (a->n_extra)
        return fc_fail(err, FC_EUSAGE, "list: found '%.60s' behind %s, expected one word",
                       a->extra[0], a->config);
    return print_list(lists[which].get, lists[which].n, a->json, err);
}

fc_status fc_cmd_list(int argc, char **argv, fc_error *err)
{
    static const fc_flag flags[] = {FC_FLAG_JSON("as JSON")};
    static const fc_verb verb = {
        .name = "list",
        .run = list_names,
        .flag = flags,
        .n_flags = 1,
        .takes = FC_FLAGS_ALL,
        .words = true,
        .usage = "fcil list " LISTS " [--json]\n"
                 "\n"
                 "What the names in a config mean, where they come from and their options.\n"
                 "\n"};
    fc_args a = {0};
    return fc_verb_run(&verb, &a, argc, argv, err);
}
