/* Order statistics. */
#ifndef FC_SELECT_H
#define FC_SELECT_H

#include <stddef.h>

/* The number of rank k (0: the smallest) of x (n), k < n, no NaN. Reorders x: then x[k] is it, none
 * before is larger and none after is smaller. Expected time O(n) for any order of x and for equal
 * numbers; the value does not depend on the order. Serial. */
double fc_select(double *x, size_t n, size_t k);

/* For qsort of doubles, no NaN. */
int fc_ascending(const void *a, const void *b);

#endif
