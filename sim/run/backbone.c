#include "sim/run/backbone.h"

#include "core/base/file.h"
#include "core/base/rng.h"
#include "sim/config/cache.h"
#include "sim/config/make.h"
#include "sim/run/pretrain.h"

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

static fc_status load_weights(fc_setup *s, const char *path, fc_error *err)
{
    const fc_config *c = s->cfg;
    void *map;
    size_t n;
    FC_TRY(fc_file_map(&map, &n, path, FC_EDATA, err));
    fc_sha256(s->weights_sha256, map, n);
    fc_file_unmap(map, n);
    s->weights_path = fc_arena_strdup(&s->arena, path, err);
    if (!s->weights_path)
        return FC_EFAIL;
    return fc_vit_load(&s->w0, &s->net.shape, path, c->data.image_size, c->backbone.heads,
                       &s->arena, err);
}

static fc_status pretrained(fc_setup *s, fc_ranks *ranks, fc_progress *progress, fc_error *err)
{
    fc_config pre;
    char hash[9], path[4096];
    FC_TRY(fc_config_load(&pre, s->cfg->backbone.pretrain, NULL, 0, err));
    pre.data.root = s->cfg->data.root;
    fc_status status = fc_cache_key(hash, &pre, err);
    if (status == FC_OK)
        status = fc_cache_path(path, sizeof path, "backbone-%s.safetensors", hash, err);
    /* rank 0 first: on one machine the others find its file */
    for (int turn = 0; turn < 2; turn++) {
        bool mine = (ranks->me > 0) == turn;
        if (status == FC_OK && mine && access(path, R_OK) != 0)
            status = fc_pretrain(&pre, path, progress->console, err);
        status = fc_ranks_agree(ranks, status, err);
    }
    fc_config_free(&pre);
    return status == FC_OK ? load_weights(s, path, err) : status;
}

fc_status fc_backbone_open(fc_setup *s, fc_ranks *ranks, fc_progress *progress, fc_error *err)
{
    const fc_config *c = s->cfg;
    if (*c->backbone.weights) {
        const char *path = find_weights(s->cfg, c->backbone.weights, &s->arena, err);
        return path ? load_weights(s, path, err) : err->code;
    }
    if (*c->backbone.pretrain)
        return pretrained(s, ranks, progress, err);
    s->weights_path = "";
    FC_TRY(fc_backbone_random(&s->w0, &s->net.shape, c, &s->arena, err));
    fc_sha256(s->weights_sha256, s->w0.p, s->w0.n * sizeof *s->w0.p);
    return FC_OK;
}
