// Windows that slide along a row; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

template <int kStride>
PENLIGHT_INLINE Vf pool_load(const float* p) {
  return kStride == 1 ? load(p) : even_lanes(load(p), load(p + kLanes));
}

/// y[i] = max or scaled sum of row[i * kStride + j * dilation], as long as whole vectors stay within the row; returns how many.
template <int kStride, bool kMaximum>
PENLIGHT_INLINE int64_t pool_slide(const float* row, int64_t width, int64_t kernel, int64_t dilation, float scale, float* y,
                                   int64_t count) {
  const int64_t reach = (kernel - 1) * dilation + kStride * kLanes;
  int64_t i = 0;
  for (; i + kLanes <= count && i * kStride + reach <= width; i += kLanes) {
    const float* from = row + i * kStride;
    Vf value = pool_load<kStride>(from);
    for (int64_t j = 1; j < kernel; ++j) {
      const Vf next = pool_load<kStride>(from + j * dilation);
      value = kMaximum ? maximum(value, next) : value + next;
    }
    store(y + i, kMaximum ? value : value * scale);
  }
  return i;
}

inline int64_t pool_row_maximum(const float* row, int64_t width, int64_t kernel, int64_t stride, int64_t dilation, float scale,
                                float* y, int64_t count) {
  return stride == 1 ? pool_slide<1, true>(row, width, kernel, dilation, scale, y, count)
                     : pool_slide<2, true>(row, width, kernel, dilation, scale, y, count);
}

inline int64_t pool_row_mean(const float* row, int64_t width, int64_t kernel, int64_t stride, int64_t dilation, float scale,
                             float* y, int64_t count) {
  return stride == 1 ? pool_slide<1, false>(row, width, kernel, dilation, scale, y, count)
                     : pool_slide<2, false>(row, width, kernel, dilation, scale, y, count);
}

constexpr PoolTable kPoolTable = {pool_row_maximum, pool_row_mean};
