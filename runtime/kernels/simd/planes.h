// From planes of channels to channels as lanes and back; included inside the namespace of each instruction set.
// SPDX-License-Identifier: Apache-2.0

/// to[i * kLanes + k] = from[k * plane + i] for kLanes planes; whole vectors are read up to `end`.
inline void planes_to_lanes(const float* from, int64_t plane, int64_t count, const float* end, float* to) {
  const float* last = from + (kLanes - 1) * plane;
  int64_t i = 0;
  for (; i < count && last + i + kLanes <= end; i += kLanes) {
    Vf rows[kLanes];
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) rows[k] = load(from + k * plane + i);
    transpose(rows);
    const int64_t left = count - i;
    if (left >= kLanes) {
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) store(to + (i + k) * kLanes, rows[k]);
    } else {
      float block[kLanes * kLanes];
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) store(block + k * kLanes, rows[k]);
      __builtin_memcpy(to + i * kLanes, block, static_cast<size_t>(left * kLanes) * sizeof(float));
    }
  }
  for (; i < count; ++i)
    for (int k = 0; k < kLanes; ++k) to[i * kLanes + k] = from[k * plane + i];
}

/// to[k * plane + i] = from[i * kLanes + k].
inline void lanes_to_planes(const float* from, int64_t plane, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Vf rows[kLanes];
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) rows[k] = load(from + (i + k) * kLanes);
    transpose(rows);
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) store(to + k * plane + i, rows[k]);
  }
  for (; i < count; ++i)
    for (int k = 0; k < kLanes; ++k) to[k * plane + i] = from[i * kLanes + k];
}
