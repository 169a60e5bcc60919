/* Progress: durations, ETA, what a terminal and what a file gets. */
#define _GNU_SOURCE /* openpty */
#include "sim/progress.h"

#include "tests/close.h"

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

static void test_eta_counts_this_process_only(void **state)
{
    (void)state;
    fc_progress p;
    fc_progress_init(&p, FC_QUIET, 1000, 900); /* resumed at 90 % */
    assert_true(isnan(fc_progress_eta(&p)));
    p.start = fc_wall() - 10;
    fc_progress_add(&p, 50, "x"); /* 5 per second */
    assert_close(fc_progress_eta(&p), 10, 0.01, 0);
    fc_progress_add(&p, 70, "x"); /* the estimate was too low */
    assert_close(fc_progress_eta(&p), 0, 0, 0);
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

static void work(void)
{
    fc_progress p;
    fc_progress_init(&p, FC_NORMAL, 10, 0);
    p.start -= 60;
    for (int i = 0; i < 5; i++) /* at once: one redraw */
        fc_progress_add(&p, 1, "task 1/2 round 1/1");
    fc_progress_line(&p, FC_NORMAL, "task 1 done: %d %%", 50);
    fc_progress_line(&p, FC_VERBOSE, "hidden");
    fc_progress_add(&p, 1, "task 2/2 round 1/1"); /* comes back at once */
    fc_progress_end(&p);
}

static void quiet(void)
{
    fc_progress p;
    fc_progress_init(&p, FC_QUIET, 10, 0);
    fc_progress_add(&p, 1, "x");
    fc_progress_line(&p, FC_NORMAL, "x");
    fc_progress_line(&p, FC_QUIET, "important");
    fc_progress_end(&p);
}

static void test_file(void **state)
{
    (void)state;
    int pipe_fd[2];
    assert_int_equal(pipe(pipe_fd), 0);
    assert_string_equal(captured(pipe_fd[1], pipe_fd[0], work), "task 1 done: 50 %\n");
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
    assert_string_equal(
        on_terminal(70, work),
        "\rtask 1/2 round 1/1  [==                     ]  10 %  9 min 00 s left "
        "\033[K"
        "\r\033[Ktask 1 done: 50 %\r\n"
        "\rtask 2/2 round 1/1  [=============          ]  60 %  40 s left       \033[K"
        "\r\033[K");
    setenv("COLUMNS", "34", 1); /* wins; no room for a bar */
    assert_non_null(strstr(on_terminal(70, work), "\rtask 1/2   10 %  9 min 00 s left \033[K"));
    setenv("COLUMNS", "1", 1);
    on_terminal(70, work);
    setenv("COLUMNS", "0x46", 1); /* not a number: the terminal is asked */
    assert_non_null(strstr(on_terminal(70, work), "1/1  [==                     ]  10 %"));
    unsetenv("COLUMNS");
    assert_non_null(strstr(on_terminal(0, work), "[===                              ]  10 %"));

    setenv("NO_COLOR", "", 1); /* empty counts as unset */
    assert_non_null(strstr(on_terminal(70, work), "[\033[32m==                     \033[0m]"));
    setenv("TERM", "dumb", 1);
    assert_string_equal(on_terminal(70, work), "task 1 done: 50 %\r\n");
    unsetenv("TERM");
    assert_string_equal(on_terminal(70, work), "task 1 done: 50 %\r\n");
    setenv("TERM", "xterm", 1);
    assert_string_equal(on_terminal(70, quiet), "important\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration), cmocka_unit_test(test_eta_counts_this_process_only),
        cmocka_unit_test(test_clocks),   cmocka_unit_test(test_file),
        cmocka_unit_test(test_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
