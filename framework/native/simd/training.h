// Vector loops of gradients and optimizer steps; included inside the namespace of each instruction set. SPDX-License-Identifier:
// Apache-2.0

inline void relu_gradient(const float* grad, const float* y, float* dx, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(dx + i, select(load(y + i) > 0.0f, load(grad + i), Vf{}));
  for (; i < n; ++i) dx[i] = y[i] > 0.0f ? grad[i] : 0.0f;
}

inline void clip_gradient(const float* grad, const float* x, float low, float high, float* dx, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vf v = load(x + i);
    store(dx + i, select((v >= low) & (v <= high), load(grad + i), Vf{}));
  }
  for (; i < n; ++i) dx[i] = x[i] >= low && x[i] <= high ? grad[i] : 0.0f;
}

/// Windows of 2 x 2 over two rows: the first of the largest gets the gradient, the others get zero.
inline void max_pool_2x2_gradient(const float* grad, const float* top, const float* bottom, float* dtop, float* dbottom, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vf t0 = load(top + 2 * i), t1 = load(top + 2 * i + kLanes);
    const Vf b0 = load(bottom + 2 * i), b1 = load(bottom + 2 * i + kLanes);
    const Vf first = even_lanes(t0, t1), second = odd_lanes(t0, t1), third = even_lanes(b0, b1), fourth = odd_lanes(b0, b1);
    const Vi wins2 = second > first, wins3 = third > select(wins2, second, first);
    const Vi wins4 = fourth > select(wins3, third, select(wins2, second, first));
    const Vf g = load(grad + i), g3 = select(wins4, Vf{}, g), g2 = select(wins3, Vf{}, g3);
    store_in_turn(dtop + 2 * i, select(wins2, Vf{}, g2), select(wins2, g2, Vf{}));
    store_in_turn(dbottom + 2 * i, select(wins3, g3, Vf{}), select(wins4, g, Vf{}));
  }
  for (; i < n; ++i) {
    const float *t = top + 2 * i, *b = bottom + 2 * i;
    const bool wins2 = t[1] > t[0], wins3 = b[0] > (wins2 ? t[1] : t[0]);
    const bool wins4 = b[1] > (wins3 ? b[0] : wins2 ? t[1] : t[0]);
    const float g = grad[i], g3 = wins4 ? 0.0f : g, g2 = wins3 ? 0.0f : g3;
    dtop[2 * i] = wins2 ? 0.0f : g2;
    dtop[2 * i + 1] = wins2 ? g2 : 0.0f;
    dbottom[2 * i] = wins3 ? g3 : 0.0f;
    dbottom[2 * i + 1] = wins4 ? g : 0.0f;
  }
}

/// d/dx of x * Phi(x), and of its tanh form.
PENLIGHT_INLINE Vf gelu_slope(Vf x) {
  const Vf phi = 0.5f * (1.0f + vector_erf(x * 0.707106781f));
  return phi + x * (0.39894228f * vector_exp(-0.5f * x * x));
}
PENLIGHT_INLINE Vf gelu_tanh_slope(Vf x) {
  const Vf square = x * x;
  const Vf t = vector_tanh(0.797884561f * x * (1.0f + 0.044715f * square));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * (0.797884561f * (1.0f + 0.134145f * square));
}

inline void gelu_gradient(const float* grad, const float* x, bool is_tanh, float* dx, size_t n) {
  for (size_t i = 0; i < n; i += kLanes) {
    const Vf v = load_up_to(x + i, n - i);
    store_up_to(dx + i, load_up_to(grad + i, n - i) * (is_tanh ? gelu_tanh_slope(v) : gelu_slope(v)), n - i);
  }
}

/// dx = y * (grad - sum(grad * y)) of one row.
inline void softmax_gradient(const float* grad, const float* y, float sum, float* dx, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(dx + i, load(y + i) * (load(grad + i) - sum));
  for (; i < n; ++i) dx[i] = y[i] * (grad[i] - sum);
}

/// dx = grad - exp(y) * sum of one row; grad null counts as zeros.
inline void log_softmax_gradient(const float* grad, const float* y, float sum, float* dx, size_t n) {
  for (size_t i = 0; i < n; i += kLanes) {
    const Vf g = grad == nullptr ? Vf{} : load_up_to(grad + i, n - i);
    store_up_to(dx + i, g - vector_exp(load_up_to(y + i, n - i)) * sum, n - i);
  }
}

/// Sums of a row of layer norm's gradient: of scaled = grad * weight, and of scaled * (x - mean).
inline void layer_norm_sums(const float* grad, const float* weight, const float* x, float mean, size_t n, float* sum, float* dot) {
  Vf s = {}, d = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Vf g = load(grad + i);
    if (weight != nullptr) g = g * load(weight + i);
    s += g;
    d += g * (load(x + i) - mean);
  }
  *sum = sum_lanes(s);
  *dot = sum_lanes(d);
  for (; i < n; ++i) {
    const float g = weight == nullptr ? grad[i] : grad[i] * weight[i];
    *sum += g;
    *dot += g * (x[i] - mean);
  }
}

/// dx = (grad * weight - shift) * scale - (x - mean) * slope.
inline void layer_norm_gradient(const float* grad, const float* weight, const float* x, float mean, float scale, float shift,
                                float slope, float* dx, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Vf g = load(grad + i);
    if (weight != nullptr) g = g * load(weight + i);
    store(dx + i, (g - shift) * scale - (load(x + i) - mean) * slope);
  }
  for (; i < n; ++i) {
    const float g = weight == nullptr ? grad[i] : grad[i] * weight[i];
    dx[i] = (g - shift) * scale - (x[i] - mean) * slope;
  }
}

/// Adds one row to the gradients of weight and bias.
inline void layer_norm_columns(const float* grad, const float* x, float mean, float scale, float* dweight, float* dbias, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vf g = load(grad + i);
    store(dweight + i, load(dweight + i) + g * ((load(x + i) - mean) * scale));
    store(dbias + i, load(dbias + i) + g);
  }
  for (; i < n; ++i) {
    dweight[i] += grad[i] * ((x[i] - mean) * scale);
    dbias[i] += grad[i];
  }
}

inline void adamw_step(const AdamW& s, float* p, const float* g, float* m, float* v, size_t n) {
  for (size_t i = 0; i < n; i += kLanes) {
    const size_t rest = n - i;
    const Vf gradient = load_up_to(g + i, rest), old = load_up_to(m + i, rest);
    const Vf first = old + (gradient - old) * s.mix1;
    const Vf second = load_up_to(v + i, rest) * s.keep2 + gradient * gradient * s.mix2;
    const Vf step = first / (square_root(second) / s.correction + s.eps);
    store_up_to(m + i, first, rest);
    store_up_to(v + i, second, rest);
    store_up_to(p + i, load_up_to(p + i, rest) * s.keep - step * s.rate, rest);
  }
}

inline void sgd_step(const Sgd& s, float* p, const float* g, float* buffer, size_t n) {
  for (size_t i = 0; i < n; i += kLanes) {
    const size_t rest = n - i;
    const Vf value = load_up_to(p + i, rest);
    const Vf gradient = load_up_to(g + i, rest) + value * s.weight_decay;
    Vf step = gradient;
    if (buffer != nullptr) {
      const Vf moving = load_up_to(buffer + i, rest) * s.momentum + gradient;
      store_up_to(buffer + i, moving, rest);
      step = s.nesterov ? gradient + moving * s.momentum : moving;
    }
    store_up_to(p + i, value - step * s.lr, rest);
  }
}

constexpr TrainingTable kTrainingTable = {
    relu_gradient,   clip_gradient,       max_pool_2x2_gradient, gelu_gradient, softmax_gradient, log_softmax_gradient,
    layer_norm_sums, layer_norm_gradient, layer_norm_columns,    adamw_step,    sgd_step};
