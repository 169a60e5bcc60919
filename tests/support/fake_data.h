/* A data set of labels only, for tests of tasks and partitions. */
#ifndef FC_TEST_FAKE_DATA_H
#define FC_TEST_FAKE_DATA_H

#include "datasets/dataset.h"
#include "tests/support/close.h"

/* per_class training images of each class (one less for odd classes if uneven), in a mixed order,
 * and two test images per class. Free with fc_arena_free(&d.arena). */
static inline fc_dataset fake_data(int classes, int per_class, int uneven)
{
    fc_dataset d = {.name = "fake", .path = "", .classes = classes};
    size_t n = (size_t)classes * (size_t)per_class;
    d.train.label = fc_arena_alloc(&d.arena, n, sizeof *d.train.label, NULL);
    d.test.label = fc_arena_alloc(&d.arena, 2 * (size_t)classes, sizeof *d.test.label, NULL);
    assert_true(d.train.label && d.test.label);
    for (int j = 0; j < per_class; j++)
        for (int c = 0; c < classes; c++) {
            int label = (c + j) % classes;
            if (!(uneven && j == 0 && label % 2))
                d.train.label[d.train.n++] = label;
        }
    for (int i = 0; i < 2 * classes; i++)
        d.test.label[d.test.n++] = i % classes;
    return d;
}

#endif
