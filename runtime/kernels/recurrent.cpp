// RNN, GRU and LSTM of every kind; floats with the usual gate functions have a fast path. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "isa.h"
#include "real_functions.h"
#include "recurrent_float.h"
#include "shape_rules.h"

namespace penlight {

namespace {

enum class GateFunction : int { kSigmoid, kTanh, kRelu, kHardSigmoid, kSoftsign, kSoftplus, kElu, kAffine, kLeakyRelu };

constexpr int kGateFunctions = 3;  // of one direction

struct Gate {
  GateFunction function = GateFunction::kTanh;
  double alpha = 0, beta = 0;
};

struct RecurrentState {
  int64_t steps = 0, batch = 0, features = 0, hidden = 0, directions = 1, gates = 1;
  bool reverse = false, batch_first = false, linear_before_reset = false, input_forget = false;
  double clip = 0;  // 0: none
  Gate functions[2][kGateFunctions];
  Recurrence kind = Recurrence::kRnn;
  bool fast = false;    // recurrent_f32 takes it
  bool packed = false;  // its weights are kept packed
};

constexpr uint32_t kRecurrentTypes = dtype_bit(DType::kF32) | dtype_bit(DType::kF64) | dtype_bit(DType::kF16);

Status gate_of_name(Context& context, const char* name, Gate* gate) {
  constexpr struct {
    const char* name;
    GateFunction function;
    double alpha, beta;
  } kNames[] = {{"Sigmoid", GateFunction::kSigmoid, 0, 0},
                {"Tanh", GateFunction::kTanh, 0, 0},
                {"Relu", GateFunction::kRelu, 0, 0},
                {"HardSigmoid", GateFunction::kHardSigmoid, 0.2, 0.5},
                {"Softsign", GateFunction::kSoftsign, 0, 0},
                {"Softplus", GateFunction::kSoftplus, 0, 0},
                {"Elu", GateFunction::kElu, 1, 0},
                {"Affine", GateFunction::kAffine, 1, 0},
                {"LeakyRelu", GateFunction::kLeakyRelu, 0.01, 0}};
  for (const auto& known : kNames) {
    if (strcmp(name, known.name) != 0) continue;
    *gate = Gate{known.function, known.alpha, known.beta};
    return Status::kOk;
  }
  return context.fail(Status::kUnsupportedOperator, "activation '%s' is not known", name);
}

double gate_value(const Gate& g, double x) {
  switch (g.function) {
    case GateFunction::kSigmoid:
      return 1.0 / (1.0 + real_exp(-x));
    case GateFunction::kTanh:
      return real_tanh(x);
    case GateFunction::kRelu:
      return x > 0 ? x : 0.0;
    case GateFunction::kHardSigmoid: {
      const double y = g.alpha * x + g.beta;
      return y < 0 ? 0.0 : y > 1 ? 1.0 : y;
    }
    case GateFunction::kSoftsign:
      return x / (1.0 + fabs(x));
    case GateFunction::kSoftplus:
      return real_log1p(real_exp(x));
    case GateFunction::kElu:
      return x > 0 ? x : g.alpha * real_expm1(x);
    case GateFunction::kAffine:
      return g.alpha * x + g.beta;
    case GateFunction::kLeakyRelu:
      return x > 0 ? x : g.alpha * x;
  }
  return x;
}

/// The attribute `activations` lists the functions of each direction; the standard's defaults otherwise.
Status read_gate_functions(Context& context, Recurrence kind, RecurrentState* s) {
  const int count = kind == Recurrence::kRnn ? 1 : kind == Recurrence::kGru ? 2 : 3;
  double alphas[2 * kGateFunctions], betas[2 * kGateFunctions];
  const int64_t alpha_count = context.attributes->reals("activation_alpha", alphas, 2 * kGateFunctions);
  const int64_t beta_count = context.attributes->reals("activation_beta", betas, 2 * kGateFunctions);
  for (int d = 0; d < static_cast<int>(s->directions); ++d)
    for (int i = 0; i < count; ++i) {
      const int at = d * count + i;
      const char* name = context.attributes->text_at("activations", static_cast<size_t>(at));
      if (name == nullptr) name = i == 0 && kind != Recurrence::kRnn ? "Sigmoid" : "Tanh";
      Gate& gate = s->functions[d][i];
      PENLIGHT_TRY(gate_of_name(context, name, &gate));
      if (at < alpha_count && at < 2 * kGateFunctions) gate.alpha = alphas[at];
      if (at < beta_count && at < 2 * kGateFunctions) gate.beta = betas[at];
    }
  return Status::kOk;
}

Status read_recurrent_attributes(Context& context, Recurrence kind, RecurrentState* s) {
  const char* direction = context.attributes->text("direction");
  const bool both = direction != nullptr && strcmp(direction, "bidirectional") == 0;
  s->reverse = direction != nullptr && strcmp(direction, "reverse") == 0;
  if (direction != nullptr && !both && !s->reverse && strcmp(direction, "forward") != 0)
    return context.fail(Status::kInvalidProgram, "direction '%s' is not known", direction);
  s->directions = both ? 2 : 1;
  s->gates = kind == Recurrence::kRnn ? 1 : kind == Recurrence::kGru ? 3 : 4;
  s->batch_first = context.attributes->integer("layout", 0) != 0;
  s->linear_before_reset = context.attributes->integer("linear_before_reset", 0) != 0;
  s->input_forget = context.attributes->integer("input_forget", 0) != 0;
  s->clip = context.attributes->real("clip", 0.0);
  return read_gate_functions(context, kind, s);
}

Status check_recurrent_shape(Context& context, int i, int64_t a, int64_t b, int64_t c) {
  const Tensor& tensor = context.input(i);
  if (!tensor.present()) return Status::kOk;
  PENLIGHT_TRY(check_same_dtype(context, i, 0));
  const int64_t dims[] = {a, b, c};
  if (same_shape(tensor.shape, make_shape(dims, c < 0 ? 2 : 3))) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "input %d must have shape (%lld, %lld%s%.0lld)", i, static_cast<long long>(a),
                      static_cast<long long>(b), c < 0 ? "" : ", ", static_cast<long long>(c < 0 ? 0 : c));
}

Status check_recurrent_inputs(Context& context, Recurrence kind, RecurrentState* s) {
  PENLIGHT_TRY(check_dtype(context, 0, kRecurrentTypes));
  PENLIGHT_TRY(check_rank(context, 0, 3, 3));
  PENLIGHT_TRY(check_rank(context, 2, 3, 3));
  const Shape &x = context.input(0).shape, &r = context.input(2).shape;
  s->steps = x.dims[s->batch_first ? 1 : 0];
  s->batch = x.dims[s->batch_first ? 0 : 1];
  s->features = x.dims[2];
  s->hidden = r.dims[2];
  int64_t rows = 0, twice = 0;
  if (!checked_mul(s->gates, s->hidden, &rows) || !checked_mul(rows, 2, &twice)) return scratch_too_large(context);
  PENLIGHT_TRY(check_recurrent_shape(context, 1, s->directions, rows, s->features));
  PENLIGHT_TRY(check_recurrent_shape(context, 2, s->directions, rows, s->hidden));
  PENLIGHT_TRY(check_recurrent_shape(context, 3, s->directions, twice, -1));
  const int64_t first = s->batch_first ? s->batch : s->directions, second = s->batch_first ? s->directions : s->batch;
  PENLIGHT_TRY(check_recurrent_shape(context, 5, first, second, s->hidden));
  if (kind == Recurrence::kLstm) {
    PENLIGHT_TRY(check_recurrent_shape(context, 6, first, second, s->hidden));
    PENLIGHT_TRY(check_recurrent_shape(context, 7, s->directions, 3 * s->hidden, -1));
  }
  const Tensor& lengths = context.input(4);
  if (!lengths.present()) return Status::kOk;
  PENLIGHT_TRY(check_dtype(context, 4, dtype_bit(DType::kI32)));
  if (lengths.shape.rank == 1 && lengths.shape.dims[0] == s->batch) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "sequence_lens must have shape (%lld,)", static_cast<long long>(s->batch));
}

/// Sigmoid, and Tanh for what the gates let through.
bool usual_gates(const RecurrentState& s, Recurrence kind) {
  for (int d = 0; d < static_cast<int>(s.directions); ++d)
    for (int i = 0; i < (kind == Recurrence::kRnn ? 1 : kind == Recurrence::kGru ? 2 : 3); ++i) {
      const bool sigmoid = i == 0 && kind != Recurrence::kRnn;
      if (s.functions[d][i].function != (sigmoid ? GateFunction::kSigmoid : GateFunction::kTanh)) return false;
    }
  return true;
}

template <typename T>
T* data_or_null(const Tensor& tensor) {
  return tensor.present() ? tensor.as<T>() : nullptr;
}

RecurrentLayer recurrent_layer(Context& context, const RecurrentState& s, Recurrence kind) {
  RecurrentLayer layer;
  layer.kind = kind;
  layer.steps = s.steps;
  layer.batch = s.batch;
  layer.features = s.features;
  layer.hidden = s.hidden;
  layer.directions = s.directions;
  layer.reverse = s.reverse;
  layer.batch_first = s.batch_first;
  layer.linear_before_reset = s.linear_before_reset;
  layer.deterministic = context.deterministic;
  layer.is_packed = s.packed;
  layer.panels = static_cast<const float*>(context.packed);
  layer.x = context.input(0).as<float>();
  layer.w = context.input(1).as<float>();
  layer.r = context.input(2).as<float>();
  layer.bias = data_or_null<float>(context.input(3));
  layer.first_h = data_or_null<float>(context.input(5));
  layer.first_c = kind == Recurrence::kLstm ? data_or_null<float>(context.input(6)) : nullptr;
  layer.y = context.output_wanted(0) ? context.output(0).as<float>() : nullptr;
  layer.last_h = context.output_wanted(1) ? context.output(1).as<float>() : nullptr;
  layer.last_c = kind == Recurrence::kLstm && context.output_wanted(2) ? context.output(2).as<float>() : nullptr;
  return layer;
}

void pack_recurrent(Context& context, void* packed) {
  const RecurrentState& s = context.state_as<RecurrentState>();
  recurrent_pack(recurrent_layer(context, s, s.kind), static_cast<float*>(packed));
}

/// Scratch of the fast path, and how constant weights are packed.
Status recurrent_memory(Context& context, RecurrentState* s) {
  int64_t floats = 0;
  s->packed = !PENLIGHT_SMALL && (context.constant_inputs >> 1 & 3) == 3 && context.input(0).data == nullptr;
  if (s->packed) {
    if (!recurrent_panel_floats(recurrent_layer(context, *s, s->kind), &floats)) return scratch_too_large(context);
    context.packed_bytes = static_cast<size_t>(floats) * sizeof(float);
    context.pack = pack_recurrent;
  }
  const bool fits = recurrent_scratch_floats(recurrent_layer(context, *s, s->kind), &floats);
  return fits && add_scratch(context, floats, sizeof(float)) ? Status::kOk : scratch_too_large(context);
}

Status recurrent_infer(Context& context, Recurrence kind) {
  RecurrentState& s = context.state_as<RecurrentState>();
  s = RecurrentState{};
  s.kind = kind;
  PENLIGHT_TRY(read_recurrent_attributes(context, kind, &s));
  PENLIGHT_TRY(check_recurrent_inputs(context, kind, &s));
  const DType dtype = context.input(0).dtype;
  const int64_t all[] = {s.steps, s.directions, s.batch, s.hidden}, turned[] = {s.batch, s.steps, s.directions, s.hidden};
  const int64_t last[] = {s.directions, s.batch, s.hidden}, last_turned[] = {s.batch, s.directions, s.hidden};
  if (context.output_wanted(0)) PENLIGHT_TRY(set_output(context, 0, dtype, make_shape(s.batch_first ? turned : all, 4)));
  for (int i = 1; i < context.output_count; ++i)
    if (context.output_wanted(i)) PENLIGHT_TRY(set_output(context, i, dtype, make_shape(s.batch_first ? last_turned : last, 3)));
  const uint64_t taps = static_cast<uint64_t>(s.features) + static_cast<uint64_t>(s.hidden);
  int64_t lines = 0, tasks = 0, floats = 0;
  if (!checked_mul(s.directions, s.batch, &tasks)) return scratch_too_large(context);
  // A gate has a curve beside its taps; steps of little or nothing count too.
  context.macs = saturating_mul(saturating_mul(static_cast<uint64_t>(s.steps), static_cast<uint64_t>(tasks)),
                                saturating_add(saturating_mul(static_cast<uint64_t>(s.gates * s.hidden), taps + 8), 64));
  s.fast = dtype == DType::kF32 && usual_gates(s, kind) && s.clip <= 0.0 && !s.input_forget && !context.input(4).present() &&
           !(kind == Recurrence::kLstm && context.input(7).present());
  if (s.fast) return recurrent_memory(context, &s);
  // The sums of the gates twice (of x and of h), the hidden and the cell state, one spare row.
  if (!checked_mul(2 * s.gates + 3, s.hidden, &lines) || !checked_mul(lines, tasks, &floats) ||
      !add_scratch(context, floats, sizeof(double)))
    return scratch_too_large(context);
  return Status::kOk;
}

/// One sequence in one direction: where its operands lie and its working rows.
template <typename T, typename C>
struct RecurrentTask {
  const RecurrentState& s;
  int64_t direction, sequence;
  const T *w, *r, *wb, *rb, *peepholes;
  C *sums, *hidden_sums, *h, *c, *spare;

  C dot(const T* row, const T* x) const {
    C sum{};
    for (int64_t i = 0; i < s.features; ++i) sum += static_cast<C>(row[i]) * static_cast<C>(x[i]);
    return sum;
  }
  C dot_hidden(const T* row, const C* state) const {
    C sum{};
    for (int64_t i = 0; i < s.hidden; ++i) sum += static_cast<C>(row[i]) * state[i];
    return sum;
  }
  C apply(int which, C value) const {
    if (s.clip > 0.0) value = value < C(-s.clip) ? C(-s.clip) : value > C(s.clip) ? C(s.clip) : value;
    return static_cast<C>(gate_value(s.functions[direction][which], static_cast<double>(value)));
  }
  C peephole(int64_t which, int64_t i) const {
    return peepholes == nullptr ? C{} : static_cast<C>(peepholes[which * s.hidden + i]);
  }

  /// Row sums of x (with its bias) and of the hidden state (with its bias) apart.
  void add_up(const T* x, int64_t gates) {
    for (int64_t i = 0; i < s.gates * s.hidden; ++i) {
      sums[i] = dot(w + i * s.features, x) + (wb == nullptr ? C{} : static_cast<C>(wb[i]));
      if (i < gates * s.hidden) hidden_sums[i] = dot_hidden(r + i * s.hidden, h) + (rb == nullptr ? C{} : static_cast<C>(rb[i]));
    }
  }

  void rnn_step(const T* x) {
    add_up(x, 1);
    for (int64_t i = 0; i < s.hidden; ++i) h[i] = apply(0, sums[i] + hidden_sums[i]);
  }

  /// Gates z, r, h.
  void gru_step(const T* x) {
    const int64_t n = s.hidden;
    add_up(x, s.linear_before_reset ? 3 : 2);
    for (int64_t i = 0; i < 2 * n; ++i) sums[i] = apply(0, sums[i] + hidden_sums[i]);
    for (int64_t i = 0; i < n; ++i) spare[i] = sums[n + i] * h[i];
    for (int64_t i = 0; i < n; ++i) {
      const C bias = rb == nullptr ? C{} : static_cast<C>(rb[2 * n + i]);
      const C recurrent =
          s.linear_before_reset ? sums[n + i] * hidden_sums[2 * n + i] : dot_hidden(r + (2 * n + i) * n, spare) + bias;
      hidden_sums[i] = apply(1, sums[2 * n + i] + recurrent);
    }
    for (int64_t i = 0; i < n; ++i) h[i] = (C(1) - sums[i]) * hidden_sums[i] + sums[i] * h[i];
  }

  /// Gates i, o, f, c.
  void lstm_step(const T* x) {
    const int64_t n = s.hidden;
    add_up(x, 4);
    for (int64_t i = 0; i < n; ++i) {
      const C before = c[i];
      const C in = apply(0, sums[i] + hidden_sums[i] + peephole(0, i) * before);
      const C forget = s.input_forget ? C(1) - in : apply(0, sums[2 * n + i] + hidden_sums[2 * n + i] + peephole(2, i) * before);
      c[i] = forget * before + in * apply(1, sums[3 * n + i] + hidden_sums[3 * n + i]);
      const C out = apply(0, sums[n + i] + hidden_sums[n + i] + peephole(1, i) * c[i]);
      h[i] = out * static_cast<C>(gate_value(s.functions[direction][2], static_cast<double>(c[i])));
    }
  }
};

/// Rows of a (directions, batch, hidden) tensor, or (batch, directions, hidden).
int64_t recurrent_row(const RecurrentState& s, int64_t direction, int64_t sequence) {
  return (s.batch_first ? sequence * s.directions + direction : direction * s.batch + sequence) * s.hidden;
}

template <typename T, typename C>
void load_recurrent_row(const Tensor& tensor, int64_t at, C* row, int64_t n) {
  for (int64_t i = 0; i < n; ++i) row[i] = tensor.present() ? static_cast<C>(tensor.as<T>()[at + i]) : C{};
}

template <typename T, typename C>
void store_recurrent_row(Context& context, int output, int64_t at, const C* row, int64_t n) {
  if (!context.output_wanted(output)) return;
  for (int64_t i = 0; i < n; ++i) context.output(output).as<T>()[at + i] = row == nullptr ? T(C{}) : T(row[i]);
}

template <typename T, typename C>
RecurrentTask<T, C> recurrent_task(Context& context, const RecurrentState& s, int64_t direction, int64_t sequence) {
  const int64_t rows = s.gates * s.hidden;
  const Tensor &bias = context.input(3), &peepholes = context.input(7);
  const T* biases = bias.present() ? bias.as<T>() + direction * 2 * rows : nullptr;
  C* scratch =
      reinterpret_cast<C*>(static_cast<double*>(context.scratch) + (direction * s.batch + sequence) * (2 * s.gates + 3) * s.hidden);
  C* h = scratch + 2 * rows;
  return {s,
          direction,
          sequence,
          context.input(1).as<T>() + direction * rows * s.features,
          context.input(2).as<T>() + direction * rows * s.hidden,
          biases,
          biases == nullptr ? nullptr : biases + rows,
          peepholes.present() ? peepholes.as<T>() + direction * 3 * s.hidden : nullptr,
          scratch,
          scratch + rows,
          h,
          h + s.hidden,
          h + 2 * s.hidden};
}

template <typename T>
void run_recurrent_task(Context& context, Recurrence kind, const RecurrentState& s, int64_t direction, int64_t sequence) {
  using C = typename Element<T>::Compute;
  RecurrentTask<T, C> task = recurrent_task<T, C>(context, s, direction, sequence);
  const int64_t row = recurrent_row(s, direction, sequence), n = s.hidden;
  load_recurrent_row<T>(context.input(5), row, task.h, n);
  load_recurrent_row<T>(context.input(kind == Recurrence::kLstm ? 6 : kMaxOperands), row, task.c, n);
  const int64_t length = context.input(4).present() ? context.input(4).as<int32_t>()[sequence] : s.steps;
  const bool backwards = s.reverse || direction == 1;
  for (int64_t i = 0; i < s.steps; ++i) {
    const int64_t t = i < length && backwards ? length - 1 - i : i;
    const int64_t at = (s.batch_first ? (sequence * s.steps + t) * s.directions + direction
                                      : (t * s.directions + direction) * s.batch + sequence) *
                       n;
    const int64_t x_row = s.batch_first ? sequence * s.steps + t : t * s.batch + sequence;
    const T* x = context.input(0).as<T>() + x_row * s.features;
    if (i >= length) {
      store_recurrent_row<T, C>(context, 0, at, nullptr, n);
      continue;
    }
    if (kind == Recurrence::kRnn)
      task.rnn_step(x);
    else if (kind == Recurrence::kGru)
      task.gru_step(x);
    else
      task.lstm_step(x);
    store_recurrent_row<T, C>(context, 0, at, task.h, n);
  }
  store_recurrent_row<T, C>(context, 1, row, task.h, n);
  if (kind == Recurrence::kLstm) store_recurrent_row<T, C>(context, 2, row, task.c, n);
}

Status recurrent_run(Context& context, Recurrence kind) {
  const RecurrentState& s = context.state_as<RecurrentState>();
  if (s.batch == 0 || s.hidden == 0) return Status::kOk;
  if (s.fast) {
    recurrent_f32(recurrent_layer(context, s, kind), static_cast<float*>(context.scratch), context_parallel(context));
    return Status::kOk;
  }
  for (int64_t b = 0; context.input(4).present() && b < s.batch; ++b) {
    const int32_t length = context.input(4).as<int32_t>()[b];
    if (length < 0 || length > s.steps)
      return context.fail(Status::kInvalidValue, "sequence length %d is not in [0, %lld]", length, static_cast<long long>(s.steps));
  }
  with_numeric_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if constexpr (Element<T>::kIsFloat)
      parallel_for(context_parallel(context), static_cast<size_t>(s.directions * s.batch), [&](size_t i) {
        const int64_t at = static_cast<int64_t>(i);
        run_recurrent_task<T>(context, kind, s, at / s.batch, at % s.batch);
      });
  });
  return Status::kOk;
}

}  // namespace

Status rnn_infer(Context& context) { return recurrent_infer(context, Recurrence::kRnn); }
Status rnn_run(Context& context) { return recurrent_run(context, Recurrence::kRnn); }
Status gru_infer(Context& context) { return recurrent_infer(context, Recurrence::kGru); }
Status gru_run(Context& context) { return recurrent_run(context, Recurrence::kGru); }
Status lstm_infer(Context& context) { return recurrent_infer(context, Recurrence::kLstm); }
Status lstm_run(Context& context) { return recurrent_run(context, Recurrence::kLstm); }

}  // namespace penlight
