/* Signals: the first asks to stop, a second SIGINT kills, writes fail instead of killing. */
#include "sim/parallel/signals.h"

#include "tests/support/close.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The exit status of a child that runs f; 128 + signal if it was killed. */
static int in_child(int (*f)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        fc_signals_install();
        _exit(fc_stop_requested() ? 99 : f());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int interrupt(void)
{
    raise(SIGINT);
    return fc_stop_requested() ? 75 : 0;
}

static int interrupt_twice(void)
{
    raise(SIGINT);
    raise(SIGINT);
    return 0;
}

static int terminate_twice(void)
{
    raise(SIGTERM);
    raise(SIGTERM);
    return fc_stop_requested() ? 75 : 0;
}

static int user(void)
{
    raise(SIGUSR1);
    return fc_stop_requested() ? 75 : 0;
}

static int reader_gone(void)
{
    int fd[2];
    if (pipe(fd) != 0 || close(fd[0]) != 0)
        return 1;
    return write(fd[1], "x", 1) == -1 && errno == EPIPE && !fc_stop_requested() ? 0 : 2;
}

static int file_too_large(void)
{
    char name[] = "/tmp/fcil-signals-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){0, 0});
    return write(fd, "x", 1) == -1 && errno == EFBIG && !fc_stop_requested() ? 0 : 2;
}

static void test_signals(void **state)
{
    (void)state;
    assert_int_equal(in_child(interrupt), 75);
    assert_int_equal(in_child(interrupt_twice), 130);
    assert_int_equal(in_child(terminate_twice), 75);
    assert_int_equal(in_child(user), 75);
    assert_int_equal(in_child(reader_gone), 0);
    assert_int_equal(in_child(file_too_large), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_signals)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
