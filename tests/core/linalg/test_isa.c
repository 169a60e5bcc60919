/* Every table of kernels that runs here: packing against plain loops, layers against the bytes of
 * the scalar table; and the choice of a table. Products are in test_gemm.c. */
#include "core/linalg/isa.h"
#include "tests/support/close.h"
#include "tests/support/isa_fixture.h"

#include <stdbool.h>
#include <string.h>
#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#endif

static const fc_isa *table[TABLES_MAX];
static int tables;

enum { IN = 5, OUT = 2 };
static fence in_fence[IN], out_fence[OUT];

static int between(fc_rng *g, int low, int high)
{
    return low + (int)fc_rng_below(g, (uint32_t)(high - low + 1));
}

/* ---- packing -------------------------------------------------------------------------------- */

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* A NaN is made quiet and cut: it keeps its sign and what fits of its payload. */
static uint16_t bf16(float x)
{
    if (isnan(x))
        return (uint16_t)(bits_of(x) >> 16 | 0x40);
    return (uint16_t)(bits_of((float)to_bf16((double)x)) >> 16);
}

static float rounded(float x, bool round)
{
    uint32_t u = round ? (uint32_t)bf16(x) << 16 : bits_of(x);
    memcpy(&x, &u, sizeof x);
    return x;
}

/* A matrix X (rows, cols) of hard numbers, of which the kernels see rows of ld. */
typedef struct source {
    const float *x;
    size_t rows, cols, ld;
} source;

static source source_new(int rows, int cols, fc_rng *g)
{
    source s = {.rows = (size_t)rows, .cols = (size_t)cols};
    s.ld = s.cols + (size_t)between(g, 0, 20);
    size_t n = (s.rows - 1) * s.ld + s.cols;
    float *x = fence_last(&in_fence[0], n * sizeof *x);
    draw(x, n, HARD, g);
    s.x = x;
    return s;
}

/* Element (i, j) of X or of its transpose; zero outside. */
static float at(const source *s, bool t, size_t i, size_t j)
{
    size_t r = t ? j : i, c = t ? i : j;
    return r < s->rows && c < s->cols ? s->x[r * s->ld + c] : 0;
}

static void same_float(float got, float want, const char *what)
{
    if (bits_of(got) != bits_of(want))
        fail_msg("%s: %a (%08x), expected %a (%08x)", what, (double)got, bits_of(got), (double)want,
                 bits_of(want));
}

/* Denormals may count as zero. */
static void same_bf16(uint16_t got, float x, const char *what)
{
    uint16_t want = bf16(x);
    bool zero = fabsf(x) < 0x1p-126f && got == (want & 0x8000);
    if (got != want && !zero)
        fail_msg("%s: %04x, expected %04x (%a)", what, got, want, (double)x);
}

static void check_transpose(const fc_isa *isa, fc_rng *g)
{
    size_t rows = (size_t)between(g, 1, 70), cols = (size_t)between(g, 1, 70);
    source s = source_new((int)cols, (int)rows, g);
    bool round = between(g, 0, 1);
    size_t ld = cols + (size_t)between(g, 0, 20), n = (rows - 1) * ld + cols;
    float *dst = fence_last(&out_fence[0], n * sizeof *dst), gap = dst[0];
    isa->transpose(dst, ld, s.x, s.ld, (int)rows, (int)cols, round);
    for (size_t i = 0; i < n; i++)
        same_float(dst[i], i % ld < cols ? rounded(at(&s, true, i / ld, i % ld), round) : gap,
                   "transpose");
    assert_true(fence_kept(&out_fence[0], n * sizeof *dst));
}

static void check_pack(const fc_isa *isa, fc_rng *g)
{
    int n = between(g, 1, FC_PANEL), k = between(g, 1, 100);
    bool tb = between(g, 0, 1), round = between(g, 0, 1);
    source s = source_new(tb ? n : k, tb ? k : n, g);
    size_t size = (size_t)k * FC_PANEL;
    float *dst = fence_last(&out_fence[0], size * sizeof *dst);
    isa->pack(dst, tb, n, k, s.x, s.ld, round);
    for (size_t i = 0; i < size; i++)
        same_float(dst[i], rounded(at(&s, tb, i / FC_PANEL, i % FC_PANEL), round), "pack");
    assert_true(fence_kept(&out_fence[0], size * sizeof *dst));
}

static void check_pack_bf16(const fc_isa *isa, fc_rng *g)
{
    int n = between(g, 1, FC_PANEL), k = between(g, 1, 150), unit = between(g, 0, 1) ? 2 : 32;
    int kp = (k + unit - 1) / unit * unit;
    bool tb = between(g, 0, 1);
    source s = source_new(tb ? n : k, tb ? k : n, g);
    size_t size = (size_t)kp * FC_PANEL;
    uint16_t *dst = fence_last(&out_fence[0], size * sizeof *dst);
    isa->pack_bf16(dst, tb, n, k, kp, s.x, s.ld);
    for (size_t i = 0; i < size; i++) {
        size_t pair = i / 2 / FC_PANEL, j = i / 2 % FC_PANEL;
        same_bf16(dst[i], at(&s, tb, 2 * pair + i % 2, j), "pack_bf16");
    }
    assert_true(fence_kept(&out_fence[0], size * sizeof *dst));
}

static void check_rows_bf16(const fc_isa *isa, fc_rng *g)
{
    int m = between(g, 1, 70), k = between(g, 1, 150);
    bool ta = between(g, 0, 1);
    source s = source_new(ta ? k : m, ta ? m : k, g);
    size_t ld = ((size_t)k + 31) / 32 * 32, size = (size_t)m * ld;
    uint16_t *dst = fence_last(&out_fence[0], size * sizeof *dst);
    isa->rows_bf16(dst, ld, ta, m, k, s.x, s.ld);
    for (size_t i = 0; i < size; i++)
        same_bf16(dst[i], at(&s, ta, i / ld, i % ld), "rows_bf16");
    assert_true(fence_kept(&out_fence[0], size * sizeof *dst));
}

static void check_round(const fc_isa *isa, fc_rng *g)
{
    source s = source_new(1, between(g, 1, 200), g);
    float *dst = fence_last(&out_fence[0], s.cols * sizeof *dst);
    isa->round_bf16(dst, s.x, s.cols);
    for (size_t i = 0; i < s.cols; i++)
        same_float(dst[i], rounded(s.x[i], true), "round_bf16");
    memcpy(dst, s.x, s.cols * sizeof *dst);
    isa->round_bf16(dst, dst, s.cols); /* in place */
    for (size_t i = 0; i < s.cols; i++)
        same_float(dst[i], rounded(s.x[i], true), "round_bf16 in place");
}

static void test_packing(void **state)
{
    (void)state;
    for (int t = 0; t < tables; t++) {
        fc_rng g = fc_rng_at((fc_key){.seed = 1, .stream = FC_STREAM_TEST});
        for (int i = 0; i < 300; i++) {
            check_transpose(table[t], &g);
            check_pack(table[t], &g);
            check_pack_bf16(table[t], &g);
            check_rows_bf16(table[t], &g);
            check_round(table[t], &g);
        }
    }
}

/* The rounding itself, case by case. */
static void test_rounding(void **state)
{
    (void)state;
    static const struct {
        uint32_t from;
        uint16_t to;
    } cases[] = {
        {0x3f800000, 0x3f80},                                             /* 1 */
        {0x3f807fff, 0x3f80},                                             /* below the tie */
        {0x3f808000, 0x3f80},                                             /* a tie, to even: down */
        {0x3f808001, 0x3f81},                                             /* above it */
        {0x3f818000, 0x3f82},                                             /* a tie, to even: up */
        {0xbf818000, 0xbf82}, {0x3fff8000, 0x4000},                       /* into the next binade */
        {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x7f7f7fff, 0x7f7f}, /* the largest that stays
                                                                             finite */
        {0x7f7f8000, 0x7f80}, /* the smallest that does not */
        {0x7f7fffff, 0x7f80}, /* the largest float */
        {0xff7fffff, 0xff80}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7fc00000, 0x7fc0},
        {0xffc12345, 0xffc1}, {0x7f800001, 0x7fc0}, /* a NaN whose payload is lost stays one */
        {0x7fffffff, 0x7fff}, {0x00008000, 0x0000}, /* denormals: ties, and up to a normal */
        {0x00018000, 0x0002}, {0x00008001, 0x0001}, {0x007fffff, 0x0080}, {0x807fffff, 0x8080}};
    for (int t = 0; t < tables; t++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            for (int lane = 0; lane < 17; lane++) { /* in a vector and behind it */
                float x[17] = {0}, got;
                uint16_t row[32];
                memcpy(&x[lane], &cases[i].from, sizeof *x);
                table[t]->rows_bf16(row, 32, false, 1, 17, x, 17);
                assert_true(row[lane] == cases[i].to ||
                            (fabsf(x[lane]) < 0x1p-126f && (row[lane] & 0x7fff) == 0));
                table[t]->round_bf16(&got, &x[lane], 1);
                assert_int_equal(bits_of(got), (uint32_t)cases[i].to << 16);
            }
}

/* ---- layers --------------------------------------------------------------------------------- */

typedef enum layer {
    ADD_COLUMN_SUMS,
    NORM_FORWARD,
    NORM_BACKWARD_X,
    NORM_BACKWARD_W,
    GELU_FORWARD,
    GELU_FORWARD_DERIVATIVE,
    GELU_BACKWARD,
    MULTIPLY_ELEMENTS,
    SOFTMAX,
    SOFTMAX_BACKWARD,
    LAYERS
} layer;

/* in: x (n, d), dy (n, d), w (d), b (d), stat (n, 2). out[0] (n, d) or (d), out[1] (n, 2), (n, d)
 * or (d).
 */
static void run_layer(layer which, const fc_isa *isa, float *const *out, const float *const *in,
                      int n, int d)
{
    const float *x = in[0], *dy = in[1], *w = in[2], *b = in[3], *stat = in[4];
    size_t size = (size_t)n * (size_t)d;
    switch (which) {
    case ADD_COLUMN_SUMS:
        isa->add_column_sums(out[0], dy, n, d);
        break;
    case NORM_FORWARD:
        isa->norm_forward(out[0], out[1], w, b, x, n, d);
        break;
    case NORM_BACKWARD_X:
        isa->norm_backward_x(out[0], w, dy, x, stat, n, d);
        break;
    case NORM_BACKWARD_W:
        isa->norm_backward_w(out[0], out[1], dy, x, stat, n, d);
        break;
    case GELU_FORWARD:
        isa->gelu_forward(out[0], x, size);
        break;
    case GELU_FORWARD_DERIVATIVE:
        isa->gelu_forward_derivative(out[0], out[1], size);
        break;
    case GELU_BACKWARD:
        isa->gelu_backward(out[0], x, size);
        break;
    case MULTIPLY_ELEMENTS:
        isa->multiply_elements(out[0], x, size);
        break;
    case SOFTMAX:
        isa->softmax(out[0], n, d);
        break;
    default:
        isa->softmax_backward(out[0], x, n, d);
    }
}

/* Numbers of many sizes, a few of them zero or denormal: each result must have the same bits. */
static void fill_layer(float *x, size_t n, float width, fc_rng *g)
{
    draw(x, n, NORMAL, g);
    for (size_t i = 0; i < n; i++)
        x[i] *= width;
    for (int i = 0; i < 3; i++)
        x[fc_rng_below(g, (uint32_t)n)] = i ? (float)(1 - i) * 0.0f : denormal(g);
}

static void check_layer(layer which, int n, int d, fc_rng *g)
{
    static const float widths[] = {1e-20f, 0.01f, 1, 4, 300};
    size_t nd = (size_t)n * (size_t)d, columns = (size_t)d, pairs = 2 * (size_t)n;
    const size_t in_size[IN] = {nd, nd, columns, columns, pairs};
    size_t out_size[OUT] = {nd, columns};
    if (which == ADD_COLUMN_SUMS || which == NORM_BACKWARD_W)
        out_size[0] = columns;
    if (which == NORM_FORWARD)
        out_size[1] = pairs;
    if (which == GELU_FORWARD_DERIVATIVE)
        out_size[1] = nd;
    float *in[IN], *start[OUT], *want[OUT] = {NULL};
    for (int i = 0; i < IN; i++) {
        in[i] = fence_last(&in_fence[i], in_size[i] * sizeof **in);
        fill_layer(in[i], in_size[i], i ? 1 : widths[fc_rng_below(g, 5)], g);
    }
    for (int i = 0; i < OUT; i++) {
        start[i] = test_malloc(out_size[i] * sizeof **start);
        fill_layer(start[i], out_size[i], widths[fc_rng_below(g, 5)], g);
    }
    for (int t = 0; t < tables; t++) { /* the first is the scalar table */
        float *out[OUT];
        for (int i = 0; i < OUT; i++) {
            out[i] = fence_last(&out_fence[i], out_size[i] * sizeof **out);
            memcpy(out[i], start[i], out_size[i] * sizeof **out);
        }
        run_layer(which, table[t], out, (const float *const *)in, n, d);
        for (int i = 0; i < OUT; i++) {
            size_t bytes = out_size[i] * sizeof **out;
            if (t == 0)
                want[i] = memcpy(test_malloc(bytes), out[i], bytes);
            else if (memcmp(out[i], want[i], bytes) != 0)
                fail_msg("layer %d, %d x %d: %s differs from scalar", which, n, d,
                         table_name(table[t]));
            assert_true(fence_kept(&out_fence[i], bytes));
        }
    }
    for (int i = 0; i < OUT; i++) {
        test_free(start[i]);
        test_free(want[i]);
    }
}

static void test_layers(void **state)
{
    (void)state;
    fc_rng g = fc_rng_at((fc_key){.seed = 2, .stream = FC_STREAM_TEST});
    assert_ptr_equal(table[0], &fc_isa_scalar);
    for (layer which = 0; which < LAYERS; which++)
        for (int i = 0; i < 400; i++)
            check_layer(which, between(&g, 1, 6), between(&g, 1, i % 4 ? 70 : 300), &g);
}

/* ---- the choice of a table ------------------------------------------------------------------ */

/* Does the line "flags" of /proc/cpuinfo, another way to ask the processor, have this word? */
static bool cpu_flag(const char *word)
{
    char line[8192], padded_word[64];
    bool found = false;
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return false;
    snprintf(padded_word, sizeof padded_word, " %s ", word);
    while (!found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = ' ';
        found = strncmp(line, "flags", 5) == 0 && strstr(line, padded_word);
    }
    fclose(f);
    return found;
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < fc_isa_count; i++) {
        const fc_isa *isa = fc_isa_table[i], *found = &fc_isa_blas;
        const char *why = "";
        fc_error err = {0};
        bool usable = fc_isa_usable(isa, &why);
        fc_status status = fc_isa_find(&found, isa->name, false, &err);
        assert_true(usable == !why);
        if (usable) {
            assert_int_equal(status, FC_OK);
            assert_ptr_equal(found, isa);
        } else {
            assert_int_equal(status, FC_EUSAGE);
            assert_null(found);
            assert_non_null(strstr(err.msg, isa->name));
            assert_non_null(strstr(err.msg, why));
        }
        assert_true(isa->panel_bf16 ? isa->bf16_k > 0 && isa->bf16_k % 2 == 0 : isa->bf16_k == 0);
        assert_true(isa->panel || isa == &fc_isa_blas);
        assert_true(strlen(isa->help) > 0);
    }
    assert_true(fc_isa_usable(&fc_isa_scalar, NULL) && fc_isa_usable(&fc_isa_blas, NULL));
    static const char *const unknown[] = {"", "avx", "AVX2", "sse9", "avx512 ", "aut"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        const fc_isa *found = &fc_isa_blas;
        fc_error err = {0};
        assert_int_equal(fc_isa_find(&found, unknown[i], true, &err), FC_EUSAGE);
        assert_null(found);
        assert_non_null(strstr(err.msg, "not in this build"));
    }
}

/* The widest, but a table that is there for its bf16 products only if bf16 is wanted. */
static void test_auto(void **state)
{
    (void)state;
    const fc_isa *found, *want = &fc_isa_blas;
#ifdef __x86_64__
    if (fc_isa_usable(&fc_isa_avx2, NULL))
        want = &fc_isa_avx2;
    if (fc_isa_usable(&fc_isa_avx512, NULL))
        want = &fc_isa_avx512;
#endif
    assert_int_equal(fc_isa_find(&found, "auto", false, NULL), FC_OK);
    assert_ptr_equal(found, want);
    assert_int_equal(fc_isa_find(&found, "auto", true, NULL), FC_OK);
    assert_true(found == want || found->panel_bf16);
    assert_true(fc_isa_usable(found, NULL));
    assert_true(found->panel == want->panel); /* which of them depends on a measurement */
}

static void test_usable(void **state)
{
    (void)state;
#if defined(__x86_64__) && defined(__linux__)
    bool avx512 =
        cpu_flag("avx512f") && cpu_flag("avx512bw") && cpu_flag("avx512dq") && cpu_flag("avx512vl");
    assert_true(fc_isa_usable(&fc_isa_avx2, NULL) == (cpu_flag("avx2") && cpu_flag("fma")));
    assert_true(fc_isa_usable(&fc_isa_avx512, NULL) == avx512);
    assert_true(fc_isa_usable(&fc_isa_avx512bf16, NULL) == (avx512 && cpu_flag("avx512_bf16")));
    if (!cpu_flag("amx_bf16")) {
        const char *why;
        assert_false(fc_isa_usable(&fc_isa_amx, &why));
        assert_string_equal(why, "this processor has no AMX BF16");
    }
#else
    (void)cpu_flag;
    skip();
#endif
}

#if defined(__x86_64__) && defined(__linux__) && defined(SYS_seccomp)
/* From here on arch_prctl fails with EPERM in this process. */
static bool refuse_arch_prctl(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1 /* EPERM */),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* What a child sees whose system refuses the permission: 0 if that is handled, 77 if it cannot be
 * tried. */
static int child_without_permission(void)
{
    const fc_isa *found;
    const char *why;
    fc_error err = {0};
    if (!cpu_flag("amx_bf16") || !refuse_arch_prctl())
        return 77;
    if (fc_isa_usable(&fc_isa_amx, &why) || !strstr(why, "permission"))
        return 1;
    if (fc_isa_find(&found, "amx", true, &err) != FC_EUSAGE || !strstr(err.msg, "permission"))
        return 2;
    return fc_isa_find(&found, "auto", true, NULL) == FC_OK && found != &fc_isa_amx ? 0 : 3;
}

static void test_refused_permission(void **state)
{
    (void)state;
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(child_without_permission());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("needs a processor with AMX and a system with seccomp\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}
#else
static void test_refused_permission(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_packing),
                                       cmocka_unit_test(test_rounding),
                                       cmocka_unit_test(test_layers),
                                       cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_auto),
                                       cmocka_unit_test(test_usable),
                                       cmocka_unit_test(test_refused_permission)};
    for (int i = 0; i < IN; i++)
        in_fence[i] = fence_new(1 << 16);
    for (int i = 0; i < OUT; i++)
        out_fence[i] = fence_new(1 << 16);
    tables = usable_tables(table);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
