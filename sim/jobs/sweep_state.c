#include "sim/jobs/sweep_state.h"

#include "core/base/file.h"
#include "sim/io/outfile.h"
#include "sim/io/progress.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

fc_status fc_sweep_view_open(fc_sweep_view *v, const fc_sweep *s, bool make, fc_error *err)
{
    *v = (fc_sweep_view){.sweep = s};
    struct {
        char *path;
        const char *name;
    } folders[] = {{v->claims, "claims"}, {v->work, "work"}, {v->failed, "failed"}};
    for (int i = 0; i < 3; i++) {
        FC_TRY(
            fc_out_path(folders[i].path, err, "%s/%s/.sweep/%s", s->out, s->name, folders[i].name));
        if (make)
            FC_TRY(fc_mkdirs(folders[i].path, err));
    }
    v->run = fc_arena_alloc(&v->arena, (size_t)s->n_runs, sizeof *v->run, err);
    return v->run ? FC_OK : FC_EFAIL;
}

void fc_sweep_view_close(fc_sweep_view *v)
{
    fc_arena_free(&v->arena);
    *v = (fc_sweep_view){0};
}

static fc_run_view *view_of(const fc_sweep_view *v, const char *id)
{
    const fc_sweep_run *r = fc_sweep_find(v->sweep, id);
    return r ? &v->run[r - v->sweep->run] : NULL;
}

static void read_summary(fc_run_view *r, const char *dir, const char *metric)
{
    char path[FC_PATH_MAX];
    bool named = fc_out_path(path, NULL, "%s/summary.json", dir) == FC_OK;
    json_t *summary = named ? json_load_file(path, 0, NULL) : NULL;
    json_t *x = json_object_get(summary, metric);
    r->metric = json_is_number(x) ? json_number_value(x) : NAN;
    r->seconds = json_number_value(json_object_get(summary, "wall_s"));
    json_decref(summary);
}

static void read_done(fc_run_view *r, const fc_sweep *s, const char *dir)
{
    struct stat st;
    bool done = stat(dir, &st) == 0 && S_ISDIR(st.st_mode);
    if (done && r->state != FC_RUN_DONE)
        read_summary(r, dir, s->halving.rungs ? s->halving.metric : "faa");
    r->state = done ? FC_RUN_DONE : FC_RUN_WAITING;
}

/* "generation N\n" and the reason */
static void read_failure(fc_run_view *r, const char *dir, const char *id)
{
    char path[FC_PATH_MAX], line[64] = "";
    if (fc_out_path(path, NULL, "%s/%s", dir, id) != FC_OK)
        return;
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    r->state = FC_RUN_FAILED;
    r->failed_generation = 0;
    r->why[0] = '\0';
    if (fgets(line, sizeof line, f))
        sscanf(line, "generation %d", &r->failed_generation);
    if (fgets(r->why, sizeof r->why, f))
        r->why[strcspn(r->why, "\n")] = '\0';
    fclose(f);
}

static void read_claims(fc_sweep_view *v)
{
    char id[9];
    for (int i = 0; i < v->sweep->n_runs; i++)
        v->run[i].generation = -1;
    DIR *d = opendir(v->claims);
    for (struct dirent *e; d && (e = readdir(d));) {
        int g = fc_claim_name(id, e->d_name);
        fc_run_view *r = g >= 0 ? view_of(v, id) : NULL;
        if (r && g > r->generation)
            r->generation = g;
    }
    if (d)
        closedir(d);
}

static void read_failed(fc_sweep_view *v)
{
    DIR *d = opendir(v->failed);
    for (struct dirent *e; d && (e = readdir(d));) {
        fc_run_view *r = view_of(v, e->d_name);
        if (r && r->state != FC_RUN_DONE)
            read_failure(r, v->failed, e->d_name);
    }
    if (d)
        closedir(d);
}

static void watch_claim(fc_run_view *r)
{
    fc_sight *s = &r->seen;
    double now = fc_wall();
    if (s->changes == 0 || s->generation != r->generation || s->beat != r->claim.beat)
        *s = (fc_sight){s->changes + 1, r->generation, r->claim.beat, now};
    r->silent_s = now - s->since;
}

void fc_sweep_view_read(fc_sweep_view *v)
{
    const fc_sweep *s = v->sweep;
    for (int i = 0; i < s->n_runs; i++)
        read_done(&v->run[i], s, s->run[i].dir);
    read_failed(v);
    read_claims(v);
    for (int i = 0; i < s->n_runs; i++) {
        fc_run_view *r = &v->run[i];
        bool there = r->generation >= 0 && r->state == FC_RUN_WAITING &&
                     fc_claim_read(&r->claim, v->claims, s->run[i].id, r->generation);
        if (there && !r->claim.released) {
            r->state = FC_RUN_CLAIMED;
            watch_claim(r);
        }
    }
}
