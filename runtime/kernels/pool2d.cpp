// Pooling of float planes: rows are combined as vectors first, then the columns of a window. SPDX-License-Identifier: Apache-2.0
#include "pool2d.h"

#include <string.h>

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
    y[ow] = sum * (1.0f / static_cast<float>(taps));  // as the vectors do
  }
}

/// All windows lie within the image and none crosses from one row into the next when rows are laid end to end.
bool pool_is_flat(const Pool2d& p) {
  return (p.pad_top | p.pad_left) == 0 && p.stride_w <= 2 && p.width == p.out_w * p.stride_w &&
         (p.kernel_w - 1) * p.dilation_w < p.stride_w && (p.out_h - 1) * p.stride_h + (p.kernel_h - 1) * p.dilation_h < p.height;
}

constexpr int64_t kPoolFlatFloats = 4096;  // combined rows of one go

int64_t pool_flat_rows(const Pool2d& p) {
  const int64_t rows = p.width > 0 ? kPoolFlatFloats / p.width : 1;
  return rows < 1 ? 1 : rows < p.out_h ? rows : p.out_h;
}

/// A whole plane at once: short rows would leave the vectors half empty.
template <typename Reduce>
void pool_flat_plane(const Pool2d& p, PoolRow pool_row, const float* plane, float scale, float* scratch, float* y) {
  const PoolSpan rows = {0, p.kernel_h};
  const int64_t step = pool_flat_rows(p);
  for (int64_t oh = 0; oh < p.out_h; oh += step) {
    const int64_t count = p.out_h - oh < step ? p.out_h - oh : step, outputs = count * p.out_w;
    for (int64_t r = 0; r < count; ++r) {
      float* to = scratch + r * p.width;
      const float* from = pool_rows<Reduce>(p, plane, oh + r, rows, to);
      if (from != to) memcpy(to, from, static_cast<size_t>(p.width) * sizeof(float));
    }
    float* out = y + oh * p.out_w;
    int64_t i = pool_row(scratch, count * p.width, p.kernel_w, p.stride_w, p.dilation_w, scale, out, outputs);
    for (; i < outputs; ++i) out[i] = pool_columns<Reduce>(p, scratch, i * p.stride_w, PoolSpan{0, p.kernel_w}) * scale;
  }
}

int64_t pool_slot_floats(const Pool2d& p) { return pool_is_flat(p) ? p.width * pool_flat_rows(p) : p.width; }

/// Calls plane(x, y, scratch) for every plane.
template <typename Plane>
void pool_planes(const Pool2d& p, const float* x, float* y, float* scratch, const Parallel& parallel, Plane&& pool_plane) {
  parallel_for(parallel, parallel.threads, [&](size_t slot) {
    float* row = scratch + static_cast<int64_t>(slot) * pool_slot_floats(p);
    for (int64_t plane = static_cast<int64_t>(slot); plane < p.planes; plane += static_cast<int64_t>(parallel.threads))
      pool_plane(x + plane * p.height * p.width, y + plane * p.out_h * p.out_w, row);
  });
}

}  // namespace

bool pool2d_scratch_floats(const Pool2d& pool, size_t threads, int64_t* floats) {
  return !__builtin_mul_overflow(pool_slot_floats(pool), static_cast<int64_t>(threads > 0 ? threads : 1), floats);
}

void max_pool2d_f32(const Pool2d& pool, const float* x, float* y, float* scratch, const Parallel& parallel) {
  const PoolRow pool_row = table_for_isa(kPoolTables)->maximum;
  const bool flat = pool_is_flat(pool);
  pool_planes(pool, x, y, scratch, parallel, [&](const float* from, float* to, float* row) {
    if (flat) return pool_flat_plane<PoolMax>(pool, pool_row, from, 1.0f, row, to);
    for (int64_t oh = 0; oh < pool.out_h; ++oh) max_pool_row(pool, from, oh, row, to + oh * pool.out_w);
  });
}

void average_pool2d_f32(const Pool2d& pool, const float* x, float* y, float* scratch, const Parallel& parallel) {
  const PoolRow pool_row = table_for_isa(kPoolTables)->mean;
  const bool flat = pool_is_flat(pool);
  const float scale = 1.0f / static_cast<float>(pool.kernel_h * pool.kernel_w);
  pool_planes(pool, x, y, scratch, parallel, [&](const float* from, float* to, float* row) {
    if (flat) return pool_flat_plane<PoolSum>(pool, pool_row, from, scale, row, to);
    for (int64_t oh = 0; oh < pool.out_h; ++oh) average_pool_row(pool, from, oh, row, to + oh * pool.out_w);
  });
}

}  // namespace penlight
