// LSTM, GRU and RNN over whole sequences, forward and backward: a product and the gates per step. SPDX-License-Identifier:
// Apache-2.0
//
// Sequences do not meet, so each thread takes some of them through all steps.
#include "recurrent.h"

#include "arrays.h"
#include "kernels/gemm.h"
#include "kernels/isa.h"
#include "workers.h"

// clang-format off
#include "kernels/simd/baseline.h"
#include "kernels/simd/baseline_begin.h"
#include "simd/recurrent.h"
#include "kernels/simd/baseline_end.h"
#if PENLIGHT_X86
#include "kernels/simd/avx2.h"
#include "kernels/simd/avx2_begin.h"
#include "simd/recurrent.h"
#include "kernels/simd/avx2_end.h"
#include "kernels/simd/avx512.h"
#include "kernels/simd/avx512_begin.h"
#include "simd/recurrent.h"
#include "kernels/simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const RecurrentTable* kRecurrentTables[] = {
    &baseline::kRecurrentTable,
#if PENLIGHT_X86
    &avx2::kRecurrentTable,
    &avx512::kRecurrentTable,
#endif
};

constexpr size_t kSequenceGrain = 4;  // sequences worth a thread

/// Rows of all steps: step t has the rows of the first sizes[t] sequences, and sizes never grow.
struct Sequences {
  const int64_t* sizes;
  int64_t steps, batch, hidden, rows;
  bool reverse;
  std::unique_ptr<int64_t[]> starts;

  int64_t step(int64_t number) const { return reverse ? steps - 1 - number : number; }
  /// Rows that a thread with sequences [first, last) has in step t.
  int64_t count(int64_t t, int64_t first, int64_t last) const { return (last < sizes[t] ? last : sizes[t]) - first; }
  /// The state of a sequence before the step that is `number`th in the network's order.
  const float* before(int64_t number, int64_t sequence, const float* history, const float* start) const {
    if (number == 0 || sequence >= sizes[step(number - 1)]) return start + sequence * hidden;
    return history + (starts[static_cast<size_t>(step(number - 1))] + sequence) * hidden;
  }
};

Sequences describe_sequences(const InIndex& sizes, int64_t batch, int64_t hidden, int64_t rows, bool reverse) {
  const int64_t steps = size_of(sizes);
  Sequences s{sizes.data(), steps, batch, hidden, rows, reverse, std::make_unique<int64_t[]>(static_cast<size_t>(steps) + 1)};
  int64_t sum = 0;
  for (int64_t t = 0; t < steps; ++t) {
    require(s.sizes[t] >= 0 && s.sizes[t] <= (t > 0 ? s.sizes[t - 1] : batch), "sizes that never grow");
    s.starts[static_cast<size_t>(t)] = sum;
    sum += s.sizes[t];
  }
  require(sum == rows && hidden > 0, "sizes that add up to the rows");
  return s;
}

/// Calls body(number, sequence, row, count) for the steps in the network's order, or against it; each thread has sequences
/// [sequence, sequence + count), the first of which lies at `row` of the arrays of all steps.
template <typename Body>
void for_each_step(const Sequences& s, bool backwards, Body&& body) {
  const Parallel parallel = workers();
  parallel_ranges(parallel, static_cast<size_t>(s.batch), kSequenceGrain, [&](size_t begin, size_t end) {
    const int64_t first = static_cast<int64_t>(begin), last = static_cast<int64_t>(end);
    for (int64_t i = 0; i < s.steps; ++i) {
      const int64_t number = backwards ? s.steps - 1 - i : i, t = s.step(number), count = s.count(t, first, last);
      if (count > 0) body(number, first, s.starts[static_cast<size_t>(t)] + first, count);
    }
  });
}

/// The recurrent weights (rows, hidden) as the right side of products, packed once for all steps.
struct PackedWeights {
  int64_t depth, columns;
  std::unique_ptr<float[]> panels;

  /// c (count, columns) [+]= a (count, depth) times the weights.
  void multiply(const float* a, int64_t count, float* c, int64_t c_row, bool accumulate, const float* bias = nullptr) const {
    GemmBlock block;
    block.rows = count;
    block.columns = columns;
    block.depth = depth;
    block.a = a;
    block.a_row = depth;
    block.b = panels.get();
    block.b_panel = depth * kPanel;
    block.c = c;
    block.c_row = c_row;
    block.bias = bias;
    block.bias_column = 1;
    block.accumulate = accumulate;
    gemm_block(block);
  }
};

PackedWeights pack_weights(const float* weights, int64_t rows, int64_t hidden, bool transposed) {
  PackedWeights packed{transposed ? hidden : rows, transposed ? rows : hidden, nullptr};
  int64_t floats = 0;
  require(gemm_panel_floats(packed.columns, packed.depth, &floats), "sizes that fit into memory");
  packed.panels = scratch_floats(floats);
  gemm_pack(weights, transposed ? 1 : hidden, transposed ? hidden : 1, packed.depth, 0, packed.columns, packed.panels.get());
  return packed;
}

void copy_row(const float* from, float* to, int64_t n) { __builtin_memcpy(to, from, static_cast<size_t>(n) * sizeof(float)); }

/// Checks the shapes that all functions share: `rows_size` floats in rows of `width` times H.
Sequences check_recurrent(const InIndex& sizes, const Out& state, int64_t rows_size, int64_t width, const In& w_hh, int64_t gates,
                          bool reverse) {
  require(state.ndim() == 2 && w_hh.ndim() == 2, "a state (B, H) and weights (gates * H, H)");
  const int64_t hidden = dim(state, 1);
  require(hidden > 0 && dim(w_hh, 1) == hidden && dim(w_hh, 0) == gates * hidden, "weights (gates * H, H)");
  require(rows_size % (width * hidden) == 0, "rows of gates");
  return describe_sequences(sizes, dim(state, 0), hidden, rows_size / (width * hidden), reverse);
}

/// gates: in the input's part with all biases, out i, f, g, o; h and c: the state, first and then last.
void lstm(Out gates, In w_hh, InIndex sizes, bool reverse, Out h, Out c, Out y, Out cells) {
  const Sequences s = check_recurrent(sizes, h, size_of(gates), 4, w_hh, 4, reverse);
  const int64_t n = s.hidden;
  require(size_of(c) == size_of(h) && size_of(y) == s.rows * n && size_of(cells) == s.rows * n, "c like h, y and cells (rows, H)");
  const RecurrentTable& table = *table_for_isa(kRecurrentTables);
  nb::gil_scoped_release unlocked;
  const PackedWeights weights = pack_weights(w_hh.data(), 4 * n, n, true);
  for_each_step(s, false, [&](int64_t, int64_t sequence, int64_t row, int64_t count) {
    weights.multiply(h.data() + sequence * n, count, gates.data() + row * 4 * n, 4 * n, true);
    for (int64_t i = 0; i < count; ++i) {
      float *state = h.data() + (sequence + i) * n, *cell = c.data() + (sequence + i) * n;
      table.lstm(gates.data() + (row + i) * 4 * n, state, cell, static_cast<size_t>(n));
      copy_row(state, y.data() + (row + i) * n, n);
      copy_row(cell, cells.data() + (row + i) * n, n);
    }
  });
}

/// g_h and g_c: of the last state, then of the first; g_gates: of the gates' sums; h_before: the state before every step.
void lstm_grad(In gates, In w_hh, InIndex sizes, bool reverse, In h0, In c0, In y, In cells, In g_y, Out g_h, Out g_c, Out g_gates,
               Out h_before) {
  const Sequences s = check_recurrent(sizes, g_h, size_of(gates), 4, w_hh, 4, reverse);
  const int64_t n = s.hidden;
  require(size_of(h0) == size_of(g_h) && size_of(c0) == size_of(g_h) && size_of(g_c) == size_of(g_h), "states of one size");
  require(size_of(y) == s.rows * n && size_of(cells) == s.rows * n && size_of(h_before) == s.rows * n, "y and cells (rows, H)");
  require(size_of(g_y) == s.rows * n && size_of(g_gates) == size_of(gates), "gradients like y and gates");
  const RecurrentTable& table = *table_for_isa(kRecurrentTables);
  nb::gil_scoped_release unlocked;
  const PackedWeights weights = pack_weights(w_hh.data(), 4 * n, n, false);
  for_each_step(s, true, [&](int64_t number, int64_t sequence, int64_t row, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = (row + i) * n, state = (sequence + i) * n;
      table.lstm_gradient(gates.data() + 4 * at, cells.data() + at, s.before(number, sequence + i, cells.data(), c0.data()),
                          g_y.data() + at, g_h.data() + state, g_c.data() + state, g_gates.data() + 4 * at, static_cast<size_t>(n));
      copy_row(s.before(number, sequence + i, y.data(), h0.data()), h_before.data() + at, n);
    }
    weights.multiply(g_gates.data() + row * 4 * n, count, g_h.data() + sequence * n, n, false);
  });
}

/// gates (rows, 4 H): in the input's part of r, z, n with all biases but bias_n, out r, z, n and the state's part of n.
void gru(Out gates, In w_hh, In bias_n, InIndex sizes, bool reverse, Out h, Out y) {
  const Sequences s = check_recurrent(sizes, h, size_of(gates), 4, w_hh, 3, reverse);
  const int64_t n = s.hidden;
  require(size_of(y) == s.rows * n && size_of(bias_n) == n, "y (rows, H) and a bias (H,)");
  const RecurrentTable& table = *table_for_isa(kRecurrentTables);
  nb::gil_scoped_release unlocked;
  const PackedWeights both = pack_weights(w_hh.data(), 2 * n, n, true), own = pack_weights(w_hh.data() + 2 * n * n, n, n, true);
  for_each_step(s, false, [&](int64_t, int64_t sequence, int64_t row, int64_t count) {
    float* first = gates.data() + row * 4 * n;
    both.multiply(h.data() + sequence * n, count, first, 4 * n, true);
    own.multiply(h.data() + sequence * n, count, first + 3 * n, 4 * n, false, bias_n.data());
    for (int64_t i = 0; i < count; ++i) {
      float* state = h.data() + (sequence + i) * n;
      table.gru(first + i * 4 * n, state, static_cast<size_t>(n));
      copy_row(state, y.data() + (row + i) * n, n);
    }
  });
}

/// g_in and g_own (rows, 3 H): of the input's and of the state's part of the gates; else as lstm_grad.
void gru_grad(In gates, In w_hh, InIndex sizes, bool reverse, In h0, In y, In g_y, Out g_h, Out g_in, Out g_own, Out h_before) {
  const Sequences s = check_recurrent(sizes, g_h, size_of(gates), 4, w_hh, 3, reverse);
  const int64_t n = s.hidden, third = s.rows * n;
  require(size_of(h0) == size_of(g_h) && size_of(y) == third && size_of(h_before) == third, "states of one size, y (rows, H)");
  require(size_of(g_y) == third && size_of(g_in) == 3 * third && size_of(g_own) == 3 * third, "gradients (rows, 3 H)");
  const RecurrentTable& table = *table_for_isa(kRecurrentTables);
  nb::gil_scoped_release unlocked;
  const PackedWeights weights = pack_weights(w_hh.data(), 3 * n, n, false);
  for_each_step(s, true, [&](int64_t number, int64_t sequence, int64_t row, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = (row + i) * n;
      copy_row(s.before(number, sequence + i, y.data(), h0.data()), h_before.data() + at, n);
      table.gru_gradient(gates.data() + 4 * at, h_before.data() + at, g_y.data() + at, g_h.data() + (sequence + i) * n,
                         g_in.data() + 3 * at, g_own.data() + 3 * at, static_cast<size_t>(n));
    }
    weights.multiply(g_own.data() + row * 3 * n, count, g_h.data() + sequence * n, n, true);
  });
}

/// y: in the input's part with all biases, out the outputs.
void rnn(Out y, In w_hh, bool is_relu, InIndex sizes, bool reverse, Out h) {
  const Sequences s = check_recurrent(sizes, h, size_of(y), 1, w_hh, 1, reverse);
  const int64_t n = s.hidden;
  const RecurrentTable& table = *table_for_isa(kRecurrentTables);
  nb::gil_scoped_release unlocked;
  const PackedWeights weights = pack_weights(w_hh.data(), n, n, true);
  for_each_step(s, false, [&](int64_t, int64_t sequence, int64_t row, int64_t count) {
    weights.multiply(h.data() + sequence * n, count, y.data() + row * n, n, true);
    for (int64_t i = 0; i < count; ++i)
      table.rnn(y.data() + (row + i) * n, is_relu, h.data() + (sequence + i) * n, static_cast<size_t>(n));
  });
}

/// g_sums (rows, H); else as lstm_grad.
void rnn_grad(In y, In w_hh, bool is_relu, InIndex sizes, bool reverse, In h0, In g_y, Out g_h, Out g_sums, Out h_before) {
  const Sequences s = check_recurrent(sizes, g_h, size_of(y), 1, w_hh, 1, reverse);
  const int64_t n = s.hidden;
  require(size_of(h0) == size_of(g_h) && size_of(g_sums) == size_of(y) && size_of(h_before) == size_of(y), "arrays like y");
  require(size_of(g_y) == size_of(y), "a gradient like y");
  const RecurrentTable& table = *table_for_isa(kRecurrentTables);
  nb::gil_scoped_release unlocked;
  const PackedWeights weights = pack_weights(w_hh.data(), n, n, false);
  for_each_step(s, true, [&](int64_t number, int64_t sequence, int64_t row, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = (row + i) * n;
      copy_row(s.before(number, sequence + i, y.data(), h0.data()), h_before.data() + at, n);
      table.rnn_gradient(y.data() + at, is_relu, g_y.data() + at, g_h.data() + (sequence + i) * n, g_sums.data() + at,
                         static_cast<size_t>(n));
    }
    weights.multiply(g_sums.data() + row * n, count, g_h.data() + sequence * n, n, false);
  });
}

}  // namespace

void bind_recurrent(nb::module_& module) {
  using nb::arg;
  const auto only = [](const char* name) { return arg(name).noconvert(); };
  module.def("lstm", &lstm, only("gates"), only("w_hh"), only("sizes"), arg("reverse"), only("h"), only("c"), only("y"),
             only("cells"));
  module.def("lstm_grad", &lstm_grad, only("gates"), only("w_hh"), only("sizes"), arg("reverse"), only("h0"), only("c0"), only("y"),
             only("cells"), only("g_y"), only("g_h"), only("g_c"), only("g_gates"), only("h_before"));
  module.def("gru", &gru, only("gates"), only("w_hh"), only("bias_n"), only("sizes"), arg("reverse"), only("h"), only("y"));
  module.def("gru_grad", &gru_grad, only("gates"), only("w_hh"), only("sizes"), arg("reverse"), only("h0"), only("y"), only("g_y"),
             only("g_h"), only("g_in"), only("g_own"), only("h_before"));
  module.def("rnn", &rnn, only("y"), only("w_hh"), arg("is_relu"), only("sizes"), arg("reverse"), only("h"));
  module.def("rnn_grad", &rnn_grad, only("y"), only("w_hh"), arg("is_relu"), only("sizes"), arg("reverse"), only("h0"), only("g_y"),
             only("g_h"), only("g_sums"), only("h_before"));
}

}  // namespace penlight
