// What a file declares of a value: dtype and symbolic shape. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/program.h"

namespace penlight {

constexpr int64_t kUnbound = -1;  // a symbol's size before the inputs are known

/// Fills `shape`, with -1 for dimensions that vary; true when none does. The verifier has refused more than 8 dimensions.
bool declared_shape(FlatTable value, Shape* shape);

/// The shape of a list of plain sizes.
Shape plain_shape(FlatVector<int64_t> sizes);

/// Fills `shape` when every dimension is a plain number; false otherwise.
bool declared_constant_shape(FlatTable value, Shape* shape);

/// The symbol of a dimension that is just `symbol`, -1 for any other.
int64_t declared_symbol(FlatTable dim);

enum class DimState { kKnown, kUnknown, kImpossible };

/// Evaluates a dimension at `sizes` (one per symbol). kUnknown: the file does not say, or a symbol is unbound.
/// kImpossible: the result is negative or does not fit.
DimState declared_size(FlatTable dim, const int64_t* sizes, int64_t* size);

/// "(batch, 1, 8, 8)"
void append_declared(MessageWriter& writer, const penlight_program& program, FlatTable value);

}  // namespace penlight
