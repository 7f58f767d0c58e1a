// Activations, forward and backward. SPDX-License-Identifier: Apache-2.0
// Backward takes what the slope is cheapest from: `output` where y decides it, `x` else.
#include "common.cuh"
#include "expressions.cuh"

template <typename T>
__global__ void relu_forward(const T* x, T* y, size_t count) {
  map(x, y, count, [](float v) { return expressions::relu(v); });
}

template <typename T>
__global__ void relu_backward(const T* grad, const T* output, T* grad_x, size_t count) {
  map(grad, output, grad_x, count, [](float g, float y) { return g * expressions::relu_slope(y); });
}

template <typename T>
__global__ void leaky_relu_forward(const T* x, T* y, size_t count, float slope) {
  map(x, y, count, [slope](float v) { return expressions::leaky_relu(v, slope); });
}

template <typename T>
__global__ void leaky_relu_backward(const T* grad, const T* x, T* grad_x, size_t count, float slope) {
  map(grad, x, grad_x, count, [slope](float g, float v) { return g * expressions::leaky_relu_slope(v, slope); });
}

template <typename T>
__global__ void sigmoid_forward(const T* x, T* y, size_t count) {
  map(x, y, count, [](float v) { return expressions::sigmoid(v); });
}

template <typename T>
__global__ void sigmoid_backward(const T* grad, const T* output, T* grad_x, size_t count) {
  map(grad, output, grad_x, count, [](float g, float y) { return g * expressions::sigmoid_slope(y); });
}

template <typename T>
__global__ void tanh_forward(const T* x, T* y, size_t count) {
  map(x, y, count, [](float v) { return expressions::tanh(v); });
}

template <typename T>
__global__ void tanh_backward(const T* grad, const T* output, T* grad_x, size_t count) {
  map(grad, output, grad_x, count, [](float g, float y) { return g * expressions::tanh_slope(y); });
}

template <typename T>
__global__ void silu_forward(const T* x, T* y, size_t count) {
  map(x, y, count, [](float v) { return expressions::silu(v); });
}

template <typename T>
__global__ void silu_backward(const T* grad, const T* x, T* grad_x, size_t count) {
  map(grad, x, grad_x, count, [](float g, float v) { return g * expressions::silu_slope(v); });
}

template <typename T>
__global__ void gelu_forward(const T* x, T* y, size_t count, int approximate) {
  if (approximate) {
    map(x, y, count, [](float v) { return expressions::gelu_tanh(v); });
  } else {
    map(x, y, count, [](float v) { return expressions::gelu(v); });
  }
}

template <typename T>
__global__ void gelu_backward(const T* grad, const T* x, T* grad_x, size_t count, int approximate) {
  if (approximate) {
    map(grad, x, grad_x, count, [](float g, float v) { return g * expressions::gelu_tanh_slope(v); });
  } else {
    map(grad, x, grad_x, count, [](float g, float v) { return g * expressions::gelu_slope(v); });
  }
}
