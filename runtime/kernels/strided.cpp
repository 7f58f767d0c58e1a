// The strided copy: rows of the innermost dimension, in the order of the target. SPDX-License-Identifier: Apache-2.0
#include "strided.h"

#include <string.h>

#include "element.h"

namespace penlight {

namespace {

template <typename T>
void strided_row(const void* from, int64_t from_step, void* to, int64_t to_step, int64_t n) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  if (from_step == 1 && to_step == 1) {
    memcpy(y, x, static_cast<size_t>(n) * sizeof(T));
  } else if (to_step == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i * from_step];
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * to_step] = x[i * from_step];
  }
}

/// A transposed block: so many rows at once that each cache line of the source is used up while it is there.
template <typename T>
void strided_rows(const void* from, int64_t from_row, int64_t from_step, void* to, int64_t to_row, int64_t to_step, int64_t rows,
                  int64_t n) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t r = 0; r < rows; ++r) y[r * to_row + i * to_step] = x[r * from_row + i * from_step];
}

constexpr int64_t kStridedBlock = 16;
constexpr size_t kStridedGrain = 32768;  // elements worth a thread

/// Rows [begin, end) of all but the innermost dimension.
void strided_range(const StridedCopy& c, const char* from, char* to, size_t size, size_t begin, size_t end) {
  const int inner = c.rank - 1;
  const int64_t bytes = static_cast<int64_t>(size), n = c.dims[inner];
  const bool turned = inner > 0 && c.from[inner] != 1 && c.from[inner - 1] == 1;
  with_element_size(size, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (int64_t row = static_cast<int64_t>(begin); row < static_cast<int64_t>(end);) {
      int64_t rest = row, source = 0, target = 0;
      for (int d = inner - 1; d >= 0; --d) {
        const int64_t i = rest % c.dims[d];
        rest /= c.dims[d];
        source += i * c.from[d];
        target += i * c.to[d];
      }
      int64_t rows = 1;
      if (turned) {
        const int64_t left = c.dims[inner - 1] - row % c.dims[inner - 1], wanted = static_cast<int64_t>(end) - row;
        rows = left < wanted ? left : wanted;
        if (rows > kStridedBlock) rows = kStridedBlock;
      }
      if (rows > 1)
        strided_rows<T>(from + source * bytes, c.from[inner - 1], c.from[inner], to + target * bytes, c.to[inner - 1], c.to[inner],
                        rows, n);
      else
        strided_row<T>(from + source * bytes, c.from[inner], to + target * bytes, c.to[inner], n);
      row += rows;
    }
  });
}

}  // namespace

void strided_dimension(StridedCopy* copy, int64_t size, int64_t to, int64_t from) {
  if (size == 1) return;
  const int last = copy->rank - 1;
  if (last >= 0 && copy->to[last] == to * size && copy->from[last] == from * size) {
    copy->dims[last] *= size;
    copy->to[last] = to;
    copy->from[last] = from;
    return;
  }
  copy->dims[copy->rank] = size;
  copy->to[copy->rank] = to;
  copy->from[copy->rank] = from;
  ++copy->rank;
}

void strided_copy(const StridedCopy& copy, const void* from, void* to, size_t size, const Parallel& parallel) {
  StridedCopy c = copy;
  if (c.rank == 0) {
    c.rank = 1;
    c.dims[0] = 1;
    c.to[0] = c.from[0] = 1;
  }
  size_t rows = 1;
  for (int d = 0; d < c.rank; ++d)
    if (c.dims[d] == 0) return;
  for (int d = 0; d + 1 < c.rank; ++d) rows *= static_cast<size_t>(c.dims[d]);
  parallel_ranges(parallel, rows, kStridedGrain / static_cast<size_t>(c.dims[c.rank - 1]) + 1, [&](size_t begin, size_t end) {
    strided_range(c, static_cast<const char*>(from), static_cast<char*>(to), size, begin, end);
  });
}

}  // namespace penlight
