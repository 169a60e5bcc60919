/* fcil run CONFIG [key=value ...] */
#include "core/merge/merge.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/io/outfile.h"
#include "sim/parallel/signals.h"
#include "sim/run/estimate.h"
#include "sim/run/experiment.h"
#include "sim/run/loop.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

typedef struct options {
    fc_args args;
    bool resume, dry_run;
    const char *dir;
} options;

static const fc_flag flags[] = {
    FC_FLAG_SETTING("--out", "DIR", "run.out", "same as run.out=DIR"),
    FC_FLAG_TEXT("--dir", "DIR", options, dir,
                 "the folder of the run itself, instead of a name below --out"),
    FC_FLAG_DATA,
    FC_FLAG_SETTING("--threads", "N", "run.threads",
                    "same as run.threads=N, per rank; results do not depend on it"),
    FC_FLAG_BOOL("--resume", options, resume, "go on with a run that was stopped or killed"),
    FC_FLAG_BOOL("--dry-run", options, dry_run,
                 "predict time, memory and bytes; run and write nothing"),
    FC_FLAG_QUIET,
    FC_FLAG_VERBOSE,
    FC_FLAG_COLOUR,
    FC_FLAG_JSON("result as one JSON object on stdout")};

static void print_number(const char *before, double x)
{
    if (isnan(x))
        printf("%s-", before);
    else
        printf("%s%.2f", before, x);
}

/* The curve, as people paste it; "-" where nothing was tested. */
static void print_result(const fc_run *r, const char *dir, bool as_json)
{
    fc_metrics m = fc_metrics_of(&r->state.acc);
    if (as_json) {
        json_t *o =
            json_pack("{s:s, s:o, s:o, s:o, s:o}", "dir", dir, "faa", fc_out_json_number(m.faa),
                      "aia", fc_out_json_number(m.aia), "forgetting_max",
                      fc_out_json_number(m.forgetting_max), "bwt", fc_out_json_number(m.bwt));
        json_dumpf(o, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(o);
        return;
    }
    printf("results: %s\nacc curve: [", dir);
    for (int t = 0; t < r->state.acc.done; t++)
        print_number(t ? ", " : "", fc_acc_micro(&r->state.acc, t));
    print_number("]  AIA=", m.aia);
    print_number("  FAA=", m.faa);
    putchar('\n');
}

static void print_estimate(const fc_setup *s, const fc_estimate *e)
{
    char time[32];
    printf("method      %s, rule %s, %d task%s x %d round%s x %d client%s x %d epoch%s\n",
           s->method->name, s->cfg->rule->name, s->tasks.n, s->tasks.n == 1 ? "" : "s",
           s->cfg->fed.rounds, s->cfg->fed.rounds == 1 ? "" : "s", s->partition.clients,
           s->partition.clients == 1 ? "" : "s", s->cfg->train.epochs,
           s->cfg->train.epochs == 1 ? "" : "s");
    if (e->tasks_first)
        printf("tasks       of %s: learnt before it where the cache has them not, and not counted "
               "below\n",
               s->cfg->tasks.from);
    printf("data        %s: %zu training and %zu test images, %d classes\n", s->data.name,
           s->data.train.n, s->data.test.n, s->data.classes);
    printf("network     ViT: %d px, patch %d, width %d, depth %d, heads %d; trained block of %zu "
           "numbers\n",
           s->net.shape.image, s->net.shape.patch, s->net.shape.width, s->net.shape.depth,
           s->net.shape.heads, s->layout.n);
    printf("work        %.1f TFLOP training and Grams, %.1f TFLOP evaluation\n",
           e->train_flop / 1e12, e->eval_flop / 1e12);
    printf("time        about %s on %d thread%s (measured on this machine just now)\n",
           fc_duration(time, e->seconds), s->threads, s->threads == 1 ? "" : "s");
    printf("memory      about %.0f MiB\n", e->memory_mib);
    printf("bytes up    %.1f MB over all clients and rounds\n", e->bytes_up / 1e6);
    printf("bytes down  %.1f MB\n", e->bytes_down / 1e6);
    if (s->devices.on)
        printf("simulated   %s on the clients' devices; %ld updates late, %ld lost\n",
               fc_duration(time, e->sim_s), e->clients_late, e->clients_lost);
}

static fc_status dry_run(fc_run *r, bool as_json, fc_error *err)
{
    const fc_setup *s = r->setup;
    fc_estimate e;
    FC_TRY(fc_estimate_make(&e, r, 0, err));
    if (!as_json) {
        print_estimate(r->setup, &e);
        return FC_OK;
    }
    json_t *o =
        json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:i}", "method", s->method->name, "train_flop",
                  e.train_flop, "eval_flop", e.eval_flop, "seconds", e.seconds, "memory_mib",
                  e.memory_mib, "bytes_up", e.bytes_up, "threads", s->threads);
    json_object_set_new(o, "bytes_down", json_real(e.bytes_down));
    if (s->devices.on)
        json_object_update_new(o, json_pack("{s:f, s:I, s:I}", "sim_s", e.sim_s, "clients_late",
                                            (json_int_t)e.clients_late, "clients_lost",
                                            (json_int_t)e.clients_lost));
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
    return FC_OK;
}

static fc_status run_or_estimate(fc_experiment *e, const options *o, fc_error *err)
{
    const fc_args *a = &o->args;
    fc_run *r = &e->run;
    bool server = r->scratch.ranks.me == 0, done_before;
    if (o->dry_run)
        return server ? dry_run(r, a->json, err) : FC_OK;
    const char *dir = o->dir ? o->dir : fc_run_dir(r, err);
    if (!dir)
        return err->code;
    const fc_run_how how = {.resume = o->resume, .argc = a->argc, .argv = a->argv};
    FC_TRY(fc_experiment_run(e, dir, &how, &done_before, err));
    if (server &&
        r->state.acc.done > 0) /* else somebody removed the checkpoints: the results stand */
        print_result(r, dir, a->json);
    return FC_OK;
}

static fc_status load_run_config(fc_config *c, const fc_args *a, fc_error *err)
{
    if (!a->config)
        return fc_fail(err, FC_EUSAGE,
                       "run: which config? usage: fcil run CONFIG [section.key=value ...]");
    if (a->n_extra)
        return fc_fail(err, FC_EUSAGE,
                       "run: %s: a second word, expected one CONFIG and section.key=value",
                       a->extra[0]);
    return fc_config_load(c, a->config, a->override, a->n_override, err);
}

static fc_status load_and_run(const fc_args *a, fc_error *err)
{
    fc_config c;
    fc_experiment e;
    fc_status s = load_run_config(&c, a, err);
    bool loaded = s == FC_OK;
    fc_ranks ranks = fc_ranks_world();
    s = fc_ranks_agree(&ranks, s, err);
    if (s == FC_OK) {
        fc_signals_install();
        s = fc_experiment_open(&e, &c, fc_args_console(a, FC_NORMAL), err);
        if (s == FC_OK) {
            s = run_or_estimate(&e, (const options *)a, err);
            fc_experiment_close(&e);
        }
    }
    if (loaded)
        fc_config_free(&c);
    return s;
}

fc_status fc_cmd_run(int argc, char **argv, fc_error *err)
{
    static const fc_verb verb = {
        .name = "run",
        .run = load_and_run,
        .flag = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .takes = FC_FLAGS_ALL,
        .usage = "usage: fcil run CONFIG [section.key=value ...] [options]\n\n"
                 "Runs one experiment; its files go to <out>/<name>/<method>-s<seed>-<hash>.\n\n",
        .notes =
            "\nmpirun -n N fcil run ... spreads a run over N processes on one or more machines.\n"
            "fcil config explain lists every option.\n"};
    options o = {0};
    return fc_verb_run(&verb, &o.args, argc, argv, err);
}
