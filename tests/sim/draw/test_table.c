/* Tables of text in four languages, with what each of them would take for its own. */
#include "sim/draw/table.h"

#include "tests/support/close.h"

#include <stdlib.h>
#include <string.h>

static fc_arena arena;

/* What `print` writes. */
static const char *printed(void (*print)(FILE *, const fc_table *), const fc_table *t)
{
    static char text[4096];
    char *p = NULL;
    size_t n;
    FILE *f = open_memstream(&p, &n);
    print(f, t);
    fclose(f);
    assert_true(n < sizeof text);
    memcpy(text, p, n + 1);
    free(p);
    return text;
}

static fc_table example(void)
{
    fc_table t;
    assert_int_equal(fc_table_init(&t, 2, 2, 1, &arena, NULL), FC_OK);
    t.caption = "a < b";
    t.head[0] = "runs";
    t.head[1] = "acc (%)";
    t.cell[0] = (fc_cell){.text = "a_b|<i>,\"x\""};
    t.cell[1] = (fc_cell){.text = "26.8 \302\261 1.8", .note = "[-1.0, 3.0]", .best = true};
    t.cell[2] = (fc_cell){.text = "resnet-18\x01\xff"};
    return t;
}

static void test_markdown(void **state)
{
    (void)state;
    fc_table t = example();
    t.cell[2].text = "resnet-18";
    assert_string_equal(printed(fc_table_markdown, &t),
                        "| runs | acc (%) |\n|---|---:|\n"
                        "| a_b\\|\\<i>,\"x\" | **26.8 \302\261 1.8** \\[-1.0, 3.0\\] |\n"
                        "| resnet-18 |  |\n");
}

static void test_latex(void **state)
{
    (void)state;
    fc_table t = example();
    t.cell[2].text = "resnet-18";
    assert_string_equal(printed(fc_table_latex, &t),
                        "\\begin{tabular}{lr}\n\\toprule\nruns & acc (\\%) \\\\\n\\midrule\n"
                        "a\\_b\\symbol{124}\\symbol{60}i\\symbol{62},\\symbol{34}x\\symbol{34} & "
                        "\\textbf{26.8 $\\pm$ 1.8} {\\scriptsize [$-$1.0, 3.0]} \\\\\n"
                        "resnet-18 &  \\\\\n\\bottomrule\n\\end{tabular}\n");
}

static void test_csv(void **state)
{
    (void)state;
    fc_table t = example();
    t.cell[2].text = "resnet-18";
    assert_string_equal(printed(fc_table_csv, &t),
                        "runs,acc (%)\n\"a_b|<i>,\"\"x\"\"\",26.8 \302\261 1.8\nresnet-18,\n");
}

static void test_html(void **state)
{
    (void)state;
    fc_table t = example();
    assert_string_equal(
        printed(fc_table_html, &t),
        "<table>\n<caption><span>a &lt; b</span></caption>\n<thead><tr><th scope=\"col\" "
        "class=\"word\">runs</th>"
        "<th scope=\"col\">acc (%)</th></tr></thead>\n<tbody>\n"
        "<tr><th scope=\"row\" class=\"word\">a_b|&lt;i&gt;,&quot;x&quot;</th>"
        "<td><strong>26.8 \302\261 1.8</strong> <small>[-1.0, 3.0]</small></td></tr>\n"
        "<tr><th scope=\"row\" "
        "class=\"word\">resnet-18\357\277\275\357\277\275</th><td></td></tr>\n"
        "</tbody>\n</table>\n");
}

/* Only whole characters of UTF-8 pass. */
static void test_html_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } c[] = {{"\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80"},
             {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
             {"\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
             {"\xf0\x80\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
             {"a\n\tb", "a\n\tb"},
             {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
             {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
             {"a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd"}, /* cut off */
             {"\x1b[31m\x7f", "\xef\xbf\xbd[31m\xef\xbf\xbd"}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);
        fc_html_text(f, c[i].in);
        fclose(f);
        assert_string_equal(text, c[i].out);
        free(text);
    }
}

/* What may stand in names, cell by cell. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *text, *markdown, *latex, *csv;
    } c[] = {{"a\nb", "a b", "a b", "\"a\nb\""},
             {"*x*", "\\*x\\*", "{}*x*", "*x*"},
             {"[1]", "\\[1\\]", "{}[1]", "[1]"},
             {"x^2 -y", "x^2 -y", "x\\symbol{94}2 -y", "x^2 -y"},
             {"lr=-1 1e-3", "lr=-1 1e-3", "lr=$-$1 1e-3", "lr=-1 1e-3"}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        char want[200];
        fc_table t;
        assert_int_equal(fc_table_init(&t, 1, 1, 1, &arena, NULL), FC_OK);
        t.head[0] = "h";
        t.cell[0].text = c[i].text;
        snprintf(want, sizeof want, "| h |\n|---|\n| %s |\n", c[i].markdown);
        assert_string_equal(printed(fc_table_markdown, &t), want);
        snprintf(want, sizeof want, "\\midrule\n%s \\\\\n", c[i].latex);
        assert_non_null(strstr(printed(fc_table_latex, &t), want));
        snprintf(want, sizeof want, "h\n%s\n", c[i].csv);
        assert_string_equal(printed(fc_table_csv, &t), want);
    }
}

static int tear_down(void **state)
{
    (void)state;
    fc_arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_markdown),   cmocka_unit_test(test_latex),
        cmocka_unit_test(test_csv),        cmocka_unit_test(test_html),
        cmocka_unit_test(test_html_bytes), cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, tear_down) != 0;
}
