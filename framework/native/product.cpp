// Matrix products of arrays with any strides. SPDX-License-Identifier: Apache-2.0
#include "arrays.h"
#include "kernels/gemm.h"
#include "workers.h"

namespace penlight {

namespace {

using InMatrix = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;

using OutMatrix = nb::ndarray<float, nb::ndim<2>, nb::device::cpu>;

/// Room that a thread keeps between its calls: fresh pages would cost a tenth of a product.
float* kept_floats(int64_t count) {
  constexpr int64_t kLargest = int64_t{1} << 24;  // more is given back
  thread_local std::unique_ptr<float[]> floats;
  thread_local int64_t capacity = 0;
  if (count > capacity || capacity > kLargest) {
    floats.reset();
    floats = scratch_floats(count);
    capacity = count;
  }
  return floats.get();
}

/// c (M, N) = a (M, K) b (K, N), plus bias (N) where given.
void matmul(InMatrix a, InMatrix b, std::optional<In> bias, OutMatrix c) {
  require(c.stride(1) == 1 && dim(a, 0) == dim(c, 0) && dim(a, 1) == dim(b, 0) && dim(b, 1) == dim(c, 1),
          "a (M, K), b (K, N), c (M, N)");
  require(!bias || size_of(*bias) == dim(c, 1), "a bias of (N,)");
  Gemm gemm;
  gemm.m = dim(c, 0);
  gemm.n = dim(c, 1);
  gemm.k = dim(a, 1);
  gemm.a = a.data();
  gemm.a_row = a.stride(0);
  gemm.a_depth = a.stride(1);
  gemm.b = b.data();
  gemm.b_depth = b.stride(0);
  gemm.b_column = b.stride(1);
  gemm.c = c.data();
  gemm.c_row = c.stride(0);
  gemm.bias = data_or_null(bias);
  gemm.bias_column = 1;
  int64_t floats = 0;
  require(gemm_scratch_floats(gemm, &floats), "sizes that fit into memory");
  nb::gil_scoped_release unlocked;
  const Parallel parallel = workers();
  float* scratch = kept_floats(floats + static_cast<int64_t>(parallel.threads) * kGemmLeftFloats);
  gemm.left = scratch + floats;
  gemm_f32(gemm, scratch, parallel);
}

/// sums (N) of x (M, N) over M, row after row; each thread takes some of the columns.
void column_sums(In x, Out sums) {
  require(x.ndim() == 2 && size_of(sums) == dim(x, 1), "x (M, N) and sums (N)");
  const int64_t rows = dim(x, 0), columns = dim(x, 1);
  nb::gil_scoped_release unlocked;
  const size_t grain = static_cast<size_t>(65536 / (rows + 1) + 16);
  parallel_ranges(workers(), static_cast<size_t>(columns), grain, [&](size_t begin, size_t end) {
    float* to = sums.data();
    for (size_t j = begin; j < end; ++j) to[j] = 0.0f;
    for (int64_t i = 0; i < rows; ++i) {
      const float* row = x.data() + i * columns;
      for (size_t j = begin; j < end; ++j) to[j] += row[j];
    }
  });
}

}  // namespace

void bind_product(nb::module_& module) {
  module.def("matmul", &matmul, nb::arg("a").noconvert(), nb::arg("b").noconvert(), nb::arg("bias").noconvert().none(),
             nb::arg("c").noconvert());
  module.def("column_sums", &column_sums, nb::arg("x").noconvert(), nb::arg("sums").noconvert());
}

}  // namespace penlight
