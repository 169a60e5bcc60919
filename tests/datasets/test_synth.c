/* The procedural world: same bytes for same keys, other classes for other numbers, variation within
 * a class, and a difficulty between trivial and hopeless. */
#include "core/base/threads.h"
#include "datasets/dataset.h"
#include "tests/support/close.h"

#include <string.h>

extern const fc_data_source fc_data_synth;

enum { SIZE = 32, BYTES = 3 * SIZE * SIZE };

static fc_data_request request(int classes, int train, int test)
{
    return (fc_data_request){.name = "synth",
                             .path = "",
                             .root = "",
                             .seed = 7,
                             .classes = classes,
                             .per_class_train = train,
                             .per_class_test = test,
                             .size = SIZE,
                             .difficulty = 0.5};
}

static fc_dataset load(const fc_data_request *q)
{
    fc_dataset d = {0};
    fc_error err = {0};
    if (fc_data_synth.load(&d, q, &err) != FC_OK)
        fail_msg("%s", err.msg);
    return d;
}

static const uint8_t *pixels(const fc_split *s, size_t i)
{
    return s->image[i].p;
}

static void test_layout(void **state)
{
    (void)state;
    fc_data_request q = request(5, 4, 3);
    fc_dataset d = load(&q);
    assert_int_equal(d.classes, 5);
    assert_int_equal(d.train.n, 20);
    assert_int_equal(d.test.n, 15);
    int count[5] = {0};
    for (size_t i = 0; i < d.train.n; i++) {
        count[d.train.label[i]]++;
        const fc_image *m = &d.train.image[i];
        assert_true(m->width == SIZE && m->height == SIZE && m->row == 3 * SIZE && m->col == 3 &&
                    m->chan == 1);
    }
    for (int c = 0; c < 5; c++)
        assert_int_equal(count[c], 4);
    assert_string_equal(d.class_name[3], "synth-3");
    fc_arena_free(&d.arena);
}

/* An image depends on its key alone: not on threads, on how many others there are, or on where the
 * classes start. */
static void test_images_depend_on_their_key(void **state)
{
    (void)state;
    fc_data_request q = request(6, 3, 1);
    fc_dataset d = load(&q);
    fc_threads_init(1, NULL);
    fc_dataset one = load(&q);
    fc_threads_init(3, NULL);
    fc_dataset three = load(&q);
    assert_memory_equal(pixels(&d.train, 0), pixels(&one.train, 0), d.train.n * BYTES);
    assert_memory_equal(pixels(&d.train, 0), pixels(&three.train, 0), d.train.n * BYTES);
    q.first_class = 2;
    q.classes = 2;
    q.per_class_train = 2;
    fc_dataset part = load(&q);
    for (size_t j = 0; j < 2; j++)
        for (size_t c = 0; c < 2; c++)
            assert_memory_equal(pixels(&part.train, 2 * j + c), pixels(&d.train, 6 * j + c + 2),
                                BYTES);
    assert_memory_not_equal(pixels(&d.train, 0), pixels(&d.test, 0), BYTES);
    q.seed++;
    fc_dataset other = load(&q);
    assert_memory_not_equal(pixels(&part.train, 0), pixels(&other.train, 0), BYTES);
    fc_dataset *all[] = {&d, &one, &three, &part, &other};
    for (int i = 0; i < 5; i++)
        fc_arena_free(&all[i]->arena);
}

static double distance(const double *a, const uint8_t *b)
{
    double sum = 0;
    for (int i = 0; i < BYTES; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

/* Accuracy of the nearest class mean on raw pixels. */
static double nearest_mean(const fc_dataset *d)
{
    static double mean[20][BYTES];
    memset(mean, 0, sizeof mean);
    for (size_t i = 0; i < d->train.n; i++)
        for (int k = 0; k < BYTES; k++)
            mean[d->train.label[i]][k] +=
                pixels(&d->train, i)[k] / ((double)d->train.n / d->classes);
    int right = 0;
    for (size_t i = 0; i < d->test.n; i++) {
        int best = 0;
        double least = INFINITY;
        for (int c = 0; c < d->classes; c++) {
            double far = distance(mean[c], pixels(&d->test, i));
            if (far < least) {
                least = far;
                best = c;
            }
        }
        right += best == d->test.label[i];
    }
    return (double)right / (double)d->test.n;
}

static void test_difficulty(void **state)
{
    (void)state;
    double last = 1;
    for (int i = 0; i < 3; i++) {
        fc_data_request q = request(20, 40, 15);
        q.difficulty = 0.15 + 0.35 * i;
        fc_dataset d = load(&q);
        double acc = nearest_mean(&d);
        assert_true(acc < last - 0.05);
        last = acc;
        fc_arena_free(&d.arena);
        if (i == 1) /* the default: far from chance (0.05), far from solved */
            assert_true(acc > 0.15 && acc < 0.5);
    }
}

/* Pixels use the whole range, and images of one class differ nearly as much as those of two. */
static void test_variation(void **state)
{
    (void)state;
    fc_data_request q = request(10, 20, 1);
    fc_dataset d = load(&q);
    double same = 0, other = 0, sum = 0;
    int low = 0, high = 0;
    for (size_t i = 0; i + 11 < d.train.n; i++) {
        for (size_t k = 0; k < BYTES; k++) {
            double v = pixels(&d.train, i)[k];
            double s = v - pixels(&d.train, i + 10)[k], o = v - pixels(&d.train, i + 11)[k];
            if (i + 10 < d.train.n) {
                same += s * s;
                other += o * o;
            }
            sum += v;
            low += v < 32;
            high += v > 200;
        }
    }
    double n = (double)(d.train.n - 11) * BYTES;
    assert_true(same > 0.6 * other && same < other);
    assert_true(sum / n > 60 && sum / n < 140);
    assert_true(low > 0.02 * n && high > 0.02 * n);
    fc_arena_free(&d.arena);
}

static void test_sizes_and_extremes(void **state)
{
    (void)state;
    const int sizes[] = {4, 17, 64};
    for (int i = 0; i < 3; i++)
        for (double difficulty = 0; difficulty <= 1; difficulty += 0.5) {
            fc_data_request q = request(3, 2, 1);
            q.size = sizes[i];
            q.difficulty = difficulty;
            q.first_class = 1000000000;
            fc_dataset d = load(&q);
            assert_int_equal(d.train.image[0].width, sizes[i]);
            fc_arena_free(&d.arena);
        }
}

static void test_refusals(void **state)
{
    (void)state;
    const fc_data_request good = request(2, 2, 2);
    fc_data_request bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].classes = 0;
    bad[1].per_class_train = 0;
    bad[2].per_class_test = -1;
    bad[3].size = 3;
    bad[4].first_class = -1;
    bad[5].difficulty = NAN;
    bad[6].difficulty = 1.01;
    bad[7].size = 1 << 20;
    const char *const says[] = {"classes 0",
                                "training images per class 0",
                                "test images per class -1",
                                "size 3, expected 4",
                                "first class -1",
                                "difficulty nan, expected 0 to 1",
                                "difficulty 1.01",
                                "size 1048576"};
    for (int i = 0; i < 8; i++) {
        fc_dataset d = {0};
        fc_error err = {0};
        assert_int_equal(fc_data_synth.load(&d, &bad[i], &err), FC_EUSAGE);
        if (!strstr(err.msg, says[i]))
            fail_msg("'%s' lacks '%s'", err.msg, says[i]);
        fc_arena_free(&d.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_images_depend_on_their_key),
        cmocka_unit_test(test_difficulty),
        cmocka_unit_test(test_variation),
        cmocka_unit_test(test_sizes_and_extremes),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
