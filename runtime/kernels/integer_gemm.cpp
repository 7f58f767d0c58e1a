// Products of 8-bit matrices: both are widened to pairs of 16 bits without their zero points.
// SPDX-License-Identifier: Apache-2.0
#include "integer_gemm.h"

#include "integer_quads.h"
#include "isa.h"
#include "quantize.h"

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

constexpr int64_t kIntegerBlockBytes = (PENLIGHT_SMALL ? 4 : 320) << 10;  // of packed columns: they stay in the second cache
constexpr int64_t kIntegerBlock = 384;                                    // columns at once at most
constexpr int64_t kIntegerFewColumns = 4;                                 // which are multiplied one by one

int64_t integer_min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t integer_round(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

/// Columns are worked on in blocks; sizes of what a thread keeps for one, in bytes.
struct IntegerPlan {
  int64_t pairs, block, blocks;
  int64_t panel_bytes, row_bytes, sum_bytes, slot_bytes;
};

bool integer_plan(int64_t m, int64_t n, int64_t k, size_t threads, IntegerPlan* p) {
  if (m < 0 || n < 0 || k < 0 || k > INT64_MAX / 1024) return false;
  p->pairs = k / 2 + k % 2;
  const int64_t fitting = kIntegerBlockBytes / (4 * (p->pairs + 1)),
                share = n / static_cast<int64_t>(threads > 0 ? threads : 1) + 1;
  const int64_t wanted = integer_min(integer_min(fitting, kIntegerBlock), share);
  p->block = integer_round(wanted > 0 ? wanted : 1, kIntegerPanel);
  p->blocks = n / p->block + (n % p->block != 0);
  p->panel_bytes = p->block * 4 * p->pairs;
  p->row_bytes = integer_round(kIntegerRows * 4 * p->pairs, 64);
  p->sum_bytes = kIntegerRows * p->block * 4;
  p->slot_bytes = p->panel_bytes + p->row_bytes + p->sum_bytes;
  return true;
}

class IntegerProduct {
 public:
  IntegerProduct(const IntegerGemm& gemm, const IntegerPlan& plan, void* scratch)
      : g_(gemm), p_(plan), table_(integer_gemm_table()), bytes_(static_cast<unsigned char*>(scratch)) {}

  /// All rows of one block of columns, with the scratch of thread `slot`.
  void multiply(int64_t block, size_t slot) const {
    const int64_t first = block * p_.block, count = integer_min(p_.block, g_.n - first);
    auto* panels = reinterpret_cast<int16_t*>(bytes_ + static_cast<int64_t>(slot) * p_.slot_bytes);
    auto* rows = panels + p_.panel_bytes / 2;
    auto* sums = reinterpret_cast<int32_t*>(rows + p_.row_bytes / 2);
    pack(first, count, panels);
    for (int64_t i = 0; i < g_.m; i += kIntegerRows) {
      const int64_t height = integer_min(kIntegerRows, g_.m - i);
      for (int64_t r = 0; r < height; ++r) widen(i + r, rows + r * 2 * p_.pairs);
      for (int64_t column = 0; column < count; column += kIntegerPanel)
        (count - column > kIntegerHalf ? table_.tile : table_.half_tile)[height](rows, 2 * p_.pairs, panels + column * 2 * p_.pairs,
                                                                                 p_.pairs, sums + column, p_.block);
      for (int64_t r = 0; r < height; ++r) finish(i + r, first, count, rows + r * 2 * p_.pairs, sums + r * p_.block);
    }
  }

  /// Rows [begin, end) times the few columns, which `columns` holds one after the other.
  void multiply_few(int64_t begin, int64_t end, const int16_t* columns) const {
    for (int64_t i = begin; i < end; ++i) {
      int32_t sums[kIntegerFewColumns];
      for (int64_t j = 0; j < g_.n; ++j) sums[j] = table_.dot(left(i), byte_zero(g_.a, i), columns + j * g_.k, g_.k);
      g_.finish(g_.target, i, 0, g_.n, sums);
    }
  }

  /// The few columns in 16 bits.
  void turn(int16_t* columns) const {
    uint8_t buffer[kIntegerFewColumns];
    for (int64_t k = 0; k < g_.k; ++k) {
      const uint8_t* row = right(k, 0, g_.n, buffer);
      for (int64_t j = 0; j < g_.n; ++j) {
        const ByteZero zero = byte_zero(g_.b, j);
        columns[j * g_.k + k] = static_cast<int16_t>((row[j] ^ zero.flip) - zero.point);
      }
    }
  }

 private:
  const uint8_t* left(int64_t row) const { return static_cast<const uint8_t*>(g_.a.data) + row * g_.k; }

  const uint8_t* right(int64_t line, int64_t first, int64_t count, uint8_t* buffer) const {
    if (g_.right != nullptr) return g_.right(g_.source, line, first, count, buffer);
    return static_cast<const uint8_t*>(g_.b.data) + line * g_.n + first;
  }

  void widen(int64_t row, int16_t* wide) const {
    table_.widen(left(row), g_.k, byte_zero(g_.a, row), wide);
    if (g_.k % 2 != 0) wide[g_.k] = 0;
  }

  /// Zero points of each column's own are left in; `finish` takes them off.
  void pack(int64_t first, int64_t count, int16_t* panels) const {
    uint8_t even[kIntegerBlock], odd[kIntegerBlock];
    ByteZero zero = byte_zero(g_.b, 0);
    if (g_.b.zero_step != 0) zero.point = zero.flip;
    for (int64_t pair = 0; pair < p_.pairs; ++pair) {
      const uint8_t* a = right(2 * pair, first, count, even);
      const uint8_t* b = 2 * pair + 1 < g_.k ? right(2 * pair + 1, first, count, odd) : nullptr;
      table_.interleave(a, b, count, zero, panels + pair * kIntegerPanel * 2, p_.pairs * kIntegerPanel * 2);
    }
  }

  void finish(int64_t row, int64_t first, int64_t count, const int16_t* wide, int32_t* sums) const {
    if (g_.b.zero_step != 0) {
      uint32_t total = 0;
      for (int64_t k = 0; k < g_.k; ++k) total += static_cast<uint32_t>(static_cast<int32_t>(wide[k]));
      for (int64_t j = 0; j < count; ++j) {
        const ByteZero zero = byte_zero(g_.b, first + j);
        sums[j] = static_cast<int32_t>(static_cast<uint32_t>(sums[j]) - total * static_cast<uint32_t>(zero.point - zero.flip));
      }
    }
    g_.finish(g_.target, row, first, count, sums);
  }

  const IntegerGemm& g_;
  const IntegerPlan& p_;
  const IntegerGemmTable& table_;
  unsigned char* bytes_;
};

}  // namespace

const IntegerGemmTable& integer_gemm_table() { return *table_for_isa(kIntegerGemmTables); }

bool integer_gemm_scratch_bytes(int64_t m, int64_t n, int64_t k, size_t threads, int64_t* bytes) {
  IntegerPlan plan;
  if (n <= kIntegerFewColumns) return !__builtin_mul_overflow(n * 2, k, bytes);
  if (!integer_plan(m, n, k, threads, &plan) || __builtin_mul_overflow(plan.slot_bytes, static_cast<int64_t>(threads), bytes))
    return false;
#if PENLIGHT_X86
  int64_t quads;
  if (!integer_quads_scratch_bytes(m, n, k, threads, &quads)) return false;
  if (*bytes < quads) *bytes = quads;
#endif
  return true;
}

void integer_gemm(const IntegerGemm& gemm, void* scratch, const Parallel& parallel) {
  IntegerPlan plan;
  if (gemm.m <= 0 || gemm.n <= 0 || !integer_plan(gemm.m, gemm.n, gemm.k, parallel.threads, &plan)) return;
  const IntegerProduct product(gemm, plan, scratch);
  if (gemm.n <= kIntegerFewColumns) {
    auto* columns = static_cast<int16_t*>(scratch);
    product.turn(columns);
    parallel_ranges(parallel, static_cast<size_t>(gemm.m), 16, [&](size_t begin, size_t end) {
      product.multiply_few(static_cast<int64_t>(begin), static_cast<int64_t>(end), columns);
    });
    return;
  }
#if PENLIGHT_X86
  if (integer_quads_take(gemm)) return integer_quads(gemm, scratch, parallel);
#endif
  const size_t blocks = static_cast<size_t>(plan.blocks), threads = parallel.threads;
  parallel_for(parallel, threads, [&](size_t slot) {
    for (size_t i = blocks * slot / threads; i < blocks * (slot + 1) / threads; ++i)
      product.multiply(static_cast<int64_t>(i), slot);
  });
}

}  // namespace penlight
