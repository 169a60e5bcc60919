/* Gradient of the mean entropy with respect to WEMoE's gates, through the whole network, against
 * central differences in double. */
#include "core/merge/rules/wemoe.h"
#include "core/vit/head.h"
#include "tests/support/expert_fixture.h"

enum { LO = 1, HI = 4 };

static double loss(fc_real *dlogits, fc_acts *acts, const fc_model *m, const xf *f,
                   const fc_grads *g)
{
    fc_vit_forward(acts, m, f->x, XF_IMAGES, NULL, g);
    return fc_entropy(dlogits, fc_acts_logits(acts), XF_IMAGES, XF_CLASSES, LO, HI, XF_IMAGES) /
           XF_IMAGES;
}

static void compare(fc_wemoe *wemoe, const fc_real *grad, fc_acts *acts, const fc_model *m,
                    const xf *f)
{
    const double h = 1e-5;
    size_t identical = 0;
    for (int i = 0; i < wemoe->gates.nspec; i++) {
        const fc_spec *s = &wemoe->gates.spec[i];
        double largest = 0;
        for (size_t j = s->offset; j < s->offset + (size_t)s->rows * (size_t)s->cols; j++) {
            fc_real kept = wemoe->gates.p[j];
            wemoe->gates.p[j] = kept + h;
            double up = loss(NULL, acts, m, f, NULL);
            wemoe->gates.p[j] = kept - h;
            double down = loss(NULL, acts, m, f, NULL);
            wemoe->gates.p[j] = kept;
            double quotient = (up - down) / (2 * h);
            /* rounding of the loss (1e-16 / h) and truncation (h^2) both leave about 1e-10 */
            fc_close_at(grad[j], quotient, 1e-6, 1e-9, s->name, j - s->offset, __FILE__, __LINE__);
            identical += grad[j] == quotient && quotient != 0;
            largest = fmax(largest, fabs(quotient));
        }
        assert_true(largest > 1e-5);
    }
    assert_true(identical <= wemoe->gates.n / 10);
}

static void check(int layers, int rank, bool batch_reduce)
{
    const fc_acts_size size = {.classes = XF_CLASSES,
                               .n_max = XF_IMAGES,
                               .backward = true,
                               .experts = XF_TASKS,
                               .gates = true,
                               .whole = batch_reduce};
    xf f;
    fc_wemoe wemoe;
    fc_acts *acts;
    xf_init(&f, XF_TASKS, rank, 0.2);
    const fc_wemoe_options o = {0.3, layers, batch_reduce};
    assert_int_equal(fc_wemoe_init(&wemoe, f.w.p, &xf_shape, &f.set, &o, 1, &f.arena, NULL), FC_OK);
    xf_fill(&f, wemoe.gates.p, wemoe.gates.n, 0.3, 5);
    assert_int_equal(fc_acts_new(&acts, &xf_shape, &size, &engine, NULL), FC_OK);
    fc_model m = xf_model(&f);
    m.wemoe = &wemoe;
    fc_real dlogits[XF_IMAGES * XF_CLASSES];
    fc_real *grad = xf_alloc(&f, wemoe.gates.n, sizeof *grad);
    const fc_grads g = {.gates = grad};
    loss(dlogits, acts, &m, &f, &g);
    fc_vit_backward(acts, &m, dlogits, &g);
    compare(&wemoe, grad, acts, &m, &f);
    fc_acts_free(acts);
    xf_free(&f);
}

static void test_gates(void **state)
{
    (void)state;
    for (int layers = 0; layers <= 2; layers++) {
        check(layers, 0, false);
        check(layers, 2, false);
        check(layers, 2, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gates)};
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
