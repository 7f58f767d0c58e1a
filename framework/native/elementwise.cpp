// Activations and other functions of one array, and gradients of activations. SPDX-License-Identifier: Apache-2.0
#include "arrays.h"
#include "kernels/vector_math.h"
#include "training.h"
#include "workers.h"

namespace penlight {

namespace {

constexpr size_t kGrain = 16384;  // elements per thread

void unary(Unary function, In x, Out y, float alpha, float beta = 0.0f) {
  require(x.size() == y.size(), "y like x");
  nb::gil_scoped_release unlocked;
  unary_f32(function, UnaryParameters{alpha, beta}, x.data(), y.data(), x.size(), workers());
}

void add(In a, In b, Out y) {
  require(a.size() == b.size() && a.size() == y.size(), "arrays of one size");
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), a.size(), kGrain, [&](size_t begin, size_t end) {
    const float *left = a.data(), *right = b.data();
    float* to = y.data();
    for (size_t i = begin; i < end; ++i) to[i] = left[i] + right[i];
  });
}

void clip(In x, Out y, float low, float high) { unary(Unary::kClip, std::move(x), std::move(y), low, high); }

void clip_grad(In grad, In x, float low, float high, Out dx) {
  require(grad.size() == x.size() && grad.size() == dx.size(), "arrays of one size");
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), grad.size(), kGrain, [&](size_t begin, size_t end) {
    training_table().clip_gradient(grad.data() + begin, x.data() + begin, low, high, dx.data() + begin, end - begin);
  });
}

void relu_grad(In grad, In y, Out dx) {
  require(grad.size() == y.size() && grad.size() == dx.size(), "arrays of one size");
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), grad.size(), kGrain, [&](size_t begin, size_t end) {
    training_table().relu_gradient(grad.data() + begin, y.data() + begin, dx.data() + begin, end - begin);
  });
}

void gelu_grad(In grad, In x, bool is_tanh, Out dx) {
  require(grad.size() == x.size() && grad.size() == dx.size(), "arrays of one size");
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), grad.size(), kGrain, [&](size_t begin, size_t end) {
    training_table().gelu_gradient(grad.data() + begin, x.data() + begin, is_tanh, dx.data() + begin, end - begin);
  });
}

template <Unary kFunction>
void bind_unary(nb::module_& module, const char* name, float alpha = 0.0f) {
  module.def(
      name, [](In x, Out y, float alpha) { unary(kFunction, std::move(x), std::move(y), alpha); }, nb::arg("x").noconvert(),
      nb::arg("y").noconvert(), nb::arg("alpha") = alpha);
}

}  // namespace

void bind_elementwise(nb::module_& module) {
  bind_unary<Unary::kRelu>(module, "relu");
  bind_unary<Unary::kLeakyRelu>(module, "leaky_relu");
  bind_unary<Unary::kGelu>(module, "gelu");
  bind_unary<Unary::kGeluTanh>(module, "gelu_tanh");
  bind_unary<Unary::kSilu>(module, "silu", 1.0f);
  bind_unary<Unary::kSigmoid>(module, "sigmoid");
  bind_unary<Unary::kTanh>(module, "tanh");
  bind_unary<Unary::kExp>(module, "exp");
  bind_unary<Unary::kErf>(module, "erf");
  module.def("add", &add, nb::arg("a").noconvert(), nb::arg("b").noconvert(), nb::arg("y").noconvert());
  module.def("clip", &clip, nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("low"), nb::arg("high"));
  module.def("clip_grad", &clip_grad, nb::arg("grad").noconvert(), nb::arg("x").noconvert(), nb::arg("low"), nb::arg("high"),
             nb::arg("dx").noconvert());
  module.def("relu_grad", &relu_grad, nb::arg("grad").noconvert(), nb::arg("y").noconvert(), nb::arg("dx").noconvert());
  module.def("gelu_grad", &gelu_grad, nb::arg("grad").noconvert(), nb::arg("x").noconvert(), nb::arg("is_tanh"),
             nb::arg("dx").noconvert());
}

}  // namespace penlight
