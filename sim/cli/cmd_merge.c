/* fcil merge --rule NAME [key=value ...] [--base FILE] IN ... -o OUT */
#include "core/merge/merge.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/config/make.h"
#include "sim/models/expert_file.h"
#include "sim/models/merge_network.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Its command line; key=value are options of the rule, below. */
typedef struct words {
    fc_args args;
    const char *rule, *base;
    fc_words stats;
    int rank, samples;
} words;

enum { RULE, BASE, OUTPUT, RANK, STATS, SAMPLES };
static const fc_flag flags[] = {
    [RULE] = FC_FLAG_TEXT("--rule", "NAME", words, rule,
                          "fcil list merges; key=value are its options, and space=full|core|knots, "
                          "isotropise, knots, knots_eps, seed"),
    [BASE] = FC_FLAG_TEXT("--base", "FILE", words, base,
                          "the model that the inputs were trained from, as safetensors"),
    [OUTPUT] = FC_FLAG_OUTPUT("OUT", "FILE.safetensors, a whole model, or DIR, an adapter"),
    [RANK] = FC_FLAG_INT("--rank", "R", words, rank, NULL, 1, 65536,
                         "of the adapter; default: as many as it takes"),
    [STATS] = FC_FLAG_WORDS("--stats", "FILE", words, stats,
                            "statistics of an input (fcil stats), once for each, in their order"),
    [SAMPLES] = FC_FLAG_INT("--samples", "N", words, samples, "256", 1, 1 << 30,
                            "images of each input, at most, for rules that take some"),
    FC_FLAG_DATA,
    FC_FLAG_THREADS};

/* Options of every rule. */
typedef struct options {
    int space, knots;
    bool isotropise;
    double knots_eps;
    int64_t seed;
} options;

static const fc_opt rows[] = {{.key = "space",
                               .type = FC_OPT_CHOICE,
                               .offset = offsetof(options, space),
                               .def = "full",
                               .choices = FC_SPACE_CHOICES},
                              {.key = "isotropise",
                               .type = FC_OPT_BOOL,
                               .offset = offsetof(options, isotropise),
                               .def = "false"},
                              {.key = "knots",
                               .type = FC_OPT_CHOICE,
                               .offset = offsetof(options, knots),
                               .def = "sv",
                               .choices = FC_KNOTS_CHOICES},
                              {.key = "knots_eps",
                               .type = FC_OPT_REAL,
                               .offset = offsetof(options, knots_eps),
                               .def = "1e-5",
                               .high = 1e9},
                              {.key = "seed",
                               .type = FC_OPT_SEED,
                               .offset = offsetof(options, seed),
                               .def = "0",
                               .high = 9e15}};
enum { ROWS = sizeof rows / sizeof *rows };

/* What the command line asks for. */
typedef struct request {
    const fc_merge_method *rule;
    void *rule_options;
    options own;
    const char **in; /* (n) */
    int n, rank;
    size_t samples;  /* images of each input; 0: none are wanted */
    bool model;      /* OUT is a whole model */
    char **override; /* (n_override) of the config */
    int n_override;
    fc_arena arena;
} request;

/* --- the command line ---------------------------------------------------------------------------
 */

static fc_status unknown_option(const request *q, const char *key, fc_error *err)
{
    int n = 0;
    const fc_merge_method *rule = q->rule;
    const char **names = malloc((size_t)(rule->n_options + ROWS) * sizeof *names);
    for (int i = 0; names && i < rule->n_options; i++)
        names[n++] = rule->options[i].key;
    for (int i = 0; names && i < ROWS; i++)
        names[n++] = rows[i].key;
    const char *near = fc_nearest(key, names, n);
    fc_status s =
        fc_fail(err, FC_EUSAGE, "merge: %s has no option '%.60s'%s%s%s (fcil list merges)",
                rule->name, key, near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
    free(names);
    return s;
}

/* key=value into the rule's options or our own. */
static fc_status set_option(request *q, const char *word, fc_error *err)
{
    const fc_opt *row = NULL;
    void *to = q->rule_options;
    size_t n = strcspn(word, "=");
    const char *key = fc_arena_format(&q->arena, err, "%.*s", (int)n, word);
    const char *where = fc_arena_format(&q->arena, err, "merge: %.*s", (int)n, word);
    if (!key || !where)
        return FC_EFAIL;
    for (int i = 0; i < q->rule->n_options && !row; i++)
        row = strcmp(q->rule->options[i].key, key) == 0 ? &q->rule->options[i] : NULL;
    for (int i = 0; i < ROWS && !row; i++)
        if (strcmp(rows[i].key, key) == 0) {
            row = &rows[i];
            to = &q->own;
        }
    return row ? fc_opt_set(to, row, word + n + 1, where, &q->arena, err)
               : unknown_option(q, key, err);
}

static fc_status find_rule(request *q, const char *name, fc_error *err)
{
    if (!name)
        return fc_fail(err, FC_EUSAGE, "merge: which rule? --rule NAME (fcil list merges)");
    q->rule = fc_merge_find(name);
    if (!q->rule) {
        const char **names = malloc((size_t)fc_merge_count * sizeof *names);
        for (int i = 0; names && i < fc_merge_count; i++)
            names[i] = fc_merge_table[i]->name;
        const char *near = names ? fc_nearest(name, names, fc_merge_count) : NULL;
        free(names);
        return fc_fail(err, FC_EUSAGE, "merge: --rule '%.60s'%s%s%s (fcil list merges)", name,
                       near ? ", did you mean " : ": no such rule", near ? near : "",
                       near ? "?" : "");
    }
    q->rule_options = fc_arena_alloc(&q->arena, 1, q->rule->options_size + 1, err);
    if (!q->rule_options)
        return FC_EFAIL;
    FC_TRY(fc_opt_defaults(q->rule_options, q->rule->options, q->rule->n_options, &q->arena, err));
    return fc_opt_defaults(&q->own, rows, ROWS, &q->arena, err);
}

static fc_status read_rank(request *q, const words *w, fc_error *err)
{
    const char *out = w->args.output, *end = out + strlen(out), ending[] = ".safetensors";
    q->model =
        end - out >= (ptrdiff_t)sizeof ending - 1 && strcmp(end - sizeof ending + 1, ending) == 0;
    if (q->model && !w->base)
        return fc_fail(err, FC_EUSAGE,
                       "merge: -o %.200s is a whole model, which needs --base; without one: -o DIR",
                       out);
    if (q->model && w->rank)
        return fc_fail(err, FC_EUSAGE, "merge: --rank is for adapters, expected -o DIR");
    q->rank = w->rank;
    return FC_OK;
}

enum { STATISTICS = FC_MERGE_NEEDS_GRAMS | FC_MERGE_NEEDS_FISHER };

/* Rules over statistics take them from images where there are no files of them. */
static bool takes_images(const fc_merge_method *rule, const words *w)
{
    return rule->needs & FC_MERGE_NEEDS_IMAGES ||
           (rule->needs & STATISTICS && rule->combine && w->stats.n == 0);
}

static fc_status read_samples(request *q, const words *w, fc_error *err)
{
    if (w->stats.n > 0 && !(q->rule->needs & STATISTICS))
        return fc_fail(err, FC_EUSAGE, "merge: --stats: %s takes no statistics", q->rule->name);
    if (fc_args_given(&w->args, SAMPLES) && !takes_images(q->rule, w))
        return fc_fail(err, FC_EUSAGE, "merge: --samples: %s takes no images%s", q->rule->name,
                       w->stats.n > 0 ? " beside --stats" : "");
    q->samples = takes_images(q->rule, w) ? (size_t)w->samples : 0;
    return FC_OK;
}

static fc_status read_request(request *q, const words *w, fc_error *err)
{
    const fc_args *a = &w->args;
    FC_TRY(find_rule(q, w->rule, err));
    q->in = fc_arena_alloc(&q->arena, (size_t)a->n_extra + 1, sizeof *q->in, err);
    q->override = fc_arena_alloc(&q->arena, (size_t)a->n_override, sizeof *q->override, err);
    if (!q->in || !q->override)
        return FC_EFAIL;
    for (int i = 0; i < a->n_override; i++) /* section.key=value is of the config */
        if (memchr(a->override[i], '.', strcspn(a->override[i], "=")))
            q->override[q->n_override++] = a->override[i];
        else
            FC_TRY(set_option(q, a->override[i], err));
    if (a->config)
        q->in[q->n++] = a->config;
    for (int i = 0; i < a->n_extra; i++)
        q->in[q->n++] = a->extra[i];
    if (q->n == 0 || !a->output)
        return fc_fail(err, FC_EUSAGE,
                       "merge: what, and where to? usage: fcil merge --rule NAME IN ... -o OUT");
    FC_TRY(read_samples(q, w, err));
    return read_rank(q, w, err);
}

static fc_space requested_space(const options *o)
{
    return (fc_space){(fc_space_kind)o->space, o->isotropise, (fc_knots_form)o->knots,
                      o->knots_eps};
}

/* Does the result depend on the network, and is not only a function of task vectors? */
static bool by_network(const request *q)
{
    return q->rule->experts || q->samples > 0;
}

/* Can the rule make that output of files? */
static fc_status check_rule(const request *q, const words *w, fc_error *err)
{
    const fc_space space = requested_space(&q->own);
    const fc_merge_method *rule = q->rule;
    if (rule->experts && !fc_expert_file_keeps(rule->name))
        return fc_fail(err, FC_EUSAGE, "merge: %s works on the tasks of a run only (tasks.merge)",
                       rule->name);
    if (rule->experts && !q->model)
        return fc_fail(err, FC_EUSAGE,
                       "merge: %s keeps its inputs apart, expected --base and -o OUT.safetensors",
                       rule->name);
    if (q->samples > 0 && !w->base)
        return fc_fail(err, FC_EUSAGE, "merge: %s needs %s", rule->name,
                       rule->needs & FC_MERGE_NEEDS_IMAGES
                           ? "images, and the network that they go through: --base FILE"
                           : "statistics: --stats FILE for each input (fcil stats), or --base FILE "
                             "to take them from images");
    return by_network(q) ? fc_vit_merge_check(rule, &space, true, true, err)
                         : fc_merge_check(rule, &space, true, err);
}

/* --- the merge ----------------------------------------------------------------------------------
 */

/* Is the result a sum, for which inputs need not be there at the same time? */
static bool sums(const request *q)
{
    return q->rule->scale && q->own.space == FC_SPACE_FULL;
}

static fc_status combine_tensors(double *const **tau, fc_merge_files *f, const request *q,
                                 const fc_words *stats, fc_error *err)
{
    const fc_space space = requested_space(&q->own);
    double **out = fc_arena_alloc(&f->arena, (size_t)f->set.tensors, sizeof *out, err);
    if (!out)
        return FC_EFAIL;
    for (int t = 0; t < f->set.tensors; t++) {
        out[t] = fc_arena_alloc(&f->arena, fc_tv_size(&f->shape[t]), sizeof **out, err);
        if (!out[t])
            return FC_EFAIL;
    }
    *tau = out;
    if (sums(q))
        return fc_merge_files_sum(out, f, q->rule->scale(q->rule_options, f->n), err);
    if (q->rule->needs)
        FC_TRY(fc_merge_files_stats(f, stats->v, stats->n, q->rule->needs, err));
    return fc_space_combine(out, &f->set, q->rule->combine, q->rule_options, &space, &f->arena,
                            err);
}

static fc_status save_merged(const fc_merge_files *f, double *const *tau, const request *q,
                             const char *path, fc_error *err)
{
    int rank = q->rank;
    double error;
    if (q->model) {
        FC_TRY(fc_merge_files_save_model(f, tau, path, err));
        puts(path);
        return FC_OK;
    }
    FC_TRY(fc_merge_files_save_adapter(f, tau, &rank, &error, path, err));
    printf("%s: rank %d, relative error %.3g\n", path, rank, error);
    return FC_OK;
}

static fc_status merge_inputs(fc_merge_files *f, const request *q, const words *w, fc_error *err)
{
    double *const *tau;
    fc_merge_network m;
    const fc_merge_network_job job = {.rule = q->rule,
                                      .options = q->rule_options,
                                      .space = requested_space(&q->own),
                                      .seed = (uint64_t)q->own.seed,
                                      .samples = q->samples,
                                      .override = q->override,
                                      .n_override = q->n_override,
                                      .console = {.verbosity = FC_NORMAL}};
    const char *out = w->args.output;
    fprintf(stderr, "merge %s: %d inputs, %d tensors, %.1f MiB for %s\n", q->rule->name, f->n,
            f->set.tensors, fc_merge_files_bytes(f, sums(q)) / (1 << 20),
            sums(q) ? "their sum" : "their task vectors");
    if (!sums(q))
        FC_TRY(fc_merge_files_load(f, err));
    f->set.key = (fc_key){.seed = job.seed, .task = (uint32_t)f->n}; /* as tasks.merge has it */
    if (by_network(q)) {
        FC_TRY(fc_merge_network_make(&m, f, &job, err));
        tau = m.merged.tau;
    } else {
        FC_TRY(combine_tensors(&tau, f, q, &w->stats, err));
    }
    if (!q->rule->experts)
        return save_merged(f, tau, q, out, err);
    FC_TRY(fc_merge_network_save(&m, f, out, err));
    puts(out);
    return FC_OK;
}

/* As run.threads has it; also checks the words for the config. */
static fc_status open_threads(const request *q, fc_error *err)
{
    fc_config c;
    fc_progress progress;
    const fc_model_file none = {0};
    FC_TRY(fc_model_file_config(&c, &none, NULL, q->override, q->n_override, err));
    fc_progress_init(&progress, (fc_console){.verbosity = FC_NORMAL}, 0, 0);
    fc_threads_open(&c, &progress);
    fc_config_free(&c);
    return FC_OK;
}

static fc_status open_and_merge(request *q, const words *w, fc_error *err)
{
    fc_merge_files f;
    FC_TRY(read_request(q, w, err));
    FC_TRY(check_rule(q, w, err));
    if (q->samples == 0) /* else the network's work opens them */
        FC_TRY(open_threads(q, err));
    FC_TRY(fc_merge_files_open(&f, w->base, q->in, q->n, err));
    fc_status s = merge_inputs(&f, q, w, err);
    fc_merge_files_close(&f);
    return s;
}

static fc_status merge_request(const fc_args *a, fc_error *err)
{
    request q = {0};
    fc_status s = open_and_merge(&q, (const words *)a, err);
    fc_arena_free(&q.arena);
    return s;
}

fc_status fc_cmd_merge(int argc, char **argv, fc_error *err)
{
    static const fc_verb verb = {
        .name = "merge",
        .run = merge_request,
        .flag = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .takes = FC_FLAGS_ALL,
        .usage = "usage: fcil merge --rule NAME [key=value ...] --base W.safetensors IN ... -o "
                 "OUT.safetensors\n"
                 "       fcil merge --rule NAME [key=value ...] [--base W.safetensors] IN ... -o "
                 "DIR [--rank "
                 "R]\n\n"
                 "Merges adapters and models from files, of any network. IN: an adapter folder in "
                 "PEFT's "
                 "format,\n"
                 "or a whole model as safetensors, which needs --base, the model that it was "
                 "trained from. OUT "
                 "is\n"
                 "a whole model, DIR an adapter: the best one of rank R, or of as many ranks as it "
                 "takes; its\n"
                 "relative error is printed. section.key=value as in fcil run.\n\n",
        .notes = "\nadamerging, regmean_pp and wemoe, and regmean and fisher without --stats, take "
                 "images: the\n"
                 "base is a ViT, and the inputs say what data they were trained on, as those of "
                 "fcil export "
                 "do.\n"
                 "They are held-out images of each input's own classes (data.hold_out_per_class), "
                 "or training\n"
                 "images; labels are not read. With seed= that of the run, its tasks.merge gives "
                 "the same "
                 "bytes.\n\n"
                 "smile, wemoe and emr keep their inputs beside the base, a ViT, in a file that "
                 "fcil eval "
                 "runs.\n"
                 "Heads (head.weight, head.bias) for classes of their own are put one below the "
                 "other; those "
                 "for\n"
                 "the same classes are averaged. A file with '=' in its name is written ./NAME.\n"};
    words w = {0};
    return fc_verb_run(&verb, &w.args, argc, argv, err);
}
