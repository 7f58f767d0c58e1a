// RotaryEmbedding: pairs of features turned by an angle for each position. SPDX-License-Identifier: Apache-2.0
#include "rotary.h"

#include <string.h>

#include "index.h"
#include "isa.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/rotary.h"
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/rotary.h"
#include "simd/avx2_end.h"
#include "simd/avx512.h"
#include "simd/avx512_begin.h"
#include "simd/rotary.h"
#include "simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const RotaryTable* kRotaryTables[] = {
    &baseline::kRotaryTable,
#if PENLIGHT_X86
    &avx2::kRotaryTable,
    &avx512::kRotaryTable,
#endif
};

constexpr int64_t kRotaryGrain = 1 << 14;  // elements worth a thread

/// x as (batch, sequence, heads, size) with strides: a head's features lie side by side in both forms of x.
struct RotaryState {
  int64_t batch = 1, sequence = 1, heads = 1, size = 1;
  int64_t batch_step = 0, sequence_step = 0, head_step = 0;
  int64_t pairs = 0;      // of each head that are turned; the rest is copied
  int64_t positions = 0;  // rows of the two-dimensional caches
  bool chosen = false;    // position_ids name them; else each position has a row of its own
  bool in_turns = false;
};

Status rotary_form(Context& context, RotaryState* r) {
  const Shape& x = context.input(0).shape;
  PENLIGHT_TRY(check_rank(context, 0, 3, 4));
  r->batch = x.dims[0];
  r->sequence = x.dims[x.rank - 2];
  r->heads = x.rank == 4 ? x.dims[1] : context.attributes->integer("num_heads", 0);
  const int64_t width = x.dims[x.rank - 1];
  if (x.rank == 3 && (r->heads < 1 || width % r->heads != 0))
    return context.fail(Status::kShapeMismatch, "num_heads %lld does not divide the %lld features of x",
                        static_cast<long long>(r->heads), static_cast<long long>(width));
  r->size = x.rank == 4 ? width : width / r->heads;
  r->batch_step = x.rank == 4 ? r->heads * r->sequence * r->size : r->sequence * width;
  r->sequence_step = width;
  r->head_step = x.rank == 4 ? r->sequence * r->size : r->size;
  const int64_t turned = context.attributes->integer("rotary_embedding_dim", 0);
  r->in_turns = context.attributes->integer("interleaved", 0) != 0;
  r->pairs = (turned > 0 ? turned : r->size) / 2;
  if (turned >= 0 && turned <= r->size && turned % 2 == 0 && (turned > 0 || r->size % 2 == 0)) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "rotary_embedding_dim must be even and at most the head's %lld features",
                      static_cast<long long>(r->size));
}

/// cos_cache and sin_cache: (positions, pairs) with position_ids (batch, sequence), else (batch, sequence, pairs).
Status rotary_caches(Context& context, RotaryState* r) {
  r->chosen = context.input(3).present();
  const Shape &cosines = context.input(1).shape, &sines = context.input(2).shape;
  const int64_t own[] = {r->batch, r->sequence, r->pairs}, shared[] = {cosines.dims[0], r->pairs};
  if (!same_shape(cosines, r->chosen ? make_shape(shared, 2) : make_shape(own, 3)) || !same_shape(sines, cosines))
    return context.fail(Status::kShapeMismatch, "cos_cache and sin_cache must both have shape %s with %lld in the last dimension",
                        r->chosen ? "(positions, pairs)" : "(batch, sequence, pairs)", static_cast<long long>(r->pairs));
  if (!r->chosen) return Status::kOk;
  r->positions = cosines.dims[0];
  PENLIGHT_TRY(check_dtype(context, 3, kIndexTypes));
  if (same_shape(context.input(3).shape, make_shape(own, 2))) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "position_ids must have shape (%lld, %lld)", static_cast<long long>(r->batch),
                      static_cast<long long>(r->sequence));
}

template <typename T>
void rotary_row(const RotaryState& r, const T* x, const T* cosines, const T* sines, T* y) {
  using Real = typename Element<T>::Compute;
  const int64_t next = r.in_turns ? 1 : r.pairs, step = r.in_turns ? 2 : 1;
  for (int64_t i = 0; i < r.pairs; ++i, x += step, y += step) {
    const Real a = static_cast<Real>(x[0]), b = static_cast<Real>(x[next]);
    const Real cosine = static_cast<Real>(cosines[i]), sine = static_cast<Real>(sines[i]);
    y[0] = static_cast<T>(a * cosine - b * sine);
    y[next] = static_cast<T>(a * sine + b * cosine);
  }
}

void rotary_row(const RotaryState& r, const float* x, const float* cosines, const float* sines, float* y) {
  const RotaryTable& table = *table_for_isa(kRotaryTables);
  (r.in_turns ? table.in_turns : table.halves)(x, cosines, sines, y, r.pairs);
}

}  // namespace

Status rotary_embedding_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, FloatTypes::kBits));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  PENLIGHT_TRY(check_same_dtype(context, 2, 0));
  RotaryState& state = context.state_as<RotaryState>();
  state = RotaryState{};
  PENLIGHT_TRY(rotary_form(context, &state));
  PENLIGHT_TRY(rotary_caches(context, &state));
  context.macs = saturating_mul(static_cast<uint64_t>(context.input(0).shape.count()), 2);
  return set_output(context, 0, context.input(0).dtype, context.input(0).shape);
}

Status rotary_embedding_run(Context& context) {
  const RotaryState& r = context.state_as<RotaryState>();
  const Tensor &x = context.input(0), &ids = context.input(3);
  if (x.shape.count() == 0) return Status::kOk;
  const int64_t places = r.batch * r.sequence;
  int64_t row = 0;
  for (int64_t k = 0; r.chosen && k < places; ++k) PENLIGHT_TRY(index_at(context, ids, k, r.positions, &row));
  const auto grain = static_cast<size_t>(kRotaryGrain / (r.heads * r.size) + 1);
  FloatTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    parallel_ranges(context_parallel(context), static_cast<size_t>(places), grain, [&](size_t begin, size_t end) {
      for (auto k = static_cast<int64_t>(begin); k < static_cast<int64_t>(end); ++k) {
        int64_t place = k;
        if (r.chosen) static_cast<void>(index_at(context, ids, k, r.positions, &place));  // checked above
        const T *cosines = context.input(1).as<T>() + place * r.pairs, *sines = context.input(2).as<T>() + place * r.pairs;
        const int64_t first = k / r.sequence * r.batch_step + k % r.sequence * r.sequence_step;
        for (int64_t h = 0; h < r.heads; ++h) {
          const T* from = x.as<T>() + first + h * r.head_step;
          T* to = context.output(0).as<T>() + first + h * r.head_step;
          rotary_row(r, from, cosines, sines, to);
          memcpy(to + 2 * r.pairs, from + 2 * r.pairs, static_cast<size_t>(r.size - 2 * r.pairs) * sizeof(T));
        }
      }
    });
  });
  return Status::kOk;
}

}  // namespace penlight
