/* fcil: the verbs, and the one place that prints an error and exits. */
#include "core/base/opt.h"
#include "core/linalg/isa.h"
#include "sim/cli/cmd.h"
#include "sim/io/text.h"
#include "sim/parallel/ranks.h"
#include "version.h"

#include <cblas.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How many processes a launcher of MPI programs has started together with this one: mpirun of Open
 * MPI, that of MPICH, srun with PMI. */
static int launched(void)
{
    const char *n = getenv("OMPI_COMM_WORLD_SIZE");
    if (!n)
        n = getenv("PMI_SIZE");
    if (!n && getenv("PMIX_RANK"))
        n = getenv("SLURM_STEP_NUM_TASKS");
    long count = n ? strtol(n, NULL, 10) : 1;
    return count > 1 && count <= 1 << 20 ? (int)count : 1;
}

/* The one verb that is spread over ranks; all but the first are silent. */
static fc_status run_on_ranks(int argc, char **argv, fc_error *err)
{
    FC_TRY(fc_ranks_open(launched(), err));
    if (fc_ranks_world().me > 0)
        (void)!freopen("/dev/null", "w", stdout); /* closed if that fails: silent as well */
    return fc_cmd_run(argc, argv, err);
}

static const struct {
    const char *name;
    fc_status (*run)(int argc, char **argv, fc_error *err);
    const char *help;
} verbs[] = {
    {"run", run_on_ranks, "run CONFIG [key=value ...]         run one experiment"},
    {"pretrain", fc_cmd_pretrain,
     "pretrain CONFIG [key=value ...]    train a backbone from scratch"},
    {"sweep", fc_cmd_sweep, "sweep plan|run|collect ... SWEEP   many runs from one file"},
    {"verify", fc_cmd_verify,
     "verify RECIPE ...                  does it give the numbers it promises?"},
    {"data", fc_cmd_data,
     "data check|show ...                look at a data set and its partition"},
    {"list", fc_cmd_list, "list WHAT                          methods, merges, datasets, ..."},
    {"config", fc_cmd_config,
     "config show|explain|check ...      options: values, help, validation"},
    {"report", fc_cmd_report,
     "report RUN_DIR ... [-o FILE]       HTML page of a run, or of several"},
    {"plot", fc_cmd_plot, "plot RUN_DIR ...                   accuracy curves: SVG, PNG or PDF"},
    {"export", fc_cmd_export,
     "export RUN_DIR --to peft|timm ...   its adapters or its model as files"},
    {"eval", fc_cmd_eval, "eval MODEL [CONFIG] ...            test a model or adapter from files"},
    {"merge", fc_cmd_merge, "merge --rule NAME IN ... -o OUT     merge models and adapters"},
    {"stats", fc_cmd_stats,
     "stats MODEL ... -o FILE            Grams and Fisher information, for merging"},
    {"bench", fc_cmd_bench, "bench step|gemm|kernel|merge|data ... speed on this machine"},
};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

static void print_verbs(void)
{
    puts("fcil: federated class-incremental learning, simulated on a CPU\n");
    for (int i = 0; i < N_VERBS; i++)
        printf("  fcil %s\n", verbs[i].help);
    puts("\n"
         "  fcil VERB --help    all that a verb takes\n"
         "  fcil --version      version, commit, compiler, BLAS and kernels\n"
         "\n"
         "Start with:  fcil run configs/tiny/synth_lorm.yaml");
}

/* The kernels that runs use, and all that this processor could. */
static void print_kernels(void)
{
    const fc_isa *f32, *bf16;
    if (fc_isa_find(&f32, "auto", false, NULL) != FC_OK ||
        fc_isa_find(&bf16, "auto", true, NULL) != FC_OK)
        return;
    printf("kernels   %s", f32->name);
    if (bf16 != f32)
        printf(", for bf16 %s", bf16->name);
    printf(" (usable:");
    for (int i = 0; i < fc_isa_count; i++)
        if (fc_isa_usable(fc_isa_table[i], NULL))
            printf(" %s", fc_isa_table[i]->name);
    puts(")");
}

static void print_version(void)
{
    static const char *const kinds[] = {"serial", "pthread", "openmp"};
    int kind = openblas_get_parallel();
    printf("fcil %s (%s)\n", FC_VERSION, FC_COMMIT);
#ifdef __clang__
    printf("compiler  clang %s\n", __clang_version__);
#else
    printf("compiler  gcc %s\n", __VERSION__);
#endif
    printf("BLAS      %s, core %s, %s\n", openblas_get_config(), openblas_get_corename(),
           kind >= 0 && kind <= 2 ? kinds[kind] : "unknown threading");
    print_kernels();
}

static fc_status unknown_verb(const char *word, fc_error *err)
{
    const char *names[N_VERBS];
    for (int i = 0; i < N_VERBS; i++)
        names[i] = verbs[i].name;
    const char *near = fc_nearest(word, names, N_VERBS);
    return fc_fail(err, FC_EUSAGE, "unknown command '%.60s'%s%s%s (fcil --help lists them)", word,
                   near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

static fc_status dispatch(int argc, char **argv, fc_error *err)
{
    if (argc < 2) {
        print_verbs();
        return fc_fail(err, FC_EUSAGE, "no command given");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_verbs();
        return FC_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        print_version();
        return FC_OK;
    }
    for (int i = 0; i < N_VERBS; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1, err);
    return unknown_verb(argv[1], err);
}

/* A reader that went away (fcil ... | head) is no failure; a full disk is. */
static fc_status flush_output(fc_error *err)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return FC_OK;
    int why = errno;
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (why == EPIPE || (poll(&out, 1, 0) == 1 && (out.revents & POLLERR)))
        return FC_OK;
    return fc_fail(err, FC_EFAIL, "standard output: %s", strerror(why));
}

int main(int argc, char **argv)
{
    /* with a standard stream closed, the next file opened would take its place */
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDWR);
    if (fd >= 0)
        close(fd);
    signal(SIGPIPE, SIG_IGN);           /* writing to a closed pipe then fails with EPIPE, */
    signal(SIGXFSZ, SIG_IGN);           /* and beyond `ulimit -f` with EFBIG */
    mallopt(M_MMAP_THRESHOLD, 1 << 20); /* large blocks go back to the system when they are freed */

    fc_error err = {0};
    fc_status st = dispatch(argc, argv, &err);
    fc_status flushed = flush_output(&err);
    if (st == FC_OK)
        st = flushed;
    bool first = fc_ranks_world().me == 0; /* the others have the same status and message */
    if (first && st != FC_OK && err.msg[0]) {
        fc_make_printable(err.msg);
        fprintf(stderr, "fcil: %s\n", err.msg);
    }
    fc_ranks_close();
    return first ? (int)st : 0;
}
