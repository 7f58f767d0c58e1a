// MatMulNBits: floats times weights of 4 or 8 bits with scales of their own for blocks of rows. SPDX-License-Identifier: Apache-2.0
#include "gemm.h"
#include "isa.h"
#include "shape_rules.h"

namespace penlight {

namespace {

constexpr int kNBitsGroup = 8;             // rows of a panel that lie together
constexpr float kNibbleScale = 1.0f / 16;  // a nibble is read where it stands in its byte

/// 16 columns. A group of 4 bits is a word for each column, whose lowest nibble is its first row; one of 8 bits is 8 rows of bytes.
struct NBitsPanel {
  const uint8_t* weights;
  const float* scales;       // 16 for each block, as the zero points
  const uint8_t* zeros;      // plus 128 where weights have 8 bits; may be null
  const float* float_zeros;  // instead; may be null
  int64_t groups, block_groups, blocks;
};

/// [0] is for 4 bits, [1] for 8.
struct NBitsTable {
  /// One row x of groups * 8 floats; `totals` are its sums over blocks.
  void (*row[2])(const NBitsPanel& panel, const float* x, const float* totals, float* y);
  void (*unpack[2])(const NBitsPanel& panel, int64_t begin, int64_t end, float* to);
};

}  // namespace

}  // namespace penlight

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/nbits.h"
#if PENLIGHT_BASELINE_FUSES
#include "simd/fused_begin.h"
#include "simd/nbits.h"
#include "simd/fused_end.h"
#endif
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/nbits.h"
#include "simd/fused_begin.h"
#include "simd/nbits.h"
#include "simd/fused_end.h"
#include "simd/avx2_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const NBitsTable* kNBitsTables[] = {
#if PENLIGHT_BASELINE_FUSES
    &baseline::fused::kNBitsTable,
#else
    &baseline::kNBitsTable,
#endif
#if PENLIGHT_X86
    &avx2::fused::kNBitsTable,
#endif
};

constexpr const NBitsTable* kExactNBitsTables[] = {
    &baseline::kNBitsTable,
#if PENLIGHT_X86
    &avx2::kNBitsTable,
#endif
};

constexpr int64_t kUnpackedPanels = PENLIGHT_SMALL ? 1 : 4;    // at once
constexpr int64_t kUnpackedDepth = PENLIGHT_SMALL ? 64 : 256;  // rows at once

struct NBitsState {
  int64_t m = 1, n = 0, k = 0;
  int64_t panels = 0, groups = 0, blocks = 0, block_groups = 0;
  int is_bytes = 0;
};

int64_t ceiling(int64_t count, int64_t step) { return count / step + (count % step != 0); }

Status read_layout(Context& context, NBitsState* s) {
  const Shape& w = context.input(1).shape;
  const int64_t block = context.attributes->integer("block_size", 0), rows = s->is_bytes ? kNBitsGroup : 1;
  s->n = context.attributes->integer("columns", -1);
  if (s->n < 0 || block <= 0 || block % kNBitsGroup != 0)
    return context.fail(Status::kUnsupportedOperator, "columns or block_size is out of range");
  s->panels = ceiling(s->n, kPanel);
  s->groups = ceiling(s->k, kNBitsGroup);
  s->blocks = ceiling(s->k, block);
  s->block_groups = block / kNBitsGroup;
  if (w.dims[0] != s->panels || w.dims[1] % rows != 0 || w.dims[1] / rows != s->groups || w.dims[2] != kPanel)
    return context.fail(Status::kShapeMismatch, "the weights are not those of %lld columns of %lld", static_cast<long long>(s->n),
                        static_cast<long long>(s->k));
  const int64_t sizes[] = {s->panels, s->blocks, kPanel};
  for (int i = 2; i < 4; ++i)
    if (context.input(i).present() && !same_shape(context.input(i).shape, make_shape(sizes, 3)))
      return context.fail(Status::kShapeMismatch, "scales and zero points must have 16 numbers for each block of a panel");
  const Tensor& bias = context.input(4);
  if (bias.present() && (bias.shape.rank != 1 || bias.shape.dims[0] != s->n))
    return context.fail(Status::kShapeMismatch, "the bias must have %lld elements", static_cast<long long>(s->n));
  return Status::kOk;
}

Status check_nbits_types(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kU32) | dtype_bit(DType::kI8)));
  PENLIGHT_TRY(check_dtype(context, 2, dtype_bit(DType::kF32)));
  if (context.input(3).present()) PENLIGHT_TRY(check_dtype(context, 3, dtype_bit(DType::kF32) | dtype_bit(DType::kU8)));
  if (context.input(4).present()) PENLIGHT_TRY(check_dtype(context, 4, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  return check_rank(context, 1, 3, 3);
}

NBitsPanel nbits_panel(const Context& context, const NBitsState& s, int64_t number) {
  const Tensor& zeros = context.input(3);
  const int64_t place = number * s.blocks * kPanel;
  NBitsPanel panel;
  panel.weights = context.input(1).as<uint8_t>() + number * s.groups * kNBitsGroup * kPanel / (s.is_bytes ? 1 : 2);
  panel.scales = context.input(2).as<float>() + place;
  panel.zeros = zeros.dtype == DType::kU8 ? zeros.as<uint8_t>() + place : nullptr;
  panel.float_zeros = zeros.dtype == DType::kF32 ? zeros.as<float>() + place : nullptr;
  panel.groups = s.groups;
  panel.block_groups = s.block_groups;
  panel.blocks = s.blocks;
  return panel;
}

/// One row: weights are read once, and never as floats in memory.
void multiply_one_row(Context& context, const NBitsState& s, const NBitsTable& table, const Parallel& parallel) {
  float *x = static_cast<float*>(context.scratch), *totals = x + s.groups * kNBitsGroup, *y = context.output(0).as<float>();
  __builtin_memcpy(x, context.input(0).data, static_cast<size_t>(s.k) * sizeof(float));
  for (int64_t i = s.k; i < s.groups * kNBitsGroup; ++i) x[i] = 0;
  const int64_t block = s.block_groups * kNBitsGroup;
  for (int64_t i = 0; i < s.k; ++i) totals[i / block] = (i % block == 0 ? 0.0f : totals[i / block]) + x[i];
  const float* bias = context.input(4).as<float>();
  parallel_ranges(parallel, static_cast<size_t>(s.panels), 4, [&](size_t begin, size_t end) {
    for (int64_t number = static_cast<int64_t>(begin); number < static_cast<int64_t>(end); ++number) {
      float sums[kPanel];
      table.row[s.is_bytes](nbits_panel(context, s, number), x, totals, sums);
      for (int64_t j = 0; j < kPanel && number * kPanel + j < s.n; ++j)
        y[number * kPanel + j] = bias != nullptr ? sums[j] + bias[number * kPanel + j] : sums[j];
    }
  });
}

/// All rows times some panels, which become floats part by part.
void multiply_rows(Context& context, const NBitsState& s, const NBitsTable& table, int64_t first, int64_t end, float* floats) {
  const Tensor& bias = context.input(4);
  for (int64_t k = 0; k == 0 || k < s.k; k += kUnpackedDepth) {
    GemmBlock block;
    block.rows = s.m;
    block.columns = (end * kPanel < s.n ? end * kPanel : s.n) - first * kPanel;
    block.depth = s.k - k < kUnpackedDepth ? s.k - k : kUnpackedDepth;
    block.a = context.input(0).as<float>() + k;
    block.a_row = s.k;
    block.b = floats;
    block.b_panel = kUnpackedDepth * kPanel;
    block.c = context.output(0).as<float>() + first * kPanel;
    block.c_row = s.n;
    block.accumulate = k > 0;
    block.bias = k + block.depth >= s.k && bias.present() ? bias.as<float>() + first * kPanel : nullptr;
    block.bias_column = 1;
    block.deterministic = context.deterministic;
    for (int64_t number = first; number < end; ++number)
      table.unpack[s.is_bytes](nbits_panel(context, s, number), k / kNBitsGroup, ceiling(k + block.depth, kNBitsGroup),
                               floats + (number - first) * block.b_panel);
    gemm_block(block);
  }
}

}  // namespace

/// x (..., k), weights (panels, k / 8, 16) of 4 bits or (panels, k, 16) of 8, scales (panels, blocks, 16), zero points, bias.
Status matmul_nbits_infer(Context& context) {
  PENLIGHT_TRY(check_nbits_types(context));
  NBitsState& s = context.state_as<NBitsState>();
  s = NBitsState{};
  Shape out = context.input(0).shape;
  s.k = out.dims[out.rank - 1];
  s.is_bytes = context.input(1).dtype == DType::kI8;
  PENLIGHT_TRY(read_layout(context, &s));
  out.dims[out.rank - 1] = s.n;
  PENLIGHT_TRY(set_output(context, 0, DType::kF32, out));
  s.m = dims_product(out, 0, out.rank - 1);
  const uint64_t columns = static_cast<uint64_t>(s.panels) * kPanel, depth = static_cast<uint64_t>(s.k > 0 ? s.k : 1);
  const uint64_t rows = saturating_add(static_cast<uint64_t>(s.m), s.m > 1 ? 1 : 0);  // unpacking takes as long as a row
  context.macs = saturating_mul(saturating_mul(rows, columns), depth);
  const int64_t threads = static_cast<int64_t>(context.threads() > 0 ? context.threads() : 1);
  const bool fits = s.m == 1 ? add_scratch(context, s.groups * kNBitsGroup + s.blocks, sizeof(float))
                             : add_scratch(context, threads, kUnpackedPanels * kUnpackedDepth * kPanel * sizeof(float));
  return fits ? Status::kOk : scratch_too_large(context);
}

Status matmul_nbits_run(Context& context) {
  const NBitsState& s = context.state_as<NBitsState>();
  if (context.output(0).shape.count() == 0) return Status::kOk;
  const NBitsTable& table = context.deterministic ? *table_for_isa(kExactNBitsTables) : *table_for_isa(kNBitsTables);
  const Parallel parallel = context_parallel(context);
  if (s.m == 1) {
    multiply_one_row(context, s, table, parallel);
    return Status::kOk;
  }
  const size_t chunks = static_cast<size_t>(ceiling(s.panels, kUnpackedPanels)), slots = piece_count(parallel, chunks, 1);
  parallel_for(parallel, slots, [&](size_t slot) {
    float* floats = static_cast<float*>(context.scratch) + slot * (kUnpackedPanels * kUnpackedDepth * kPanel);
    for (size_t i = chunks * slot / slots; i < chunks * (slot + 1) / slots; ++i) {
      const int64_t first = static_cast<int64_t>(i) * kUnpackedPanels, end = first + kUnpackedPanels;
      multiply_rows(context, s, table, first, end < s.panels ? end : s.panels, floats);
    }
  });
  return Status::kOk;
}

}  // namespace penlight
