// Layer norm over rows and batch norm over channels, with their gradients. SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>

#include "arrays.h"
#include "kernels/normalize.h"
#include "training.h"
#include "workers.h"

namespace penlight {

namespace {

size_t rows_per_piece(int64_t width) { return static_cast<size_t>(8192 / (width + 1) + 1); }

/// x: (rows, width); mean and rstd: (rows,).
void layer_norm(In x, std::optional<In> weight, std::optional<In> bias, float eps, Out y, Out rstd, Out mean) {
  const int64_t rows = size_of(mean), width = rows > 0 ? size_of(x) / rows : 0;
  require(size_of(x) == rows * width && size_of(y) == size_of(x) && size_of(rstd) == rows, "y like x, and one mean for each row");
  require((!weight || size_of(*weight) == width) && (!bias || size_of(*bias) == width), "parameters of (width,)");
  nb::gil_scoped_release unlocked;
  layer_norm_rows_f32(x.data(), data_or_null(weight), data_or_null(bias), eps, rows, width, y.data(), mean.data(), rstd.data(),
                      workers());
}

/// dx = rstd * (s - mean(s) - n * mean(s * n)) with s = grad * weight and n = (x - mean) * rstd.
void layer_norm_rows_gradient(const float* grad, const float* weight, const float* x, const float* rstd, const float* mean,
                              int64_t rows, int64_t width, float* dx) {
  const TrainingTable& table = training_table();
  const size_t n = static_cast<size_t>(width);
  parallel_ranges(workers(), static_cast<size_t>(rows), rows_per_piece(width), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const size_t at = r * n;
      float sum = 0.0f, dot = 0.0f;
      table.layer_norm_sums(grad + at, weight, x + at, mean[r], n, &sum, &dot);
      const float count = static_cast<float>(width), slope = dot / count * rstd[r] * rstd[r] * rstd[r];
      table.layer_norm_gradient(grad + at, weight, x + at, mean[r], rstd[r], sum / count, slope, dx + at, n);
    }
  });
}

/// Sums over rows in their order, each thread for columns of its own.
void layer_norm_parameter_gradient(const float* grad, const float* x, const float* rstd, const float* mean, int64_t rows,
                                   int64_t width, float* dweight, float* dbias) {
  const TrainingTable& table = training_table();
  std::memset(dweight, 0, static_cast<size_t>(width) * sizeof(float));
  std::memset(dbias, 0, static_cast<size_t>(width) * sizeof(float));
  parallel_ranges(workers(), static_cast<size_t>(width), 64, [&](size_t begin, size_t end) {
    for (int64_t r = 0; r < rows; ++r) {
      const size_t at = static_cast<size_t>(r * width) + begin;
      table.layer_norm_columns(grad + at, x + at, mean[r], rstd[r], dweight + begin, dbias + begin, end - begin);
    }
  });
}

void layer_norm_grad(In grad, std::optional<In> weight, In x, In rstd, In mean, Out dx, std::optional<Out> dweight,
                     std::optional<Out> dbias) {
  const int64_t rows = size_of(mean), width = rows > 0 ? size_of(x) / rows : 0;
  require(size_of(x) == rows * width && size_of(grad) == size_of(x) && size_of(dx) == size_of(x) && size_of(rstd) == rows,
          "arrays like x, and one mean for each row");
  require(!weight || size_of(*weight) == width, "a weight of (width,)");
  require(dweight.has_value() == dbias.has_value(), "both parameter gradients or none");
  require(!dweight || (size_of(*dweight) == width && size_of(*dbias) == width), "parameter gradients of (width,)");
  nb::gil_scoped_release unlocked;
  layer_norm_rows_gradient(grad.data(), data_or_null(weight), x.data(), rstd.data(), mean.data(), rows, width, dx.data());
  if (dweight)
    layer_norm_parameter_gradient(grad.data(), x.data(), rstd.data(), mean.data(), rows, width, dweight->data(), dbias->data());
}

/// (batch, channels, plane): every channel is `batch` runs of `plane` floats.
struct Channels {
  int64_t batch, channels, plane;
  float count() const { return static_cast<float>(batch * plane); }
  int64_t at(int64_t n, int64_t c) const { return (n * channels + c) * plane; }
};

template <typename X>
Channels describe_channels(const X& x, int64_t channels) {
  require(x.ndim() >= 2 && dim(x, 1) == channels, "x of (N, C, ...)");
  Channels shape{dim(x, 0), channels, 1};
  for (size_t d = 2; d < x.ndim(); ++d) shape.plane *= dim(x, d);
  return shape;
}

size_t channels_per_piece(const Channels& s) { return rows_per_piece(s.batch * s.plane); }

void channel_moments(const Channels& s, int64_t c, const float* x, float* mean, float* variance) {
  float sum = 0.0f, squares = 0.0f;
  for (int64_t n = 0; n < s.batch; ++n) sum += sum_f32(x + s.at(n, c), s.plane);
  *mean = sum / s.count();
  for (int64_t n = 0; n < s.batch; ++n) squares += square_sum_f32(x + s.at(n, c), *mean, s.plane);
  *variance = squares / s.count();
}

void batch_norm(In x, std::optional<In> weight, std::optional<In> bias, float eps, Out y, Out mean, Out variance) {
  const Channels s = describe_channels(x, size_of(mean));
  require(size_of(y) == size_of(x) && size_of(variance) == s.channels, "y like x, and one variance for each channel");
  require((!weight || size_of(*weight) == s.channels) && (!bias || size_of(*bias) == s.channels), "parameters of (C,)");
  const float *scale = data_or_null(weight), *shift = data_or_null(bias), *from = x.data();
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), static_cast<size_t>(s.channels), channels_per_piece(s), [&](size_t begin, size_t end) {
    for (int64_t c = static_cast<int64_t>(begin); c < static_cast<int64_t>(end); ++c) {
      float m = 0.0f, v = 0.0f;
      channel_moments(s, c, from, &m, &v);
      const float factor = (scale == nullptr ? 1.0f : scale[c]) / std::sqrt(v + eps);
      for (int64_t n = 0; n < s.batch; ++n)
        affine_f32(from + s.at(n, c), m, factor, shift == nullptr ? 0.0f : shift[c], y.data() + s.at(n, c), s.plane);
      mean.data()[c] = m;
      variance.data()[c] = v;
    }
  });
}

/// dx = scale * rstd * (grad - mean(grad) - n * mean(grad * n)) with n = (x - mean) * rstd.
void batch_norm_grad(In grad, In x, std::optional<In> weight, In mean, In variance, float eps, Out dx, Out dweight, Out dbias) {
  const Channels s = describe_channels(x, size_of(mean));
  require(size_of(grad) == size_of(x) && size_of(dx) == size_of(x), "arrays like x");
  require(size_of(variance) == s.channels && size_of(dweight) == s.channels && size_of(dbias) == s.channels,
          "one value for each channel");
  require(!weight || size_of(*weight) == s.channels, "a weight of (C,)");
  const TrainingTable& table = training_table();
  const float *g = grad.data(), *from = x.data(), *scale = data_or_null(weight);
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), static_cast<size_t>(s.channels), channels_per_piece(s), [&](size_t begin, size_t end) {
    for (int64_t c = static_cast<int64_t>(begin); c < static_cast<int64_t>(end); ++c) {
      const float m = mean.data()[c], rstd = 1.0f / std::sqrt(variance.data()[c] + eps),
                  factor = scale == nullptr ? 1.0f : scale[c];
      float sum = 0.0f, dot = 0.0f;
      for (int64_t n = 0; n < s.batch; ++n) {
        float run_sum = 0.0f, run_dot = 0.0f;
        table.layer_norm_sums(g + s.at(n, c), nullptr, from + s.at(n, c), m, static_cast<size_t>(s.plane), &run_sum, &run_dot);
        sum += run_sum;
        dot += run_dot;
      }
      const float slope = factor * rstd * rstd * rstd * dot / s.count();
      for (int64_t n = 0; n < s.batch; ++n)
        table.layer_norm_gradient(g + s.at(n, c), nullptr, from + s.at(n, c), m, factor * rstd, sum / s.count(), slope,
                                  dx.data() + s.at(n, c), static_cast<size_t>(s.plane));
      dweight.data()[c] = dot * rstd;
      dbias.data()[c] = sum;
    }
  });
}

}  // namespace

void bind_normalization(nb::module_& module) {
  module.def("layer_norm", &layer_norm, nb::arg("x").noconvert(), nb::arg("weight").noconvert().none(),
             nb::arg("bias").noconvert().none(), nb::arg("eps"), nb::arg("y").noconvert(), nb::arg("rstd").noconvert(),
             nb::arg("mean").noconvert());
  module.def("layer_norm_grad", &layer_norm_grad, nb::arg("grad").noconvert(), nb::arg("weight").noconvert().none(),
             nb::arg("x").noconvert(), nb::arg("rstd").noconvert(), nb::arg("mean").noconvert(), nb::arg("dx").noconvert(),
             nb::arg("dweight").noconvert().none(), nb::arg("dbias").noconvert().none());
  module.def("batch_norm", &batch_norm, nb::arg("x").noconvert(), nb::arg("weight").noconvert().none(),
             nb::arg("bias").noconvert().none(), nb::arg("eps"), nb::arg("y").noconvert(), nb::arg("mean").noconvert(),
             nb::arg("variance").noconvert());
  module.def("batch_norm_grad", &batch_norm_grad, nb::arg("grad").noconvert(), nb::arg("x").noconvert(),
             nb::arg("weight").noconvert().none(), nb::arg("mean").noconvert(), nb::arg("variance").noconvert(), nb::arg("eps"),
             nb::arg("dx").noconvert(), nb::arg("dweight").noconvert(), nb::arg("dbias").noconvert());
}

}  // namespace penlight
