/* fcil list: what the registries offer, and what each metric is. */
#include "core/merge/merge.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "sim/args.h"
#include "sim/cmd.h"
#include "sim/methods/method.h"
#include "sim/text.h"

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

/* Per cent, from the counts of correct test samples a(i, s) of task s after learning task i = 0 ..
 * T-1. */
static const item metrics[] = {
    {.name = "acc",
     .detail = "100 correct / total",
     .help = "accuracy over all test samples of the tasks seen so far"},
    {.name = "acc_task_mean",
     .detail = "mean over s <= i of a(i, s)",
     .help = "mean of the accuracies of the tasks seen so far"},
    {.name = "acc_masked",
     .detail = "argmax over the classes of task s only",
     .help = "task-incremental accuracy: the task of each sample is known"},
    {.name = "faa", .detail = "acc after task T-1", .help = "final average accuracy, over samples"},
    {.name = "faa_task_mean",
     .detail = "mean over s of a(T-1, s)",
     .help = "final average accuracy, over tasks"},
    {.name = "aia",
     .detail = "mean over i of acc after task i",
     .help = "average incremental accuracy, over samples"},
    {.name = "aia_task_mean",
     .detail = "mean over i of acc_task_mean after task i",
     .help = "average incremental accuracy, over tasks"},
    {.name = "forgetting_fedmammoth",
     .detail = "sum over s of (a(s, s) - a(T-1, s)) / T",
     .help = "forgetting as fed-mammoth prints it"},
    {.name = "forgetting_max",
     .detail = "sum over s < T-1 of (max over l in s .. T-2 of a(l, s) - a(T-1, s)) / (T-1)",
     .help = "forgetting against the best earlier accuracy, Chaudhry et al. 2018"},
    {.name = "bwt",
     .detail = "sum over s < T-1 of (a(T-1, s) - a(s, s)) / (T-1)",
     .help = "backward transfer, Lopez-Paz and Ranzato 2017"},
    {.name = "learning_accuracy",
     .detail = "mean over s of a(s, s)",
     .help = "accuracy on each task right after learning it"},
    {.name = "bwt_masked",
     .detail = "bwt of acc_masked: both a(i, s) over the classes of task s only",
     .help = "backward transfer where the task of each sample is known"},
    {.name = "merge_s",
     .detail = "merge_s of the last row of rounds.csv, with tasks.merge",
     .help = "seconds that the last merge of the tasks took, the search for its scale included"},
    {.name = "merge_scale",
     .detail = "the one of task_merge.scales that was best on held-out images, else "
               "task_merge.scale",
     .help = "factor on the update of the last merge of the tasks"},
    {.name = "merge_extra",
     .detail = "numbers of experts, gates, masks and factors (32 bits of a mask are one number)",
     .help = "what the merged model of the tasks keeps beside one backbone"},
};

static item metric_item(int i)
{
    item e = metrics[i];
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

static fc_status list_names(const fc_args *a, fc_error *err)
{
    const struct {
        const char *name;
        item (*get)(int);
        int n;
    } lists[] = {{"datasets", dataset_item, fc_data_count},
                 {"methods", method_item, fc_method_count},
                 {"merges", merge_item, fc_merge_count},
                 {"partitions", partition_item, fc_partition_count},
                 {"metrics", metric_item, sizeof metrics / sizeof *metrics}};
    enum { N = sizeof lists / sizeof *lists };
    const char *names[N];
    int which = 0;
    for (int i = 0; i < N; i++)
        names[i] = lists[i].name;
    while (which < N && (!a->config || strcmp(a->config, names[which]) != 0))
        which++;
    if (which < N && !a->n_extra)
        return print_list(lists[which].get, lists[which].n, a->json, err);
    const char *near = a->config && which == N ? fc_nearest(a->config, names, N) : NULL;
    return fc_fail(err, FC_EUSAGE,
                   "list: expected one of datasets, methods, merges, partitions, metrics%s%s%s",
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
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
        .usage = "fcil list datasets|methods|merges|partitions|metrics [--json]\n"
                 "\n"
                 "What the names in a config mean, where they come from and their options.\n"
                 "\n"};
    fc_args a = {0};
    return fc_verb_run(&verb, &a, argc, argv, err);
}
