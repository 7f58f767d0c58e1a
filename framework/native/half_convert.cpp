// The conversions of half.h: F16C where the processor has it, shifts for bfloat16. SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "half.h"
#include "kernels/element.h"
#include "kernels/isa.h"

#if PENLIGHT_X86
#include <immintrin.h>
#endif

namespace penlight {

namespace {

// The compiler vectorises these loops for the target of the function they are inlined into.
__attribute__((always_inline)) inline void widen_bfloat(const uint16_t* x, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const uint32_t bits = static_cast<uint32_t>(x[i]) << 16;
    __builtin_memcpy(y + i, &bits, 4);
  }
}

__attribute__((always_inline)) inline void round_bfloat(const float* x, uint16_t* y, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + i, 4);
    const uint32_t nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    y[i] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : nearest);
  }
}

void widen_bfloat_baseline(const uint16_t* x, float* y, size_t n) { widen_bfloat(x, y, n); }
void round_bfloat_baseline(const float* x, uint16_t* y, size_t n) { round_bfloat(x, y, n); }

#if defined(__aarch64__)

void widen_half_baseline(const uint16_t* x, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<float>(reinterpret_cast<const __fp16*>(x)[i]);
}
void round_half_baseline(const float* x, uint16_t* y, size_t n) {
  for (size_t i = 0; i < n; ++i) reinterpret_cast<__fp16*>(y)[i] = static_cast<__fp16>(x[i]);
}

#else

void widen_half_baseline(const uint16_t* x, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = half_value(x[i]);
}
void round_half_baseline(const float* x, uint16_t* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = half_bits(x[i]);
}

#endif

constexpr HalfConversion kBaseline[] = {{widen_half_baseline, round_half_baseline, {}, {}, {}, nullptr},
                                        {widen_bfloat_baseline, round_bfloat_baseline, {}, {}, {}, nullptr}};

#if PENLIGHT_X86

#define PENLIGHT_F16C __attribute__((target("avx2,f16c")))

PENLIGHT_F16C void widen_half_f16c(const uint16_t* x, float* y, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i))));
  for (; i < n; ++i) y[i] = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(x[i])));
}

PENLIGHT_F16C void round_half_f16c(const float* x, uint16_t* y, size_t n) {
  constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), kNearestEven));
  for (; i < n; ++i) y[i] = static_cast<uint16_t>(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x[i]), kNearestEven)));
}

PENLIGHT_F16C void widen_bfloat_avx2(const uint16_t* x, float* y, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i)));
    _mm256_storeu_ps(y + i, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)));
  }
  widen_bfloat(x + i, y + i, n - i);
}

PENLIGHT_F16C inline __m256i bfloat_words(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value), high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i nearest = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(nearest, quiet, _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q)));
}

PENLIGHT_F16C void round_bfloat_avx2(const float* x, uint16_t* y, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i lanes =
        _mm256_packus_epi32(bfloat_words(_mm256_loadu_ps(x + i)), bfloat_words(_mm256_loadu_ps(x + i + 8)));  // in quarters 0 2 1 3
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i), _mm256_permute4x64_epi64(lanes, 0xd8));
  }
  round_bfloat(x + i, y + i, n - i);
}

template <HalfType kType>
PENLIGHT_F16C inline __m256 load_eight(const uint16_t* x) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  if (kType == HalfType::kFloat16) return _mm256_cvtph_ps(bits);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

template <HalfType kType>
PENLIGHT_F16C inline void store_eight(uint16_t* y, __m256 value) {
  __m128i bits;
  if (kType == HalfType::kFloat16) {
    bits = _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    const __m256i words = bfloat_words(value);
    bits = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  }
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bits);
}

enum class Step : int { kEach, kNumberRight, kNumberLeft };

template <int kFunction>
PENLIGHT_F16C inline __m256 arithmetic(__m256 x, __m256 y) {
  if (kFunction == 0) return _mm256_add_ps(x, y);
  if (kFunction == 1) return _mm256_sub_ps(x, y);
  if (kFunction == 2) return _mm256_mul_ps(x, y);
  if (kFunction == 3) return _mm256_div_ps(x, y);
  // The processor returns y where one of the two is NaN.
  const __m256 chosen = kFunction == 4 ? _mm256_min_ps(x, y) : _mm256_max_ps(x, y);
  return _mm256_blendv_ps(chosen, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

template <HalfType kType, int kFunction, Step kStep>
PENLIGHT_F16C inline void eight(const uint16_t* x, const uint16_t* y, __m256 number, uint16_t* z) {
  const __m256 a = load_eight<kType>(x), b = kStep == Step::kEach ? load_eight<kType>(y) : number;
  store_eight<kType>(z, kStep == Step::kNumberLeft ? arithmetic<kFunction>(b, a) : arithmetic<kFunction>(a, b));
}

template <HalfType kType, int kFunction, Step kStep>
PENLIGHT_F16C inline void combine(const uint16_t* x, const uint16_t* y, float number, uint16_t* z, size_t n) {
  const __m256 all = _mm256_set1_ps(number);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) eight<kType, kFunction, kStep>(x + i, y + (kStep == Step::kEach ? i : 0), all, z + i);
  if (i == n) return;
  uint16_t left[8] = {}, right[8] = {}, result[8];
  for (size_t j = i; j < n; ++j) {
    left[j - i] = x[j];
    if (kStep == Step::kEach) right[j - i] = y[j];
  }
  eight<kType, kFunction, kStep>(left, right, all, result);
  for (size_t j = i; j < n; ++j) z[j] = result[j - i];
}

template <HalfType kType, int kFunction>
PENLIGHT_F16C void combine_each(const uint16_t* x, const uint16_t* y, uint16_t* z, size_t n) {
  combine<kType, kFunction, Step::kEach>(x, y, 0.0f, z, n);
}

template <HalfType kType, int kFunction, Step kStep>
PENLIGHT_F16C void combine_number(const uint16_t* x, float y, uint16_t* z, size_t n) {
  combine<kType, kFunction, kStep>(x, x, y, z, n);
}

template <HalfType kType>
PENLIGHT_F16C float extreme(const uint16_t* x, size_t n, float sign) {
  const __m256 flip = _mm256_set1_ps(sign < 0 ? -0.0f : 0.0f);
  __m256 best[2] = {_mm256_set1_ps(-INFINITY), _mm256_set1_ps(-INFINITY)}, unordered = _mm256_setzero_ps();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t c = 0; c < 2; ++c) {
      const __m256 value = _mm256_xor_ps(load_eight<kType>(x + i + 8 * c), flip);
      unordered = _mm256_or_ps(unordered, _mm256_cmp_ps(value, value, _CMP_UNORD_Q));
      best[c] = _mm256_max_ps(best[c], value);
    }
  }
  if (_mm256_movemask_ps(unordered) != 0) return NAN;
  float lanes[8], result = -INFINITY;
  _mm256_storeu_ps(lanes, _mm256_max_ps(best[0], best[1]));
  for (float lane : lanes) result = lane > result ? lane : result;
  for (; i < n; ++i) {
    float value;
    (kType == HalfType::kFloat16 ? widen_half_f16c : widen_bfloat_avx2)(x + i, &value, 1);
    if (value != value) return NAN;
    result = sign * value > result ? sign * value : result;
  }
  return sign * result;
}

template <HalfType kType>
constexpr HalfConversion with_arithmetic(void (*widen)(const uint16_t*, float*, size_t),
                                         void (*round)(const float*, uint16_t*, size_t)) {
  return {widen,
          round,
          {combine_each<kType, 0>, combine_each<kType, 1>, combine_each<kType, 2>, combine_each<kType, 3>, combine_each<kType, 4>,
           combine_each<kType, 5>},
          {combine_number<kType, 0, Step::kNumberRight>, combine_number<kType, 1, Step::kNumberRight>,
           combine_number<kType, 2, Step::kNumberRight>, combine_number<kType, 3, Step::kNumberRight>,
           combine_number<kType, 4, Step::kNumberRight>, combine_number<kType, 5, Step::kNumberRight>},
          {combine_number<kType, 0, Step::kNumberLeft>, combine_number<kType, 1, Step::kNumberLeft>,
           combine_number<kType, 2, Step::kNumberLeft>, combine_number<kType, 3, Step::kNumberLeft>,
           combine_number<kType, 4, Step::kNumberLeft>, combine_number<kType, 5, Step::kNumberLeft>},
          extreme<kType>};
}

// Every processor with AVX2 has F16C, which clang 16 cannot ask for.
constexpr HalfConversion kF16c[] = {with_arithmetic<HalfType::kFloat16>(widen_half_f16c, round_half_f16c),
                                    with_arithmetic<HalfType::kBFloat16>(widen_bfloat_avx2, round_bfloat_avx2)};

#endif

}  // namespace

const HalfConversion& half_conversion(HalfType type) {
#if PENLIGHT_X86
  if (current_isa() >= Isa::kAvx2) return kF16c[static_cast<int>(type)];
#endif
  return kBaseline[static_cast<int>(type)];
}

}  // namespace penlight
