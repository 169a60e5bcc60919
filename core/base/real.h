/* The float type of tensors: float, or double in the gradient-check build (-DFC_REAL_DOUBLE). */
#ifndef FC_REAL_H
#define FC_REAL_H

#include <tgmath.h>

#ifdef FC_REAL_DOUBLE
typedef double fc_real;
#define FC_REAL_NAME "F64"
#define FC_REAL_EPS 2.220446049250313e-16
#else
typedef float fc_real;
#define FC_REAL_NAME "F32"
#define FC_REAL_EPS 1.1920928955078125e-07
#endif

#endif
