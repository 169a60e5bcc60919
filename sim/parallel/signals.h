/* SIGINT, SIGTERM, SIGUSR1: finish the current step, save, exit 75. A second SIGINT stops at once.
 */
#ifndef FC_SIGNALS_H
#define FC_SIGNALS_H

#include <stdbool.h>

void fc_signals_install(
    void); /* also ignores SIGPIPE and SIGXFSZ, so that writes fail with a message instead */
bool fc_stop_requested(void);
void fc_stop_request(void); /* as a signal does */

#endif
