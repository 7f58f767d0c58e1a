// LinearAttention (a recurrence over a matrix of keys and values) and TensorScatter, which writes into a cache.
// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "real_functions.h"
#include "shape_rules.h"

namespace penlight {

namespace {

constexpr uint32_t kLinearAttentionTypes =
    dtype_bit(DType::kF32) | dtype_bit(DType::kF64) | dtype_bit(DType::kF16) | dtype_bit(DType::kBF16);

struct LinearAttentionState {
  int64_t batch = 0, steps = 0, heads = 0, kv_heads = 0, key_size = 0, value_size = 0;
  int64_t decay_size = 0, beta_size = 0;  // numbers of one step; 0: there are none
  double scale = 1;
};

double linear_attention_value(const Tensor& tensor, int64_t i) {
  double value = 0;
  FloatTypes::call(tensor.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    value = static_cast<double>(static_cast<typename Element<T>::Compute>(tensor.as<T>()[i]));
  });
  return value;
}

void store_linear_attention(Tensor& tensor, int64_t i, double value) {
  FloatTypes::call(tensor.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    tensor.as<T>()[i] = T(static_cast<typename Element<T>::Compute>(value));
  });
}

Status linear_attention_sizes(Context& context, LinearAttentionState* s) {
  for (int i = 0; i < 3; ++i) {
    PENLIGHT_TRY(check_dtype(context, i, kLinearAttentionTypes));
    PENLIGHT_TRY(check_same_dtype(context, i, 0));
    PENLIGHT_TRY(check_rank(context, i, 3, 3));
  }
  const Shape &q = context.input(0).shape, &k = context.input(1).shape, &v = context.input(2).shape;
  s->heads = context.attributes->integer("q_num_heads", 0);
  s->kv_heads = context.attributes->integer("kv_num_heads", 0);
  if (s->heads < 1 || s->kv_heads < 1 || s->heads % s->kv_heads != 0 || q.dims[2] % s->heads != 0 || v.dims[2] % s->kv_heads != 0)
    return context.fail(Status::kShapeMismatch, "the numbers of heads do not divide q and v");
  s->batch = q.dims[0];
  s->steps = q.dims[1];
  s->key_size = q.dims[2] / s->heads;
  s->value_size = v.dims[2] / s->kv_heads;
  const int64_t key[] = {s->batch, s->steps, s->kv_heads * s->key_size}, value[] = {s->batch, s->steps, v.dims[2]};
  if (s->key_size > 0 && same_shape(k, make_shape(key, 3)) && same_shape(v, make_shape(value, 3))) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "the shapes of q, k and v do not belong together");
}

/// Optional numbers for every step: `first` or `second` of them.
Status linear_attention_gate(Context& context, const LinearAttentionState& s, int i, bool wanted, int64_t first, int64_t second,
                             int64_t* size) {
  const Tensor& gate = context.input(i);
  if (gate.present() != wanted)
    return context.fail(Status::kShapeMismatch, "the update rule %s input %d", wanted ? "needs" : "takes no", i);
  if (!wanted) return Status::kOk;
  PENLIGHT_TRY(check_dtype(context, i, kLinearAttentionTypes));
  PENLIGHT_TRY(check_rank(context, i, 3, 3));
  *size = gate.shape.dims[2];
  if (gate.shape.dims[0] == s.batch && gate.shape.dims[1] == s.steps && (*size == first || *size == second)) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "input %d does not have numbers for every head", i);
}

struct LinearAttentionTask {
  Context& context;
  const LinearAttentionState& s;
  int64_t b, head;
  double *memory, *value;  // (key_size, value_size) and (value_size)

  double gate(int input, int64_t size, int64_t t, int64_t key) const {
    const int64_t at = size == 1 ? 0 : size == s.kv_heads ? head : head * s.key_size + key;
    return linear_attention_value(context.input(input), (b * s.steps + t) * size + at);
  }

  void decay(int64_t t) {
    for (int64_t d = 0; s.decay_size > 0 && d < s.key_size; ++d) {
      const double factor = real_exp(gate(4, s.decay_size, t, d));
      for (int64_t m = 0; m < s.value_size; ++m) memory[d * s.value_size + m] *= factor;
    }
  }

  double key(int64_t t, int64_t d) const {
    return linear_attention_value(context.input(1), ((b * s.steps + t) * s.kv_heads + head) * s.key_size + d);
  }

  /// Writes the value of step t, less what the memory already answers to its key.
  void write(int64_t t) {
    for (int64_t m = 0; m < s.value_size; ++m)
      value[m] = linear_attention_value(context.input(2), ((b * s.steps + t) * s.kv_heads + head) * s.value_size + m);
    if (s.beta_size > 0) {
      const double beta = gate(5, s.beta_size, t, 0);
      for (int64_t d = 0; d < s.key_size; ++d)
        for (int64_t m = 0; m < s.value_size; ++m) value[m] -= memory[d * s.value_size + m] * key(t, d);
      for (int64_t m = 0; m < s.value_size; ++m) value[m] *= beta;
    }
    for (int64_t d = 0; d < s.key_size; ++d)
      for (int64_t m = 0; m < s.value_size; ++m) memory[d * s.value_size + m] += key(t, d) * value[m];
  }

  void read(int64_t t) {
    const int64_t group = s.heads / s.kv_heads;
    for (int64_t h = head * group; h < (head + 1) * group; ++h)
      for (int64_t m = 0; m < s.value_size; ++m) {
        double sum = 0;
        const int64_t row = (b * s.steps + t) * s.heads + h;
        for (int64_t d = 0; d < s.key_size; ++d)
          sum += linear_attention_value(context.input(0), row * s.key_size + d) * memory[d * s.value_size + m];
        store_linear_attention(context.output(0), row * s.value_size + m, sum * s.scale);
      }
  }

  void run() {
    const int64_t size = s.key_size * s.value_size, first = (b * s.kv_heads + head) * size;
    for (int64_t i = 0; i < size; ++i)
      memory[i] = context.input(3).present() ? linear_attention_value(context.input(3), first + i) : 0.0;
    for (int64_t t = 0; t < s.steps; ++t) {
      decay(t);
      write(t);
      read(t);
    }
    for (int64_t i = 0; context.output_wanted(1) && i < size; ++i) store_linear_attention(context.output(1), first + i, memory[i]);
  }
};

struct TensorScatterState {
  int axis = 0;
  bool circular = false;
};

}  // namespace

Status linear_attention_infer(Context& context) {
  LinearAttentionState& s = context.state_as<LinearAttentionState>();
  s = LinearAttentionState{};
  PENLIGHT_TRY(linear_attention_sizes(context, &s));
  const char* named = context.attributes->text("update_rule");
  const char* rule = named == nullptr ? "gated_delta" : named;
  const bool both = strcmp(rule, "gated_delta") == 0, gated = both || strcmp(rule, "gated") == 0,
             delta = both || strcmp(rule, "delta") == 0;
  if (!gated && !delta && strcmp(rule, "linear") != 0)
    return context.fail(Status::kInvalidProgram, "update_rule '%s' is not known", rule);
  PENLIGHT_TRY(linear_attention_gate(context, s, 4, gated, s.kv_heads, s.kv_heads * s.key_size, &s.decay_size));
  PENLIGHT_TRY(linear_attention_gate(context, s, 5, delta, s.kv_heads, 1, &s.beta_size));
  s.scale = context.attributes->real("scale", 0.0);
  if (s.scale == 0.0) s.scale = 1.0 / sqrt(static_cast<double>(s.key_size));
  const int64_t memory[] = {s.batch, s.kv_heads, s.key_size, s.value_size};
  int64_t width = 0;
  if (!checked_mul(s.heads, s.value_size, &width)) return scratch_too_large(context);
  const Tensor& past = context.input(3);
  if (past.present()) {
    PENLIGHT_TRY(check_dtype(context, 3, kLinearAttentionTypes));
    if (!same_shape(past.shape, make_shape(memory, 4)))
      return context.fail(Status::kShapeMismatch, "past_state does not have the shape of the state");
  }
  const int64_t out[] = {s.batch, s.steps, width};
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, make_shape(out, 3)));
  if (context.output_wanted(1))
    PENLIGHT_TRY(set_output(context, 1, past.present() ? past.dtype : context.input(0).dtype, make_shape(memory, 4)));
  int64_t numbers = 0, tasks = 0;
  if (!checked_mul(s.key_size + 1, s.value_size, &numbers) || !checked_mul(s.batch, s.kv_heads, &tasks) ||
      !checked_mul(numbers, tasks, &numbers) || !add_scratch(context, numbers, sizeof(double)))
    return scratch_too_large(context);
  context.macs = saturating_mul(saturating_add(saturating_mul(static_cast<uint64_t>(s.steps), static_cast<uint64_t>(s.heads)), 1),
                                saturating_mul(static_cast<uint64_t>(numbers), 4));
  return Status::kOk;
}

Status linear_attention_run(Context& context) {
  const LinearAttentionState& s = context.state_as<LinearAttentionState>();
  const int64_t numbers = (s.key_size + 1) * s.value_size;
  if (s.value_size == 0) return Status::kOk;
  parallel_for(context_parallel(context), static_cast<size_t>(s.batch * s.kv_heads), [&](size_t i) {
    const int64_t at = static_cast<int64_t>(i);
    double* memory = static_cast<double*>(context.scratch) + at * numbers;
    LinearAttentionTask task = {context, s, at / s.kv_heads, at % s.kv_heads, memory, memory + s.key_size * s.value_size};
    task.run();
  });
  return Status::kOk;
}

Status tensor_scatter_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  const Shape &cache = context.input(0).shape, &update = context.input(1).shape;
  const char* mode = context.attributes->text("mode");
  TensorScatterState& s = context.state_as<TensorScatterState>();
  s.circular = mode != nullptr && strcmp(mode, "circular") == 0;
  if (mode != nullptr && !s.circular && strcmp(mode, "linear") != 0)
    return context.fail(Status::kInvalidProgram, "mode '%s' is not known", mode);
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", -2), cache.rank, &s.axis));
  if (s.axis == 0 || update.rank != cache.rank) return context.fail(Status::kShapeMismatch, "axis 0 is the batch");
  for (int d = 0; d < cache.rank; ++d)
    if (d == s.axis ? update.dims[d] > cache.dims[d] : update.dims[d] != cache.dims[d])
      return context.fail(Status::kShapeMismatch, "the update does not fit the cache along dimension %d", d);
  const Tensor& places = context.input(2);
  if (places.present()) {
    PENLIGHT_TRY(check_dtype(context, 2, dtype_bit(DType::kI64)));
    if (places.shape.rank != 1 || places.shape.dims[0] != cache.dims[0])
      return context.fail(Status::kShapeMismatch, "write_indices must have one entry for each batch");
  }
  context.macs = static_cast<uint64_t>(cache.count());
  return set_output(context, 0, context.input(0).dtype, cache);
}

Status tensor_scatter_run(Context& context) {
  const TensorScatterState& s = context.state_as<TensorScatterState>();
  const Shape &cache = context.input(0).shape, &update = context.input(1).shape;
  const size_t row = static_cast<size_t>(dims_product(cache, s.axis + 1, cache.rank)) * dtype_size(context.input(0).dtype);
  const int64_t outer = dims_product(cache, 0, s.axis), size = cache.dims[s.axis], count = update.dims[s.axis];
  if (cache.count() == 0) return Status::kOk;
  memcpy(context.output(0).data, context.input(0).data, static_cast<size_t>(outer * size) * row);
  for (int64_t o = 0; o < outer; ++o) {
    const int64_t batch = o / (outer / cache.dims[0]);
    const int64_t first = context.input(2).present() ? context.input(2).as<int64_t>()[batch] : 0;
    if (first < 0 || (!s.circular && first > size - count))
      return context.fail(Status::kInvalidValue, "write index %lld does not leave room for the update",
                          static_cast<long long>(first));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t place = (first % size + i) % size;
      memcpy(context.output(0).as<char>() + static_cast<size_t>(o * size + place) * row,
             context.input(1).as<char>() + static_cast<size_t>(o * count + i) * row, row);
    }
  }
  return Status::kOk;
}

}  // namespace penlight
