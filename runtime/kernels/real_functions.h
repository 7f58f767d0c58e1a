// Exponential functions of a double that give the same bits everywhere: additions, multiplications, divisions and square roots
// alone, no C library, whose results differ from one to the next. SPDX-License-Identifier: Apache-2.0
#pragma once

namespace penlight {

// Errors are below 2 ULP for exp, expm1, log, log1p and pow and below 4 ULP for the others, so that a result rounded to float is
// the nearest one but for near ties. Special cases are those of C.
double real_exp(double x);
double real_expm1(double x);
double real_log(double x);
double real_log1p(double x);
double real_pow(double x, double y);
double real_sinh(double x);
double real_cosh(double x);
double real_tanh(double x);
double real_asinh(double x);
double real_acosh(double x);
double real_atanh(double x);
double real_erf(double x);

}  // namespace penlight
