// Gated activations, forward and backward. SPDX-License-Identifier: Apache-2.0
#include "common.cuh"
#include "expressions.cuh"

// y = silu(gate) * up.
template <typename T>
__global__ void swiglu_forward(const T* gate, const T* up, T* y, size_t count) {
  map(gate, up, y, count, [](float g, float u) { return expressions::silu(g) * u; });
}

// Both gradients in one pass over memory.
template <typename T>
__global__ void swiglu_backward(const T* grad, const T* gate, const T* up, T* grad_gate, T* grad_up, size_t count) {
  bool packed = is_packed(grad) && is_packed(gate) && is_packed(up) && is_packed(grad_gate) && is_packed(grad_up);
  size_t packs = packed ? count / Pack<T>::kCount : 0;
  for (size_t i = global_thread(); i < packs; i += global_threads()) {
    Pack<T> d = reinterpret_cast<const Pack<T>*>(grad)[i], g = reinterpret_cast<const Pack<T>*>(gate)[i];
    Pack<T> u = reinterpret_cast<const Pack<T>*>(up)[i], to_gate, to_up;
#pragma unroll
    for (int k = 0; k < Pack<T>::kCount; ++k) {
      float slope = to_float(d.value[k]), x = to_float(g.value[k]);
      to_gate.value[k] = from_float<T>(slope * to_float(u.value[k]) * expressions::silu_slope(x));
      to_up.value[k] = from_float<T>(slope * expressions::silu(x));
    }
    reinterpret_cast<Pack<T>*>(grad_gate)[i] = to_gate;
    reinterpret_cast<Pack<T>*>(grad_up)[i] = to_up;
  }
  for (size_t i = packs * Pack<T>::kCount + global_thread(); i < count; i += global_threads()) {
    float slope = to_float(grad[i]), x = to_float(gate[i]);
    grad_gate[i] = from_float<T>(slope * to_float(up[i]) * expressions::silu_slope(x));
    grad_up[i] = from_float<T>(slope * expressions::silu(x));
  }
}
