/* Pictures: sizes, which image stands where, dots that grow with counts, limits. */
#include "datasets/contact_sheet.h"
#include "tests/support/fake_data.h"

#include <string.h>

static const uint8_t *pixel(const fc_picture *p, int x, int y)
{
    assert_true(x >= 0 && y >= 0 && x < p->width && y < p->height);
    return p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
}

static bool is(const uint8_t *p, int r, int g, int b)
{
    return p[0] == r && p[1] == g && p[2] == b;
}

/* Plain images whose colour tells label and number: (10 label, number, 7), 4 high and, with red
 * columns that the central square cuts off, 8 wide. */
static void give_images(fc_dataset *d)
{
    int seen[64] = {0};
    d->train.image = fc_arena_alloc(&d->arena, d->train.n, sizeof *d->train.image, NULL);
    assert_non_null(d->train.image);
    for (size_t i = 0; i < d->train.n; i++) {
        int c = d->train.label[i];
        uint8_t *p = fc_arena_alloc(&d->arena, 3 * 8 * 4, 1, NULL);
        assert_non_null(p);
        for (int k = 0; k < 32; k++) {
            p[3 * k] = k % 8 == 0 || k % 8 == 7 ? 255 : (uint8_t)(10 * c);
            p[3 * k + 1] = (uint8_t)seen[c];
            p[3 * k + 2] = 7;
        }
        seen[c]++;
        d->train.image[i] = (fc_image){p, 8, 4, 24, 3, 1};
    }
}

static void test_images_in_their_places(void **state)
{
    (void)state;
    fc_dataset d = fake_data(12, 3, 1); /* odd classes have two images */
    give_images(&d);
    const int order[12] = {3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 5, 4};
    fc_picture p;
    fc_error err = {0};
    assert_int_equal(fc_contact_sheet(&p, &d, &d.train, order, 5, 3, 8, &d.arena, &err), FC_OK);
    /* two digits of 8 and margins of 4 at the left; cells of 8 with gaps of 2 */
    int left = 16 + 4;
    assert_int_equal(p.width, left + 30);
    assert_int_equal(p.height, 2 + 50);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 3; j++) {
            const uint8_t *q = pixel(&p, left + 10 * j + 4, 2 + 10 * i + 4);
            if (order[i] % 2 && j == 2)
                assert_true(is(q, 255, 255, 255));
            else
                for (int x = -3; x <= 2; x++)
                    assert_true(is(q + 3 * x, 10 * order[i], j, 7));
        }
    assert_int_equal(fc_contact_sheet(&p, &d, &d.train, order, 99, 1, 8, &d.arena, &err), FC_OK);
    assert_int_equal(p.height, 2 + 120); /* no more rows than classes */
    fc_arena_free(&d.arena);
}

static long darkness(const fc_picture *p, int x, int y, int side)
{
    long sum = 0;
    for (int j = y; j < y + side; j++)
        for (int i = x; i < x + side; i++)
            for (int c = 0; c < 3; c++)
                sum += 255 - pixel(p, i, j)[c];
    return sum;
}

static void test_partition_dots(void **state)
{
    (void)state;
    fc_dataset d = fake_data(4, 30, 0);
    fc_tasks t;
    fc_ints order = {.word = "natural"};
    assert_int_equal(fc_tasks_make(&t, &d, 2, NULL, &order, &d.arena, NULL), FC_OK);
    fc_partition_request q = {
        .name = "dir-class", .clients = 3, .beta = 0.5, .max_tries = 1, .seed = 3};
    fc_partition part;
    fc_picture p;
    fc_error err = {0};
    assert_int_equal(fc_partition_make(&part, &d, &t, &q, &d.arena, &err), FC_OK);
    assert_int_equal(fc_partition_picture(&p, &part, &d, &t, &d.arena, &err), FC_OK);
    const int cell = 24, left = 8 + 4;
    size_t count[3][4] = {0};
    for (int j = 0; j < 2; j++)
        for (int k = 0; k < 3; k++)
            for (size_t i = part.start[j][k]; i < part.start[j][k + 1]; i++)
                count[k][d.train.label[part.sample[j][i]]]++;
    for (int k = 0; k < 3; k++)
        for (int c = 0; c < 4; c++) {
            int x = left + c * cell + c / 2 + 1, y = 4 + k * cell;
            long dark = darkness(&p, x + 1, y + 1, cell - 2);
            if (count[k][c] == 0)
                assert_int_equal(dark, 0);
            for (int l = 0; l < 3; l++) /* more samples, larger dot, in the same column */
                if (count[k][c] > count[l][c] + 1)
                    assert_true(dark > darkness(&p, x + 1, 4 + l * cell + 1, cell - 2));
        }
    fc_arena_free(&d.arena);
}

static void test_large_partitions_stay_small(void **state)
{
    (void)state;
    fc_dataset d = fake_data(300, 10, 0);
    fc_tasks t;
    fc_ints order = {.word = "seed:1"};
    assert_int_equal(fc_tasks_make(&t, &d, 10, NULL, &order, &d.arena, NULL), FC_OK);
    fc_partition_request q = {
        .name = "iid", .clients = 250, .beta = 0.5, .max_tries = 1, .seed = 3};
    fc_partition part;
    fc_picture p;
    fc_error err = {0};
    assert_int_equal(fc_partition_make(&part, &d, &t, &q, &d.arena, &err), FC_OK);
    assert_int_equal(fc_partition_picture(&p, &part, &d, &t, &d.arena, &err), FC_OK);
    assert_true(p.width < 2000 && p.height < 1200 && p.height > 5 * FC_PARTITION_ROWS);
    fc_arena_free(&d.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images_in_their_places),
        cmocka_unit_test(test_partition_dots),
        cmocka_unit_test(test_large_partitions_stay_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
