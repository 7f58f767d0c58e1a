// Products of a row of floats with rows of bytes; included inside the namespace of each instruction set. SPDX-License-Identifier:
// Apache-2.0

/// sums[j] += x[i] * (w[i * row + j] - point) for `rows` values of i, in this order: the same bits for vectors of any width.
template <bool kSigned>
void add_rows_of(const float* x, const uint8_t* w, int64_t row, int64_t rows, int64_t count, int32_t point, float* sums) {
  for (int64_t i = 0; i < rows; i += kWeightRowsOnce) {
    const int64_t here = rows - i < kWeightRowsOnce ? rows - i : kWeightRowsOnce;
    int64_t j = 0;
    for (; here == kWeightRowsOnce && j + kLanes <= count; j += kLanes) {
      Vf total = load(sums + j);
#pragma GCC unroll 8
      for (int64_t r = 0; r < kWeightRowsOnce; ++r) {
        const uint8_t* from = w + (i + r) * row + j;
        const Vi value = (kSigned ? signed_bytes(from) : unsigned_bytes(from)) - point;
        total = total + x[i + r] * __builtin_convertvector(value, Vf);
      }
      store(sums + j, total);
    }
    for (; j < count; ++j)
      for (int64_t r = 0; r < here; ++r) {
        const uint8_t byte = w[(i + r) * row + j];
        const int32_t value = (kSigned ? static_cast<int8_t>(byte) : byte) - point;
        sums[j] = sums[j] + x[i + r] * static_cast<float>(value);
      }
  }
}

inline void add_weight_rows(const float* x, const uint8_t* w, int64_t row, int64_t rows, int64_t count, bool is_signed,
                            int32_t point, float* sums) {
  (is_signed ? add_rows_of<true> : add_rows_of<false>)(x, w, row, rows, count, point, sums);
}

constexpr WeightRows kWeightRows = {add_weight_rows};
