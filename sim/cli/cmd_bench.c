/* fcil bench: its command line. */
#include "core/merge/space.h"
#include "sim/bench/bench.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/io/text.h"

#include <stdio.h>
#include <string.h>

typedef struct options {
    fc_args args;
    fc_bench_options bench;
} options;

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
    FC_FLAG("--" key, NULL, type, options, bench.field, def, low, high, choices, help)
/* clang-format off */
static const fc_flag rows[N_ROWS] = {
    [SHAPE] = ROW("shape", CHOICE, shape, "all", 0, 0, FC_BENCH_SHAPE_CHOICES, "network"),
    [PRECISION] = ROW("precision", CHOICE, precision, "f32", 0, 0, FC_BENCH_PRECISION_CHOICES, "of matrix products, as run.precision"),
    [ISA] = ROW("isa", TEXT, isa, "auto", 0, 0, NULL, "kernels, as run.isa; gemm and kernel: auto = each that is usable here"),
    [MODE] = ROW("mode", CHOICE, mode, "lora", 0, 0, FC_BENCH_MODE_CHOICES, "LoRA on every layer, or full fine-tuning"),
    [TRAIN] = ROW("train", CHOICE, train, "B", 0, 0, FC_BENCH_TRAIN_CHOICES, "LoRA factors that are trained, beside the head"),
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

static fc_status run_bench(const fc_args *a, fc_error *err);

#define BIT UINT64_C(1)
enum { STEP, GEMM, KERNEL, MERGE, DATA, N_VERBS };
#define BENCH(name_, rows_, help) \
    {.name = "bench " name_, .run = run_bench, .flag = rows, .n_flags = N_ROWS, .takes = rows_, .usage = help}
static const fc_verb verbs[N_VERBS] = {
    [STEP] = BENCH("step", (BIT << RULE) - 1,
     "A training step (load and augment, forward, backward, AdamW) or an evaluation, as a run does it: images per second over all clients, and where the time of the threads goes (gemm: also the products of the attention). An evaluation takes blocks of fixed size; batch, rank, train and clients do not matter."),
    [GEMM] = BENCH("gemm", BIT << SHAPE | BIT << ISA | BIT << THREADS | BIT << SECONDS,
     "Matrix products of the layers with packed weights, and of the attention: GFLOP/s. The kernels named blas are OpenBLAS."),
    [KERNEL] = BENCH("kernel", BIT << SHAPE | BIT << ISA | BIT << SECONDS,
     "Layer and packing kernels on one thread: nanoseconds per element."),
    [MERGE] = BENCH("merge", BIT << SHAPE | BIT << RANK | BIT << THREADS | BIT << SECONDS | BIT << RULE | BIT << SPACE | BIT << UPDATES | BIT << ROWS | BIT << COLS | BIT << DENSE,
     "Server merge of the updates of a round, or a rule on one weight: seconds, mean CPU seconds, and how far it raises the peak of memory (one measurement per process). Full Grams of shape d take 2.5 GB of memory."),
    [DATA] = BENCH("data", BIT << SHAPE | BIT << PRECISION | BIT << ISA | BIT << SECONDS,
     "Load, augment, normalise and lay out as patches, on one thread: microseconds per image, and the share of a training step."),
};
/* clang-format on */

static void print_bench_help(void)
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
        printf("\n%s", strchr(verbs[i].name, ' ') + 1);
        for (int k = 0; k < N_ROWS; k++)
            if (verbs[i].takes >> k & 1)
                printf(" %s", rows[k].opt.key);
        puts("");
        fc_print_wrapped(stdout, "    ", verbs[i].usage);
    }
    puts("");
    for (int i = 0; i < N_ROWS; i++) {
        char want[512];
        const fc_opt *o = &rows[i].opt;
        printf("%-12s %s; default %s\n", o->key, fc_opt_expected(o, want, sizeof want), o->def);
        fc_print_wrapped(stdout, "    ", o->help);
    }
}

static fc_status run_bench(const fc_args *a, fc_error *err)
{
    static fc_status (*const measure[N_VERBS])(const fc_bench_options *o,
                                               fc_error *err) = {[STEP] = fc_bench_step,
                                                                 [GEMM] = fc_bench_gemm,
                                                                 [KERNEL] = fc_bench_kernel,
                                                                 [MERGE] = fc_bench_merge,
                                                                 [DATA] = fc_bench_data};
    const fc_bench_options *o = &((const options *)a)->bench;
    const fc_isa *isa;
    fc_error why = {0};
    if (a->config)
        return fc_fail(err, FC_EUSAGE, "%s: unknown option '%.60s' (fcil bench --help lists them)",
                       a->verb->name, a->config);
    if (fc_isa_find(&isa, o->isa, o->precision == FC_BENCH_BF16, &why) != FC_OK)
        return fc_fail(err, FC_EUSAGE, "%s: --isa: %s", a->verb->name, why.msg);
    return measure[a->verb - verbs](o, err);
}

fc_status fc_cmd_bench(int argc, char **argv, fc_error *err)
{
    options o = {0};
    return fc_verbs_run(verbs, N_VERBS, print_bench_help, &o.args, argc, argv, err);
}
