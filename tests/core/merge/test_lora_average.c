/* FedIT, FLoRA, FlexLoRA: golden vectors, the hand example, exactness, the truncation error, edges.
 */
#include "core/linalg/linalg.h"
#include "core/merge/lora_average.h"
#include "core/merge/spectral.h"
#include "tests/support/updates.h"

static void golden_lora_averaging(void **state)
{
    (void)state;
    gold g = gold_open("lora_averaging");
    weight w;
    double p[UPDATES], sum = 0, got[SIZE], error, rest = 0;
    golden_pairs(&w, &g);
    const gold_tensor *n = gold_get(&g, "in.n"), *S = gold_get(&g, "out.flexlora_s");
    for (int i = 0; i < w.set.n; i++)
        sum += n->v[i];
    for (int i = 0; i < w.set.n; i++)
        p[i] = n->v[i] / sum;
    fc_tv out;
    fc_arena arena = {0};
    assert_int_equal(fc_lora_fedit(&out, &w.set, p, &arena, NULL), FC_OK);
    fc_tv_dense(got, &out, &w.shape);
    near_golden(got, &g, "fedit_delta");
    assert_int_equal(fc_lora_flora(&out, &w.set, p, &arena, NULL), FC_OK);
    near_golden(out.A, &g, "flora_A");
    near_golden(out.B, &g, "flora_B");
    fc_tv_dense(got, &out, &w.shape);
    near_golden(got, &g, "exact_delta");
    fc_flex_options flex = {.rank = gold_int(&g, "param.r")};
    for (size_t j = (size_t)flex.rank; j < S->n; j++)
        rest += S->v[j] * S->v[j];
    for (int balanced = 0; balanced < 2; balanced++) {
        flex.balanced = balanced;
        assert_int_equal(fc_lora_flex(&out, &error, &w.set, p, &flex, &arena, NULL), FC_OK);
        fc_tv_dense(got, &out, &w.shape);
        near_golden(got, &g, "flexlora_delta");
        assert_close(error, sqrt(rest), 1e-8, 1e-12);
    }
    fc_arena_free(&arena);
    gold_close(&g);
}

static void hand_example(void **state)
{
    (void)state;
    fc_arena arena = {0};
    const double one = 1, three = 3;
    fc_tv scalar[2] = {{1, NULL, &one, &one}, {1, NULL, &three, &three}}, avg;
    const fc_tv_shape shape = {"scalar", 1, 1, true};
    const fc_tv_set set = {.n = 2, .tensors = 1, .shape = &shape, .tv = scalar};
    assert_int_equal(fc_lora_fedit(&avg, &set, (double[]){.5, .5}, &arena, NULL), FC_OK);
    assert_close(avg.B[0] * avg.A[0], 4, 1e-15, 0);
    fc_arena_free(&arena);
}

static void flexlora_is_exact_at_full_rank(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++)
        for (int balanced = 0; balanced < 2; balanced++) {
            weight w;
            double p[UPDATES], want[SIZE], got[SIZE], error;
            fc_tv out;
            random_weight(&w, shapes[s].n, shapes[s].rows, shapes[s].cols, shapes[s].r, 1);
            for (int i = 0; i < w.set.n; i++)
                p[i] = (i + 1.0) / 7;
            const fc_flex_options flex = {shapes[s].n * shapes[s].r, balanced};
            fc_tv_weighted_sum(want, &w.set, 0, p);
            assert_int_equal(fc_lora_flex(&out, &error, &w.set, p, &flex, &w.arena, NULL), FC_OK);
            fc_tv_dense(got, &out, &w.shape);
            assert_near(got, want, fc_tv_size(&w.shape), 1e-12);
            assert_close(error, 0, 0, 1e-12);
            fc_arena_free(&w.arena);
        }
}

/* The error that is told is the distance of the two. */
static void flexlora_tells_its_error(void **state)
{
    (void)state;
    weight w;
    double want[SIZE], got[SIZE], error;
    const double p[] = {.2, .3, .5};
    fc_tv out;
    random_weight(&w, 3, 11, 13, 3, 1);
    w.tv[1].rank = 2; /* ranks may differ */
    fc_tv_weighted_sum(want, &w.set, 0, p);
    assert_int_equal(
        fc_lora_flex(&out, &error, &w.set, p, &(fc_flex_options){4, true}, &w.arena, NULL), FC_OK);
    fc_tv_dense(got, &out, &w.shape);
    for (int i = 0; i < 11 * 13; i++)
        got[i] -= want[i];
    assert_close(error, sqrt(fc_sum_squares(got, 11 * 13)), 1e-12, 0);
    assert_true(error > 0.01);
    fc_arena_free(&w.arena);
}

static void other_tensors_are_averaged(void **state)
{
    (void)state;
    const fc_tv_shape shape = {"norm", 1, 3, false};
    const double a[] = {1, 2, 3}, b[] = {3, 2, 1}, p[] = {.75, .25};
    const fc_tv tv[] = {{.dense = a}, {.dense = b}};
    const fc_tv_set set = {.n = 2, .tensors = 1, .shape = &shape, .tv = tv};
    double error = 1;
    fc_tv out[3];
    fc_arena arena = {0};
    const fc_flex_options flex = {2, false};
    assert_int_equal(fc_lora_fedit(&out[0], &set, p, &arena, NULL), FC_OK);
    assert_int_equal(fc_lora_flora(&out[1], &set, p, &arena, NULL), FC_OK);
    assert_int_equal(fc_lora_flex(&out[2], &error, &set, p, &flex, &arena, NULL), FC_OK);
    for (int i = 0; i < 3; i++)
        assert_all_close(out[i].dense, ((double[]){1.5, 2, 2.5}), 3, 1e-15, 0);
    assert_close(error, 0, 0, 0);
    fc_arena_free(&arena);
}

static void refusals(void **state)
{
    (void)state;
    weight w;
    random_weight(&w, 3, 8, 9, 2, 1);
    const double p[] = {1, 1, 1};
    double error, bad[16] = {0};
    fc_tv out;
    const fc_flex_options flex = {2, false};
    for (int i = 0; i < 6; i++) {
        bad[3] = (double)NAN;
        w.tv[2] = i < 3 ? (fc_tv){2, NULL, bad, w.tv[0].A} : (fc_tv){.dense = numbers(&w, 72)};
        fc_error err = {0};
        fc_status status = i % 3 == 0 ? fc_lora_fedit(&out, &w.set, p, &w.arena, &err)
                           : i % 3 == 1
                               ? fc_lora_flora(&out, &w.set, p, &w.arena, &err)
                               : fc_lora_flex(&out, &error, &w.set, p, &flex, &w.arena, &err);
        assert_int_equal(status, i < 3 ? FC_EFAIL : i < 5 ? FC_EUSAGE : FC_OK);
        assert_true(i == 5 || strstr(err.msg, "update 2, tensor blocks.0.fc1"));
    }
    w.set.n = 2;
    w.tv[1].rank = 1;
    fc_error err = {0};
    assert_int_equal(fc_lora_fedit(&out, &w.set, p, &w.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "found rank 1, expected 2"));
    fc_arena_free(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_lora_averaging),
        cmocka_unit_test(hand_example),
        cmocka_unit_test(flexlora_is_exact_at_full_rank),
        cmocka_unit_test(flexlora_tells_its_error),
        cmocka_unit_test(other_tensors_are_averaged),
        cmocka_unit_test(refusals),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
