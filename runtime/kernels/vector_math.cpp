// Elementwise float kernels: one table of functions per instruction set. SPDX-License-Identifier: Apache-2.0
#include "vector_math.h"

#include "isa.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/elementwise.h"
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/elementwise.h"
#include "simd/avx2_end.h"
#include "simd/avx512.h"
#include "simd/avx512_begin.h"
#include "simd/elementwise.h"
#include "simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr size_t kUnaryGrain = 8192;  // elements per thread; below this a second thread costs more than it saves

#if PENLIGHT_X86
#define PENLIGHT_TABLES(table) \
  { &baseline::table, &avx2::table, &avx512::table }
#else
#define PENLIGHT_TABLES(table) \
  { &baseline::table }
#endif

constexpr const UnaryTable* kUnaryTables[] = PENLIGHT_TABLES(kUnaryTable);
constexpr const BinaryTable* kBinaryTables[] = PENLIGHT_TABLES(kBinaryTable);
constexpr const MoveTable* kMoveTables[] = PENLIGHT_TABLES(kMoveTable);

#undef PENLIGHT_TABLES

}  // namespace

void unary_f32(Unary function, const UnaryParameters& parameters, const float* x, float* y, size_t count,
               const Parallel& parallel) {
  const UnaryArray array = table_for_isa(kUnaryTables)->of[static_cast<int>(function)];
  parallel_ranges(parallel, count, kUnaryGrain,
                  [&](size_t begin, size_t end) { array(x + begin, y + begin, end - begin, parameters.alpha, parameters.beta); });
}

void binary_f32(Binary function, const float* x, Step x_step, const float* y, Step y_step, float* z, size_t count) {
  const int form = x_step == Step::kSame ? 2 : y_step == Step::kSame ? 1 : 0;
  if (count > 0) table_for_isa(kBinaryTables)->of[static_cast<int>(function)][form](x, y, z, count);
}

void every_second_f32(const float* x, float* y, size_t count) { table_for_isa(kMoveTables)->every_second(x, y, count); }

}  // namespace penlight
