// Sums of many floats in kSumLanes fixed lanes and a fixed tree, so that every instruction set gives the same bits; included inside
// the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

constexpr int kSumLanes = 32;  // as many vectors as hide the latency of an addition
constexpr int kSumVectors = kSumLanes / kLanes;

#if PENLIGHT_SMALL
constexpr bool kUnrollSums = false;
#else
constexpr bool kUnrollSums = true;
#endif

/// Lane i plus lane i + half, down to one.
PENLIGHT_INLINE float sum_of_vectors(Vf (&sums)[kSumVectors]) {
#pragma GCC unroll 8
  for (int half = kSumVectors / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sum_lanes(sums[0]);
}

/// The sum of what `term` gives: whole(i) for the vector of elements from i on, first(i, n) for its first n lanes and zeros. Short
/// terms are unrolled; of others, part(i, n, all) is whole(i) where `all` holds, else first(i, n).
template <typename Term>
PENLIGHT_INLINE float sum_of_terms(const Term& term, int64_t n) {
  Vf sums[kSumVectors] = {};
  int64_t i = 0;
  if constexpr (!Term::kIsShort && !kUnrollSums) {  // one body of the term
    for (int k = 0; i < n; i += kLanes, k = (k + 1) % kSumVectors)
      sums[k] += term.part(i, static_cast<size_t>(n - i), n - i >= kLanes);
    return sum_of_vectors(sums);
  }
  for (; i + kSumLanes <= n; i += kSumLanes)
    if constexpr (Term::kIsShort && kUnrollSums) {
#pragma GCC unroll 8
      for (int k = 0; k < kSumVectors; ++k) sums[k] += term.whole(i + k * kLanes);
    } else {
#pragma GCC unroll 1
      for (int k = 0; k < kSumVectors; ++k) sums[k] += term.whole(i + k * kLanes);
    }
#pragma GCC unroll 1
  for (int k = 0; i < n; i += kLanes, ++k) sums[k] += n - i >= kLanes ? term.whole(i) : term.first(i, static_cast<size_t>(n - i));
  return sum_of_vectors(sums);
}

struct DotTerm {
  static constexpr bool kIsShort = true;
  const float *x, *y;
  PENLIGHT_INLINE Vf whole(int64_t i) const { return load(x + i) * load(y + i); }
  PENLIGHT_INLINE Vf first(int64_t i, size_t n) const { return load_first(x + i, n) * load_first(y + i, n); }
};
