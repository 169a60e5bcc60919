/* Progress: durations, ETA, what a terminal and what a file gets. */
#define _GNU_SOURCE /* openpty */
#include "sim/io/progress.h"

#include "tests/support/close.h"

#include <fcntl.h>
#include <pty.h>
#include <string.h>
#include <unistd.h>

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        double s;
        const char *want;
    } row[] = {{0, "0 s"},
               {0.4, "0 s"},
               {12, "12 s"},
               {59.4, "59 s"},
               {59.7, "1 min 00 s"},
               {245, "4 min 05 s"},
               {3599.4, "59 min 59 s"},
               {3599.6, "1 h 00 min"},
               {4980, "1 h 23 min"},
               {7199, "2 h 00 min"},
               {3600 * 48 - 31, "47 h 59 min"},
               {3600 * 51, "2 d 03 h"},
               {-1, "?"},
               {1e30, "?"},
               {NAN, "?"},
               {INFINITY, "?"}};
    char buf[32];
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        assert_string_equal(fc_duration(buf, row[i].s), row[i].want);
}

static const fc_console loud = {.verbosity = FC_NORMAL};

static void test_eta_counts_this_process_only(void **state)
{
    (void)state;
    fc_progress p;
    fc_progress_init(&p, (fc_console){0}, 1000, 800); /* resumed at 80 % */
    assert_true(isnan(fc_progress_eta(&p)));
    p.start = fc_wall() - 10;
    fc_progress_skip(&p, 100); /* found done */
    assert_true(isnan(fc_progress_eta(&p)));
    fc_progress_add(&p, 50, 1, NAN); /* 5 per second */
    assert_close(fc_progress_eta(&p), 10, 0.01, 0);
    fc_progress_add(&p, 70, 1, NAN); /* the estimate was too low */
    assert_close(fc_progress_eta(&p), 0, 0, 0);
}

static void assert_display(const fc_progress *p, int columns, double eta, const char *want)
{
    char got[FC_DISPLAY_MAX];
    fc_progress_display(got, p, columns, eta);
    assert_string_equal(got, want);
}

#define END "\033[K"

static void test_display(void **state)
{
    (void)state;
    fc_progress p;
    fc_progress_init(&p, (fc_console){FC_NORMAL, FC_COLOUR_NEVER}, 1000, 0);
    assert_display(&p, 60, NAN,
                   "loss     -      - images/s" END
                   "\n[                                ]    0 %  ? left          " END);
    fc_progress_stage(&p, (fc_counter){"task", 3, 10}, (fc_counter){"round", 2, 5}, 12);
    assert_display(&p, 60, 59,
                   "task  3/10  round 2/5  clients  0/12  loss     -" END
                   "\n[                                ]    0 %  59 s left       " END);
    fc_progress_client(&p);
    fc_progress_add(&p, 250, 8, 1);
    fc_progress_add(&p, 249, 24, 2);  /* a mean over the images */
    fc_progress_add(&p, 0, 100, NAN); /* no training step */
    assert_display(
        &p, 80, 245,
        "task  3/10  round 2/5  clients  1/12  loss 1.750      - images/s" END
        "\n[======================                       ]   49 %  4 min 05 s left " END);
    assert_display(
        &p, 300, 245,
        "task  3/10  round 2/5  clients  1/12  loss 1.750      - images/s" END
        "\n[======================                       ]   49 %  4 min 05 s left " END);
    assert_display(&p, 40, 3599,
                   "task  3/10  round 2/5  clients  1/12" END
                   "\n[=====       ]   49 %  59 min 59 s left" END);
    assert_display(&p, 36, 3599,
                   "task  3/10  round 2/5  loss 1.750" END
                   "\n[===     ]   49 %  59 min 59 s left" END);
    assert_display(&p, 30, 3599, "task  3/10  round 2/5" END "\n 49 %  59 min 59 s left" END);
    assert_display(&p, 6, 3599, END "\n 49 %" END);
    assert_display(&p, 1, 3599, END "\n" END);

    p.rate = 0.5 * 1234.4; /* half of the weight is there */
    p.weight = 0.5;
    fc_progress_test(&p); /* the other fields stay where they are */
    assert_display(
        &p, 80, 245,
        "task  3/10  round 2/5  test           loss 1.750   1234 images/s" END
        "\n[======================                       ]   49 %  4 min 05 s left " END);
    fc_progress_stage(&p, (fc_counter){"task", 10, 10}, (fc_counter){"round", 6, 5}, 12);
    p.rate = 0.5 * 9.94;
    p.colour = true;
    fc_progress_add(&p, 1000, 1, 12345.6); /* more than was estimated */
    assert_display(&p, 80, 0,
                   "task 10/10  round end  clients  0/12  loss 12346    9.9 images/s" END
                   "\n[\033[32m=============================================\033[0m]"
                   "  100 %  0 s left        " END);
    fc_progress_stage(&p, (fc_counter){0}, (fc_counter){"epoch", 11, 10}, 0);
    fc_progress_add(&p, 0, 1, 1e7);
    assert_display(&p, 45, 0,
                   "epoch end    loss 1e+07    9.9 images/s" END
                   "\n[\033[32m=================\033[0m]  100 %  0 s left        " END);
}

static void test_clocks(void **state)
{
    (void)state;
    double wall = fc_wall(), cpu = fc_cpu();
    while (fc_cpu() - cpu < 0.02)
        continue;
    assert_true(fc_wall() - wall > 0.015);
    assert_true(fc_rss_peak() > 0.5 && fc_rss_peak() < 100000);
}

/* Run with stderr replaced by fd; returns what came out at the other end. A terminal hands it on in
 * its own time, so a last byte says that all is there. */
static char *captured(int fd, int other, void (*run)(void))
{
    static char text[16384];
    size_t n = 0;
    int old = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    run();
    dup2(old, STDERR_FILENO);
    close(old);
    assert_int_equal(write(fd, "\001", 1), 1);
    while (n == 0 || text[n - 1] != '\001') {
        ssize_t got = read(other, text + n, sizeof text - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    text[n - 1] = '\0';
    return text;
}

static fc_console console;

static void work(void)
{
    fc_progress p;
    fc_progress_init(&p, console, 10, 0);
    p.start -= 60;
    fc_progress_stage(&p, (fc_counter){"task", 1, 2}, (fc_counter){"round", 1, 1}, 3);
    for (int i = 0; i < 5; i++) /* at once: one redraw */
        fc_progress_add(&p, 1, 8, 0.5);
    fc_progress_line(&p, FC_NORMAL, "task 1 done: %d %%", 50); /* comes back below */
    fc_progress_line(&p, FC_VERBOSE, "hidden");
    p.last_draw -= 1;
    fc_progress_add(&p, 1, 8, 0.5);
    fc_progress_end(&p);
    fc_progress_add(&p, 1, 8, 0.5);
    fc_progress_line(&p, FC_NORMAL, "end");
}

/* Rates after 1 s of 300 images, 2 s, and 30 s more of 100 a second. */
static double measured[3];

static void rates(void)
{
    fc_progress p;
    fc_progress_init(&p, console, 1, 0);
    p.rate_at -= 1000; /* loading */
    fc_progress_stage(&p, (fc_counter){0}, (fc_counter){0}, 0);
    for (int i = 0; i < 3; i++) {
        p.last_draw = p.rate_at -= i < 2 ? 1 : 30;
        fc_progress_add(&p, 0, i < 2 ? 300 : 3000, NAN);
        measured[i] = p.rate / p.weight;
    }
    fc_progress_end(&p);
}

static void quiet(void)
{
    fc_progress p;
    fc_progress_init(&p, (fc_console){FC_QUIET, FC_COLOUR_ALWAYS}, 10, 0);
    fc_progress_add(&p, 1, 1, 1);
    fc_progress_line(&p, FC_NORMAL, "x");
    fc_progress_line(&p, FC_QUIET, "important");
    fc_progress_end(&p);
}

static void test_file(void **state)
{
    (void)state;
    int pipe_fd[2];
    console = (fc_console){FC_NORMAL, FC_COLOUR_ALWAYS};
    assert_int_equal(pipe(pipe_fd), 0);
    assert_string_equal(captured(pipe_fd[1], pipe_fd[0], work), "task 1 done: 50 %\nend\n");
    assert_string_equal(captured(pipe_fd[1], pipe_fd[0], quiet), "important\n");
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

static char *on_terminal(int width, void (*run)(void))
{
    int master, slave;
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)width};
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    char *text = captured(slave, master, run);
    close(master);
    close(slave);
    return text;
}

static void test_terminal(void **state)
{
    (void)state;
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    unsetenv("COLUMNS");
    console = loud;
    assert_string_equal(on_terminal(50, work),
                        "\rtask 1/2  round 1/1  clients 0/3  loss 0.500" END "\r\n"
                        "[==                    ]   10 %  9 min 00 s left " END "\r\033[A\033[J"
                        "task 1 done: 50 %\r\n"
                        "\rtask 1/2  round 1/1  clients 0/3  loss 0.500" END "\r\n"
                        "[===========           ]   50 %  1 min 00 s left " END "\r\033[A"
                        "task 1/2  round 1/1  clients 0/3  loss 0.500" END "\r\n"
                        "[=============         ]   60 %  40 s left       " END "\r\033[A\033[J"
                        "end\r\n");
    setenv("COLUMNS", "24", 1); /* wins; no room for a bar */
    assert_non_null(strstr(on_terminal(50, work), "\rtask 1/2  round 1/1" END "\r\n 10 %  9 min"));
    setenv("COLUMNS", "0x46", 1); /* not a number: the terminal is asked */
    assert_non_null(strstr(on_terminal(50, work), "[==                    ]   10 %"));
    unsetenv("COLUMNS");
    assert_non_null(strstr(on_terminal(0, work), "images/s" END)); /* unknown: 80 */
}

/* Right from the first second on, forgotten within some seconds. */
static void test_rate(void **state)
{
    (void)state;
    setenv("TERM", "xterm", 1);
    console = loud;
    on_terminal(50, rates);
    assert_close(measured[0], 300, 0.1, 0);
    assert_close(measured[1], 300, 0.1, 0);
    assert_close(measured[2], 100, 1, 0);
}

static void test_colour(void **state)
{
    (void)state;
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    const char *green = "[\033[32m==                    \033[0m]";
    console = (fc_console){FC_NORMAL, FC_COLOUR_ALWAYS};
    assert_non_null(strstr(on_terminal(50, work), green));
    setenv("NO_COLOR", "", 1); /* empty counts as unset */
    console.colour = FC_COLOUR_AUTO;
    assert_non_null(strstr(on_terminal(50, work), green));
    console.colour = FC_COLOUR_NEVER;
    assert_null(strstr(on_terminal(50, work), "\033[32m"));
    setenv("TERM", "dumb", 1);
    assert_string_equal(on_terminal(50, work), "task 1 done: 50 %\r\nend\r\n");
    unsetenv("TERM");
    assert_string_equal(on_terminal(50, work), "task 1 done: 50 %\r\nend\r\n");
    setenv("TERM", "xterm", 1);
    assert_string_equal(on_terminal(50, quiet), "important\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration), cmocka_unit_test(test_eta_counts_this_process_only),
        cmocka_unit_test(test_clocks),   cmocka_unit_test(test_display),
        cmocka_unit_test(test_file),     cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_rate),     cmocka_unit_test(test_colour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
