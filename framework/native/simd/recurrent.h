// Vector loops of recurrent cells; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

/// Gates i, f, g, o: c = f * c + i * g, h = o * tanh(c).
inline void lstm_cell(float* gates, float* h, float* c, size_t n) {
  float *pi = gates, *pf = gates + n, *pg = gates + 2 * n, *po = gates + 3 * n;
  for (size_t k = 0; k < n; k += kLanes) {
    const size_t rest = n - k;
    const Vf i = vector_sigmoid(load_up_to(pi + k, rest)), f = vector_sigmoid(load_up_to(pf + k, rest));
    const Vf g = vector_tanh(load_up_to(pg + k, rest)), o = vector_sigmoid(load_up_to(po + k, rest));
    const Vf state = f * load_up_to(c + k, rest) + i * g;
    store_up_to(pi + k, i, rest);
    store_up_to(pf + k, f, rest);
    store_up_to(pg + k, g, rest);
    store_up_to(po + k, o, rest);
    store_up_to(c + k, state, rest);
    store_up_to(h + k, o * vector_tanh(state), rest);
  }
}

inline void lstm_cell_gradient(const float* gates, const float* c, const float* c_before, const float* g_y, const float* g_h,
                               float* g_c, float* g_gates, size_t n) {
  for (size_t k = 0; k < n; k += kLanes) {
    const size_t rest = n - k;
    const Vf i = load_up_to(gates + k, rest), f = load_up_to(gates + n + k, rest);
    const Vf g = load_up_to(gates + 2 * n + k, rest), o = load_up_to(gates + 3 * n + k, rest);
    const Vf t = vector_tanh(load_up_to(c + k, rest));
    const Vf g_out = load_up_to(g_h + k, rest) + load_up_to(g_y + k, rest);
    const Vf g_state = load_up_to(g_c + k, rest) + g_out * o * (1.0f - t * t);
    store_up_to(g_gates + k, g_state * g * i * (1.0f - i), rest);
    store_up_to(g_gates + n + k, g_state * load_up_to(c_before + k, rest) * f * (1.0f - f), rest);
    store_up_to(g_gates + 2 * n + k, g_state * i * (1.0f - g * g), rest);
    store_up_to(g_gates + 3 * n + k, g_out * t * o * (1.0f - o), rest);
    store_up_to(g_c + k, g_state * f, rest);
  }
}

/// r, z, n = tanh(x_n + r * h_n): h = n + z * (h - n).
inline void gru_cell(float* gates, float* h, size_t n) {
  for (size_t k = 0; k < n; k += kLanes) {
    const size_t rest = n - k;
    const Vf r = vector_sigmoid(load_up_to(gates + k, rest)), z = vector_sigmoid(load_up_to(gates + n + k, rest));
    const Vf candidate = vector_tanh(load_up_to(gates + 2 * n + k, rest) + r * load_up_to(gates + 3 * n + k, rest));
    store_up_to(gates + k, r, rest);
    store_up_to(gates + n + k, z, rest);
    store_up_to(gates + 2 * n + k, candidate, rest);
    store_up_to(h + k, candidate + z * (load_up_to(h + k, rest) - candidate), rest);
  }
}

inline void gru_cell_gradient(const float* gates, const float* h_before, const float* g_y, float* g_h, float* g_in, float* g_own,
                              size_t n) {
  for (size_t k = 0; k < n; k += kLanes) {
    const size_t rest = n - k;
    const Vf r = load_up_to(gates + k, rest), z = load_up_to(gates + n + k, rest);
    const Vf candidate = load_up_to(gates + 2 * n + k, rest);
    const Vf g = load_up_to(g_h + k, rest) + load_up_to(g_y + k, rest);
    const Vf g_n = g * (1.0f - z) * (1.0f - candidate * candidate);
    const Vf g_r = g_n * load_up_to(gates + 3 * n + k, rest) * r * (1.0f - r);
    const Vf g_z = g * (load_up_to(h_before + k, rest) - candidate) * z * (1.0f - z);
    store_up_to(g_in + k, g_r, rest);
    store_up_to(g_own + k, g_r, rest);
    store_up_to(g_in + n + k, g_z, rest);
    store_up_to(g_own + n + k, g_z, rest);
    store_up_to(g_in + 2 * n + k, g_n, rest);
    store_up_to(g_own + 2 * n + k, g_n * r, rest);
    store_up_to(g_h + k, g * z, rest);
  }
}

inline void rnn_cell(float* sums, bool is_relu, float* h, size_t n) {
  for (size_t k = 0; k < n; k += kLanes) {
    const size_t rest = n - k;
    const Vf sum = load_up_to(sums + k, rest), y = is_relu ? at_least(sum, Vf{}) : vector_tanh(sum);
    store_up_to(sums + k, y, rest);
    store_up_to(h + k, y, rest);
  }
}

inline void rnn_cell_gradient(const float* y, bool is_relu, const float* g_y, const float* g_h, float* g_sums, size_t n) {
  for (size_t k = 0; k < n; k += kLanes) {
    const size_t rest = n - k;
    const Vf g = load_up_to(g_h + k, rest) + load_up_to(g_y + k, rest), value = load_up_to(y + k, rest);
    store_up_to(g_sums + k, is_relu ? select(value > 0.0f, g, Vf{}) : g * (1.0f - value * value), rest);
  }
}

constexpr RecurrentTable kRecurrentTable = {lstm_cell,         lstm_cell_gradient, gru_cell,
                                            gru_cell_gradient, rnn_cell,           rnn_cell_gradient};
