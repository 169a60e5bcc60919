/* Status and message: how every function that can fail says so.
 *
 * The value of a status is the exit code of the program (README, "Exit codes"). */
#ifndef FC_STATUS_H
#define FC_STATUS_H

typedef enum fc_status {
    FC_OK = 0,
    FC_EFAIL = 1,  /* the run failed: I/O, NaN, out of memory */
    FC_EUSAGE = 2, /* command line or config */
    FC_EDATA = 3,  /* data or weights missing or corrupt */
    FC_ECKPT = 4,  /* checkpoint does not match the config */
    FC_ESTOP = 75  /* stopped on request, checkpoint saved: run again with --resume */
} fc_status;

/* Lives on the caller's stack, starts as {0}; the first failure wins. */
typedef struct fc_error {
    fc_status code;
    char msg[1024];
} fc_error;

/* Record a failure: where, what was found, what was expected. Keeps an earlier one.
 * err may be NULL. Returns code, so that `return fc_fail(...)` reads well. */
fc_status fc_fail(fc_error *err, fc_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Only where nothing is held; otherwise goto out. */
#define FC_TRY(call)                                                                               \
    do {                                                                                           \
        fc_status fc_try_status = (call);                                                          \
        if (fc_try_status != FC_OK)                                                                \
            return fc_try_status;                                                                  \
    } while (0)

#endif
