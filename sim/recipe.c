#include "sim/recipe.h"

#include "core/file.h"
#include "sim/outfile.h"
#include "sim/yaml.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- reading ------------------------------------------------------------------------------------
 */

static fc_status number_at(double *out, const fc_yaml *y, double low, fc_error *err)
{
    char *end;
    double x = y->kind == FC_YAML_TEXT ? strtod(y->text, &end) : NAN;
    if (!(x >= low && x <= 1e15) || end == y->text || *end)
        return fc_yaml_fail(err, y, "%s: expected a number%s", y->key,
                            low >= 0 ? " that is not negative" : "");
    *out = x;
    return FC_OK;
}

/* Refuses keys that are not in this list. */
static fc_status check_keys(const fc_yaml *map, const char *const *keys, int n, fc_error *err)
{
    if (map->kind != FC_YAML_MAP)
        return fc_yaml_fail(err, map, "%s: expected keys with values", map->key);
    for (const fc_yaml *y = map->first; y; y = y->next) {
        int i = 0;
        while (i < n && strcmp(keys[i], y->key) != 0)
            i++;
        if (i == n) {
            const char *near = fc_nearest(y->key, keys, n);
            return fc_yaml_fail(err, y, "unknown key '%.60s' of %s%s%s%s", y->key, map->key,
                                near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
        }
    }
    return FC_OK;
}

/* faa: {mean: 26.9, tolerance: 2} */
static fc_status read_expected(fc_expected *e, const fc_yaml *y, fc_arena *arena, fc_error *err)
{
    static const char *const keys[] = {"mean", "tolerance", "sd", "n"};
    const fc_metric **metric;
    fc_error why = {0};
    double n = 0;
    int one;
    FC_TRY(check_keys(y, keys, 4, err));
    if (fc_metric_list(&metric, &one, y->key, arena, &why) != FC_OK)
        return fc_yaml_fail(err, y, "%s", why.msg);
    *e = (fc_expected){.metric = metric[0], .sd = NAN};
    const fc_yaml *mean = fc_yaml_get(y, "mean"), *tolerance = fc_yaml_get(y, "tolerance");
    const fc_yaml *sd = fc_yaml_get(y, "sd"), *seeds = fc_yaml_get(y, "n");
    if (!mean || !tolerance)
        return fc_yaml_fail(err, y, "%s: expected a mean and a tolerance", y->key);
    FC_TRY(number_at(&e->mean, mean, -1e15, err));
    FC_TRY(number_at(&e->tolerance, tolerance, 0, err));
    if (sd)
        FC_TRY(number_at(&e->sd, sd, 0, err));
    if (seeds)
        FC_TRY(number_at(&n, seeds, 1, err));
    if (!sd != !seeds || n != floor(n) || n > 1e6)
        return fc_yaml_fail(err, y, "%s: expected sd together with n, a whole number", y->key);
    e->n = (int)n;
    return FC_OK;
}

/* The text of a key, "" if it is not there. */
static fc_status text_of(const char **out, const fc_yaml *map, const char *key, fc_error *err)
{
    const fc_yaml *y = map ? fc_yaml_get(map, key) : NULL;
    *out = y ? y->text : "";
    return !y || y->kind == FC_YAML_TEXT ? FC_OK : fc_yaml_fail(err, y, "%s: expected text", key);
}

static fc_status read_paper(fc_recipe *r, const fc_yaml *root, fc_error *err)
{
    static const char *const keys[] = {"title", "row", "published", "setting"};
    const fc_yaml *paper = fc_yaml_get(root, "paper");
    if (paper)
        FC_TRY(check_keys(paper, keys, 4, err));
    FC_TRY(text_of(&r->title, paper, "title", err));
    FC_TRY(text_of(&r->row, paper, "row", err));
    FC_TRY(text_of(&r->published, paper, "published", err));
    return text_of(&r->setting, paper, "setting", err);
}

/* A path beside the recipe. */
static fc_status beside(const char **path, const char *recipe, fc_arena *arena, fc_error *err)
{
    const char *slash = strrchr(recipe, '/');
    if (**path == '\0' || **path == '/' || !slash)
        return FC_OK;
    *path = fc_arena_format(arena, err, "%.*s/%s", (int)(slash - recipe), recipe, *path);
    return *path ? FC_OK : FC_EFAIL;
}

static fc_status load(fc_recipe *r, const char *path, char *const *override, int n, fc_error *err)
{
    fc_yaml *root;
    FC_TRY(fc_sweep_load(&r->sweep, path, override, n, err));
    FC_TRY(fc_yaml_read(&root, path, "", &r->arena, err));
    if (r->sweep.n_settings != 1 || r->sweep.halving.rungs)
        return fc_fail(err, FC_EUSAGE, "%s: a recipe has one setting and its seeds, found %d", path,
                       r->sweep.n_settings);
    const fc_yaml *expect = fc_yaml_get(root, "expect");
    if (!expect || expect->kind != FC_YAML_MAP)
        return fc_fail(err, FC_EUSAGE,
                       "%s: nothing to verify, expected `expect:` with metrics below it", path);
    r->expected = fc_arena_alloc(&r->arena, (size_t)expect->n, sizeof *r->expected, err);
    if (!r->expected)
        return FC_EFAIL;
    for (const fc_yaml *y = expect->first; y; y = y->next)
        FC_TRY(read_expected(&r->expected[r->n_expected++], y, &r->arena, err));
    FC_TRY(read_paper(r, root, err));
    FC_TRY(text_of(&r->source, root, "source", err));
    FC_TRY(text_of(&r->note, root, "note", err));
    FC_TRY(text_of(&r->recorded, root, "recorded", err));
    return beside(&r->recorded, path, &r->arena, err);
}

fc_status fc_recipe_load(fc_recipe *r, const char *path, char *const *override, int n,
                         fc_error *err)
{
    *r = (fc_recipe){0};
    fc_status s = load(r, path, override, n, err);
    if (s != FC_OK)
        fc_recipe_free(r);
    return s;
}

void fc_recipe_free(fc_recipe *r)
{
    fc_sweep_free(&r->sweep);
    fc_arena_free(&r->arena);
    *r = (fc_recipe){0};
}

/* --- judging ------------------------------------------------------------------------------------
 */

fc_verdict fc_recipe_judge(const fc_expected *e, const double *ours, int n)
{
    fc_verdict v = {.ours = fc_mean_of(ours, n), .z = NAN};
    double square = 0, miss = v.ours.mean - e->mean;
    if (v.ours.n > 1)
        square += v.ours.sd * v.ours.sd / v.ours.n;
    if (e->n > 0)
        square += e->sd * e->sd / e->n;
    if (square > 0)
        v.z = miss / sqrt(square);
    v.pass = fabs(miss) <= e->tolerance;
    return v;
}
