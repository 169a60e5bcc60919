#include "sim/sweep/recipe.h"

#include "sim/config/config.h"
#include "sim/config/config_parts.h"
#include "sim/io/yaml.h"
#include "sim/sweep/sweep_load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- reading ------------------------------------------------------------------------------------
 */

/* faa: {mean: 26.9, tolerance: 2} */
static fc_status read_expected(fc_expected *e, const fc_yaml *y, fc_error *err)
{
    static const char *const keys[] = {"mean", "tolerance", "sd", "n"};
    static const fc_opt any = {.type = FC_OPT_REAL, .low = -1e15, .high = 1e15};
    static const fc_opt size = {.type = FC_OPT_REAL, .high = 1e15};
    static const fc_opt count = {.type = FC_OPT_INT, .low = 1, .high = 1e6};
    fc_error why = {0};
    *e = (fc_expected){.sd = NAN};
    if (fc_metric_find(&e->metric, y->key, &why) != FC_OK)
        return fc_yaml_key_fail(err, y, "%s", why.msg);
    FC_TRY(fc_yaml_check_keys(y, y->key, keys, 4, err));
    const fc_yaml *mean = fc_yaml_get(y, "mean"), *tolerance = fc_yaml_get(y, "tolerance");
    const fc_yaml *sd = fc_yaml_get(y, "sd"), *n = fc_yaml_get(y, "n");
    if (!mean || !tolerance || !sd != !n)
        return fc_yaml_fail(err, y, "%s: expected mean, tolerance, and sd together with n or not",
                            y->key);
    FC_TRY(fc_yaml_value(&e->mean, &any, mean, "mean", err));
    FC_TRY(fc_yaml_value(&e->tolerance, &size, tolerance, "tolerance", err));
    if (sd) {
        FC_TRY(fc_yaml_value(&e->sd, &size, sd, "sd", err));
        FC_TRY(fc_yaml_value(&e->n, &count, n, "n", err));
    }
    return FC_OK;
}

/* The text of a key, "" if it is not there. */
static fc_status text_of(const char **out, const fc_yaml *map, const char *key, fc_error *err)
{
    const fc_yaml *y = map ? fc_yaml_get(map, key) : NULL;
    *out = y ? y->text : "";
    return !y || y->kind == FC_YAML_TEXT ? FC_OK : fc_yaml_fail(err, y, "%s: expected text", key);
}

/* source: {kind: paper, text: "Table 1"} */
static fc_status read_source(fc_recipe *r, const fc_yaml *root, fc_error *err)
{
    static const char *const keys[] = {"kind", "text"};
    static const fc_opt row = {.type = FC_OPT_CHOICE, .choices = "paper|issue|own run"};
    const fc_yaml *source = fc_yaml_get(root, "source");
    if (!source)
        return fc_yaml_fail(err, root, "expected `source:`, where the expected numbers come from");
    FC_TRY(fc_yaml_check_keys(source, "source", keys, 2, err));
    FC_TRY(text_of(&r->kind, source, "kind", err));
    FC_TRY(text_of(&r->source, source, "text", err));
    const fc_yaml *kind = fc_yaml_get(source, "kind");
    int index;
    return kind ? fc_yaml_value(&index, &row, kind, "kind", err)
                : fc_yaml_fail(err, source, "source: expected kind: paper, issue or own run");
}

static fc_status read_paper(fc_recipe *r, const fc_yaml *root, fc_error *err)
{
    static const char *const keys[] = {"title", "row", "published", "setting"};
    const fc_yaml *paper = fc_yaml_get(root, "paper");
    if (paper)
        FC_TRY(fc_yaml_check_keys(paper, "paper", keys, 4, err));
    FC_TRY(text_of(&r->title, paper, "title", err));
    FC_TRY(text_of(&r->row, paper, "row", err));
    FC_TRY(text_of(&r->published, paper, "published", err));
    return text_of(&r->setting, paper, "setting", err);
}

static fc_status load_recipe(fc_recipe *r, const char *path, char *const *override, int n,
                             fc_error *err)
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
        FC_TRY(read_expected(&r->expected[r->n_expected++], y, err));
    FC_TRY(read_paper(r, root, err));
    FC_TRY(read_source(r, root, err));
    FC_TRY(text_of(&r->note, root, "note", err));
    FC_TRY(text_of(&r->recorded, root, "recorded", err));
    if (*r->recorded)
        r->recorded = fc_beside(path, r->recorded, &r->arena, err);
    return r->recorded ? FC_OK : FC_EFAIL;
}

fc_status fc_recipe_load(fc_recipe *r, const char *path, char *const *override, int n,
                         fc_error *err)
{
    *r = (fc_recipe){0};
    fc_status s = load_recipe(r, path, override, n, err);
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
