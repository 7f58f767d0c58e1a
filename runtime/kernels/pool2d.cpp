// Pooling of float planes: rows are combined as vectors first, then the columns of a window. SPDX-License-Identifier: Apache-2.0
#include "pool2d.h"

#include "isa.h"
#include "vector_math.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/pool.h"
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/pool.h"
#include "simd/avx2_end.h"
#include "simd/avx512.h"
#include "simd/avx512_begin.h"
#include "simd/pool.h"
#include "simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const PoolTable* kPoolTables[] = {
    &baseline::kPoolTable,
#if PENLIGHT_X86
    &avx2::kPoolTable,
    &avx512::kPoolTable,
#endif
};

struct PoolSpan {
  int64_t begin, end;  // taps within the image
};

PoolSpan pool_span(int64_t start, int64_t dilation, int64_t kernel, int64_t size) {
  PoolSpan span;
  span.begin = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  span.end = start >= size ? 0 : (size - start + dilation - 1) / dilation;
  if (span.end > kernel) span.end = kernel;
  if (span.begin > span.end) span.begin = span.end;
  return span;
}

/// Taps within the padded image, by which a mean that counts padding divides.
int64_t pool_padded_taps(int64_t start, int64_t dilation, int64_t kernel, int64_t size, int64_t pad_end) {
  const PoolSpan span = pool_span(start, dilation, kernel, size + pad_end);
  return span.end;  // `start` is never before the padding
}

struct PoolMax {
  static constexpr Binary kFunction = Binary::kMax;
  static float apply(float a, float b) { return a > b || a != a ? a : b; }
};
struct PoolSum {
  static constexpr Binary kFunction = Binary::kAdd;
  static float apply(float a, float b) { return a + b; }
};

/// The window's rows as one row of `width`.
template <typename Reduce>
const float* pool_rows(const Pool2d& p, const float* plane, int64_t oh, PoolSpan rows, float* row) {
  const int64_t start = oh * p.stride_h - p.pad_top;
  const float* first = plane + (start + rows.begin * p.dilation_h) * p.width;
  if (rows.end - rows.begin == 1) return first;
  const float* left = first;
  for (int64_t i = rows.begin + 1; i < rows.end; ++i) {
    binary_f32(Reduce::kFunction, left, Step::kEach, plane + (start + i * p.dilation_h) * p.width, Step::kEach, row,
               static_cast<size_t>(p.width));
    left = row;
  }
  return row;
}

template <typename Reduce>
float pool_columns(const Pool2d& p, const float* row, int64_t start, PoolSpan columns) {
  float value = row[start + columns.begin * p.dilation_w];
  for (int64_t j = columns.begin + 1; j < columns.end; ++j) value = Reduce::apply(value, row[start + j * p.dilation_w]);
  return value;
}

/// The first output whose window starts within the image.
int64_t pool_first_inside(const Pool2d& p) { return (p.pad_left + p.stride_w - 1) / p.stride_w; }

/// Outputs from `first` on whose windows lie within the row, as vectors; returns the first that is left.
int64_t pool_inside(const Pool2d& p, PoolRow pool_row, const float* row, int64_t first, float scale, float* y) {
  const int64_t start = first * p.stride_w - p.pad_left;
  if (p.stride_w > 2 || first >= p.out_w || start >= p.width) return first;
  return first + pool_row(row + start, p.width - start, p.kernel_w, p.stride_w, p.dilation_w, scale, y + first, p.out_w - first);
}

void max_pool_row(const Pool2d& p, const float* plane, int64_t oh, float* scratch, float* y) {
  const PoolSpan rows = pool_span(oh * p.stride_h - p.pad_top, p.dilation_h, p.kernel_h, p.height);
  const float* row = rows.end > rows.begin ? pool_rows<PoolMax>(p, plane, oh, rows, scratch) : nullptr;
  const int64_t first = pool_first_inside(p);
  for (int64_t ow = 0; ow < p.out_w; ++ow) {
    if (ow == first && row != nullptr) ow = pool_inside(p, table_for_isa(kPoolTables)->maximum, row, first, 1.0f, y);
    if (ow >= p.out_w) break;
    const int64_t start = ow * p.stride_w - p.pad_left;
    const PoolSpan columns = pool_span(start, p.dilation_w, p.kernel_w, p.width);
    y[ow] = row != nullptr && columns.end > columns.begin ? pool_columns<PoolMax>(p, row, start, columns) : -__builtin_inff();
  }
}

void average_pool_row(const Pool2d& p, const float* plane, int64_t oh, float* scratch, float* y) {
  const int64_t top = oh * p.stride_h - p.pad_top;
  const PoolSpan rows = pool_span(top, p.dilation_h, p.kernel_h, p.height);
  const float* row = rows.end > rows.begin ? pool_rows<PoolSum>(p, plane, oh, rows, scratch) : nullptr;
  const int64_t padded_rows = pool_padded_taps(top, p.dilation_h, p.kernel_h, p.height, p.pad_bottom);
  const int64_t counted_rows = p.count_include_pad ? padded_rows : rows.end - rows.begin, first = pool_first_inside(p);
  const float scale = 1.0f / static_cast<float>(counted_rows * p.kernel_w);
  for (int64_t ow = 0; ow < p.out_w; ++ow) {
    if (ow == first && row != nullptr) ow = pool_inside(p, table_for_isa(kPoolTables)->mean, row, first, scale, y);
    if (ow >= p.out_w) break;
    const int64_t start = ow * p.stride_w - p.pad_left;
    const PoolSpan columns = pool_span(start, p.dilation_w, p.kernel_w, p.width);
    const int64_t padded = pool_padded_taps(start, p.dilation_w, p.kernel_w, p.width, p.pad_right);
    const int64_t taps = counted_rows * (p.count_include_pad ? padded : columns.end - columns.begin);
    const float sum = row != nullptr && columns.end > columns.begin ? pool_columns<PoolSum>(p, row, start, columns) : 0.0f;
    y[ow] = sum / static_cast<float>(taps);
  }
}

template <typename Row>
void pool_planes(const Pool2d& p, const float* x, float* y, float* scratch, const Parallel& parallel, Row&& pool_row) {
  parallel_for(parallel, parallel.threads, [&](size_t slot) {
    float* row = scratch + static_cast<int64_t>(slot) * p.width;
    for (int64_t plane = static_cast<int64_t>(slot); plane < p.planes; plane += static_cast<int64_t>(parallel.threads))
      for (int64_t oh = 0; oh < p.out_h; ++oh)
        pool_row(p, x + plane * p.height * p.width, oh, row, y + (plane * p.out_h + oh) * p.out_w);
  });
}

}  // namespace

bool pool2d_scratch_floats(const Pool2d& pool, size_t threads, int64_t* floats) {
  return !__builtin_mul_overflow(pool.width, static_cast<int64_t>(threads > 0 ? threads : 1), floats);
}

void max_pool2d_f32(const Pool2d& pool, const float* x, float* y, float* scratch, const Parallel& parallel) {
  pool_planes(pool, x, y, scratch, parallel, max_pool_row);
}

void average_pool2d_f32(const Pool2d& pool, const float* x, float* y, float* scratch, const Parallel& parallel) {
  pool_planes(pool, x, y, scratch, parallel, average_pool_row);
}

}  // namespace penlight
