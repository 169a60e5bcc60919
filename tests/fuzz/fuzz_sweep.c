/* Any bytes as a sweep and as a recipe: read or refused with a message. Configs beside it: those of
 * tests/bad/sweep and configs/tiny. */
#include "tests/fuzz/folder.h"

#include "sim/sweep/recipe.h"
#include "sim/sweep/sweep_load.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[512];
    fc_sweep sweep;
    fc_recipe recipe;
    fc_error err = {0}, again = {0};
    fc_fuzz_path(path, "sweep.yaml");
    fc_fuzz_link("base", "bad/sweep/base");
    fc_fuzz_link("../tiny", "../configs/tiny");
    fc_fuzz_put("sweep.yaml", data, size);
    fc_fuzz_check(fc_sweep_load(&sweep, path, NULL, 0, &err), &err);
    for (int i = 0; i < sweep.n_runs; i++)
        if (fc_sweep_find(&sweep, sweep.run[i].id) != &sweep.run[i])
            abort();
    fc_fuzz_check(fc_recipe_load(&recipe, path, NULL, 0, &again), &again);
    fc_sweep_free(&sweep);
    fc_recipe_free(&recipe);
    return 0;
}
