// Floats to 8 bits; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

/// Rounds to even and saturates 4 * kLanes numbers, as `quantized` does.
PENLIGHT_INLINE void round_bytes(Vf (&values)[4], const ByteRange& r, uint8_t* y) {
  const Vf low = splat(r.low - r.zero), high = splat(r.high - r.zero);
  const Vi whole = bits_of(splat(kQuantizedWhole)) - static_cast<int32_t>(r.zero - r.low);
  Vi rounded[4];
#pragma GCC unroll 4
  for (int part = 0; part < 4; ++part) {
    Vf value = values[part] > low ? values[part] : low;
    value = value < high ? value : high;
    rounded[part] = bits_of(value + kQuantizedWhole) - whole;
  }
  store_narrow(rounded, y);
  if (r.low == 0) return;
  for (int i = 0; i < 4 * kLanes; ++i) y[i] = static_cast<uint8_t>(y[i] ^ 0x80);
}

inline void quantize_bytes(const float* x, int64_t count, float scale, const ByteRange& range, uint8_t* y) {
  constexpr int64_t kOnce = 4 * kLanes;
  const ByteRange r = range;
  for (int64_t i = 0; i < count; i += kOnce) {
    const int64_t rest = count - i;
    float some[kOnce] = {};
    uint8_t bytes[kOnce];
    if (rest < kOnce) __builtin_memcpy(some, x + i, static_cast<size_t>(rest) * sizeof(float));
    const float* from = rest < kOnce ? some : x + i;
    Vf values[4];
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) values[part] = load(from + part * kLanes) / scale;
    if (rest >= kOnce) {
      round_bytes(values, r, y + i);
    } else {
      round_bytes(values, r, bytes);
      __builtin_memcpy(y + i, bytes, static_cast<size_t>(rest));
    }
  }
}

/// The smallest and the largest number; NaN when there is one.
inline void float_range(const float* x, int64_t count, float* lowest, float* highest) {
  Vf low = splat(*lowest), high = splat(*highest);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vf v = load(x + i);
    low = minimum(low, v);
    high = maximum(high, v);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    *lowest = (low[lane] < *lowest || low[lane] != low[lane]) ? low[lane] : *lowest;
    *highest = (high[lane] > *highest || high[lane] != high[lane]) ? high[lane] : *highest;
  }
  for (; i < count; ++i) {
    *lowest = (x[i] < *lowest || x[i] != x[i]) ? x[i] : *lowest;
    *highest = (x[i] > *highest || x[i] != x[i]) ? x[i] : *highest;
  }
}

PENLIGHT_INLINE Vf meant_bytes(const uint8_t* p, uint8_t flip, float point, float scale) {
  return (__builtin_convertvector(unsigned_bytes(p) ^ flip, Vf) - point) * scale;
}

/// The sums of what two tensors of bytes mean, in bytes again; `point`s are zero points of flipped bytes.
inline void add_bytes(const QuantizedTerm& left, const QuantizedTerm& right, int64_t count, float scale, const ByteRange& range,
                      uint8_t* y) {
  constexpr int64_t kOnce = 4 * kLanes;
  const QuantizedTerm a = left, b = right;
  const ByteRange r = range;
  uint8_t last[3][kOnce] = {};
  for (int64_t i = 0; i < count; i += kOnce) {
    const bool is_whole = count - i >= kOnce;
    const auto size = static_cast<size_t>(count - i);
    if (!is_whole) {
      __builtin_memcpy(last[0], a.bytes + i, size);
      __builtin_memcpy(last[1], b.bytes + i, size);
    }
    const uint8_t *from_a = is_whole ? a.bytes + i : last[0], *from_b = is_whole ? b.bytes + i : last[1];
    Vf values[4];
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part)
      values[part] = (meant_bytes(from_a + part * kLanes, a.flip, a.point, a.scale) +
                      meant_bytes(from_b + part * kLanes, b.flip, b.point, b.scale)) /
                     scale;
    round_bytes(values, r, is_whole ? y + i : last[2]);
    if (!is_whole) __builtin_memcpy(y + i, last[2], size);
  }
}

constexpr QuantizeTable kQuantizeTable = {quantize_bytes, float_range, add_bytes};
