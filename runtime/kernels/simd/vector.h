// GNU vectors of PENLIGHT_LANES floats; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0
#define PENLIGHT_INLINE inline __attribute__((always_inline))

constexpr int kLanes = PENLIGHT_LANES;

typedef float Vf __attribute__((vector_size(PENLIGHT_LANES * 4)));
typedef int32_t Vi __attribute__((vector_size(PENLIGHT_LANES * 4)));

PENLIGHT_INLINE Vf load(const float* p) {
  Vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

PENLIGHT_INLINE void store(float* p, Vf v) { __builtin_memcpy(p, &v, sizeof v); }

/// The first n < kLanes floats; the other lanes are zero.
PENLIGHT_INLINE Vf load_first(const float* p, size_t n) {
  float lanes[kLanes] = {};
  for (size_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}

PENLIGHT_INLINE void store_first(float* p, Vf v, size_t n) {
  float lanes[kLanes];
  store(lanes, v);
  for (size_t i = 0; i < n; ++i) p[i] = lanes[i];
}

/// A whole vector where n floats are left that are enough for one, else the first n.
PENLIGHT_INLINE Vf load_up_to(const float* p, size_t n) { return n >= static_cast<size_t>(kLanes) ? load(p) : load_first(p, n); }

PENLIGHT_INLINE void store_up_to(float* p, Vf v, size_t n) {
  if (n >= static_cast<size_t>(kLanes))
    store(p, v);
  else
    store_first(p, v, n);
}

PENLIGHT_INLINE Vf splat(float x) { return x - Vf{}; }  // x - 0 keeps the sign of a zero
PENLIGHT_INLINE Vi splat_bits(int32_t x) { return x - Vi{}; }
PENLIGHT_INLINE Vi bits_of(Vf v) { return reinterpret_cast<Vi>(v); }
PENLIGHT_INLINE Vf float_of(Vi v) { return reinterpret_cast<Vf>(v); }

PENLIGHT_INLINE Vf select(Vi mask, Vf yes, Vf no) { return mask ? yes : no; }
/// As `x < low ? low : x`: a NaN in x stays.
PENLIGHT_INLINE Vf at_least(Vf x, Vf low) { return x < low ? low : x; }
PENLIGHT_INLINE Vf at_most(Vf x, Vf high) { return x > high ? high : x; }
/// A NaN in either operand wins.
PENLIGHT_INLINE Vf maximum(Vf a, Vf b) { return ((a > b) | (a != a)) ? a : b; }
PENLIGHT_INLINE Vf minimum(Vf a, Vf b) { return ((a < b) | (a != a)) ? a : b; }
PENLIGHT_INLINE Vf magnitude(Vf x) { return float_of(bits_of(x) & 0x7fffffff); }
PENLIGHT_INLINE Vi sign_bit(Vf x) { return bits_of(x) & static_cast<int32_t>(0x80000000u); }
PENLIGHT_INLINE Vf with_sign_of(Vf size, Vf sign) { return float_of(bits_of(magnitude(size)) | sign_bit(sign)); }

PENLIGHT_INLINE Vf square_root(Vf x) {
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}

/// Sums and maxima of the lanes, in a fixed order.
PENLIGHT_INLINE float sum_lanes(Vf v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

PENLIGHT_INLINE float maximum_lane(Vf v) {
  float best = v[0];
  for (int i = 1; i < kLanes; ++i) best = (v[i] > best || v[i] != v[i]) ? v[i] : best;
  return best;
}

#if defined(__clang__)
#define PENLIGHT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PENLIGHT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Vi{__VA_ARGS__})
#endif

/// Lanes 0, 2, 4 ... of a followed by those of b.
PENLIGHT_INLINE Vf even_lanes(Vf a, Vf b) {
#if PENLIGHT_LANES == 16
  return PENLIGHT_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#elif PENLIGHT_LANES == 8
  return PENLIGHT_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
#else
  return PENLIGHT_SHUFFLE(a, b, 0, 2, 4, 6);
#endif
}

/// Lanes 1, 3, 5 ... of a followed by those of b.
PENLIGHT_INLINE Vf odd_lanes(Vf a, Vf b) {
#if PENLIGHT_LANES == 16
  return PENLIGHT_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif PENLIGHT_LANES == 8
  return PENLIGHT_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  return PENLIGHT_SHUFFLE(a, b, 1, 3, 5, 7);
#endif
}

/// p[0], p[2], ... from the lanes of a, p[1], p[3], ... from those of b.
PENLIGHT_INLINE void store_in_turn(float* p, Vf a, Vf b) {
#if PENLIGHT_LANES == 16
  store(p, PENLIGHT_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
  store(p + kLanes, PENLIGHT_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
#elif PENLIGHT_LANES == 8
  store(p, PENLIGHT_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11));
  store(p + kLanes, PENLIGHT_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15));
#else
  store(p, PENLIGHT_SHUFFLE(a, b, 0, 4, 1, 5));
  store(p + kLanes, PENLIGHT_SHUFFLE(a, b, 2, 6, 3, 7));
#endif
}

#define PENLIGHT_LOW(i) ((i)&kStep ? (i)-kStep + kLanes : (i))
#define PENLIGHT_HIGH(i) ((i)&kStep ? (i) + kLanes : (i) + kStep)
#if PENLIGHT_LANES == 16
#define PENLIGHT_EACH_LANE(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
#elif PENLIGHT_LANES == 8
#define PENLIGHT_EACH_LANE(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)
#else
#define PENLIGHT_EACH_LANE(f) f(0), f(1), f(2), f(3)
#endif

/// One step of transpose: swaps the blocks of kStep x kStep off the diagonal.
template <int kStep>
PENLIGHT_INLINE void transpose_step(Vf (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & kStep) continue;
    const Vf low = PENLIGHT_SHUFFLE(rows[i], rows[i + kStep], PENLIGHT_EACH_LANE(PENLIGHT_LOW));
    rows[i + kStep] = PENLIGHT_SHUFFLE(rows[i], rows[i + kStep], PENLIGHT_EACH_LANE(PENLIGHT_HIGH));
    rows[i] = low;
  }
}

/// Lane j of row i becomes lane i of row j.
PENLIGHT_INLINE void transpose(Vf (&rows)[kLanes]) {
  transpose_step<1>(rows);
  transpose_step<2>(rows);
#if PENLIGHT_LANES >= 8
  transpose_step<4>(rows);
#endif
#if PENLIGHT_LANES == 16
  transpose_step<8>(rows);
#endif
}

#undef PENLIGHT_EACH_LANE
#undef PENLIGHT_HIGH
#undef PENLIGHT_LOW
#undef PENLIGHT_SHUFFLE
