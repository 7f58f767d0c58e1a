// Float matrix products: packing, blocking and threads around the tiles of simd/gemm.h. SPDX-License-Identifier: Apache-2.0
#include "gemm.h"

#include "isa.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#define PENLIGHT_LEAN_TILES PENLIGHT_BASELINE_FUSES
#include "simd/gemm.h"
#undef PENLIGHT_LEAN_TILES
#if PENLIGHT_BASELINE_FUSES
#include "simd/fused_begin.h"
#include "simd/gemm.h"
#include "simd/fused_end.h"
#endif
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#define PENLIGHT_LEAN_TILES 1
#include "simd/gemm.h"
#undef PENLIGHT_LEAN_TILES
#include "simd/fused_begin.h"
#include "simd/gemm.h"
#include "simd/fused_end.h"
#include "simd/avx2_end.h"
#include "simd/avx512.h"
#include "simd/avx512_begin.h"
#include "simd/fused_begin.h"
#include "simd/gemm.h"
#include "simd/fused_end.h"
#include "simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

// Rounded once for each multiply-add, where there is an instruction for it.
constexpr const GemmTable* kGemmTables[] = {
#if PENLIGHT_BASELINE_FUSES
    &baseline::fused::kGemmTable,
#else
    &baseline::kGemmTable,
#endif
#if PENLIGHT_X86
    &avx2::fused::kGemmTable,
    &avx512::fused::kGemmTable,
#endif
};

// Rounded after each product and each sum: the same bits on every instruction set. Small tiles, which lose little without fused
// steps, and no table of AVX-512, which would add more code than speed.
constexpr const GemmTable* kExactGemmTables[] = {
    &baseline::kGemmTable,
#if PENLIGHT_X86
    &avx2::kGemmTable,
#endif
};

constexpr const DotTable* kDotTables[] = {
#if PENLIGHT_BASELINE_FUSES
    &baseline::fused::kDotTable,
#else
    &baseline::kDotTable,
#endif
#if PENLIGHT_X86
    &avx2::fused::kDotTable,
    &avx512::fused::kDotTable,
#endif
};

constexpr int64_t kGemmUnit = 12;        // a multiple of every tile's rows, for even blocks
constexpr int64_t kGemmGrain = 1 << 17;  // multiply-adds worth a thread
constexpr int64_t kGemmDirectRows = 4;   // up to so many rows, packing B costs more than it saves
constexpr int64_t kGemmDotRows = 2;
constexpr int64_t kGemmNearFloats = 6 << 10;  // of a right side that stays in the first cache
constexpr int64_t kGemmStrip = 64;            // columns whose part of C stays near while k runs
constexpr int64_t kGemmAhead = 8;             // short runs far apart, which the processor does not foresee, that are fetched ahead

const GemmTable& gemm_table(bool deterministic) {
  return deterministic ? *table_for_isa(kExactGemmTables) : *table_for_isa(kGemmTables);
}

int64_t gemm_min(int64_t a, int64_t b) { return a < b ? a : b; }

/// Rows of A in one block of this depth: nearly equal parts of all rows, as few as fit.
int64_t gemm_row_block(int64_t rows, int64_t depth) {
  const int64_t most = kGemmLeftFloats / (depth < 64 ? 64 : gemm_min(depth, kGemmDepth)) / kGemmUnit * kGemmUnit;
  const int64_t blocks = (rows + most - 1) / most;
  return blocks <= 1 ? most : ((rows + blocks - 1) / blocks + kGemmUnit - 1) / kGemmUnit * kGemmUnit;
}

GemmTile tile_of_block(const GemmBlock& block, int64_t k, int64_t depth) {
  GemmTile tile = {};
  tile.a_row = block.a_row;
  tile.a_depth = block.a_depth;
  tile.b = block.offsets != nullptr ? block.b : block.b + k * block.b_depth;
  tile.offsets = block.offsets != nullptr ? block.offsets + k : nullptr;
  tile.b_depth = block.b_depth;
  tile.b_panel = block.b_panel;
  tile.b_width = block.b_width;
  tile.depth = depth;
  tile.c_row = block.c_row;
  tile.load_c = block.accumulate || k > 0;
  tile.last = k + depth >= block.depth;
  tile.bias_row = block.bias_row;
  tile.bias_column = block.bias_column;
  tile.alpha = block.alpha;
  tile.beta = block.beta;
  activation_is_clamp(block.activation, &tile.low, &tile.high);
  return tile;
}

void gemm_rows(const GemmTable& table, const GemmBlock& block, GemmTile& tile, int64_t first, int64_t end, int64_t k) {
  // nearly equal tiles, since one of a row or two takes as long as one of four; but panels of A have full ones
  const int64_t tiles = (end - first + table.rows - 1) / table.rows;
  const int64_t least = (end - first) / tiles, larger = (end - first) % tiles;
  int64_t rows = 0, number = 0;
  for (int64_t i = first; i < end; i += rows, ++number) {
    rows = block.a_panel > 0 ? gemm_min(table.rows, end - i) : least + (number < larger ? 1 : 0);
    tile.a = block.a + (block.a_panel > 0 ? i / table.rows * block.a_panel : i * block.a_row) + k * block.a_depth;
    tile.c = block.c + i * block.c_row + tile.column;
    tile.bias = block.bias == nullptr ? nullptr : block.bias + i * block.bias_row + tile.column * block.bias_column;
    table.tile[rows][(tile.columns + table.lanes - 1) / table.lanes](tile);
  }
}

void gemm_dots(const Gemm& gemm, int64_t first, int64_t end) {
  const GemmTable& table = gemm_table(gemm.deterministic);
  float low, high, sums[kPanel];
  const bool clamp = activation_is_clamp(gemm.activation, &low, &high);
  for (int64_t j = first; j < end; j += kPanel) {
    const int64_t count = gemm_min(kPanel, end - j);
    for (int64_t i = 0; i < gemm.m; ++i) {
      float* c = gemm.c + i * gemm.c_row + j;
      table.dot(gemm.a + i * gemm.a_row, gemm.b + j * gemm.b_column, gemm.b_column, gemm.k, count, sums);
      for (int64_t x = 0; x < count; ++x) {
        float v = sums[x] * gemm.alpha;
        if (gemm.bias != nullptr) v += gemm.beta * gemm.bias[i * gemm.bias_row + (j + x) * gemm.bias_column];
        if (gemm.accumulate) v += c[x];
        c[x] = v < low ? low : v > high ? high : v;
      }
      if (!clamp) unary_f32(gemm.activation.function, gemm.activation.parameters, c, c, static_cast<size_t>(count), Parallel{});
    }
  }
}

/// One or two rows times columns of B that are contiguous.
bool gemm_is_dots(const Gemm& gemm) {
  return gemm.m <= kGemmDotRows && gemm.b_depth == 1 && gemm.a_depth == 1 && gemm.b_column != 1;
}

/// Few rows times a B that can be read where it lies.
bool gemm_is_direct(const Gemm& gemm) { return gemm.m <= kGemmDirectRows && gemm.b_column == 1; }

GemmBlock block_of_gemm(const Gemm& gemm) {
  GemmBlock block;
  block.rows = gemm.m;
  block.depth = gemm.k;
  block.a = gemm.a;
  block.a_row = gemm.a_row;
  block.a_depth = gemm.a_depth;
  block.c = gemm.c;
  block.c_row = gemm.c_row;
  block.bias = gemm.bias;
  block.bias_row = gemm.bias_row;
  block.bias_column = gemm.bias_column;
  block.alpha = gemm.alpha;
  block.beta = gemm.beta;
  block.accumulate = gemm.accumulate;
  block.activation = gemm.activation;
  block.deterministic = gemm.deterministic;
  return block;
}

/// The part of `block` that has rows [first, end).
GemmBlock rows_of_block(GemmBlock block, int64_t first, int64_t end) {
  block.rows = end - first;
  block.a += first * block.a_row;
  block.c += first * block.c_row;
  if (block.bias != nullptr) block.bias += first * block.bias_row;
  return block;
}

/// The part of `block` that begins at column `first`, of panels that lie at `b`.
GemmBlock columns_of_block(GemmBlock block, int64_t first, int64_t count, const float* b) {
  block.columns = count;
  block.b = b;
  block.c += first;
  if (block.bias != nullptr) block.bias += first * block.bias_column;
  return block;
}

/// The sums alone: scale, bias and activation come after the last k.
GemmBlock without_end(GemmBlock block) {
  block.alpha = 1;
  block.bias = nullptr;
  block.activation = Activation{};
  return block;
}

/// Few rows: B is read where it lies, only its last columns are packed.
void gemm_direct(const Gemm& gemm, float* scratch, const Parallel& parallel, size_t pieces) {
  const int64_t whole = gemm.n / kPanel;
  parallel_pieces(parallel, static_cast<size_t>(whole), pieces, [&](size_t begin, size_t end) {
    const int64_t first = static_cast<int64_t>(begin) * kPanel;
    GemmBlock block = columns_of_block(block_of_gemm(gemm), first, static_cast<int64_t>(end) * kPanel - first, gemm.b + first);
    block.b_depth = gemm.b_depth;
    block.b_panel = kPanel;
    gemm_block(block);
  });
  const int64_t rest = gemm.n - whole * kPanel;
  if (rest == 0) return;
  gemm_pack(gemm.b, gemm.b_depth, gemm.b_column, gemm.k, whole * kPanel, rest, scratch);
  gemm_block(columns_of_block(block_of_gemm(gemm), whole * kPanel, rest, scratch));
}

/// Copies the rows of a left side that are `depth` long.
void gemm_pack_rows(GemmBlock* block, float* left) {
  for (int64_t i = 0; i < block->rows; ++i)
    __builtin_memcpy(left + i * block->depth, block->a + i * block->a_row, static_cast<size_t>(block->depth) * sizeof(float));
  block->a_row = block->depth;
}

/// Copies a left side whose columns are contiguous to panels of one tile's rows, so that a tile reads one run.
template <int kRows>
void gemm_pack_columns(GemmBlock* block, float* left) {
  const int64_t whole = block->rows / kRows * kRows, panels = (block->rows + kRows - 1) / kRows;
  // a line more, or the same line of all panels would fall into a few sets of the first cache
  const int64_t panel = gemm_min(block->depth * kRows + kPanel, kGemmLeftFloats / panels);
  for (int64_t k = 0; k < block->depth; ++k) {
    const float* from = block->a + k * block->a_depth;
    float* to = left + k * kRows;
    for (int64_t i = 0; i < whole; i += kRows, to += panel) {
      __builtin_prefetch(from + kGemmAhead * block->a_depth + i);
      __builtin_memcpy(to, from + i, kRows * sizeof(float));
    }
    for (int64_t i = whole; i < block->rows; ++i) to[i - whole] = from[i];
  }
  block->a_depth = kRows;
  block->a_panel = panel;
}

/// Brings the left side of a block together in `left` and lets the block read it there.
void gemm_pack_left(GemmBlock* block, float* left) {
  if (block->a_depth == 1)
    gemm_pack_rows(block, left);
  else if (gemm_table(block->deterministic).rows == kGemmMaxRows)
    gemm_pack_columns<kGemmMaxRows>(block, left);
  else
    gemm_pack_columns<kGemmMinRows>(block, left);
  block->a = left;
}

/// As gemm_block, with each part of A brought together first: its rows or columns lie far apart.
void gemm_block_packed(const GemmBlock& block, float* left) {
  const int64_t step = gemm_row_block(block.rows, block.depth);
  for (int64_t i = 0; i < block.rows; i += step)
    for (int64_t k = 0; k == 0 || k < block.depth; k += kGemmDepth) {
      const int64_t depth = gemm_min(kGemmDepth, block.depth - k);
      GemmBlock part = rows_of_block(block, i, gemm_min(i + step, block.rows));
      part.a += k * block.a_depth;
      part.b += k * block.b_depth;
      part.depth = depth;
      part.accumulate = block.accumulate || k > 0;
      gemm_pack_left(&part, left);
      gemm_block(k + depth < block.depth ? without_end(part) : part);
    }
}

/// Some columns of a product whose rows are one block: every panel of B is packed just before its only use.
void gemm_streamed(const Gemm& gemm, int64_t first, int64_t end, float* panels, float* left) {
  const GemmTable& table = gemm_table(gemm.deterministic);
  const int64_t width = table.vectors * table.lanes > kPanel ? table.vectors * table.lanes : kPanel;
  for (int64_t k = 0; k < gemm.k; k += kGemmDepth) {
    GemmBlock part = block_of_gemm(gemm);
    part.a += k * part.a_depth;
    part.depth = gemm_min(kGemmDepth, gemm.k - k);
    part.b_panel = part.depth * kPanel;
    part.accumulate = gemm.accumulate || k > 0;
    gemm_pack_left(&part, left);
    if (k + part.depth < gemm.k) part = without_end(part);
    for (int64_t j = first; j < end; j += width) {
      const int64_t columns = gemm_min(width, end - j);
      gemm_pack(gemm.b + k * gemm.b_depth, gemm.b_depth, gemm.b_column, part.depth, j, columns, panels);
      gemm_block(columns_of_block(part, j, columns, panels));
    }
  }
}

/// Packs all of B into scratch, each thread some of the panels.
void gemm_pack_right(const Gemm& gemm, float* scratch, const Parallel& parallel, size_t pieces) {
  const int64_t panels = (gemm.n + kPanel - 1) / kPanel;
  parallel_pieces(parallel, static_cast<size_t>(panels), pieces, [&](size_t begin, size_t end) {
    const int64_t first = static_cast<int64_t>(begin) * kPanel, last = gemm_min(static_cast<int64_t>(end) * kPanel, gemm.n);
    gemm_pack(gemm.b, gemm.b_depth, gemm.b_column, gemm.k, first, last - first, scratch + first * gemm.k);
  });
}

/// The first `columns` columns of a product whose B lies in whole panels.
void gemm_of_panels(const Gemm& gemm, const float* panels, int64_t columns, const Parallel& parallel, size_t pieces) {
  const bool by_rows = gemm.m >= columns;
  const int64_t unit = by_rows ? kGemmMaxRows * 2 : 4 * kPanel, extent = by_rows ? gemm.m : columns;
  const int64_t units = (extent + unit - 1) / unit;
  parallel_pieces(parallel, static_cast<size_t>(units), pieces, [&](size_t begin, size_t end) {
    const int64_t first = static_cast<int64_t>(begin) * unit, last = gemm_min(static_cast<int64_t>(end) * unit, extent);
    const int64_t column = by_rows ? 0 : first, end_column = by_rows ? columns : last;
    GemmBlock rows = by_rows ? rows_of_block(block_of_gemm(gemm), first, last) : block_of_gemm(gemm);
    rows.b_panel = gemm.k * kPanel;
    for (int64_t j = column; j < end_column; j += kGemmStrip)
      gemm_block(columns_of_block(rows, j, gemm_min(kGemmStrip, end_column - j), panels + j * gemm.k));
  });
}

/// Parts that a product is cut into, each of which is worth a thread.
size_t gemm_pieces(const Gemm& gemm, const Parallel& parallel) {
  const double work = static_cast<double>(gemm.m) * static_cast<double>(gemm.n) * static_cast<double>(gemm.k > 0 ? gemm.k : 1);
  const double wanted = work / static_cast<double>(kGemmGrain);
  return wanted < static_cast<double>(parallel.threads) ? static_cast<size_t>(wanted) + 1 : parallel.threads;
}

void gemm_packed(const Gemm& gemm, float* scratch, const Parallel& parallel, size_t pieces) {
  const bool by_rows = gemm.m >= gemm.n, pack_left = gemm.left != nullptr && (gemm.a_row == 1 || gemm.a_depth == 1);
  const bool streamed = !by_rows && pack_left && gemm.k > 0 && gemm.m <= gemm_row_block(gemm.m, gemm.k);
  if (!streamed) gemm_pack_right(gemm, scratch, parallel, pieces);
  const int64_t unit = by_rows ? kGemmMaxRows * 2 : 4 * kPanel, extent = by_rows ? gemm.m : gemm.n;
  const int64_t units = (extent + unit - 1) / unit, parts = gemm_min(units, static_cast<int64_t>(pieces));
  parallel_for(parallel, static_cast<size_t>(parts), [&](size_t part) {
    const int64_t number = static_cast<int64_t>(part);
    const int64_t first = units * number / parts * unit, last = gemm_min(units * (number + 1) / parts * unit, extent);
    const int64_t column = by_rows ? 0 : first, columns = by_rows ? gemm.n : last - first;
    float *right = scratch + column * gemm.k, *left = pack_left ? gemm.left + number * kGemmLeftFloats : nullptr;
    if (streamed) return gemm_streamed(gemm, first, last, right, left);
    GemmBlock block = columns_of_block(block_of_gemm(gemm), column, columns, right);
    block.b_panel = gemm.k * kPanel;
    if (by_rows) block = rows_of_block(block, first, last);
    if (pack_left)
      gemm_block_packed(block, left);
    else
      gemm_block(block);
  });
}

}  // namespace

void gemm_block(const GemmBlock& block) {
  const GemmTable& table = gemm_table(block.deterministic);
  float low, high;
  const bool clamp = activation_is_clamp(block.activation, &low, &high);
  const int64_t width = (block.rows == 1 ? table.wide_vectors : table.vectors) * table.lanes;
  for (int64_t k = 0; k == 0 || k < block.depth; k += kGemmDepth) {
    GemmTile tile = tile_of_block(block, k, gemm_min(kGemmDepth, block.depth - k));
    // along a few rows of C where all of B stays near, else down its columns
    const bool along = block.columns > width && tile.depth * block.columns <= kGemmNearFloats;
    const int64_t step = along ? table.rows : gemm_row_block(block.rows, tile.depth);
    const float* first = tile.b;
    for (int64_t i = 0; i < block.rows; i += step, tile.b = first) {
      tile.place = 0;
      for (tile.column = 0; tile.column < block.columns; tile.column += width) {
        tile.columns = gemm_min(width, block.columns - tile.column);
        gemm_rows(table, block, tile, i, gemm_min(i + step, block.rows), k);
        const bool more = tile.column + width < block.columns;  // else there may be no panel to go to
        for (tile.place += width; more && tile.place >= tile.b_width; tile.place -= tile.b_width) tile.b += tile.b_panel;
      }
    }
  }
  if (clamp) return;
  for (int64_t i = 0; i < block.rows; ++i) {
    float* c = block.c + i * block.c_row;
    unary_f32(block.activation.function, block.activation.parameters, c, c, static_cast<size_t>(block.columns), Parallel{});
  }
}

int64_t gemm_lanes() { return gemm_table(false).lanes; }

void dot_block(const DotBlock& block) {
  const DotTable& table = *table_for_isa(kDotTables);
  DotBlock tile = block;
  for (int64_t i = 0; i < block.rows; i += kDotRows) {
    tile.rows = gemm_min(kDotRows, block.rows - i);
    const int64_t width = tile.rows == 1 ? kDotWideColumns : kDotColumns;
    tile.a = block.a + i * block.a_row;
    for (int64_t j = 0; j < block.columns; j += width) {
      tile.columns = gemm_min(width, block.columns - j);
      tile.offsets = block.offsets + j;
      tile.c = block.c + i * block.c_row + j;
      table.tile[tile.rows][tile.columns](tile);
    }
  }
}

bool gemm_panel_floats(int64_t columns, int64_t depth, int64_t* floats) {
  int64_t padded;
  if (__builtin_add_overflow(columns, kPanel - 1, &padded)) return false;
  return !__builtin_mul_overflow(padded / kPanel * kPanel, depth, floats);
}

bool gemm_scratch_floats(const Gemm& gemm, int64_t* floats) {
  *floats = 0;
  if (gemm_is_dots(gemm)) return true;
  return gemm_panel_floats(gemm_is_direct(gemm) ? gemm.n % kPanel : gemm.n, gemm.k, floats);
}

void gemm_pack(const float* b, int64_t b_depth, int64_t b_column, int64_t depth, int64_t first, int64_t count, float* panels) {
  const GemmTable& table = gemm_table(false);
  for (int64_t j = 0; j < count; j += kPanel, panels += depth * kPanel) {
    const int64_t columns = gemm_min(kPanel, count - j);
    const float* from = b + (first + j) * b_column;
    if (columns == kPanel && b_column == 1) {
      for (int64_t k = 0; k < depth; ++k) {
        __builtin_prefetch(from + (k + kGemmAhead) * b_depth);
        __builtin_memcpy(panels + k * kPanel, from + k * b_depth, kPanel * sizeof(float));
      }
      continue;
    }
    const int64_t whole = columns == kPanel && b_depth == 1 ? depth / kPanel * kPanel : 0;
    table.pack_transposed(from, b_column, whole, panels);
    for (int64_t k = whole; k < depth; ++k) {
      float* to = panels + k * kPanel;
      for (int64_t x = 0; x < columns; ++x) to[x] = from[k * b_depth + x * b_column];
      for (int64_t x = columns; x < kPanel; ++x) to[x] = 0.0f;
    }
  }
}

void gemm_panels_f32(const Gemm& gemm, float* scratch, const Parallel& parallel) {
  if (gemm.m <= 0 || gemm.n <= 0) return;
  const int64_t whole = gemm.n / kPanel * kPanel, rest = gemm.n - whole;
  gemm_of_panels(gemm, gemm.b, whole, parallel, gemm_pieces(gemm, parallel));
  if (rest == 0) return;
  gemm_pack(gemm.b + whole * gemm.k, rest, 1, gemm.k, 0, rest, scratch);
  gemm_block(columns_of_block(block_of_gemm(gemm), whole, rest, scratch));
}

void gemm_f32(const Gemm& gemm, float* scratch, const Parallel& parallel) {
  if (gemm.m <= 0 || gemm.n <= 0) return;
  const size_t pieces = gemm_pieces(gemm, parallel);
  if (gemm_is_dots(gemm)) {
    parallel_pieces(parallel, static_cast<size_t>(gemm.n), pieces,
                    [&](size_t begin, size_t end) { gemm_dots(gemm, static_cast<int64_t>(begin), static_cast<int64_t>(end)); });
  } else if (gemm_is_direct(gemm)) {
    gemm_direct(gemm, scratch, parallel, pieces);
  } else {
    gemm_packed(gemm, scratch, parallel, pieces);
  }
}

}  // namespace penlight
