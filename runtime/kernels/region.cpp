// Operators of geometry: RoiAlign, AffineGrid and Det. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

constexpr uint32_t kRegionTypes = dtype_bit(DType::kF32) | dtype_bit(DType::kF64);

struct RoiState {
  int64_t height = 1, width = 1, ratio = 0;
  double scale = 1, shift = 0;
  bool maximum = false;
};

/// One sample: the four elements around it and their weights; outside of the image all weights are 0.
struct RoiSample {
  int64_t at[4] = {};
  double weight[4] = {};
};

RoiSample roi_sample(double y, double x, int64_t height, int64_t width) {
  RoiSample sample;
  const double rows = static_cast<double>(height), columns = static_cast<double>(width);
  if (!(y >= -1.0 && y <= rows && x >= -1.0 && x <= columns)) return sample;
  y = y > 0.0 ? y : 0.0;
  x = x > 0.0 ? x : 0.0;
  int64_t top = static_cast<int64_t>(y), left = static_cast<int64_t>(x);
  if (top >= height - 1) y = static_cast<double>(top = height - 1);
  if (left >= width - 1) x = static_cast<double>(left = width - 1);
  const int64_t bottom = top + 1 < height ? top + 1 : top, right = left + 1 < width ? left + 1 : left;
  const double down = y - static_cast<double>(top), across = x - static_cast<double>(left);
  sample = {{top * width + left, top * width + right, bottom * width + left, bottom * width + right},
            {(1.0 - down) * (1.0 - across), (1.0 - down) * across, down * (1.0 - across), down * across}};
  return sample;
}

/// One box in the image's elements.
struct RoiBox {
  double top, left, bin_height, bin_width;
  int64_t rows, columns;  // samples in a bin
};

template <typename T>
RoiBox roi_box(const RoiState& s, const T* roi) {
  RoiBox box;
  box.left = static_cast<double>(roi[0]) * s.scale - s.shift;
  box.top = static_cast<double>(roi[1]) * s.scale - s.shift;
  double width = static_cast<double>(roi[2]) * s.scale - s.shift - box.left;
  double height = static_cast<double>(roi[3]) * s.scale - s.shift - box.top;
  if (s.shift == 0.0) {  // the older form has no box below one element
    width = width > 1.0 ? width : 1.0;
    height = height > 1.0 ? height : 1.0;
  }
  box.bin_height = height / static_cast<double>(s.height);
  box.bin_width = width / static_cast<double>(s.width);
  const auto samples = [&](double size) {
    const double whole = ceil(size);
    return s.ratio > 0 ? s.ratio : whole >= 1.0 && whole < 4096.0 ? static_cast<int64_t>(whole) : whole >= 4096.0 ? 4096 : 1;
  };
  box.rows = samples(box.bin_height);
  box.columns = samples(box.bin_width);
  return box;
}

struct RoiRange {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

/// The samples of a bin that may lie in the image, along one dimension; all others count as zeros.
RoiRange roi_range(double first, double size, int64_t bin, int64_t samples, int64_t extent) {
  if (samples == 1 || !(size > 0.0)) return {0, samples};
  if (!(fabs(first) < __builtin_inf() && size < __builtin_inf())) return {0, 0};
  const double n = static_cast<double>(samples), before = static_cast<double>(bin);
  const double low = ((-1.0 - first) / size - before) * n - 2.0;
  const double high = ((static_cast<double>(extent) - first) / size - before) * n + 2.0;
  return {!(low > 0.0) ? 0
          : low < n    ? static_cast<int64_t>(low)
                       : samples,
          !(high > 0.0) ? 0
          : high < n    ? static_cast<int64_t>(high)
                        : samples};
}

/// Samples of all bins that are looked at along one dimension.
uint64_t roi_looked_at(double first, double size, int64_t bins, int64_t samples, int64_t extent) {
  uint64_t sum = 0;
  for (int64_t bin = 0; bin < bins; ++bin) {
    const RoiRange range = roi_range(first, size, bin, samples, extent);
    if (range.end > range.begin) sum += static_cast<uint64_t>(range.size());
  }
  return sum;
}

template <typename T>
double roi_bin(const RoiState& s, const RoiBox& box, const T* plane, int64_t height, int64_t width, int64_t row, int64_t column) {
  const RoiRange rows = roi_range(box.top, box.bin_height, row, box.rows, height);
  const RoiRange columns = roi_range(box.left, box.bin_width, column, box.columns, width);
  double sum = 0, largest = rows.size() < box.rows || columns.size() < box.columns ? 0.0 : -__builtin_inf();
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t j = columns.begin; j < columns.end; ++j) {
      const double y =
          box.top + (static_cast<double>(row) + (static_cast<double>(i) + 0.5) / static_cast<double>(box.rows)) * box.bin_height;
      const double x =
          box.left +
          (static_cast<double>(column) + (static_cast<double>(j) + 0.5) / static_cast<double>(box.columns)) * box.bin_width;
      const RoiSample sample = roi_sample(y, x, height, width);
      for (int k = 0; k < 4; ++k) {
        const double part = sample.weight[k] == 0.0 ? 0.0 : sample.weight[k] * static_cast<double>(plane[sample.at[k]]);
        sum += part;
        largest = part > largest ? part : largest;
      }
    }
  return s.maximum ? largest : sum / static_cast<double>(box.rows * box.columns);
}

/// Where the file does not say how many samples a bin has, the boxes do.
template <typename T>
Status roi_spend(Context& context, const RoiState& s) {
  const Shape& x = context.input(0).shape;
  uint64_t work = 0;
  for (int64_t r = 0; r < context.output(0).shape.dims[0]; ++r) {
    const RoiBox box = roi_box(s, context.input(1).as<T>() + r * 4);
    work = saturating_add(work, saturating_mul(roi_looked_at(box.top, box.bin_height, s.height, box.rows, x.dims[2]),
                                               roi_looked_at(box.left, box.bin_width, s.width, box.columns, x.dims[3])));
  }
  return context.spend(saturating_mul(work, 4 * static_cast<uint64_t>(x.dims[1])));
}

/// Determinant of a copy, by elimination with the largest pivot.
double determinant(double* a, int64_t n) {
  double product = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (fabs(a[i * n + k]) > fabs(a[pivot * n + k])) pivot = i;
    if (a[pivot * n + k] == 0.0) return 0.0;
    for (int64_t j = 0; j < n && pivot != k; ++j) {
      const double other = a[k * n + j];
      a[k * n + j] = a[pivot * n + j];
      a[pivot * n + j] = other;
    }
    if (pivot != k) product = -product;
    product *= a[k * n + k];
    for (int64_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / a[k * n + k];
      for (int64_t j = k; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
    }
  }
  return product;
}

/// Position i of n in [-1, 1].
double grid_coordinate(int64_t i, int64_t n, bool align_corners) {
  const double x = static_cast<double>(i), size = static_cast<double>(n);
  return align_corners ? (n > 1 ? -1.0 + 2.0 * x / (size - 1.0) : -1.0) : (2.0 * x + 1.0) / size - 1.0;
}

template <typename Function>
void with_region_type(DType dtype, Function&& function) {
  if (dtype == DType::kF32)
    function(TypeTag<float>{});
  else
    function(TypeTag<double>{});
}

}  // namespace

Status roi_align_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kRegionTypes));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  PENLIGHT_TRY(check_dtype(context, 2, dtype_bit(DType::kI64)));
  PENLIGHT_TRY(check_rank(context, 0, 4, 4));
  const Shape &x = context.input(0).shape, &rois = context.input(1).shape, &images = context.input(2).shape;
  if (rois.rank != 2 || rois.dims[1] != 4 || images.rank != 1 || images.dims[0] != rois.dims[0])
    return context.fail(Status::kShapeMismatch, "rois must have shape (n, 4) and batch_indices (n,)");
  RoiState& s = context.state_as<RoiState>();
  s = RoiState{};
  s.height = context.attributes->integer("output_height", 1);
  s.width = context.attributes->integer("output_width", 1);
  s.ratio = context.attributes->integer("sampling_ratio", 0);
  s.scale = context.attributes->real("spatial_scale", 1.0);
  const char *mode = context.attributes->text("mode"), *form = context.attributes->text("coordinate_transformation_mode");
  s.maximum = mode != nullptr && strcmp(mode, "max") == 0;
  s.shift = form != nullptr && strcmp(form, "output_half_pixel") == 0 ? 0.0 : 0.5;
  if (s.height < 1 || s.width < 1 || s.ratio < 0 || s.height > INT32_MAX || s.width > INT32_MAX || s.ratio > 4096)
    return context.fail(Status::kInvalidProgram, "output_height, output_width or sampling_ratio is out of range");
  const int64_t out[] = {rois.dims[0], x.dims[1], s.height, s.width};
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, make_shape(out, 4)));
  int64_t count = 0;
  if (!checked_count(make_shape(out, 4), &count) || (count > 0 && x.count() == 0))
    return context.fail(Status::kShapeMismatch, "the image is empty");
  const uint64_t samples = s.ratio > 0 ? static_cast<uint64_t>(4 * s.ratio * s.ratio) : 4;  // else `run` counts the others
  context.macs = saturating_mul(static_cast<uint64_t>(count), samples);
  return Status::kOk;
}

Status roi_align_run(Context& context) {
  const RoiState& s = context.state_as<RoiState>();
  const Shape &x = context.input(0).shape, &out = context.output(0).shape;
  if (out.count() == 0) return Status::kOk;
  for (int64_t r = 0; r < out.dims[0]; ++r) {
    const int64_t image = context.input(2).as<int64_t>()[r];
    if (image < 0 || image >= x.dims[0])
      return context.fail(Status::kInvalidValue, "batch index %lld is out of range", static_cast<long long>(image));
  }
  Status status = Status::kOk;
  with_region_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if (s.ratio == 0) status = roi_spend<T>(context, s);
    if (status != Status::kOk) return;
    parallel_for(context_parallel(context), static_cast<size_t>(out.dims[0] * out.dims[1]), [&](size_t i) {
      const int64_t plane = static_cast<int64_t>(i), r = plane / out.dims[1];
      const RoiBox box = roi_box(s, context.input(1).as<T>() + r * 4);
      const int64_t from = context.input(2).as<int64_t>()[r] * x.dims[1] + plane % out.dims[1];
      T* y = context.output(0).as<T>() + plane * s.height * s.width;
      for (int64_t k = 0; k < s.height * s.width; ++k)
        y[k] = static_cast<T>(roi_bin(s, box, context.input(0).as<T>() + from * x.dims[2] * x.dims[3], x.dims[2], x.dims[3],
                                      k / s.width, k % s.width));
    });
  });
  return status;
}

Status affine_grid_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kRegionTypes));
  PENLIGHT_TRY(check_rank(context, 0, 3, 3));
  int64_t size[5];
  int count = 0;
  PENLIGHT_TRY(read_known_integers(context, 1, "size", size, 5, &count));
  const Shape& theta = context.input(0).shape;
  if (count < 4 || theta.dims[0] != size[0] || theta.dims[1] != count - 2 || theta.dims[2] != count - 1)
    return context.fail(Status::kShapeMismatch, "theta must have shape (N, 2, 3) with 4 sizes or (N, 3, 4) with 5");
  Shape out;
  out.rank = count;
  out.dims[0] = size[0];
  for (int d = 2; d < count; ++d) out.dims[d - 1] = size[d];
  out.dims[count - 1] = count - 2;
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  int64_t total = 0;
  context.macs = checked_count(out, &total) ? saturating_mul(static_cast<uint64_t>(total), 4) : UINT64_MAX;
  return Status::kOk;
}

Status affine_grid_run(Context& context) {
  const Shape& out = context.output(0).shape;
  const int rank = out.rank - 2;  // spatial dimensions
  const bool align_corners = context.attributes->integer("align_corners", 0) != 0;
  if (out.count() == 0) return Status::kOk;
  const int64_t places = dims_product(out, 1, rank + 1);
  with_region_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (int64_t p = 0; p < out.dims[0] * places; ++p) {
      double place[4] = {1, 1, 1, 1};  // x, y, (z,) 1
      int64_t rest = p % places;
      for (int d = rank; d >= 1; --d) {
        place[rank - d] = grid_coordinate(rest % out.dims[d], out.dims[d], align_corners);
        rest /= out.dims[d];
      }
      const T* theta = context.input(0).as<T>() + p / places * rank * (rank + 1);
      for (int i = 0; i < rank; ++i) {
        double sum = 0;
        for (int j = 0; j <= rank; ++j) sum += static_cast<double>(theta[i * (rank + 1) + j]) * place[j];
        context.output(0).as<T>()[p * rank + i] = static_cast<T>(sum);
      }
    }
  });
  return Status::kOk;
}

Status det_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kRegionTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  const Shape& x = context.input(0).shape;
  const int64_t n = x.dims[x.rank - 1];
  int64_t numbers = 0;
  if (x.dims[x.rank - 2] != n) return context.fail(Status::kShapeMismatch, "the matrices are not square");
  if (!checked_mul(n, n, &numbers) || !add_scratch(context, numbers, sizeof(double))) return scratch_too_large(context);
  const Shape out = make_shape(x.dims, x.rank - 2);
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  context.macs = saturating_add(saturating_mul(static_cast<uint64_t>(x.count()), static_cast<uint64_t>(n)),
                                static_cast<uint64_t>(out.count()));
  return Status::kOk;
}

Status det_run(Context& context) {
  const Shape& x = context.input(0).shape;
  const int64_t n = x.dims[x.rank - 1], count = context.output(0).shape.count();
  double* matrix = static_cast<double*>(context.scratch);
  with_region_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (int64_t m = 0; m < count; ++m) {
      for (int64_t i = 0; i < n * n; ++i) matrix[i] = static_cast<double>(context.input(0).as<T>()[m * n * n + i]);
      context.output(0).as<T>()[m] = static_cast<T>(determinant(matrix, n));
    }
  });
  return Status::kOk;
}

}  // namespace penlight
