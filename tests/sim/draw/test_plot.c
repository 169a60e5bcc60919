/* Pictures of series of which not every point can be drawn. */
#include "sim/draw/plot.h"

#include "tests/support/tmp.h"

#include <math.h>

/* The picture holds each of the words if and only if it is wanted. */
static void check(const fc_plot *p, const char *const *word, const bool *wanted, int n)
{
    char *svg;
    size_t size;
    fc_error err = {0};
    fc_status s = fc_plot_draw(&svg, &size, p, 1, FC_PLOT_SVG, &err);
    if (s != FC_OK && strstr(err.msg, "not installed"))
        skip();
    if (s != FC_OK)
        fail_msg("%s", err.msg);
    for (int i = 0; i < n; i++)
        if ((strstr(svg, word[i]) != NULL) != wanted[i])
            fail_msg("'%s' is %s the picture", word[i], wanted[i] ? "not in" : "in");
    assert_null(strstr(svg, "nan"));
    free(svg);
}

static void test_no_numbers(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3}, whole[] = {5, 7, 6}, begins[] = {5, 7, NAN}, ends[] = {NAN, 7, 8},
                 none[] = {NAN, NAN, NAN};
    const fc_series series[] = {
        {.label = "whole", .n = 3, .x = x, .y = whole, .low = whole, .high = whole},
        {.label = "begins", .n = 3, .x = x, .y = begins, .low = begins, .high = begins},
        {.label = "ends", .n = 3, .x = x, .y = ends},
        {.label = "none", .n = 3, .x = x, .y = none, .low = none, .high = none, .dots = true},
        {.label = "empty", .n = 0}};
    fc_plot p = {.x_title = "Task",
                 .y_title = "Accuracy",
                 .n = 5,
                 .series = series,
                 .width = 440,
                 .height = 290,
                 .font = 14,
                 .whole_x = true};
    const char *const word[] = {">whole<", ">begins<", ">ends<", ">none<", ">empty<"};
    check(&p, word, (const bool[]){true, true, true, false, false}, 5);
    p.series = &series[3];
    p.n = 2;
    check(&p, word, (const bool[]){false, false, false, false, false}, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
