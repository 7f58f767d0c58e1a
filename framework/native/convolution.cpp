// Bindings of the convolution and its gradients. SPDX-License-Identifier: Apache-2.0
#include "arrays.h"
#include "kernels/conv2d.h"
#include "kernels/conv2d_input_gradient.h"
#include "kernels/conv2d_weight_gradient.h"
#include "workers.h"

namespace penlight {

namespace {

/// x (N, C, H, W), weight (O, C / groups, KH, KW) and y (N, O, OH, OW), whichever of them is the result.
template <typename X, typename Weight, typename Y>
Conv2d describe_conv(const X& x, const Weight& weight, const Y& y, Pair stride, Pair padding, Pair dilation, int64_t groups) {
  require(x.ndim() == 4 && weight.ndim() == 4 && y.ndim() == 4, "four-dimensional arrays");
  Conv2d conv;
  conv.batch = dim(x, 0);
  conv.channels = dim(x, 1);
  conv.height = dim(x, 2);
  conv.width = dim(x, 3);
  conv.filters = dim(weight, 0);
  conv.groups = groups;
  conv.kernel_h = dim(weight, 2);
  conv.kernel_w = dim(weight, 3);
  conv.stride_h = stride.first;
  conv.stride_w = stride.second;
  conv.dilation_h = dilation.first;
  conv.dilation_w = dilation.second;
  conv.pad_top = padding.first;
  conv.pad_left = padding.second;
  conv.out_h = dim(y, 2);
  conv.out_w = dim(y, 3);
  constexpr int64_t kLargest = 1 << 30;
  for (int64_t n : {stride.first, stride.second, dilation.first, dilation.second, conv.kernel_h, conv.kernel_w, groups})
    require(n >= 1 && n <= kLargest, "positive strides, dilations, kernel sizes and groups");
  for (int64_t n : {padding.first, padding.second}) require(n >= 0 && n <= kLargest, "padding that is not negative");
  require(conv.filters % groups == 0 && dim(weight, 1) * groups == conv.channels, "channels that fit the groups");
  require(dim(y, 0) == conv.batch && dim(y, 1) == conv.filters, "an output of (batch, filters, ...)");
  const int64_t spare_h = conv.height + 2 * padding.first - (conv.kernel_h - 1) * dilation.first - 1;
  const int64_t spare_w = conv.width + 2 * padding.second - (conv.kernel_w - 1) * dilation.second - 1;
  require(spare_h >= 0 && spare_w >= 0 && conv.out_h == spare_h / stride.first + 1 && conv.out_w == spare_w / stride.second + 1,
          "an output of the size that the window gives");
  return conv;
}

std::unique_ptr<float[]> conv_scratch(bool (*floats_of)(const Conv2d&, size_t, int64_t*), const Conv2d& conv, size_t threads) {
  int64_t floats = 0;
  require(floats_of(conv, threads, &floats), "sizes that fit into memory");
  return scratch_floats(floats + 2);  // offsets at its start are 64 bits wide
}

void conv2d(In x, In weight, std::optional<In> bias, Out y, Pair stride, Pair padding, Pair dilation, int64_t groups) {
  const Conv2d conv = describe_conv(x, weight, y, stride, padding, dilation, groups);
  require(!bias || size_of(*bias) == conv.filters, "a bias of (filters,)");
  nb::gil_scoped_release unlocked;
  const Parallel parallel = workers();
  const auto scratch = conv_scratch(conv2d_scratch_floats, conv, parallel.threads);
  conv2d_f32(conv, x.data(), weight.data(), data_or_null(bias), y.data(), scratch.get(), parallel);
}

void conv2d_input_grad(In grad, In weight, Out dx, Pair stride, Pair padding, Pair dilation, int64_t groups) {
  const Conv2d conv = describe_conv(dx, weight, grad, stride, padding, dilation, groups);
  nb::gil_scoped_release unlocked;
  const Parallel parallel = workers();
  const auto scratch = conv_scratch(conv2d_input_gradient_scratch_floats, conv, parallel.threads);
  conv2d_input_gradient_f32(conv, grad.data(), weight.data(), nullptr, dx.data(), scratch.get(), parallel);
}

void conv2d_weight_grad(In x, In grad, Out dweight, Pair stride, Pair padding, Pair dilation, int64_t groups) {
  const Conv2d conv = describe_conv(x, dweight, grad, stride, padding, dilation, groups);
  nb::gil_scoped_release unlocked;
  const Parallel parallel = workers();
  const auto scratch = conv_scratch(conv2d_weight_gradient_scratch_floats, conv, parallel.threads);
  conv2d_weight_gradient_f32(conv, x.data(), grad.data(), dweight.data(), scratch.get(), parallel);
}

}  // namespace

void bind_convolution(nb::module_& module) {
  module.def("conv2d", &conv2d, nb::arg("x").noconvert(), nb::arg("weight").noconvert(), nb::arg("bias").noconvert().none(),
             nb::arg("y").noconvert(), nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"), nb::arg("groups"));
  module.def("conv2d_input_grad", &conv2d_input_grad, nb::arg("grad").noconvert(), nb::arg("weight").noconvert(),
             nb::arg("dx").noconvert(), nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"), nb::arg("groups"));
  module.def("conv2d_weight_grad", &conv2d_weight_grad, nb::arg("x").noconvert(), nb::arg("grad").noconvert(),
             nb::arg("dweight").noconvert(), nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"), nb::arg("groups"));
}

}  // namespace penlight
