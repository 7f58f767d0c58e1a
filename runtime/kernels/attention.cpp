// Attention with caches, masks, windows and grouped heads, one row of scores at a time. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "attention_head.h"
#include "real_functions.h"
#include "shape_rules.h"

namespace penlight {

namespace {

constexpr uint32_t kAttentionTypes =
    dtype_bit(DType::kF32) | dtype_bit(DType::kF64) | dtype_bit(DType::kF16) | dtype_bit(DType::kBF16);

/// What the fourth output shows.
enum class ScoreOutput : int { kScores, kCapped, kMasked, kProbabilities };

struct AttentionState {
  int64_t batch = 0, heads = 0, kv_heads = 0, queries = 0, keys = 0, past = 0, total = 0, size = 0, value_size = 0;
  bool split_heads = false;  // (batch, sequence, heads * size), otherwise (batch, heads, sequence, size)
  bool causal = false, wide_softmax = false;
  double scale = 1, softcap = 0;
  int64_t left = -1, right = -1;
  ScoreOutput shown = ScoreOutput::kScores;
  int64_t mask_strides[3] = {};  // of batch, head and query
  int64_t mask_width = 0;
};

/// Start of row `row` of head `head`.
int64_t attention_row(const AttentionState& s, int64_t b, int64_t head, int64_t row, int64_t heads, int64_t rows, int64_t size) {
  return s.split_heads ? ((b * rows + row) * heads + head) * size : ((b * heads + head) * rows + row) * size;
}

Status read_attention_heads(Context& context, AttentionState* s) {
  const Shape &q = context.input(0).shape, &k = context.input(1).shape, &v = context.input(2).shape;
  PENLIGHT_TRY(check_dtype(context, 0, kAttentionTypes));
  PENLIGHT_TRY(check_rank(context, 0, 3, 4));
  for (int i = 1; i < 3; ++i) {
    PENLIGHT_TRY(check_same_dtype(context, i, 0));
    PENLIGHT_TRY(check_rank(context, i, q.rank, q.rank));
  }
  s->split_heads = q.rank == 3;
  s->batch = q.dims[0];
  s->heads = s->split_heads ? context.attributes->integer("q_num_heads", 0) : q.dims[1];
  s->kv_heads = s->split_heads ? context.attributes->integer("kv_num_heads", 0) : k.dims[1];
  s->queries = q.dims[q.rank - 2];
  s->keys = k.dims[k.rank - 2];
  if (s->heads < 1 || s->kv_heads < 1 || s->heads % s->kv_heads != 0)
    return context.fail(Status::kShapeMismatch, "%lld query heads are no multiple of %lld key heads",
                        static_cast<long long>(s->heads), static_cast<long long>(s->kv_heads));
  const int64_t q_parts = s->split_heads ? s->heads : 1, kv_parts = s->split_heads ? s->kv_heads : 1;
  s->size = q.dims[q.rank - 1] / q_parts;
  s->value_size = v.dims[v.rank - 1] / kv_parts;
  const bool fits = q.dims[q.rank - 1] % q_parts == 0 && v.dims[v.rank - 1] % kv_parts == 0 && k.dims[0] == s->batch &&
                    v.dims[0] == s->batch && v.dims[v.rank - 2] == s->keys && s->size > 0 && k.dims[k.rank - 1] % kv_parts == 0 &&
                    k.dims[k.rank - 1] / kv_parts == s->size && (s->split_heads || v.dims[1] == s->kv_heads);
  return fits ? Status::kOk : context.fail(Status::kShapeMismatch, "the shapes of q, k and v do not belong together");
}

Status check_attention_cache(Context& context, AttentionState* s) {
  const Tensor &key = context.input(4), &value = context.input(5);
  s->total = s->keys;
  if (key.present() != value.present()) return context.fail(Status::kShapeMismatch, "past_key and past_value come together");
  if (!key.present()) return Status::kOk;
  PENLIGHT_TRY(check_same_dtype(context, 4, 0));
  PENLIGHT_TRY(check_same_dtype(context, 5, 0));
  PENLIGHT_TRY(check_rank(context, 4, 4, 4));
  s->past = key.shape.dims[2];
  const int64_t k[] = {s->batch, s->kv_heads, s->past, s->size}, v[] = {s->batch, s->kv_heads, s->past, s->value_size};
  if (!same_shape(key.shape, make_shape(k, 4)) || !same_shape(value.shape, make_shape(v, 4)) ||
      !checked_add(s->past, s->keys, &s->total))
    return context.fail(Status::kShapeMismatch, "the shapes of past_key and past_value do not belong to k and v");
  return Status::kOk;
}

/// The mask broadcasts to (batch, heads, queries, keys), but may end before the last key.
Status check_attention_mask(Context& context, AttentionState* s) {
  const Tensor& mask = context.input(3);
  if (!mask.present()) return Status::kOk;
  if (mask.dtype != DType::kBool) PENLIGHT_TRY(check_same_dtype(context, 3, 0));
  PENLIGHT_TRY(check_rank(context, 3, 1, 4));
  const int64_t full[] = {s->batch, s->heads, s->queries};
  int64_t strides[kMaxRank];
  row_major_strides(mask.shape, strides);
  s->mask_width = mask.shape.dims[mask.shape.rank - 1];
  if (s->mask_width > s->total) return context.fail(Status::kShapeMismatch, "the mask is wider than the keys");
  for (int d = 0; d < 3; ++d) {
    const int own = mask.shape.rank - 4 + d;
    if (own < 0 || mask.shape.dims[own] == 1) continue;
    if (mask.shape.dims[own] != full[d]) return context.fail(Status::kShapeMismatch, "the mask does not broadcast to the scores");
    s->mask_strides[d] = strides[own];
  }
  return Status::kOk;
}

Status check_attention_lengths(Context& context, const AttentionState& s) {
  const Tensor& lengths = context.input(6);
  if (!lengths.present()) return Status::kOk;
  PENLIGHT_TRY(check_dtype(context, 6, dtype_bit(DType::kI64)));
  if (lengths.shape.rank == 1 && lengths.shape.dims[0] == s.batch && s.past == 0) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "nonpad_kv_seqlen must have shape (%lld,) and excludes a past",
                      static_cast<long long>(s.batch));
}

void read_attention_attributes(Context& context, AttentionState* s) {
  s->causal = context.attributes->integer("is_causal", 0) != 0;
  s->scale = context.attributes->real("scale", 0.0);
  if (s->scale == 0.0) s->scale = 1.0 / sqrt(static_cast<double>(s->size));
  s->softcap = context.attributes->real("softcap", 0.0);
  s->left = context.attributes->integer("left_window_size", -1);
  s->right = context.attributes->integer("right_window_size", -1);
  const int64_t shown = context.attributes->integer("qk_matmul_output_mode", 0),
                precision = context.attributes->integer("softmax_precision", 0);
  s->shown = shown >= 1 && shown <= 3 ? static_cast<ScoreOutput>(shown) : ScoreOutput::kScores;
  s->wide_softmax = precision == 1 || precision == 11;  // ONNX's numbers of float32 and float64
}

/// Rounds what is computed wide to the tensors' type, as the standard's function body does after every step.
template <typename T, typename C>
C rounded(C value) {
  return static_cast<C>(T(value));
}

template <typename T>
struct AttentionRow {
  using C = typename Element<T>::Compute;
  Context& context;
  const AttentionState& s;
  int64_t b, head, query;

  const T* cached(int input, int past, int64_t j, int64_t size) const {
    const int64_t own = head / (s.heads / s.kv_heads);
    if (j < s.past) return context.input(past).as<T>() + ((b * s.kv_heads + own) * s.past + j) * size;
    return context.input(input).as<T>() + attention_row(s, b, own, j - s.past, s.kv_heads, s.keys, size);
  }

  /// What is added to score j; minus infinity: masked.
  C bias(int64_t j) const {
    const Tensor &mask = context.input(3), &lengths = context.input(6);
    const C masked = -static_cast<C>(__builtin_inf());
    const int64_t length = lengths.present() ? lengths.as<int64_t>()[b] : s.total;
    // Lengths are any numbers; a difference that wraps stays harmless.
    const int64_t before =
        lengths.present() ? static_cast<int64_t>(static_cast<uint64_t>(length) - static_cast<uint64_t>(s.queries)) : s.past;
    const int64_t ahead =
        static_cast<int64_t>(static_cast<uint64_t>(j) - static_cast<uint64_t>(query) - static_cast<uint64_t>(before));
    if (j >= length || (s.causal && ahead > 0) || (s.right >= 0 && ahead > s.right) || (s.left >= 0 && ahead < -s.left))
      return masked;
    if (!mask.present()) return C(0);
    if (j >= s.mask_width) return masked;
    const int64_t at = b * s.mask_strides[0] + head * s.mask_strides[1] + query * s.mask_strides[2] + j;
    if (mask.dtype == DType::kBool) return mask.as<uint8_t>()[at] != 0 ? C(0) : masked;
    return static_cast<C>(mask.as<T>()[at]);
  }

  C score(const T* q, int64_t j) const {
    const C factor = rounded<T>(static_cast<C>(sqrt(s.scale)));
    const T* k = cached(1, 4, j, s.size);
    C sum{};
    for (int64_t d = 0; d < s.size; ++d)
      sum += rounded<T>(static_cast<C>(q[d]) * factor) * rounded<T>(static_cast<C>(k[d]) * factor);
    return rounded<T>(sum);
  }

  C capped(C value) const {
    if (!(s.softcap > 0.0)) return value;
    const C cap = static_cast<C>(s.softcap);
    return rounded<T>(rounded<T>(static_cast<C>(real_tanh(static_cast<double>(rounded<T>(value / cap))))) * cap);
  }

  void show(ScoreOutput kind, int64_t j, C value) const {
    if (s.shown != kind || !context.output_wanted(3)) return;
    context.output(3).as<T>()[((b * s.heads + head) * s.queries + query) * s.total + j] = T(value);
  }

  /// Scores with their bias; false when every key is masked.
  bool fill(C* scores) const {
    const T* q = context.input(0).as<T>() + attention_row(s, b, head, query, s.heads, s.queries, s.size);
    bool any = false;
    for (int64_t j = 0; j < s.total; ++j) {
      const C raw = score(q, j), limited = capped(raw), added = bias(j);
      any = any || added > -static_cast<C>(__builtin_inf());
      scores[j] = rounded<T>(limited + added);
      show(ScoreOutput::kScores, j, raw);
      show(ScoreOutput::kCapped, j, limited);
      show(ScoreOutput::kMasked, j, scores[j]);
    }
    return any;
  }

  C step(C value) const { return s.wide_softmax ? value : rounded<T>(value); }

  void softmax(C* scores, bool any) const {
    C largest = -static_cast<C>(__builtin_inf()), sum{};
    for (int64_t j = 0; j < s.total; ++j) largest = scores[j] > largest || scores[j] != scores[j] ? scores[j] : largest;
    for (int64_t j = 0; j < s.total; ++j) {
      scores[j] = any ? step(static_cast<C>(real_exp(static_cast<double>(step(scores[j] - largest))))) : C(0);
      sum += scores[j];
    }
    sum = sum == C(0) ? C(1) : step(sum);
    for (int64_t j = 0; j < s.total; ++j) {
      scores[j] = rounded<T>(step(scores[j] / sum));
      show(ScoreOutput::kProbabilities, j, scores[j]);
    }
  }

  void run(C* scores, C* sums) const {
    softmax(scores, fill(scores));
    for (int64_t d = 0; d < s.value_size; ++d) sums[d] = C{};
    for (int64_t j = 0; j < s.total; ++j) {
      const T* v = cached(2, 5, j, s.value_size);
      for (int64_t d = 0; d < s.value_size; ++d) sums[d] += scores[j] * static_cast<C>(v[d]);
    }
    T* y = context.output(0).as<T>() + attention_row(s, b, head, query, s.heads, s.queries, s.value_size);
    for (int64_t d = 0; d < s.value_size; ++d) y[d] = T(sums[d]);
  }
};

/// Writes the cache and what came behind each other.
void store_present(Context& context, const AttentionState& s, int input, int past, int output, int64_t size) {
  if (!context.output_wanted(output)) return;
  const size_t bytes = static_cast<size_t>(size) * dtype_size(context.input(0).dtype);
  char* to = context.output(output).as<char>();
  for (int64_t p = 0; bytes > 0 && p < s.batch * s.kv_heads; ++p)
    for (int64_t j = 0; j < s.total; ++j, to += bytes) {
      const int64_t row = attention_row(s, p / s.kv_heads, p % s.kv_heads, j - s.past, s.kv_heads, s.keys, 1);
      const char* from = j < s.past ? context.input(past).as<char>() + static_cast<size_t>(p * s.past + j) * bytes
                                    : context.input(input).as<char>() + static_cast<size_t>(row) * bytes;
      memcpy(to, from, bytes);
    }
}

/// Whether heads are plain products and a softmax in float32, with the cache, if there is one, in the outputs.
bool attention_is_plain(Context& context, const AttentionState& s) {
  const bool cache = s.past == 0 || (context.output_wanted(1) && context.output_wanted(2));
  return context.input(0).dtype == DType::kF32 && cache && !(s.softcap > 0.0) && s.left < 0 && s.right < 0 &&
         !context.input(6).present() && !context.output_wanted(3) && s.scale > 0.0;
}

Status attention_outputs(Context& context, const AttentionState& s) {
  const DType dtype = context.input(0).dtype;
  const int64_t whole[] = {s.batch, s.heads, s.queries, s.value_size}, joined[] = {s.batch, s.queries, s.heads * s.value_size};
  const int64_t key[] = {s.batch, s.kv_heads, s.total, s.size}, value[] = {s.batch, s.kv_heads, s.total, s.value_size};
  const int64_t scores[] = {s.batch, s.heads, s.queries, s.total};
  PENLIGHT_TRY(set_output(context, 0, dtype, s.split_heads ? make_shape(joined, 3) : make_shape(whole, 4)));
  if (context.output_wanted(1)) PENLIGHT_TRY(set_output(context, 1, dtype, make_shape(key, 4)));
  if (context.output_wanted(2)) PENLIGHT_TRY(set_output(context, 2, dtype, make_shape(value, 4)));
  if (context.output_wanted(3)) PENLIGHT_TRY(set_output(context, 3, dtype, make_shape(scores, 4)));
  const bool plain = attention_is_plain(context, s);
  int64_t numbers = 0, slices = static_cast<int64_t>(context_parallel(context).threads);
  if (!(plain ? attention_head_floats(s.total, s.size, s.value_size, &numbers) : checked_add(s.total, s.value_size, &numbers)) ||
      !checked_mul(numbers, slices, &numbers) || !add_scratch(context, numbers, plain ? sizeof(float) : sizeof(double)))
    return scratch_too_large(context);
  // Per score two products and a part of the softmax; per row of the cache a copy of it.
  const uint64_t width = static_cast<uint64_t>(s.size) + static_cast<uint64_t>(s.value_size);
  const uint64_t row = saturating_add(saturating_mul(static_cast<uint64_t>(s.total), width + 4), 64);
  const uint64_t rows =
      saturating_mul(static_cast<uint64_t>(s.batch) * static_cast<uint64_t>(s.heads), static_cast<uint64_t>(s.queries));
  const uint64_t present = saturating_mul(static_cast<uint64_t>(s.batch * s.kv_heads), static_cast<uint64_t>(s.total));
  context.macs = saturating_add(saturating_mul(rows, row), saturating_mul(present, context.output_count > 1 ? width + 1 : 1));
  return Status::kOk;
}

template <typename T>
void attention_rows(Context& context, const AttentionState& s) {
  using C = typename Element<T>::Compute;
  const Parallel parallel = context_parallel(context);
  const size_t rows = static_cast<size_t>(s.batch * s.heads * s.queries), threads = parallel.threads;
  parallel_for(parallel, threads, [&](size_t slice) {
    C* scores =
        reinterpret_cast<C*>(static_cast<double*>(context.scratch) + static_cast<int64_t>(slice) * (s.total + s.value_size));
    for (size_t r = slice; r < rows; r += threads) {
      const int64_t row = static_cast<int64_t>(r), plane = row / s.queries;
      const AttentionRow<T> task = {context, s, plane / s.heads, plane % s.heads, row % s.queries};
      task.run(scores, scores + s.total);
    }
  });
}

/// Keys or values of one head: as they came, or with the cache in the outputs.
const float* attention_side(Context& context, const AttentionState& s, int input, int64_t b, int64_t own, int64_t size,
                            int64_t* row) {
  if (s.past > 0) {
    *row = size;
    return context.output(input).as<float>() + (b * s.kv_heads + own) * s.total * size;
  }
  *row = s.split_heads ? s.kv_heads * size : size;
  return context.input(input).as<float>() + attention_row(s, b, own, 0, s.kv_heads, s.keys, size);
}

AttentionHead attention_head(Context& context, const AttentionState& s, int64_t b, int64_t head) {
  const int64_t own = head / (s.heads / s.kv_heads);
  AttentionHead h;
  h.queries = s.queries;
  h.keys = s.total;
  h.size = s.size;
  h.value_size = s.value_size;
  h.q = context.input(0).as<float>() + attention_row(s, b, head, 0, s.heads, s.queries, s.size);
  h.q_row = s.split_heads ? s.heads * s.size : s.size;
  h.k = attention_side(context, s, 1, b, own, s.size, &h.k_row);
  h.v = attention_side(context, s, 2, b, own, s.value_size, &h.v_row);
  h.y = context.output(0).as<float>() + attention_row(s, b, head, 0, s.heads, s.queries, s.value_size);
  h.y_row = s.split_heads ? s.heads * s.value_size : s.value_size;
  h.scale = static_cast<float>(s.scale);
  h.causal = s.causal;
  h.past = s.past;
  h.deterministic = context.deterministic;
  const Tensor& mask = context.input(3);
  if (!mask.present()) return h;
  const int64_t at = b * s.mask_strides[0] + head * s.mask_strides[1];
  if (mask.dtype == DType::kBool)
    h.seen = mask.as<uint8_t>() + at;
  else
    h.added = mask.as<float>() + at;
  h.mask_row = s.mask_strides[2];
  h.mask_width = s.mask_width;
  return h;
}

void attention_heads_f32(Context& context, const AttentionState& s) {
  int64_t floats = 0;
  attention_head_floats(s.total, s.size, s.value_size, &floats);
  const Parallel parallel = context_parallel(context);
  const int64_t heads = s.batch * s.heads, threads = static_cast<int64_t>(parallel.threads);
  float* rooms = static_cast<float*>(context.scratch);
  parallel_for(parallel, parallel.threads, [&](size_t slice) {
    for (int64_t i = static_cast<int64_t>(slice); i < heads; i += threads)
      attention_head_f32(attention_head(context, s, i / s.heads, i % s.heads), rooms + static_cast<int64_t>(slice) * floats);
  });
}

}  // namespace

Status attention_infer(Context& context) {
  AttentionState& s = context.state_as<AttentionState>();
  s = AttentionState{};
  PENLIGHT_TRY(read_attention_heads(context, &s));
  PENLIGHT_TRY(check_attention_cache(context, &s));
  PENLIGHT_TRY(check_attention_mask(context, &s));
  PENLIGHT_TRY(check_attention_lengths(context, s));
  read_attention_attributes(context, &s);
  return attention_outputs(context, s);
}

/// The preview operator without its two graphs: its softmax is never narrower than float32.
Status flex_attention_infer(Context& context) {
  if (context.body("score_mod").present() || context.body("prob_mod").present())
    return context.fail(Status::kUnsupportedOperator, "its subgraphs must be written out; penlight convert does that");
  PENLIGHT_TRY(check_rank(context, 0, 4, 4));
  PENLIGHT_TRY(attention_infer(context));
  context.state_as<AttentionState>().wide_softmax = true;
  return Status::kOk;
}

Status attention_run(Context& context) {
  const AttentionState& s = context.state_as<AttentionState>();
  store_present(context, s, 1, 4, 1, s.size);
  store_present(context, s, 2, 5, 2, s.value_size);
  if (context.output(0).shape.count() == 0 && !context.output_wanted(3)) return Status::kOk;
  if (attention_is_plain(context, s)) {
    attention_heads_f32(context, s);
    return Status::kOk;
  }
  with_numeric_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if constexpr (Element<T>::kIsFloat) attention_rows<T>(context, s);
  });
  return Status::kOk;
}

}  // namespace penlight
