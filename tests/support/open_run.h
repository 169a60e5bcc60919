/* A run from a config in a text, opened and begun in a folder that is thrown away; its method may
 * get another piece. */
#ifndef FC_TESTS_OPEN_RUN_H
#define FC_TESTS_OPEN_RUN_H

#include "sim/fed/server.h"
#include "sim/run/loop.h"
#include "sim/run/setup.h"
#include "tests/support/tmp.h"

typedef struct open_run {
    fc_tmp tmp;
    fc_config cfg;
    fc_method method; /* that of the config, with another piece */
    fc_setup setup;
    fc_run run;
    fc_error err;
} open_run;

/* set: "section.key=value", .., NULL. piece NULL: the method's own. */
static inline fc_status open_run_try(open_run *o, const char *config, const char *const *set,
                                     const fc_piece *piece)
{
    enum { SETTINGS = 10 };
    char *all[SETTINGS];
    int n = 0;
    *o = (open_run){.tmp = fc_tmp_new()};
    for (; set[n]; n++) {
        assert_true(n < SETTINGS);
        all[n] = (char *)(uintptr_t)set[n];
    }
    const char *path = fc_tmp_put(&o->tmp, "config.yaml", config, strlen(config));
    FC_TRY(fc_config_load(&o->cfg, path, all, n, &o->err));
    if (piece) {
        o->method = *o->cfg.method;
        o->method.piece = piece;
        o->cfg.method = &o->method;
    }
    FC_TRY(fc_run_open(&o->run, &o->setup, &o->cfg, (fc_console){0}, NULL, &o->err));
    return fc_run_start(&o->run, o->tmp.dir, false, &o->err);
}

static inline void open_run_must(open_run *o, fc_status s)
{
    if (s != FC_OK)
        fail_msg("%s", o->err.msg);
}

static inline void open_run_begin(open_run *o, int t)
{
    open_run_must(o, fc_server_begin_task(&o->run, t, &o->err));
    fc_server_prepare_task(&o->run);
}

static inline void open_run_close(open_run *o)
{
    fc_run_close(&o->run, &o->setup);
    fc_config_free(&o->cfg);
    fc_tmp_remove(&o->tmp);
}

#endif
