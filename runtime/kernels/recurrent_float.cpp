// Recurrent layers: the inputs' part of many steps is one product, the hidden state's part of a step reads packed weights.
// SPDX-License-Identifier: Apache-2.0
#include "recurrent_float.h"

#include <string.h>

#include "gemm.h"

namespace penlight {

namespace {

constexpr int64_t kRecurrentFloats = 1 << 18;  // of the sums of the steps that are prepared at once, about

int64_t recurrent_gates(Recurrence kind) { return kind == Recurrence::kRnn ? 1 : kind == Recurrence::kGru ? 3 : 4; }

/// Parts of the scratch. Of each direction: packed weights of x and of the hidden state, gate by gate, unless they come packed, a
/// bias, the sums of some steps in the order of x, and rows for each sequence.
struct RecurrentPlan {
  int64_t gates, row;  // floats of all gates of one step
  int64_t chunk;       // steps at once
  int64_t w_gate, r_gate, weights, bias, sums, rows, direction;
};

bool recurrent_plan(const RecurrentLayer& l, RecurrentPlan* p) {
  p->gates = recurrent_gates(l.kind);
  int64_t step, total = 0, part;
  if (__builtin_mul_overflow(p->gates, l.hidden, &p->row) || __builtin_mul_overflow(p->row, l.batch, &step)) return false;
  p->chunk = step > 0 ? kRecurrentFloats / step : 1;
  if (p->chunk < 1) p->chunk = 1;
  if (p->chunk > l.steps) p->chunk = l.steps;
  if (!gemm_panel_floats(l.hidden, l.features, &p->w_gate) || !gemm_panel_floats(l.hidden, l.hidden, &p->r_gate)) return false;
  p->bias = p->row + l.hidden;  // a GRU's last gate may have two
  if (__builtin_mul_overflow(step, p->chunk, &p->sums) || __builtin_mul_overflow(3 * l.hidden, l.batch, &p->rows)) return false;
  if (__builtin_add_overflow(p->w_gate, p->r_gate, &part) || __builtin_mul_overflow(part, p->gates, &p->weights) ||
      __builtin_add_overflow(l.is_packed ? 0 : p->weights, p->bias, &total) || __builtin_add_overflow(total, p->sums, &total) ||
      __builtin_add_overflow(total, p->rows, &total) || __builtin_add_overflow(total, kPanel - 1, &total))
    return false;
  p->direction = total / kPanel * kPanel;
  return true;
}

void recurrent_pack_direction(const RecurrentLayer& l, const RecurrentPlan& p, int64_t direction, float* panels) {
  const int64_t n = l.hidden;
  const float *w = l.w + direction * p.row * l.features, *r = l.r + direction * p.row * n;
  float* hidden = panels + p.gates * p.w_gate;
  for (int64_t g = 0; g < p.gates; ++g) {
    gemm_pack(w + g * n * l.features, 1, l.features, l.features, 0, n, panels + g * p.w_gate);
    gemm_pack(r + g * n * n, 1, n, n, 0, n, hidden + g * p.r_gate);
  }
}

/// One direction of a layer.
class RecurrentDirection {
 public:
  RecurrentDirection(const RecurrentLayer& layer, const RecurrentPlan& plan, int64_t direction, float* scratch)
      : l_(layer), p_(plan), direction_(direction), backwards_(layer.reverse || direction == 1) {
    own_ = scratch + direction * plan.direction;
    w_ = layer.is_packed ? layer.panels + direction * plan.weights : own_;
    r_ = w_ + plan.gates * plan.w_gate;
    sums_ = own_ + (layer.is_packed ? 0 : plan.weights);
    bias_ = sums_ + plan.sums;
    h_ = bias_ + plan.bias;
    c_ = h_ + layer.batch * layer.hidden;
    spare_ = c_ + layer.batch * layer.hidden;
  }

  /// Packs the weights where they are not, adds the biases and loads the first states.
  void begin() {
    const int64_t n = l_.hidden;
    if (!l_.is_packed) recurrent_pack_direction(l_, p_, direction_, own_);
    add_biases(l_.bias == nullptr ? nullptr : l_.bias + direction_ * 2 * p_.row);
    for (int64_t b = 0; b < l_.batch; ++b) {
      load_row(l_.first_h, b, h_ + b * n);
      load_row(l_.first_c, b, c_ + b * n);
    }
  }

  /// The part of the sums that comes from x, for steps [first, first + count) of those that the direction takes.
  void prepare(int64_t first, int64_t count, const Parallel& parallel) {
    const int64_t time = backwards_ ? l_.steps - first - count : first;
    const int64_t rows = l_.batch_first ? count : count * l_.batch, blocks = l_.batch_first ? l_.batch : 1;
    for (int64_t i = 0; i < blocks; ++i) {
      const float* x = l_.x + (l_.batch_first ? i * l_.steps + time : time * l_.batch) * l_.features;
      float* sums = sums_ + i * rows * p_.row;
      parallel_ranges(parallel, static_cast<size_t>(rows), 8, [&](size_t begin, size_t end) {
        const int64_t from = static_cast<int64_t>(begin), n = static_cast<int64_t>(end) - from;
        each_product(0, p_.gates, [&](int64_t g, int64_t columns) {
          multiply(x + from * l_.features, l_.features, l_.features, n, w_ + g * p_.w_gate, columns,
                   sums + from * p_.row + g * l_.hidden, p_.row, bias_ + g * l_.hidden, false);
        });
      });
    }
  }

  /// Runs these steps for sequences [begin, end).
  void run(int64_t first, int64_t count, int64_t begin, int64_t end) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t time = backwards_ ? l_.steps - 1 - first - i : first + i, place = backwards_ ? count - 1 - i : i;
      const int64_t step = l_.batch_first ? p_.row : l_.batch * p_.row;  // between steps
      const int64_t row = l_.batch_first ? count * p_.row : p_.row;      // between sequences
      const Rows rows = {sums_ + place * step + begin * row, row, begin, end - begin};
      if (l_.kind == Recurrence::kLstm)
        lstm(rows);
      else if (l_.kind == Recurrence::kGru)
        gru(rows);
      else
        rnn(rows);
      for (int64_t b = begin; l_.y != nullptr && b < end; ++b) memcpy(output(time, b), h_ + b * l_.hidden, bytes());
    }
  }

  void end() const {
    for (int64_t b = 0; b < l_.batch; ++b) {
      if (l_.last_h != nullptr) memcpy(l_.last_h + state_row(b), h_ + b * l_.hidden, bytes());
      if (l_.last_c != nullptr) memcpy(l_.last_c + state_row(b), c_ + b * l_.hidden, bytes());
    }
  }

 private:
  /// The sums of one step of some sequences.
  struct Rows {
    float* sums;
    int64_t step;  // from one sequence to the next
    int64_t first, count;
  };

  size_t bytes() const { return static_cast<size_t>(l_.hidden) * sizeof(float); }

  int64_t state_row(int64_t b) const {
    return (l_.batch_first ? b * l_.directions + direction_ : direction_ * l_.batch + b) * l_.hidden;
  }

  float* output(int64_t time, int64_t b) const {
    const int64_t row =
        l_.batch_first ? (b * l_.steps + time) * l_.directions + direction_ : (time * l_.directions + direction_) * l_.batch + b;
    return l_.y + row * l_.hidden;
  }

  void load_row(const float* from, int64_t b, float* to) const {
    if (from == nullptr)
      memset(to, 0, bytes());
    else
      memcpy(to, from + state_row(b), bytes());
  }

  /// Both biases of a gate come together, but for the gate of a GRU that resets the hidden state's part alone.
  void add_biases(const float* bias) {
    const bool apart = l_.kind == Recurrence::kGru && l_.linear_before_reset;
    const int64_t joined = apart ? 2 * l_.hidden : p_.row;
    for (int64_t i = 0; i < p_.row + l_.hidden; ++i) bias_[i] = 0.0f;
    if (bias == nullptr) return;
    for (int64_t i = 0; i < p_.row; ++i) bias_[i] = i < joined ? bias[i] + bias[p_.row + i] : bias[i];
    for (int64_t i = joined; i < p_.row; ++i) bias_[i + l_.hidden] = bias[p_.row + i];
  }

  /// Calls product(gate, columns) for gates [first, end): once where their panels lie behind each other without a gap.
  template <typename Product>
  void each_product(int64_t first, int64_t end, Product&& product) const {
    if (l_.hidden % kPanel == 0) return product(first, (end - first) * l_.hidden);
    for (int64_t g = first; g < end; ++g) product(g, l_.hidden);
  }

  void multiply(const float* a, int64_t a_row, int64_t depth, int64_t rows, const float* panels, int64_t columns, float* c,
                int64_t c_row, const float* bias, bool accumulate) const {
    GemmBlock block;
    block.rows = rows;
    block.columns = columns;
    block.depth = depth;
    block.a = a;
    block.a_row = a_row;
    block.b = panels;
    block.b_panel = depth * kPanel;
    block.c = c;
    block.c_row = c_row;
    block.bias = bias;
    block.bias_column = 1;
    block.accumulate = accumulate;
    block.deterministic = l_.deterministic;
    gemm_block(block);
  }

  /// Adds the product of `state` and the hidden weights of gates [first, end) to their sums.
  void add_hidden(const Rows& rows, const float* state, int64_t first, int64_t end) const {
    each_product(first, end, [&](int64_t g, int64_t columns) {
      multiply(state + rows.first * l_.hidden, l_.hidden, l_.hidden, rows.count, r_ + g * p_.r_gate, columns,
               rows.sums + g * l_.hidden, rows.step, nullptr, true);
    });
  }

  static void apply(Unary function, float* values, int64_t count) {
    unary_f32(function, UnaryParameters{}, values, values, static_cast<size_t>(count), Parallel{});
  }

  void rnn(const Rows& rows) {
    add_hidden(rows, h_, 0, 1);
    for (int64_t i = 0; i < rows.count; ++i) {
      apply(Unary::kTanh, rows.sums + i * rows.step, l_.hidden);
      memcpy(h_ + (rows.first + i) * l_.hidden, rows.sums + i * rows.step, bytes());
    }
  }

  /// Gates i, o, f, c.
  void lstm(const Rows& rows) {
    const int64_t n = l_.hidden;
    add_hidden(rows, h_, 0, 4);
    for (int64_t i = 0; i < rows.count; ++i) {
      float *gates = rows.sums + i * rows.step, *h = h_ + (rows.first + i) * n, *c = c_ + (rows.first + i) * n;
      apply(Unary::kSigmoid, gates, 3 * n);
      apply(Unary::kTanh, gates + 3 * n, n);
      for (int64_t j = 0; j < n; ++j) h[j] = c[j] = gates[2 * n + j] * c[j] + gates[j] * gates[3 * n + j];
      apply(Unary::kTanh, h, n);
      for (int64_t j = 0; j < n; ++j) h[j] *= gates[n + j];
    }
  }

  /// Gates z, r, h.
  void gru(const Rows& rows) {
    const int64_t n = l_.hidden;
    add_hidden(rows, h_, 0, 2);
    if (l_.linear_before_reset)
      multiply(h_ + rows.first * n, n, n, rows.count, r_ + 2 * p_.r_gate, n, spare_ + rows.first * n, n, bias_ + p_.row, false);
    for (int64_t i = 0; i < rows.count; ++i) {
      float *gates = rows.sums + i * rows.step, *h = h_ + (rows.first + i) * n, *spare = spare_ + (rows.first + i) * n;
      apply(Unary::kSigmoid, gates, 2 * n);
      if (l_.linear_before_reset)
        for (int64_t j = 0; j < n; ++j) gates[2 * n + j] += gates[n + j] * spare[j];
      else
        for (int64_t j = 0; j < n; ++j) spare[j] = gates[n + j] * h[j];
    }
    if (!l_.linear_before_reset) add_hidden(rows, spare_, 2, 3);
    for (int64_t i = 0; i < rows.count; ++i) {
      float *gates = rows.sums + i * rows.step, *h = h_ + (rows.first + i) * n;
      apply(Unary::kTanh, gates + 2 * n, n);
      for (int64_t j = 0; j < n; ++j) h[j] = (1.0f - gates[j]) * gates[2 * n + j] + gates[j] * h[j];
    }
  }

  const RecurrentLayer& l_;
  const RecurrentPlan& p_;
  const int64_t direction_;
  const bool backwards_;
  const float *w_, *r_;
  float *own_, *sums_, *bias_, *h_, *c_, *spare_;
};

}  // namespace

bool recurrent_panel_floats(const RecurrentLayer& layer, int64_t* floats) {
  RecurrentPlan plan;
  return recurrent_plan(layer, &plan) && !__builtin_mul_overflow(plan.weights, layer.directions, floats);
}

void recurrent_pack(const RecurrentLayer& layer, float* panels) {
  RecurrentPlan plan;
  if (!recurrent_plan(layer, &plan)) return;
  for (int64_t i = 0; i < layer.directions; ++i) recurrent_pack_direction(layer, plan, i, panels + i * plan.weights);
}

bool recurrent_scratch_floats(const RecurrentLayer& layer, int64_t* floats) {
  RecurrentPlan plan;
  return recurrent_plan(layer, &plan) && !__builtin_mul_overflow(plan.direction, layer.directions, floats);
}

void recurrent_f32(const RecurrentLayer& layer, float* scratch, const Parallel& parallel) {
  RecurrentPlan plan;
  if (!recurrent_plan(layer, &plan)) return;
  const size_t directions = static_cast<size_t>(layer.directions);
  const auto of = [&](size_t i) { return RecurrentDirection(layer, plan, static_cast<int64_t>(i), scratch); };
  parallel_for(parallel, directions, [&](size_t i) { of(i).begin(); });
  const size_t batch = static_cast<size_t>(layer.batch), parts = piece_count(parallel, batch, 1);  // sequences side by side
  for (int64_t first = 0; first < layer.steps; first += plan.chunk) {
    const int64_t count = first + plan.chunk < layer.steps ? plan.chunk : layer.steps - first;
    for (size_t i = 0; i < directions; ++i) of(i).prepare(first, count, parallel);
    parallel_for(parallel, directions * parts, [&](size_t task) {
      const size_t part = task % parts;
      of(task / parts)
          .run(first, count, static_cast<int64_t>(batch * part / parts), static_cast<int64_t>(batch * (part + 1) / parts));
    });
  }
  for (size_t i = 0; i < directions; ++i) of(i).end();
}

}  // namespace penlight
