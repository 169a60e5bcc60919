/* The backbone of a run: weights from a file, from a pretraining on the spot (cached), or random.
 */
#include "core/file.h"
#include "core/rng.h"
#include "sim/cache.h"
#include "sim/pretrain.h"
#include "sim/run.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* `name`: a file, or <root>/<name>, <root>/<name>/<name>.safetensors, <root>/<name>.safetensors. */
static const char *find_weights(const fc_config *c, const char *name, fc_arena *arena,
                                fc_error *err)
{
    char buf[4096];
    if (is_file(name))
        return name;
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            snprintf(buf, sizeof buf, "%s/%s/%s.safetensors", c->data.root, name, name);
        else
            snprintf(buf, sizeof buf, "%s/%s%s", c->data.root, name, i == 1 ? ".safetensors" : "");
        if (is_file(buf))
            return fc_arena_strdup(arena, buf, err);
    }
    fc_fail(err, FC_EDATA,
            "backbone.weights: %s: no such file, neither here nor as %s.safetensors or "
            "%s/%s.safetensors below the data directory %s (--data or $FCIL_DATA)",
            name, name, name, name, c->data.root);
    return NULL;
}

static fc_status load(fc_run *r, const char *path, fc_error *err)
{
    const fc_config *c = r->cfg;
    void *map;
    size_t n;
    FC_TRY(fc_file_map(&map, &n, path, FC_EDATA, err));
    fc_sha256(r->weights_sha256, map, n);
    fc_file_unmap(map, n);
    r->weights_path = fc_arena_strdup(&r->arena, path, err);
    if (!r->weights_path)
        return FC_EFAIL;
    return fc_vit_load(&r->w0, &r->net.shape, path, c->data.image_size, c->backbone.heads,
                       &r->arena, err);
}

fc_status fc_backbone_random(fc_params *w, fc_vit_shape *s, const fc_config *c, fc_arena *arena,
                             fc_error *err)
{
    int D = c->backbone.width;
    *s = (fc_vit_shape){.image = c->data.image_size ? c->data.image_size : c->data.synth_size,
                        .patch = c->backbone.patch,
                        .width = D,
                        .depth = c->backbone.depth,
                        .heads = c->backbone.heads ? c->backbone.heads
                                 : D < 64          ? 1
                                                   : D / 64,
                        .hidden = (int)(D * c->backbone.mlp_ratio + 0.5)};
    fc_params layout;
    FC_TRY(fc_vit_check(s, "backbone", err));
    FC_TRY(fc_vit_layout(&layout, s, arena, err));
    FC_TRY(fc_params_alloc(w, &layout, arena, err));
    fc_vit_init(w, fc_seed(c, c->seed.init));
    return FC_OK;
}

static fc_status pretrained(fc_run *r, fc_error *err)
{
    fc_config pre;
    char hash[9], path[4096];
    FC_TRY(fc_config_load(&pre, r->cfg->backbone.pretrain, NULL, 0, err));
    pre.data.root = r->cfg->data.root;
    fc_status s = fc_cache_key(hash, &pre, err);
    if (s == FC_OK)
        s = fc_cache_path(path, sizeof path, "backbone-%s.safetensors", hash, err);
    /* rank 0 first: on one machine the others find its file */
    for (int turn = 0; turn < 2; turn++) {
        bool mine = (r->ranks.me > 0) == turn;
        if (s == FC_OK && mine && access(path, R_OK) != 0)
            s = fc_pretrain(&pre, path, r->progress.console, err);
        s = fc_ranks_agree(&r->ranks, s, err);
    }
    fc_config_free(&pre);
    return s == FC_OK ? load(r, path, err) : s;
}

fc_status fc_backbone_open(fc_run *r, fc_error *err)
{
    const fc_config *c = r->cfg;
    if (*c->backbone.weights) {
        const char *path = find_weights(r->cfg, c->backbone.weights, &r->arena, err);
        return path ? load(r, path, err) : err->code;
    }
    if (*c->backbone.pretrain)
        return pretrained(r, err);
    r->weights_path = "";
    FC_TRY(fc_backbone_random(&r->w0, &r->net.shape, c, &r->arena, err));
    fc_sha256(r->weights_sha256, r->w0.p, r->w0.n * sizeof *r->w0.p);
    return FC_OK;
}
