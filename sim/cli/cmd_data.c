/* fcil data: look at a data set and its partition, or check that files are what they should be. */
#include "core/base/file.h"
#include "datasets/contact_sheet.h"
#include "datasets/decode.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/config/make.h"
#include "sim/io/outfile.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SHEET_ROWS = 100, SHEET_COLUMNS = 16, SHEET_CELL = 48, TABLE_CLIENTS = 50 };

/* What the verb looks at. */
typedef struct view {
    fc_config cfg;
    fc_dataset data;
    fc_tasks tasks;
    fc_partition partition;
    fc_arena arena;
} view;

static void view_close(view *v)
{
    fc_dataset_free(&v->data);
    fc_arena_free(&v->arena);
    fc_config_free(&v->cfg);
}

static bool is_reader(const char *word)
{
    for (int i = 0; i < fc_data_count; i++)
        if (strcmp(fc_data_table[i]->name, word) == 0)
            return true;
    return false;
}

/* The config of a file, or the default one with a reader and its path put before the overrides. */
static fc_status load_data_config(view *v, const fc_args *a, fc_error *err)
{
    const char *word = a->config;
    struct stat file;
    if (!is_reader(word) && (strchr(word, '/') || stat(word, &file) == 0)) {
        if (a->n_extra)
            return fc_fail(err, FC_EUSAGE, "data: '%.60s' behind a config, expected key=value",
                           a->extra[0]);
        return fc_config_load(&v->cfg, word, a->override, a->n_override, err);
    }
    const char *path = a->n_extra ? a->extra[0] : "";
    size_t n = (size_t)a->n_override;
    char **override = fc_arena_alloc(&v->arena, n + 2, sizeof *override, err);
    char *text = fc_arena_alloc(&v->arena, strlen(word) + strlen(path) + 32, 1, err);
    if (!override || !text)
        return FC_EFAIL;
    override[0] = text;
    override[1] = text + sprintf(text, "data.name=%s", word) + 1;
    sprintf(override[1], "data.path=%s", path);
    memcpy(override + 2, a->override, n * sizeof *override);
    return fc_config_load(&v->cfg, NULL, override, (int)n + 2, err);
}

/* ---- tables ---- */

/* Smallest and largest number of images of a class. */
static void class_range(size_t *low, size_t *high, const fc_split *s, int classes, size_t *count)
{
    memset(count, 0, (size_t)classes * sizeof *count);
    for (size_t i = 0; i < s->n; i++)
        count[s->label[i]]++;
    *low = *high = count[0];
    for (int c = 1; c < classes; c++) {
        *low = count[c] < *low ? count[c] : *low;
        *high = count[c] > *high ? count[c] : *high;
    }
}

static fc_status print_data_set(view *v, fc_error *err)
{
    const fc_dataset *d = &v->data;
    size_t *count = fc_arena_alloc(&v->arena, (size_t)d->classes, sizeof *count, err);
    if (!count)
        return FC_EFAIL;
    printf("data       %s%s%s\n", d->name, *d->path ? "  " : "", d->path);
    printf("classes    %d\n", d->classes);
    for (int s = 0; s < 2; s++) {
        const fc_split *split = s ? &d->test : &d->train;
        int w[2] = {INT32_MAX, 0}, h[2] = {INT32_MAX, 0};
        for (size_t i = 0; i < split->n; i++) {
            const fc_image *m = &split->image[i];
            w[0] = m->width < w[0] ? m->width : w[0];
            w[1] = m->width > w[1] ? m->width : w[1];
            h[0] = m->height < h[0] ? m->height : h[0];
            h[1] = m->height > h[1] ? m->height : h[1];
        }
        size_t low, high;
        class_range(&low, &high, split, d->classes, count);
        printf("%-10s %zu images, %zu to %zu per class, ", s ? "test" : "train", split->n, low,
               high);
        if (w[0] == w[1] && h[0] == h[1])
            printf("%d x %d pixels\n", w[0], h[0]);
        else
            printf("%d to %d x %d to %d pixels\n", w[0], w[1], h[0], h[1]);
    }
    printf("sha256     %s\n", d->sha256);
    return FC_OK;
}

static size_t client_size(const fc_partition *p, int t, int k)
{
    return p->start[t][k + 1] - p->start[t][k];
}

static int classes_held(const view *v, int t, int k, bool *held)
{
    const fc_partition *p = &v->partition;
    int n = 0;
    memset(held, 0, (size_t)v->data.classes * sizeof *held);
    for (size_t i = p->start[t][k]; i < p->start[t][k + 1]; i++) {
        int c = v->data.train.label[p->sample[t][i]];
        n += !held[c];
        held[c] = true;
    }
    return n;
}

static fc_status print_tasks(view *v, fc_error *err)
{
    const fc_tasks *t = &v->tasks;
    const fc_partition *p = &v->partition;
    bool *held = fc_arena_alloc(&v->arena, (size_t)v->data.classes, sizeof *held, err);
    if (!held)
        return FC_EFAIL;
    printf("partition  %s, %d clients, sha256 %s\n\n", v->cfg.fed.partition, p->clients, p->sha256);
    puts("task classes  train   test  client min     mean     max  mean classes");
    for (int j = 0; j < t->n; j++) {
        size_t low = SIZE_MAX, high = 0;
        double classes = 0;
        for (int k = 0; k < p->clients; k++) {
            size_t n = client_size(p, j, k);
            low = n < low ? n : low;
            high = n > high ? n : high;
            classes += classes_held(v, j, k, held);
        }
        printf("%4d %7d %6zu %6zu  %10zu %8.1f %7zu  %12.2f\n", j + 1,
               t->first[j + 1] - t->first[j], t->n_train[j], t->n_test[j], low,
               (double)p->start[j][p->clients] / p->clients, high, classes / p->clients);
    }
    int shown = p->clients < TABLE_CLIENTS ? p->clients : TABLE_CLIENTS;
    printf("\nsamples of each client by task\nclient   total");
    for (int j = 0; j < t->n; j++)
        printf(" %6d", j + 1);
    putchar('\n');
    for (int k = 0; k < shown; k++) {
        size_t total = 0;
        for (int j = 0; j < t->n; j++)
            total += client_size(p, j, k);
        printf("%6d %7zu", k, total);
        for (int j = 0; j < t->n; j++)
            printf(" %6zu", client_size(p, j, k));
        putchar('\n');
    }
    if (shown < p->clients)
        printf("   ... %d more clients, see partition.csv\n", p->clients - shown);
    return FC_OK;
}

static fc_status print_data_json(const view *v, bool with_partition, fc_error *err)
{
    const fc_dataset *d = &v->data;
    json_t *root =
        json_pack("{s:s, s:o, s:i, s:I, s:I, s:s}", "name", d->name, "path",
                  fc_out_json_text(d->path), "classes", d->classes, "train", (json_int_t)d->train.n,
                  "test", (json_int_t)d->test.n, "sha256", d->sha256);
    if (with_partition) {
        json_t *counts = json_array();
        for (int j = 0; j < v->tasks.n; j++) {
            json_t *row = json_array();
            for (int k = 0; k < v->partition.clients; k++)
                json_array_append_new(row,
                                      json_integer((json_int_t)client_size(&v->partition, j, k)));
            json_array_append_new(counts, row);
        }
        json_object_set_new(root, "partition",
                            json_pack("{s:s, s:i, s:i, s:s, s:o}", "name", v->cfg.fed.partition,
                                      "clients", v->partition.clients, "tasks", v->tasks.n,
                                      "sha256", v->partition.sha256, "samples_by_task_and_client",
                                      counts));
    }
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text)
        return fc_fail(err, FC_EFAIL, "data: out of memory");
    puts(text);
    free(text);
    return FC_OK;
}

/* ---- the two verbs ---- */

/* The data set that the words name; tasks: and how it is split. */
static fc_status open_view(view *v, const fc_args *a, bool tasks, fc_error *err)
{
    if (!a->config || a->n_extra > 1)
        return fc_fail(err, FC_EUSAGE, "%s: %d words, expected %s and perhaps a path",
                       a->verb->name, a->n_extra + (a->config != NULL),
                       tasks ? "a config or the name of a data set" : "a name");
    FC_TRY(load_data_config(v, a, err));
    FC_TRY(fc_data_open(&v->data, &v->cfg, err));
    if (!tasks)
        return FC_OK;
    FC_TRY(fc_tasks_open(&v->tasks, &v->data, &v->cfg, &v->arena, err));
    return fc_partition_open(&v->partition, &v->data, &v->tasks, &v->cfg, &v->arena, err);
}

static fc_status write_files(view *v, const char *dir, bool quiet, fc_error *err)
{
    char path[FC_PATH_MAX];
    fc_picture picture;
    FC_TRY(fc_mkdirs(dir, err));
    FC_TRY(fc_contact_sheet(&picture, &v->data, &v->data.train, v->tasks.order, SHEET_ROWS,
                            SHEET_COLUMNS, SHEET_CELL, &v->arena, err));
    FC_TRY(fc_out_path(path, err, "%s/contact.png", dir));
    FC_TRY(fc_png_write(path, picture.rgb, picture.width, picture.height, err));
    FC_TRY(fc_partition_picture(&picture, &v->partition, &v->data, &v->tasks, &v->arena, err));
    FC_TRY(fc_out_path(path, err, "%s/partition.png", dir));
    FC_TRY(fc_png_write(path, picture.rgb, picture.width, picture.height, err));
    FC_TRY(fc_out_path(path, err, "%s/partition.csv", dir));
    FC_TRY(fc_partition_csv(path, &v->partition, &v->data, &v->tasks, err));
    if (!quiet)
        printf("\nwrote %s/contact.png, partition.png and partition.csv\n", dir);
    return FC_OK;
}

static fc_status show_data(const fc_args *a, fc_error *err)
{
    view v = {0};
    fc_status s = open_view(&v, a, true, err);
    if (s == FC_OK && a->json) {
        s = print_data_json(&v, true, err);
    } else if (s == FC_OK) {
        s = print_data_set(&v, err);
        s = s == FC_OK ? print_tasks(&v, err) : s;
    }
    if (s == FC_OK)
        s = write_files(&v, a->output ? a->output : "data_show", a->json, err);
    view_close(&v);
    return s;
}

static fc_status check_data(const fc_args *a, fc_error *err)
{
    view v = {0};
    fc_status s = open_view(&v, a, false, err);
    if (s == FC_OK)
        s = a->json ? print_data_json(&v, false, err) : print_data_set(&v, err);
    view_close(&v);
    return s;
}

enum { OUTPUT, DATA, JSON, N_FLAGS };
static const fc_flag flags[N_FLAGS] = {
    [OUTPUT] = FC_FLAG_OUTPUT(
        "DIR", "folder of contact.png, partition.png and partition.csv; default: data_show"),
    [DATA] = FC_FLAG_DATA,
    [JSON] = FC_FLAG_JSON("one JSON object instead of tables")};

enum { SHOW, CHECK, N_PARTS };
static const fc_verb parts[N_PARTS] = {
    [SHOW] = {.name = "data show",
              .run = show_data,
              .flag = flags,
              .n_flags = N_FLAGS,
              .takes = FC_FLAGS_ALL},
    [CHECK] = {.name = "data check",
               .run = check_data,
               .flag = flags,
               .n_flags = N_FLAGS,
               .takes = FC_FLAGS_ALL & ~(UINT64_C(1) << OUTPUT)}};

static void print_data_help(void)
{
    fc_verbs_help(
        parts, N_PARTS,
        "fcil data show CONFIG|NAME [PATH] [key=value ...] [-o DIR] [--data DIR] [--json]\n"
        "    tables of the data set, its tasks and its clients; pictures contact.png and "
        "partition.png\n"
        "    and partition.csv in DIR (default: data_show)\n"
        "fcil data check NAME [PATH] [key=value ...] [--data DIR] [--json]\n"
        "    read every file, check every label; counts and hash\n"
        "NAME: fcil list datasets. PATH: its folder or file, else searched below the data "
        "directory.\n\n",
        "\nscripts/fetch_*.sh download data sets.\n");
}

fc_status fc_cmd_data(int argc, char **argv, fc_error *err)
{
    fc_args a = {0};
    return fc_verbs_run(parts, N_PARTS, print_data_help, &a, argc, argv, err);
}
