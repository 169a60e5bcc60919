#include "sim/parallel/signals.h"

#include <signal.h>
#include <stddef.h>

/* The one mutable global of the program: a signal handler can reach nothing else. */
static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

void fc_signals_install(void)
{
    struct sigaction soft = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction once = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &once, NULL); /* the second one finds the default action: it kills */
    sigaction(SIGTERM, &soft, NULL);
    sigaction(SIGUSR1, &soft, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

void fc_stop_request(void)
{
    stop = 1;
}

bool fc_stop_requested(void)
{
    return stop != 0;
}
