// Attention of one head at a time, forward and backward, on blocks of queries. SPDX-License-Identifier: Apache-2.0
#include "arrays.h"
#include "kernels/gemm.h"
#include "kernels/normalize.h"
#include "training.h"
#include "workers.h"

namespace penlight {

namespace {

using Heads = nb::ndarray<const float, nb::ndim<4>, nb::device::cpu>;  // (B, H, rows, size), of any strides

constexpr int64_t kQueries = 24;  // of a block, a multiple of every tile's rows

struct AttentionShape {
  int64_t batch, heads, queries, keys, size, value_size;
  float scale;
  bool causal;

  int64_t seen(int64_t query) const { return causal && query + 1 < keys ? query + 1 : keys; }
};

AttentionShape describe_attention(const Heads& q, const Heads& k, const Heads& v, double scale, bool causal) {
  const AttentionShape s{dim(q, 0), dim(q, 1), dim(q, 2), dim(k, 2), dim(q, 3), dim(v, 3), static_cast<float>(scale), causal};
  require(dim(k, 0) == s.batch && dim(k, 1) == s.heads && dim(k, 3) == s.size, "k (B, H, S, E) beside q (B, H, L, E)");
  require(dim(v, 0) == s.batch && dim(v, 1) == s.heads && dim(v, 2) == s.keys, "v (B, H, S, Ev) beside k (B, H, S, E)");
  require(s.keys > 0 && s.size > 0 && s.value_size > 0, "arrays that are not empty");
  return s;
}

/// A matrix: element (i, j) is data[i * row + j * column].
struct Matrix {
  const float* data;
  int64_t row, column;

  Matrix transposed() const { return {data, column, row}; }
};

Matrix head_of(const Heads& array, int64_t b, int64_t h) {
  return {array.data() + b * array.stride(0) + h * array.stride(1), array.stride(2), array.stride(3)};
}

/// The right side of several products, packed once.
struct Panels {
  float* data;
  int64_t depth, columns;
};

int64_t panel_floats(int64_t depth, int64_t columns) { return (columns + kPanel - 1) / kPanel * kPanel * depth; }

Panels pack(const Matrix& b, int64_t depth, int64_t columns, float* room) {
  gemm_pack(b.data, b.row, b.column, depth, 0, columns, room);
  return {room, depth, columns};
}

/// c (rows, columns) = scale * a (rows, depth) times a part of the panels: their first columns, rows from `first` on.
void multiply(const Matrix& a, const Panels& b, int64_t first, int64_t rows, int64_t depth, int64_t columns, float* c,
              int64_t c_row, float scale = 1.0f) {
  GemmBlock block;
  block.rows = rows;
  block.columns = columns;
  block.depth = depth;
  block.a = a.data;
  block.a_row = a.row;
  block.a_depth = a.column;
  block.b = b.data + first * kPanel;
  block.b_panel = b.depth * kPanel;
  block.c = c;
  block.c_row = c_row;
  block.alpha = scale;
  gemm_block(block);
}

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// Calls body(b, h, head, room) for every head; `room` holds `floats` floats.
template <typename Body>
void for_each_head(const AttentionShape& s, int64_t floats, Body&& body) {
  parallel_ranges(workers(), static_cast<size_t>(s.batch * s.heads), 1, [&](size_t begin, size_t end) {
    const auto room = scratch_floats(floats);
    for (size_t head = begin; head < end; ++head) {
      const int64_t number = static_cast<int64_t>(head);
      body(number / s.heads, number % s.heads, number, room.get());
    }
  });
}

/// weights: the probabilities (B, H, L, S); y (B, H, L, Ev).
void attention(Heads q, Heads k, Heads v, double scale, bool causal, Out y, Out weights) {
  const AttentionShape s = describe_attention(q, k, v, scale, causal);
  const int64_t count = s.batch * s.heads * s.queries;
  require(size_of(y) == count * s.value_size && size_of(weights) == count * s.keys, "y (B, H, L, Ev), weights (B, H, L, S)");
  nb::gil_scoped_release unlocked;
  const int64_t key_floats = panel_floats(s.size, s.keys);
  for_each_head(s, key_floats + panel_floats(s.keys, s.value_size), [&](int64_t b, int64_t h, int64_t head, float* room) {
    const Panels keys = pack(head_of(k, b, h).transposed(), s.size, s.keys, room);
    const Panels values = pack(head_of(v, b, h), s.keys, s.value_size, room + key_floats);
    const Matrix queries = head_of(q, b, h);
    for (int64_t i = 0; i < s.queries; i += kQueries) {
      const int64_t rows = smaller(kQueries, s.queries - i), seen = s.seen(i + rows - 1);
      float* p = weights.data() + (head * s.queries + i) * s.keys;
      multiply({queries.data + i * queries.row, queries.row, queries.column}, keys, 0, rows, s.size, seen, p, s.keys, s.scale);
      for (int64_t r = 0; r < rows; ++r) {
        float* row = p + r * s.keys;
        const int64_t own = s.seen(i + r);
        softmax_rows_f32(row, row, 1, own, false, Parallel{});
        for (int64_t j = own; j < s.keys; ++j) row[j] = 0.0f;
      }
      multiply({p, s.keys, 1}, values, 0, rows, seen, s.value_size, y.data() + (head * s.queries + i) * s.value_size, s.value_size);
    }
  });
}

/// Gradients of the scores of one head, (L, S), times the scale.
void score_gradients(const AttentionShape& s, const Matrix& g, const Panels& values, const float* weights, float* scores) {
  const TrainingTable& table = training_table();
  for (int64_t i = 0; i < s.queries; i += kQueries) {
    const int64_t rows = smaller(kQueries, s.queries - i), seen = s.seen(i + rows - 1);
    multiply({g.data + i * g.row, g.row, g.column}, values, 0, rows, s.value_size, seen, scores + i * s.keys, s.keys, s.scale);
    for (int64_t r = i; r < i + rows; ++r) {
      float* row = scores + r * s.keys;
      const float* p = weights + r * s.keys;
      const int64_t own = s.seen(r);
      table.softmax_gradient(row, p, dot_f32(row, p, own), row, static_cast<size_t>(own));
      for (int64_t j = own; j < s.keys; ++j) row[j] = 0.0f;
    }
  }
}

/// c (S, columns) = left (L, S) transposed times right (L, columns); where causal, key j meets the queries from j on.
void multiply_keys(const AttentionShape& s, const float* left, const Panels& right, float* c) {
  for (int64_t j = 0; j < s.keys; j += kQueries) {
    const int64_t rows = smaller(kQueries, s.keys - j), first = s.causal ? smaller(j, s.queries) : 0;
    const Matrix a{left + first * s.keys + j, 1, s.keys};
    multiply(a, right, first, rows, s.queries - first, right.columns, c + j * right.columns, right.columns);
  }
}

void attention_grad(Heads g, Heads q, Heads k, Heads v, In weights, double scale, bool causal, Out gq, Out gk, Out gv) {
  const AttentionShape s = describe_attention(q, k, v, scale, causal);
  const int64_t heads = s.batch * s.heads;
  require(dim(g, 0) == s.batch && dim(g, 1) == s.heads && dim(g, 2) == s.queries && dim(g, 3) == s.value_size, "g (B, H, L, Ev)");
  require(size_of(weights) == heads * s.queries * s.keys && size_of(gq) == heads * s.queries * s.size, "gq (B, H, L, E)");
  require(size_of(gk) == heads * s.keys * s.size && size_of(gv) == heads * s.keys * s.value_size, "gk like k and gv like v");
  nb::gil_scoped_release unlocked;
  const int64_t score_floats = s.queries * s.keys, longest = s.queries > s.keys ? s.queries : s.keys;
  const int64_t widest = s.size > s.value_size ? s.size : s.value_size;
  const int64_t room_floats = panel_floats(longest, widest) + panel_floats(s.value_size, s.keys);
  for_each_head(s, score_floats + room_floats, [&](int64_t b, int64_t h, int64_t head, float* scores) {
    float* room = scores + score_floats;
    const Matrix grad = head_of(g, b, h);
    const float* p = weights.data() + head * score_floats;
    score_gradients(s, grad, pack(head_of(v, b, h).transposed(), s.value_size, s.keys, room), p, scores);
    multiply_keys(s, p, pack(grad, s.queries, s.value_size, room), gv.data() + head * s.keys * s.value_size);
    multiply_keys(s, scores, pack(head_of(q, b, h), s.queries, s.size, room), gk.data() + head * s.keys * s.size);
    const Panels keys = pack(head_of(k, b, h), s.keys, s.size, room);
    for (int64_t i = 0; i < s.queries; i += kQueries) {
      const int64_t rows = smaller(kQueries, s.queries - i);
      multiply({scores + i * s.keys, s.keys, 1}, keys, 0, rows, s.seen(i + rows - 1), s.size,
               gq.data() + (head * s.queries + i) * s.size, s.size);
    }
  });
}

}  // namespace

void bind_attention(nb::module_& module) {
  using nb::arg;
  const auto only = [](const char* name) { return arg(name).noconvert(); };
  module.def("attention", &attention, only("q"), only("k"), only("v"), arg("scale"), arg("causal"), only("y"), only("weights"));
  module.def("attention_grad", &attention_grad, only("g"), only("q"), only("k"), only("v"), only("weights"), arg("scale"),
             arg("causal"), only("gq"), only("gk"), only("gv"));
}

}  // namespace penlight
