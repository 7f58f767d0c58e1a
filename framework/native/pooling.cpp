// Max pooling: the result, which tap of each window won, and the gradient. SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>

#include "arrays.h"
#include "kernels/pool2d.h"
#include "training.h"
#include "workers.h"

namespace penlight {

namespace {

/// x (N, C, H, W) and y (N, C, OH, OW), whichever of them is the result. Windows may reach over the end of the padding.
template <typename X, typename Y>
Pool2d describe_pool(const X& x, const Y& y, Pair kernel, Pair stride, Pair padding, Pair dilation) {
  require(x.ndim() == 4 && y.ndim() == 4 && dim(x, 0) == dim(y, 0) && dim(x, 1) == dim(y, 1), "arrays of (N, C, H, W)");
  Pool2d pool;
  pool.planes = dim(x, 0) * dim(x, 1);
  pool.height = dim(x, 2);
  pool.width = dim(x, 3);
  pool.out_h = dim(y, 2);
  pool.out_w = dim(y, 3);
  pool.kernel_h = kernel.first;
  pool.kernel_w = kernel.second;
  pool.stride_h = stride.first;
  pool.stride_w = stride.second;
  pool.dilation_h = dilation.first;
  pool.dilation_w = dilation.second;
  pool.pad_top = pool.pad_bottom = padding.first;
  pool.pad_left = pool.pad_right = padding.second;
  constexpr int64_t kLargest = 1 << 30;
  for (int64_t n : {kernel.first, kernel.second, stride.first, stride.second, dilation.first, dilation.second})
    require(n >= 1 && n <= kLargest, "positive window arguments");
  for (int64_t n : {padding.first, padding.second}) require(n >= 0 && n <= kLargest, "padding that is not negative");
  return pool;
}

void max_pool2d(In x, Out y, Pair kernel, Pair stride, Pair padding, Pair dilation) {
  const Pool2d pool = describe_pool(x, y, kernel, stride, padding, dilation);
  nb::gil_scoped_release unlocked;
  const Parallel parallel = workers();
  int64_t floats = 0;
  require(pool2d_scratch_floats(pool, parallel.threads, &floats), "sizes that fit into memory");
  const auto scratch = scratch_floats(floats);
  max_pool2d_f32(pool, x.data(), y.data(), scratch.get(), parallel);
}

/// Number of the first tap with the window's largest value; what lies outside of the image counts as -infinity.
int64_t winning_tap(const Pool2d& p, const float* plane, int64_t top, int64_t left) {
  int64_t winner = 0;
  float best = 0.0f;
  for (int64_t i = 0; i < p.kernel_h; ++i)
    for (int64_t j = 0; j < p.kernel_w; ++j) {
      const int64_t h = top + i * p.dilation_h, w = left + j * p.dilation_w;
      const bool inside = h >= 0 && h < p.height && w >= 0 && w < p.width;
      const float value = inside ? plane[h * p.width + w] : -INFINITY;
      if ((i | j) != 0 && !(value > best)) continue;
      best = value;
      winner = i * p.kernel_w + j;
    }
  return winner;
}

void max_pool2d_index(In x, OutIndex winners, Pair kernel, Pair stride, Pair padding, Pair dilation) {
  const Pool2d p = describe_pool(x, winners, kernel, stride, padding, dilation);
  const float* from = x.data();
  int64_t* to = winners.data();
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), static_cast<size_t>(p.planes), 1, [&](size_t begin, size_t end) {
    for (int64_t n = static_cast<int64_t>(begin); n < static_cast<int64_t>(end); ++n)
      for (int64_t o = 0; o < p.out_h * p.out_w; ++o)
        to[n * p.out_h * p.out_w + o] = winning_tap(p, from + n * p.height * p.width, o / p.out_w * p.stride_h - p.pad_top,
                                                    o % p.out_w * p.stride_w - p.pad_left);
  });
}

void max_pool2d_grad(In grad, InIndex winners, Out dx, Pair kernel, Pair stride, Pair padding, Pair dilation) {
  const Pool2d p = describe_pool(dx, grad, kernel, stride, padding, dilation);
  require(size_of(winners) == size_of(grad), "one winner for each output");
  const float* from = grad.data();
  const int64_t* taps = winners.data();
  float* to = dx.data();
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), static_cast<size_t>(p.planes), 1, [&](size_t begin, size_t end) {
    for (int64_t n = static_cast<int64_t>(begin); n < static_cast<int64_t>(end); ++n) {
      float* plane = to + n * p.height * p.width;
      std::memset(plane, 0, static_cast<size_t>(p.height * p.width) * sizeof(float));
      for (int64_t o = 0; o < p.out_h * p.out_w; ++o) {
        const int64_t at = n * p.out_h * p.out_w + o, tap = taps[at];
        if (tap < 0 || tap >= p.kernel_h * p.kernel_w) continue;
        const int64_t h = o / p.out_w * p.stride_h - p.pad_top + tap / p.kernel_w * p.dilation_h;
        const int64_t w = o % p.out_w * p.stride_w - p.pad_left + tap % p.kernel_w * p.dilation_w;
        if (h >= 0 && h < p.height && w >= 0 && w < p.width) plane[h * p.width + w] += from[at];
      }
    }
  });
}

/// Windows of 2 x 2 side by side, no padding: every element of x lies in one window or in none.
bool is_2x2(const Pool2d& p) {
  return p.kernel_h == 2 && p.kernel_w == 2 && p.stride_h == 2 && p.stride_w == 2 && p.dilation_h == 1 && p.dilation_w == 1 &&
         p.pad_top == 0 && p.pad_left == 0 && p.out_h * 2 <= p.height && p.out_w * 2 <= p.width;
}

void plane_gradient_2x2(const Pool2d& p, const float* grad, const float* x, float* dx) {
  const bool covers = p.out_h * 2 == p.height && p.out_w * 2 == p.width;
  if (!covers) std::memset(dx, 0, static_cast<size_t>(p.height * p.width) * sizeof(float));
  for (int64_t oh = 0; oh < p.out_h; ++oh) {
    const int64_t top = 2 * oh * p.width, bottom = top + p.width;
    training_table().max_pool_2x2_gradient(grad + oh * p.out_w, x + top, x + bottom, dx + top, dx + bottom,
                                           static_cast<size_t>(p.out_w));
  }
}

void plane_gradient(const Pool2d& p, const float* grad, const float* x, float* dx) {
  std::memset(dx, 0, static_cast<size_t>(p.height * p.width) * sizeof(float));
  for (int64_t o = 0; o < p.out_h * p.out_w; ++o) {
    const int64_t top = o / p.out_w * p.stride_h - p.pad_top, left = o % p.out_w * p.stride_w - p.pad_left;
    const int64_t tap = winning_tap(p, x, top, left);
    const int64_t h = top + tap / p.kernel_w * p.dilation_h, w = left + tap % p.kernel_w * p.dilation_w;
    if (h >= 0 && h < p.height && w >= 0 && w < p.width) dx[h * p.width + w] += grad[o];
  }
}

/// As max_pool2d_index and max_pool2d_grad in one pass.
void max_pool2d_backward(In grad, In x, Out dx, Pair kernel, Pair stride, Pair padding, Pair dilation) {
  const Pool2d p = describe_pool(dx, grad, kernel, stride, padding, dilation);
  require(size_of(x) == size_of(dx), "x like its gradient");
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), static_cast<size_t>(p.planes), 1, [&](size_t begin, size_t end) {
    for (int64_t n = static_cast<int64_t>(begin); n < static_cast<int64_t>(end); ++n) {
      const int64_t in = n * p.height * p.width, out = n * p.out_h * p.out_w;
      (is_2x2(p) ? plane_gradient_2x2 : plane_gradient)(p, grad.data() + out, x.data() + in, dx.data() + in);
    }
  });
}

}  // namespace

void bind_pooling(nb::module_& module) {
  module.def("max_pool2d", &max_pool2d, nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("kernel"), nb::arg("stride"),
             nb::arg("padding"), nb::arg("dilation"));
  module.def("max_pool2d_backward", &max_pool2d_backward, nb::arg("grad").noconvert(), nb::arg("x").noconvert(),
             nb::arg("dx").noconvert(), nb::arg("kernel"), nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"));
  module.def("max_pool2d_index", &max_pool2d_index, nb::arg("x").noconvert(), nb::arg("winners").noconvert(), nb::arg("kernel"),
             nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"));
  module.def("max_pool2d_grad", &max_pool2d_grad, nb::arg("grad").noconvert(), nb::arg("winners").noconvert(),
             nb::arg("dx").noconvert(), nb::arg("kernel"), nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"));
}

}  // namespace penlight
