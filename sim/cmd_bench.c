/* fcil bench: its command line. */
#include "core/merge/space.h"
#include "sim/bench.h"
#include "sim/cmd.h"
#include "sim/text.h"

#include <stdio.h>
#include <string.h>

/* ---- options -------------------------------------------------------------------------------- */

enum {
    SHAPE,
    PRECISION,
    ISA,
    MODE,
    TRAIN,
    RANK,
    BATCH,
    CLIENTS,
    THREADS,
    EVAL,
    SECONDS,
    RULE,
    SPACE,
    UPDATES,
    ROWS,
    COLS,
    DENSE,
    N_ROWS
};

#define ROW(key, type, field, def, low, high, choices, help)                                       \
    {                                                                                              \
        "--" key, FC_OPT_##type, offsetof(fc_bench_options, field), def, low, high, false,         \
            choices, help                                                                          \
    }
/* clang-format off */
static const fc_opt rows[N_ROWS] = {
    [SHAPE] = ROW("shape", CHOICE, shape, "all", 0, 0, "a|b|c|d|all", "network"),
    [PRECISION] = ROW("precision", CHOICE, precision, "f32", 0, 0, "f32|bf16", "of matrix products, as run.precision"),
    [ISA] = ROW("isa", TEXT, isa, "auto", 0, 0, NULL, "kernels, as run.isa; gemm and kernel: auto = each that is usable here"),
    [MODE] = ROW("mode", CHOICE, mode, "lora", 0, 0, "lora|full", "LoRA on every layer, or full fine-tuning"),
    [TRAIN] = ROW("train", CHOICE, train, "B", 0, 0, "B|A|AB", "LoRA factors that are trained, beside the head"),
    [RANK] = ROW("rank", INT, rank, "16", 1, 192, NULL, "of LoRA"),
    [BATCH] = ROW("batch", INT, batch, "16", 1, 4096, NULL, "images per training step"),
    [CLIENTS] = ROW("clients", INT, clients, "0", 0, 256, NULL, "that train at the same time; 0 = one per thread, 1 = all threads share its batches"),
    [THREADS] = ROW("threads", INT, threads, "0", 0, 256, NULL, "0 = OMP_NUM_THREADS or the cores this process may use"),
    [EVAL] = ROW("eval", BOOL, eval, "false", 0, 0, NULL, "instead of training: test images through merged weights"),
    [SECONDS] = ROW("seconds", REAL, seconds, "1", 0, 1e6, NULL, "that a measurement lasts, about; never less than three calls"),
    [RULE] = ROW("rule", TEXT, rule, "auto", 0, 0, NULL, "of fcil list merges, with its defaults, for the products B A; auto = average of B, and lorm with each kind of Grams"),
    [SPACE] = ROW("space", CHOICE, space, "full", 0, 0, FC_SPACE_CHOICES, "as merge.space"),
    [UPDATES] = ROW("updates", INT, updates, "10", 1, 100000, NULL, "that are merged"),
    [ROWS] = ROW("rows", INT, rows, "0", 0, 65536, NULL, "of one weight that is merged alone; 0 = all layers of the network"),
    [COLS] = ROW("cols", INT, cols, "0", 0, 65536, NULL, "of this weight"),
    [DENSE] = ROW("dense", BOOL, dense, "false", 0, 0, NULL, "its updates are given as matrices, not in factors"),
};

static const struct {
    const char *name;
    fc_status (*run)(const fc_bench_options *o, fc_error *err);
    unsigned takes; /* bits 1 << row */
    const char *help;
} verbs[] = {
    {"step", fc_bench_step, (1u << RULE) - 1,
     "A training step (load and augment, forward, backward, AdamW) or an evaluation, as a run does it: images per second over all clients, and where the time of the threads goes (gemm: also the products of the attention). An evaluation takes blocks of fixed size; batch, rank, train and clients do not matter."},
    {"gemm", fc_bench_gemm, 1u << SHAPE | 1u << ISA | 1u << THREADS | 1u << SECONDS,
     "Matrix products of the layers with packed weights, and of the attention: GFLOP/s. The kernels named blas are OpenBLAS."},
    {"kernel", fc_bench_kernel, 1u << SHAPE | 1u << ISA | 1u << SECONDS,
     "Layer and packing kernels on one thread: nanoseconds per element."},
    {"merge", fc_bench_merge, 1u << SHAPE | 1u << RANK | 1u << THREADS | 1u << SECONDS | 1u << RULE | 1u << SPACE | 1u << UPDATES | 1u << ROWS | 1u << COLS | 1u << DENSE,
     "Server merge of the updates of a round, or a rule on one weight: seconds, mean CPU seconds, and how far it raises the peak of memory (one measurement per process). Full Grams of shape d take 2.5 GB of memory."},
    {"data", fc_bench_data, 1u << SHAPE | 1u << PRECISION | 1u << ISA | 1u << SECONDS,
     "Load, augment, normalise and lay out as patches, on one thread: microseconds per image, and the share of a training step."},
};
/* clang-format on */
enum { N_VERBS = sizeof verbs / sizeof *verbs };

static void print_help(void)
{
    puts("fcil bench step|gemm|kernel|merge|data [--OPTION VALUE ...]\n"
         "\n"
         "Speed on this machine: one JSON line per measurement, medians with the 10 % and\n"
         "90 % quantiles beside them (p10, p90). Random weights, procedural images.\n"
         "\n"
         "  a   32 px, patch 4, width 192, depth 6     65 tokens\n"
         "  b   ViT-Tiny/16 at 224 px                 197 tokens\n"
         "  c   ViT-Tiny/16 at 96 px                   37 tokens\n"
         "  d   ViT-B/16 at 224 px                    197 tokens");
    for (int i = 0; i < N_VERBS; i++) {
        printf("\n%s", verbs[i].name);
        for (int k = 0; k < N_ROWS; k++)
            if (verbs[i].takes >> k & 1)
                printf(" %s", rows[k].key);
        puts("");
        fc_print_wrapped(stdout, "    ", verbs[i].help);
    }
    puts("");
    for (int i = 0; i < N_ROWS; i++) {
        char want[512];
        printf("%-12s %s; default %s\n", rows[i].key, fc_opt_expected(&rows[i], want, sizeof want),
               rows[i].def);
        fc_print_wrapped(stdout, "    ", rows[i].help);
    }
}

/* Row of the option `word` ("--key" or "--key=value") of a verb, -1 if it has none. */
static int find_row(const char *word, int verb, fc_error *err)
{
    const char *names[N_ROWS];
    size_t length = strcspn(word, "=");
    int n = 0;
    for (int i = 0; i < N_ROWS; i++) {
        if (!(verbs[verb].takes >> i & 1))
            continue;
        if (strlen(rows[i].key) == length && strncmp(rows[i].key, word, length) == 0)
            return i;
        names[n++] = rows[i].key;
    }
    const char *near = fc_nearest(word, names, n);
    fc_fail(err, FC_EUSAGE, "bench %s: unknown option '%.60s'%s%s%s (fcil bench --help lists them)",
            verbs[verb].name, word, near ? ", did you mean " : "", near ? near : "",
            near ? "?" : "");
    return -1;
}

static fc_status read_options(fc_bench_options *o, int verb, int argc, char **argv, fc_arena *arena,
                              fc_error *err)
{
    FC_TRY(fc_opt_defaults(o, rows, N_ROWS, arena, err));
    for (int i = 0; i < argc; i++) {
        int row = find_row(argv[i], verb, err);
        if (row < 0)
            return err->code;
        const char *value = strchr(argv[i], '=');
        if (value)
            value++;
        else if (rows[row].type == FC_OPT_BOOL)
            value = "true";
        else if (i + 1 < argc)
            value = argv[++i];
        else
            return fc_fail(err, FC_EUSAGE, "bench %s: %s needs a value", verbs[verb].name,
                           rows[row].key);
        char where[64];
        snprintf(where, sizeof where, "bench %s: %s", verbs[verb].name, rows[row].key);
        FC_TRY(fc_opt_set(o, &rows[row], value, where, arena, err));
    }
    const fc_isa *isa;
    fc_error why = {0};
    if (fc_isa_find(&isa, o->isa, o->precision == 1, &why) != FC_OK)
        return fc_fail(err, FC_EUSAGE, "bench %s: --isa: %s", verbs[verb].name, why.msg);
    return FC_OK;
}

fc_status fc_cmd_bench(int argc, char **argv, fc_error *err)
{
    const char *names[N_VERBS], *word = argc > 1 ? argv[1] : "";
    int verb = 0;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return FC_OK;
        }
    for (int i = 0; i < N_VERBS; i++)
        names[i] = verbs[i].name;
    while (verb < N_VERBS && strcmp(word, names[verb]) != 0)
        verb++;
    if (verb == N_VERBS) {
        const char *near = fc_nearest(word, names, N_VERBS);
        return fc_fail(err, FC_EUSAGE,
                       "bench: expected one of step, gemm, kernel, merge, data%s%s%s",
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    fc_bench_options o;
    fc_arena arena = {0};
    fc_status s = read_options(&o, verb, argc - 2, argv + 2, &arena, err);
    if (s == FC_OK)
        s = verbs[verb].run(&o, err);
    fc_arena_free(&arena);
    return s;
}
