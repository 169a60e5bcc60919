/* Optimisers against torch 1.13 on a fixed sequence of gradients; schedules by hand. */
#include "core/vit/optim.h"
#include "tests/support/close.h"

#include <string.h>

/* Two tensors: a weight (2, 2) of group B and a bias (2) of the head, with their own rates. */
static const fc_real start[6] = {0.5f, -1.25f, 2, 0.03125f, -0.75f, 1.5f};
static const fc_optim_config base = {.lr = {[FC_GROUP_B] = 0.01, [FC_GROUP_HEAD] = 0.002},
                                     .groups = 1u << FC_GROUP_B | 1u << FC_GROUP_HEAD,
                                     .weight_decay = 0.1,
                                     .beta1 = 0.9,
                                     .beta2 = 0.999,
                                     .eps = 1e-8,
                                     .momentum = 0.9};

typedef struct rig {
    fc_arena arena;
    fc_spec spec[2];
    fc_params p;
    fc_optim o;
} rig;

static void rig_init(rig *r, const fc_optim_config *cfg)
{
    memset(r, 0, sizeof *r);
    fc_params layout = {0};
    fc_params_add(&layout, r->spec, "w", FC_GROUP_B, 2, (int[]){2, 2});
    fc_params_add(&layout, r->spec, "b", FC_GROUP_HEAD, 1, (int[]){2});
    fc_error err = {0};
    assert_int_equal(fc_params_alloc(&r->p, &layout, &r->arena, &err), FC_OK);
    memcpy(r->p.p, start, sizeof start);
    assert_int_equal(fc_optim_init(&r->o, cfg, &r->p, &r->arena, &err), FC_OK);
}

/* The gradients that torch got: g[i] = sin(1.25 s + i) (i + 1) / 4 in step s. */
static void run(rig *r, int steps, double lr_scale, int no_decay_1d)
{
    for (int s = 0; s < steps; s++) {
        fc_real g[6];
        for (int i = 0; i < 6; i++)
            g[i] = (fc_real)(sin(1.25 * s + i) * (i + 1) / 4);
        fc_optim_step(&r->o, &r->p, g, lr_scale, no_decay_1d);
    }
}

static void check(fc_optim_kind kind, double clip, const double want[6])
{
    fc_optim_config cfg = base;
    cfg.kind = kind;
    cfg.clip_norm = clip;
    rig r;
    rig_init(&r, &cfg);
    run(&r, 5, 1, 0);
    assert_all_close(r.p.p, want, 6, 3e-7, 0);

    /* After a reset it starts afresh. */
    fc_optim_reset(&r.o, &cfg, &r.p);
    memcpy(r.p.p, start, sizeof start);
    run(&r, 5, 1, 0);
    assert_all_close(r.p.p, want, 6, 3e-7, 0);
    fc_arena_free(&r.arena);
}

static void test_torch(void **state)
{
    (void)state;
    check(FC_ADAMW, 0,
          (double[]){0.479457885, -1.26770365, 1.97946978, 0.0380724072, -0.744167984, 1.50109398});
    check(FC_ADAM, 0,
          (double[]){0.465279758, -1.26430535, 1.97692537, 0.0380906537, -0.744502008, 1.50164664});
    check(FC_SGD, 0,
          (double[]){0.486367792, -1.24847782, 1.97089887, 0.0564367548, -0.740118265, 1.49861932});
}

/* With torch.nn.utils.clip_grad_norm_(both tensors, 0.3). */
static void test_torch_clipped(void **state)
{
    (void)state;
    check(FC_ADAMW, 0.3,
          (double[]){0.479447991, -1.26825106, 1.98032677, 0.038504485, -0.744099975, 1.50103605});
    check(FC_SGD, 0.3,
          (double[]){0.492049307, -1.23631263, 1.97357321, 0.0359592065, -0.746572852, 1.49640739});
}

static void test_small_gradients_are_not_clipped(void **state)
{
    (void)state;
    fc_optim_config cfg = base;
    rig free_run, clipped;
    rig_init(&free_run, &cfg);
    cfg.clip_norm = 100;
    rig_init(&clipped, &cfg);
    run(&free_run, 3, 1, 0);
    run(&clipped, 3, 1, 0);
    assert_memory_equal(free_run.p.p, clipped.p.p, sizeof start);
    fc_arena_free(&free_run.arena);
    fc_arena_free(&clipped.arena);
}

static void test_frozen_group_is_untouched(void **state)
{
    (void)state;
    for (int kind = FC_ADAMW; kind <= FC_SGD; kind++) {
        fc_optim_config cfg = base;
        cfg.kind = (fc_optim_kind)kind;
        cfg.groups = 1u << FC_GROUP_HEAD;
        rig r;
        rig_init(&r, &cfg);
        run(&r, 2, 1, 0);
        assert_memory_equal(r.p.p, start, 4 * sizeof *start);
        assert_true(r.p.p[4] != start[4]);
        fc_arena_free(&r.arena);
    }
}

/* lr_scale 0 stops everything; without decay a bias with gradient 0 stays. */
static void test_scale_and_decay(void **state)
{
    (void)state;
    fc_optim_config cfg = base;
    rig r;
    rig_init(&r, &cfg);
    run(&r, 2, 0, 0);
    assert_memory_equal(r.p.p, start, sizeof start);

    fc_real zero[6] = {0};
    fc_optim_reset(&r.o, &cfg, &r.p);
    fc_optim_step(&r.o, &r.p, zero, 0.5, 1);
    for (int i = 0; i < 4; i++)
        assert_close(r.p.p[i], (double)start[i] * (1 - 0.5 * 0.01 * 0.1), 1e-7, 0);
    assert_memory_equal(r.p.p + 4, start + 4, 2 * sizeof *start);
    fc_arena_free(&r.arena);
}

static void test_schedule(void **state)
{
    (void)state;
    assert_close(fc_schedule_at(FC_CONSTANT, 0, 10, 0), 1, 0, 0);
    assert_close(fc_schedule_at(FC_CONSTANT, 0, 10, 4), 0.25, 0, 0);
    assert_close(fc_schedule_at(FC_CONSTANT, 3, 10, 4), 1, 0, 0);
    assert_close(fc_schedule_at(FC_CONSTANT, 9, 10, 4), 1, 0, 0);
    assert_close(fc_schedule_at(FC_COSINE, 0, 10, 0), 1, 0, 0);
    assert_close(fc_schedule_at(FC_COSINE, 5, 10, 0), 0.5, 1e-15, 0);
    assert_close(fc_schedule_at(FC_COSINE, 2, 10, 4), 0.75, 0, 0);
    assert_close(fc_schedule_at(FC_COSINE, 4, 10, 4), 1, 0, 0);
    assert_close(fc_schedule_at(FC_COSINE, 7, 10, 4), 0.5, 1e-15, 0);
    assert_close(fc_schedule_at(FC_COSINE, 9, 10, 4), 0.5 * (1 - sqrt(3.0) / 2), 1e-14, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch),
        cmocka_unit_test(test_torch_clipped),
        cmocka_unit_test(test_small_gradients_are_not_clipped),
        cmocka_unit_test(test_frozen_group_is_untouched),
        cmocka_unit_test(test_scale_and_decay),
        cmocka_unit_test(test_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
