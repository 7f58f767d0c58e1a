// Circular functions of a double and their inverses, with the same bits everywhere, as in real_functions.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace penlight {

// Errors are below 1 ULP for sin and cos up to 2^20 and for atan, 3 ULP for sin and cos of larger angles, 4 ULP for the others.
double real_sin(double x);
double real_cos(double x);
double real_tan(double x);
double real_asin(double x);
double real_acos(double x);
double real_atan(double x);

}  // namespace penlight
