// Softmax and cross-entropy of rows, with their gradients. SPDX-License-Identifier: Apache-2.0
#include "arrays.h"
#include "kernels/normalize.h"
#include "training.h"
#include "workers.h"

namespace penlight {

namespace {

size_t softmax_grain(int64_t width) { return static_cast<size_t>(8192 / (width + 1) + 1); }

int64_t row_count(int64_t size, int64_t width) {
  require(width >= 1 && size % width == 0, "rows of `width`");
  return size / width;
}

void softmax(In x, int64_t width, bool logarithm, Out y) {
  const int64_t rows = row_count(size_of(x), width);
  require(size_of(y) == size_of(x), "y like x");
  nb::gil_scoped_release unlocked;
  softmax_rows_f32(x.data(), y.data(), rows, width, logarithm, workers());
}

void softmax_grad(In grad, In y, int64_t width, bool logarithm, Out dx) {
  const int64_t rows = row_count(size_of(y), width);
  require(size_of(grad) == size_of(y) && size_of(dx) == size_of(y), "arrays like y");
  const TrainingTable& table = training_table();
  const size_t n = static_cast<size_t>(width);
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), static_cast<size_t>(rows), softmax_grain(width), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const float *g = grad.data() + r * n, *p = y.data() + r * n;
      if (logarithm)
        table.log_softmax_gradient(g, p, sum_f32(g, width), dx.data() + r * n, n);
      else
        table.softmax_gradient(g, p, dot_f32(g, p, width), dx.data() + r * n, n);
    }
  });
}

/// loss[r] = -(1 - smoothing) * logp[r, target] - smoothing * mean(logp[r]); 0 where the target is ignored.
void cross_entropy(In x, InIndex target, int64_t ignore_index, float smoothing, Out loss, Out logp) {
  const int64_t rows = size_of(target), width = rows > 0 ? size_of(x) / rows : 1;
  require(size_of(x) == rows * width && size_of(loss) == rows && size_of(logp) == size_of(x), "logits of (N, C) and N targets");
  const int64_t* classes = target.data();
  for (int64_t r = 0; r < rows; ++r)
    require(classes[r] == ignore_index || (classes[r] >= 0 && classes[r] < width), "classes within the logits");
  nb::gil_scoped_release unlocked;
  softmax_rows_f32(x.data(), logp.data(), rows, width, true, workers());
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = logp.data() + r * width;
    const bool kept = classes[r] != ignore_index;
    const float spread = smoothing == 0.0f ? 0.0f : sum_f32(row, width) / static_cast<float>(width) * smoothing;
    loss.data()[r] = kept ? -row[classes[r]] * (1.0f - smoothing) - spread : 0.0f;
  }
}

/// dx[r, j] = grad[r] * (exp(logp) - smoothing / C - (1 - smoothing) * [j is the target]).
void cross_entropy_grad(In grad, In logp, InIndex target, int64_t ignore_index, float smoothing, Out dx) {
  const int64_t rows = size_of(target), width = rows > 0 ? size_of(logp) / rows : 1;
  require(size_of(logp) == rows * width && size_of(grad) == rows && size_of(dx) == size_of(logp), "log p of (N, C) and N targets");
  const TrainingTable& table = training_table();
  const int64_t* classes = target.data();
  for (int64_t r = 0; r < rows; ++r)
    require(classes[r] == ignore_index || (classes[r] >= 0 && classes[r] < width), "classes within the logits");
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), static_cast<size_t>(rows), softmax_grain(width), [&](size_t begin, size_t end) {
    for (int64_t r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
      const float weight = classes[r] == ignore_index ? 0.0f : grad.data()[r];
      float* row = dx.data() + r * width;
      table.log_softmax_gradient(nullptr, logp.data() + r * width, -weight, row, static_cast<size_t>(width));
      const float spread = weight * smoothing / static_cast<float>(width);
      for (int64_t j = 0; spread != 0.0f && j < width; ++j) row[j] -= spread;
      if (classes[r] != ignore_index) row[classes[r]] -= weight * (1.0f - smoothing);
    }
  });
}

}  // namespace

void bind_softmax(nb::module_& module) {
  module.def("softmax", &softmax, nb::arg("x").noconvert(), nb::arg("width"), nb::arg("logarithm"), nb::arg("y").noconvert());
  module.def("softmax_grad", &softmax_grad, nb::arg("grad").noconvert(), nb::arg("y").noconvert(), nb::arg("width"),
             nb::arg("logarithm"), nb::arg("dx").noconvert());
  module.def("cross_entropy", &cross_entropy, nb::arg("x").noconvert(), nb::arg("target").noconvert(), nb::arg("ignore_index"),
             nb::arg("smoothing"), nb::arg("loss").noconvert(), nb::arg("logp").noconvert());
  module.def("cross_entropy_grad", &cross_entropy_grad, nb::arg("grad").noconvert(), nb::arg("logp").noconvert(),
             nb::arg("target").noconvert(), nb::arg("ignore_index"), nb::arg("smoothing"), nb::arg("dx").noconvert());
}

}  // namespace penlight
