/* fcil run CONFIG [key=value ...] */
#include "sim/cmd.h"
#include "sim/run.h"
#include "sim/signals.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

/* null where there is none (NaN). */
static json_t *number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

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
    fc_metrics m = fc_metrics_of(&r->acc);
    if (as_json) {
        json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:o}", "dir", dir, "faa", number(m.faa), "aia",
                              number(m.aia), "forgetting_max", number(m.forgetting_max), "bwt",
                              number(m.bwt));
        json_dumpf(o, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(o);
        return;
    }
    printf("results: %s\nacc curve: [", dir);
    for (int t = 0; t < r->acc.done; t++)
        print_number(t ? ", " : "", fc_acc_micro(&r->acc, t));
    print_number("]  AIA=", m.aia);
    print_number("  FAA=", m.faa);
    putchar('\n');
}

static fc_status run(fc_run *r, const fc_args *a, int argc, char **argv, fc_error *err)
{
    bool server = r->ranks.me == 0, done_before;
    if (a->dry_run)
        return server ? fc_estimate_print(r, a->json, err) : FC_OK;
    const char *dir = a->dir ? a->dir : fc_run_dir(r, err);
    if (!dir)
        return err->code;
    const fc_run_how how = {.resume = a->resume, .argc = argc, .argv = argv};
    FC_TRY(fc_run_in(r, dir, &how, &done_before, err));
    if (server && r->acc.done > 0) /* else somebody removed the checkpoints: the results stand */
        print_result(r, dir, a->json);
    return FC_OK;
}

fc_status fc_cmd_run(int argc, char **argv, fc_error *err)
{
    fc_args a;
    fc_config c;
    fc_run r;
    FC_TRY(fc_args_parse(
        &a, argc, argv,
        "--out --dir --data --threads --resume --dry-run --quiet --verbose --color --json", err));
    if (a.help) {
        fputs("usage: fcil run CONFIG [section.key=value ...] [options]\n\n"
              "Runs one experiment; its files go to <out>/<name>/<method>-s<seed>-<hash>.\n\n"
              "  --out DIR      same as run.out=DIR\n"
              "  --dir DIR      the folder of the run itself, instead of a name below --out\n"
              "  --data DIR     data directory, same as data.root=DIR (else $FCIL_DATA, ./data)\n"
              "  --threads N    same as run.threads=N, per rank; results do not depend on it\n"
              "  --resume       go on with a run that was stopped or killed\n"
              "  --dry-run      predict time, memory and bytes; run and write nothing\n"
              "  --quiet, --verbose\n"
              "  --color WHEN   colour of the progress display: auto (unless NO_COLOR is set), "
              "always, never\n"
              "  --json         result as one JSON object on stdout\n\n"
              "mpirun -n N fcil run ... spreads a run over N processes on one or more machines.\n"
              "fcil config explain lists every option.\n",
              stdout);
        fc_args_free(&a);
        return FC_OK;
    }
    fc_status s =
        a.config && !a.n_extra ? fc_config_load(&c, a.config, a.override, a.n_override, err)
        : a.config             ? fc_fail(err, FC_EUSAGE,
                                         "run: %s: a second word, expected one CONFIG and section.key=value",
                                         a.extra[0])
                               : fc_fail(err, FC_EUSAGE,
                                         "run: which config? usage: fcil run CONFIG [section.key=value ...]");
    bool loaded = s == FC_OK;
    fc_ranks ranks = fc_ranks_world();
    s = fc_ranks_agree(&ranks, s, err);
    if (s == FC_OK) {
        fc_signals_install();
        fc_console console = {a.quiet ? FC_QUIET : a.verbose ? FC_VERBOSE : FC_NORMAL, a.colour};
        s = fc_run_open(&r, &c, console, err);
        if (s == FC_OK) {
            s = run(&r, &a, argc, argv, err);
            fc_run_close(&r);
        }
    }
    if (loaded)
        fc_config_free(&c);
    fc_args_free(&a);
    return s;
}
