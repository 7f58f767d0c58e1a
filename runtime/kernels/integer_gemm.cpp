// Products of 8-bit matrices: both are widened to pairs of 16 bits, zero points are taken off the sums at the end.
// SPDX-License-Identifier: Apache-2.0
#include "integer_gemm.h"

#include "isa.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/integer_gemm.h"
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/integer_gemm.h"
#include "simd/avx2_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const IntegerGemmTable* kIntegerGemmTables[] = {
    &baseline::kIntegerGemmTable,
#if PENLIGHT_X86
    &avx2::kIntegerGemmTable,  // AVX-512 too: its wide multiplication needs one more set
#endif
};

constexpr int64_t kIntegerLeftNumbers = 1 << 16;  // of a that are widened at once: they stay in the second cache

int64_t integer_min(int64_t a, int64_t b) { return a < b ? a : b; }

/// Sizes of what is packed, in 16-bit numbers, and of the sums beside it.
struct IntegerPlan {
  int64_t pairs, panels;
  int64_t rows;  // of a at once
  int64_t right_bytes, slot_bytes;
};

bool integer_plan(int64_t m, int64_t n, int64_t k, IntegerPlan* p) {
  p->pairs = k / 2 + k % 2;
  p->panels = n / kIntegerPanel + (n % kIntegerPanel != 0);
  p->rows = integer_min(kIntegerLeftNumbers / (2 * p->pairs + 1) / kIntegerRows + 1, m / kIntegerRows + 1) * kIntegerRows;
  int64_t panel, left;
  if (__builtin_mul_overflow(p->pairs, 4 * kIntegerPanel, &panel) || __builtin_add_overflow(panel, 4 * kIntegerPanel, &panel) ||
      __builtin_mul_overflow(panel, p->panels, &p->right_bytes) || __builtin_mul_overflow(p->pairs + 1, 4 * p->rows, &left) ||
      __builtin_add_overflow(left, 63, &left))
    return false;
  p->slot_bytes = left / 64 * 64;
  return true;
}

int32_t zero_of(const ByteMatrix& matrix, int64_t line) {
  if (matrix.zero == nullptr) return 0;
  const int64_t at = line * matrix.zero_step;
  return matrix.is_signed ? static_cast<const int8_t*>(matrix.zero)[at] : static_cast<const uint8_t*>(matrix.zero)[at];
}

/// One panel of b: pairs of neighbours in k for each of 16 columns, and the columns' sums.
template <typename T>
void pack_pairs(const T* b, int64_t n, int64_t k, int64_t columns, int16_t* panel, uint32_t* sums) {
  for (int64_t j = 0; j < kIntegerPanel; ++j) sums[j] = 0;
  T rows[2][kIntegerPanel] = {};
  for (int64_t i = 0; i < k; i += 2, panel += 2 * kIntegerPanel) {
    for (int64_t half = 0; half < 2; ++half) {
      const T* from = b + (i + half) * n;
      if (i + half >= k)
        __builtin_memset(rows[half], 0, kIntegerPanel);
      else if (columns == kIntegerPanel)
        __builtin_memcpy(rows[half], from, kIntegerPanel);
      else
        for (int64_t j = 0; j < columns; ++j) rows[half][j] = from[j];
    }
    for (int64_t j = 0; j < kIntegerPanel; ++j) {
      panel[2 * j] = rows[0][j];
      panel[2 * j + 1] = rows[1][j];
      sums[j] += static_cast<uint32_t>(rows[0][j] + rows[1][j]);
    }
  }
}

/// Rows of a in 16 bits, of even length, and their sums.
template <typename T>
void widen_rows(const T* a, int64_t rows, int64_t k, int64_t pairs, int16_t* wide, uint32_t* sums) {
  for (int64_t i = 0; i < rows; ++i, a += k, wide += 2 * pairs) {
    uint32_t sum = 0;
    for (int64_t x = 0; x < k; ++x) {
      wide[x] = a[x];
      sum += static_cast<uint32_t>(static_cast<int32_t>(a[x]));
    }
    if (k % 2 != 0) wide[k] = 0;
    sums[i] = sum;
  }
}

class IntegerProduct {
 public:
  IntegerProduct(const IntegerGemm& gemm, const IntegerPlan& plan, void* scratch) : g_(gemm), p_(plan) {
    bytes_ = static_cast<unsigned char*>(scratch);
  }

  void pack(int64_t panel) const {
    const int64_t first = panel * kIntegerPanel, columns = integer_min(kIntegerPanel, g_.n - first);
    if (g_.b.is_signed)
      pack_pairs(static_cast<const int8_t*>(g_.b.data) + first, g_.n, g_.k, columns, pairs_of(panel), sums_of(panel));
    else
      pack_pairs(static_cast<const uint8_t*>(g_.b.data) + first, g_.n, g_.k, columns, pairs_of(panel), sums_of(panel));
  }

  /// Rows [first, first + rows) of some panels' columns, with the scratch of thread `slot`.
  void multiply(int64_t first, int64_t rows, int64_t begin, int64_t end, size_t slot) const {
    auto* wide = reinterpret_cast<int16_t*>(bytes_ + p_.right_bytes + static_cast<int64_t>(slot) * p_.slot_bytes);
    auto* sums = reinterpret_cast<uint32_t*>(wide + 2 * p_.pairs * p_.rows);
    if (g_.a.is_signed)
      widen_rows(static_cast<const int8_t*>(g_.a.data) + first * g_.k, rows, g_.k, p_.pairs, wide, sums);
    else
      widen_rows(static_cast<const uint8_t*>(g_.a.data) + first * g_.k, rows, g_.k, p_.pairs, wide, sums);
    const IntegerGemmTable& table = *table_for_isa(kIntegerGemmTables);
    int32_t tile[kIntegerRows * kIntegerPanel];
    for (int64_t panel = begin; panel < end; ++panel)
      for (int64_t i = 0; i < rows; i += kIntegerRows) {
        const int64_t count = integer_min(kIntegerRows, rows - i);
        table.tile[count](wide + i * 2 * p_.pairs, 2 * p_.pairs, pairs_of(panel), p_.pairs, tile);
        for (int64_t r = 0; r < count; ++r) store(first + i + r, panel, tile + r * kIntegerPanel, sums[i + r]);
      }
  }

 private:
  int16_t* pairs_of(int64_t panel) const { return reinterpret_cast<int16_t*>(bytes_ + panel * (p_.pairs + 1) * 4 * kIntegerPanel); }
  uint32_t* sums_of(int64_t panel) const { return reinterpret_cast<uint32_t*>(pairs_of(panel) + 2 * p_.pairs * kIntegerPanel); }

  /// The sums without what the zero points add, in arithmetic that wraps.
  void store(int64_t row, int64_t panel, const int32_t* tile, uint32_t row_sum) const {
    const int64_t first = panel * kIntegerPanel, columns = integer_min(kIntegerPanel, g_.n - first);
    const auto a_zero = static_cast<uint32_t>(zero_of(g_.a, row));
    const auto from_a = row_sum - static_cast<uint32_t>(g_.k) * a_zero;
    const uint32_t* column_sums = sums_of(panel);
    int32_t* c = g_.c + row * g_.n + first;
    for (int64_t j = 0; j < columns; ++j) {
      const auto b_zero = static_cast<uint32_t>(zero_of(g_.b, first + j));
      c[j] = static_cast<int32_t>(static_cast<uint32_t>(tile[j]) - a_zero * column_sums[j] - b_zero * from_a);
    }
  }

  const IntegerGemm& g_;
  const IntegerPlan& p_;
  unsigned char* bytes_;
};

}  // namespace

bool integer_gemm_scratch_bytes(int64_t m, int64_t n, int64_t k, size_t threads, int64_t* bytes) {
  IntegerPlan plan;
  return integer_plan(m, n, k, &plan) && !__builtin_mul_overflow(plan.slot_bytes, static_cast<int64_t>(threads), bytes) &&
         !__builtin_add_overflow(*bytes, plan.right_bytes, bytes);
}

void integer_gemm(const IntegerGemm& gemm, void* scratch, const Parallel& parallel) {
  IntegerPlan plan;
  if (gemm.m <= 0 || gemm.n <= 0 || !integer_plan(gemm.m, gemm.n, gemm.k, &plan)) return;
  const IntegerProduct product(gemm, plan, scratch);
  const size_t panels = static_cast<size_t>(plan.panels), threads = parallel.threads;
  parallel_ranges(parallel, panels, 4, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) product.pack(static_cast<int64_t>(i));
  });
  parallel_for(parallel, threads, [&](size_t slot) {  // each thread has columns of its own
    const auto begin = static_cast<int64_t>(panels * slot / threads), end = static_cast<int64_t>(panels * (slot + 1) / threads);
    for (int64_t i = 0; begin < end && i < gemm.m; i += plan.rows)
      product.multiply(i, integer_min(plan.rows, gemm.m - i), begin, end, slot);
  });
}

}  // namespace penlight
