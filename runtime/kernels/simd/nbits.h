// Rows of floats times panels of 4- or 8-bit weights; included inside the namespace of each instruction set, and of `fused`.
// SPDX-License-Identifier: Apache-2.0

#if PENLIGHT_SMALL
constexpr int kWeightLanes = 1;
typedef float Wf;
typedef int32_t Wi;

PENLIGHT_INLINE Wf load_floats(const float* p) { return *p; }
PENLIGHT_INLINE void store_floats(float* p, Wf v) { *p = v; }
#else
constexpr int kWeightLanes = kLanes;
typedef Vf Wf;
typedef Vi Wi;

PENLIGHT_INLINE Wf load_floats(const float* p) { return load(p); }
PENLIGHT_INLINE void store_floats(float* p, Wf v) { store(p, v); }
#endif

/// Row r of a group as floats, of nibbles in odd rows 1 / kNibbleScale times what they mean. `words` are the group's nibbles; rows
/// come in order.
template <int kBits>
PENLIGHT_INLINE Wf row_of_group(const uint8_t* group, int64_t column, int r, Wi* words) {
#if PENLIGHT_SMALL
  if (kBits == 8) return static_cast<float>(static_cast<int8_t>(group[r * kPanel + column]));
  if (r == 0) __builtin_memcpy(words, group + column * 4, sizeof *words);
  return static_cast<float>(*words >> r / 2 * 8 & 15 << r % 2 * 4);
#else
  if (kBits == 8) return __builtin_convertvector(signed_bytes(group + r * kPanel + column), Wf);
  if (r == 0)
    __builtin_memcpy(words, group + column * 4, sizeof *words);
  else if (r % 2 == 0)
    *words >>= 8;  // the sign stays above the numbers that are left
  return __builtin_convertvector(*words & 15 << r % 2 * 4, Wf);
#endif
}

/// The zero points of some columns; without any, what unsigned nibbles have.
template <int kBits>
PENLIGHT_INLINE Wf zeros_of(const NBitsPanel& p, int64_t place) {
  if (p.float_zeros != nullptr) return load_floats(p.float_zeros + place);
  if (p.zeros == nullptr) return kBits == 4 ? Wf{} + 8 : Wf{};
#if PENLIGHT_SMALL
  return static_cast<float>(p.zeros[place] - (kBits == 8 ? 128 : 0));
#else
  return __builtin_convertvector(unsigned_bytes(p.zeros + place) - (kBits == 8 ? 128 : 0), Wf);
#endif
}

/// sums of x times the panel. Each column has four chains, of every fourth row, so that they do not wait for each other and have
/// the same bits in vectors of any width.
template <int kBits>
__attribute__((noinline)) void nbits_row(const NBitsPanel& p, const float* x, const float* totals, float* y) {
  constexpr int kVectors = PENLIGHT_SMALL ? 1 : 2;
  for (int64_t first = 0; first < kPanel; first += kVectors * kWeightLanes) {
    Wf result[kVectors] = {};
    for (int64_t b = 0, g = 0; b < p.blocks; ++b) {
      Wf sums[4][kVectors] = {};
      const int64_t end = p.groups - g < p.block_groups ? p.groups : g + p.block_groups;
      for (; g < end; ++g) {
        const uint8_t* group = p.weights + g * kPanel * kBits;
        Wi words[kVectors];
#pragma GCC unroll 8
        for (int r = 0; r < kNBitsGroup; ++r)
#pragma GCC unroll 2
          for (int j = 0; j < kVectors; ++j)
            sums[r % 4][j] += x[g * kNBitsGroup + r] * row_of_group<kBits>(group, first + j * kWeightLanes, r, &words[j]);
      }
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) {
        const int64_t place = b * kPanel + first + j * kWeightLanes;
        const Wf odd = sums[1][j] + sums[3][j];
        Wf sum = sums[0][j] + sums[2][j] + (kBits == 4 ? odd * kNibbleScale : odd);
        if (kBits == 4 || p.zeros != nullptr || p.float_zeros != nullptr) sum -= totals[b] * zeros_of<kBits>(p, place);
        result[j] += sum * load_floats(p.scales + place);
      }
    }
    for (int j = 0; j < kVectors; ++j) store_floats(y + first + j * kWeightLanes, result[j]);
  }
}

/// The weights of groups [begin, end) as floats, 16 in a row.
template <int kBits>
__attribute__((noinline)) void nbits_unpack(const NBitsPanel& p, int64_t begin, int64_t end, float* to) {
  for (int64_t first = 0; first < kPanel; first += kWeightLanes) {
    for (int64_t g = begin; g < end;) {
      const int64_t b = g / p.block_groups, place = b * kPanel + first;
      const int64_t last = (b + 1) * p.block_groups < end ? (b + 1) * p.block_groups : end;
      const Wf zeros = zeros_of<kBits>(p, place), scales = load_floats(p.scales + place);
      for (; g < last; ++g) {
        Wi words = {};
#pragma GCC unroll 8
        for (int r = 0; r < kNBitsGroup; ++r) {
          const Wf value = row_of_group<kBits>(p.weights + g * kPanel * kBits, first, r, &words);
          store_floats(to + ((g - begin) * kNBitsGroup + r) * kPanel + first,
                       ((kBits == 4 && r % 2 != 0 ? value * kNibbleScale : value) - zeros) * scales);
        }
      }
    }
  }
}

constexpr NBitsTable kNBitsTable = {{nbits_row<4>, nbits_row<8>}, {nbits_unpack<4>, nbits_unpack<8>}};
