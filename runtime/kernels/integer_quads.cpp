// Products of 8-bit matrices by pairs of bytes; what the loops need, and AVX2's. SPDX-License-Identifier: Apache-2.0
#include "integer_quads.h"

#include "isa.h"

#if PENLIGHT_X86
namespace penlight {

namespace {

constexpr int64_t kQuadPanel = 16;       // columns of a packed panel
constexpr int64_t kQuadHalfPanel = 8;    // of them, where a panel has no more
constexpr int64_t kQuadPanelBytes = 64;  // of four numbers of its columns
constexpr int kQuadRows = 6;             // of a tile
constexpr int64_t kQuadMoreCuts = 64;    // bytes of cuts that are written beyond a row's own
constexpr int kQuadPairMost = 128;       // times 255 it fits in 16 bits

/// A row of weights, whole vectors; its sums begin at `start`. Of quad cut_quads[i] cut_weights[i] were cut off.
struct QuadRow {
  const int8_t* weights;
  int32_t *cut_quads, *cut_weights;
  int64_t cut_count;
  int32_t start;
};

/// As simd/integer_quads.h says.
struct QuadTable {
  using Tile = void (*)(const QuadRow* rows, int64_t row_bytes, const uint8_t* panel, int64_t quads, int32_t* sums,
                        int64_t sums_row);
  Tile tile[kQuadRows + 1], half_tile[kQuadRows + 1];
  int32_t (*row)(const uint8_t* from, uint8_t flip, int64_t count, int8_t* to, QuadRow* row);
  void (*cuts)(const QuadRow& row, const uint8_t* panel, int64_t panels, int64_t step, int32_t* sums);
  void (*pack)(const uint8_t* const* rows, int64_t count, uint8_t flip, uint8_t* panel, int64_t step);
};

}  // namespace

}  // namespace penlight

// clang-format off
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/integer_quads.h"
#include "simd/avx2_end.h"
// clang-format on

namespace penlight {

namespace {

constexpr int64_t kQuadBlockBytes = 256 << 10;  // of packed columns: they stay in the second cache
constexpr int64_t kQuadBlock = 384;             // columns at once at most
constexpr int64_t kQuadLeast = 96;              // columns and numbers of one: fewer do not pay for cutting the weights
constexpr int64_t kQuadKeptBytes = 160 << 10;   // of weights, beside them

/// Columns are worked on in blocks; sizes of what a thread keeps for one, in bytes.
struct QuadPlan {
  int64_t quads, block, blocks;
  int64_t rows;  // of weights that are kept: all, or those of a tile
  int64_t panel_bytes, row_bytes, cut_bytes, slot_bytes;
};

int64_t quad_round(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

bool quad_plan(int64_t m, int64_t n, int64_t k, size_t threads, QuadPlan* p) {
  if (m < 0 || n < 0 || k < 0 || k > INT32_MAX) return false;
  p->quads = (k + 3) / 4;
  const int64_t fitting = kQuadBlockBytes / (4 * (p->quads + 1)), share = n / static_cast<int64_t>(threads > 0 ? threads : 1) + 1;
  const int64_t most = fitting < kQuadBlock ? fitting : kQuadBlock, wanted = most < share ? most : share;
  p->block = quad_round(wanted > 0 ? wanted : 1, kQuadPanel);
  p->blocks = n / p->block + (n % p->block != 0);
  p->panel_bytes = p->block * 4 * p->quads;
  p->row_bytes = quad_round(k, 64) + 64;  // apart from the next one in the first cache, where k is a power of two
  p->cut_bytes = 2 * quad_round(p->quads * 4 + kQuadMoreCuts, 64);
  const int64_t each = p->row_bytes + p->cut_bytes + static_cast<int64_t>(sizeof(QuadRow));
  p->rows = p->blocks > 1 && m > kQuadRows && m < kQuadKeptBytes / each ? m : kQuadRows;
  p->slot_bytes = quad_round(p->panel_bytes + p->rows * each, 64) + kQuadRows * p->block * 4;
  return true;
}

class QuadProduct {
 public:
  QuadProduct(const IntegerGemm& gemm, const QuadPlan& plan, void* slot) : g_(gemm), p_(plan), table_(avx2::kQuadTable) {
    panels_ = static_cast<uint8_t*>(slot);
    weights_ = reinterpret_cast<int8_t*>(panels_ + p_.panel_bytes);
    cuts_ = reinterpret_cast<int32_t*>(weights_ + p_.rows * p_.row_bytes);
    rows_ = reinterpret_cast<QuadRow*>(cuts_ + p_.rows * p_.cut_bytes / 4);
    sums_ = reinterpret_cast<int32_t*>(panels_ + p_.slot_bytes) - kQuadRows * p_.block;
    for (int64_t i = 0; p_.rows > kQuadRows && i < g_.m; ++i) read_row(i, &rows_[i]);
  }

  /// All rows of one block of columns.
  void multiply(int64_t block) const {
    const int64_t first = block * p_.block, count = p_.block < g_.n - first ? p_.block : g_.n - first;
    pack(first, count);
    for (int64_t i = 0; i < g_.m; i += kQuadRows) {
      const int64_t height = kQuadRows < g_.m - i ? kQuadRows : g_.m - i;
      QuadRow* rows = p_.rows > kQuadRows ? rows_ + i : rows_;
      for (int64_t r = 0; p_.rows == kQuadRows && r < height; ++r) read_row(i + r, &rows[r]);
      multiply_rows(rows, height, count);
      for (int64_t r = 0; r < height; ++r) g_.finish(g_.target, i + r, first, count, sums_ + r * p_.block);
    }
  }

 private:
  void multiply_rows(const QuadRow* rows, int64_t height, int64_t count) const {
    const int64_t step = p_.quads * kQuadPanelBytes, panels = (count + kQuadPanel - 1) / kQuadPanel;
    for (int64_t i = 0; i < panels; ++i) {
      const auto* tiles = count - i * kQuadPanel > kQuadHalfPanel ? table_.tile : table_.half_tile;
      tiles[height](rows, p_.row_bytes, panels_ + i * step, p_.quads, sums_ + i * kQuadPanel, p_.block);
    }
    for (int64_t r = 0; r < height; ++r) table_.cuts(rows[r], panels_, panels, step, sums_ + r * p_.block);
  }

  /// The sums begin at minus the zero point of the columns times those of the weights.
  void read_row(int64_t row, QuadRow* to) const {
    const int64_t place = to - rows_;
    to->cut_quads = cuts_ + place * p_.cut_bytes / 4;
    to->cut_weights = to->cut_quads + p_.cut_bytes / 8;
    const uint8_t flip = g_.a.is_signed ? 0 : 0x80;
    const auto* from = static_cast<const uint8_t*>(g_.a.data) + row * g_.k;
    const auto total = static_cast<uint32_t>(table_.row(from, flip, g_.k, weights_ + place * p_.row_bytes, to));
    to->start = static_cast<int32_t>(0 - total * static_cast<uint32_t>(byte_zero(g_.b, 0).point));
  }

  void pack(int64_t first, int64_t count) const {
    uint8_t buffers[4][kQuadBlock];
    const uint8_t flip = g_.b.is_signed ? 0x80 : 0;
    for (int64_t quad = 0; quad < p_.quads; ++quad) {
      const uint8_t* rows[4] = {};
      for (int64_t i = 0; i < 4 && 4 * quad + i < g_.k; ++i) rows[i] = right(4 * quad + i, first, count, buffers[i]);
      table_.pack(rows, count, flip, panels_ + quad * kQuadPanelBytes, p_.quads * kQuadPanelBytes);
    }
  }

  const uint8_t* right(int64_t line, int64_t first, int64_t count, uint8_t* buffer) const {
    if (g_.right != nullptr) return g_.right(g_.source, line, first, count, buffer);
    return static_cast<const uint8_t*>(g_.b.data) + line * g_.n + first;
  }

  const IntegerGemm& g_;
  const QuadPlan& p_;
  const QuadTable& table_;
  uint8_t* panels_;
  int8_t* weights_;
  int32_t *cuts_, *sums_;
  QuadRow* rows_;
};

}  // namespace

bool integer_quads_take(const IntegerGemm& gemm) {
  if (static_cast<int>(current_isa()) < static_cast<int>(Isa::kAvx2) || gemm.b.zero_step != 0) return false;
  if (gemm.n < kQuadLeast || gemm.k < kQuadLeast) return false;
  const int64_t lines = gemm.a.zero_step == 0 ? 1 : gemm.m;
  for (int64_t line = 0; line < lines; ++line)
    if (byte_zero(gemm.a, line).point != 0x80) return false;  // of flipped bytes
  return true;
}

bool integer_quads_scratch_bytes(int64_t m, int64_t n, int64_t k, size_t threads, int64_t* bytes) {
  QuadPlan plan;
  return quad_plan(m, n, k, threads, &plan) && !__builtin_mul_overflow(plan.slot_bytes, static_cast<int64_t>(threads), bytes);
}

void integer_quads(const IntegerGemm& gemm, void* scratch, const Parallel& parallel) {
  QuadPlan plan;
  if (!quad_plan(gemm.m, gemm.n, gemm.k, parallel.threads, &plan)) return;
  const size_t blocks = static_cast<size_t>(plan.blocks), threads = parallel.threads;
  parallel_for(parallel, threads, [&](size_t slot) {
    const QuadProduct product(gemm, plan, static_cast<unsigned char*>(scratch) + static_cast<int64_t>(slot) * plan.slot_bytes);
    for (size_t i = blocks * slot / threads; i < blocks * (slot + 1) / threads; ++i) product.multiply(static_cast<int64_t>(i));
  });
}

}  // namespace penlight
#endif
