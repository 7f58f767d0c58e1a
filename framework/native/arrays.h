// NumPy arrays as the bindings take them, and the checks on them. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace penlight {

namespace nb = nanobind;

using In = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using InIndex = nb::ndarray<const int64_t, nb::c_contig, nb::device::cpu>;
using OutIndex = nb::ndarray<int64_t, nb::c_contig, nb::device::cpu>;
using Pair = std::pair<int64_t, int64_t>;

/// The wrappers in penlight/backends/cpu_kernels.py have checked shapes; this guards memory against any other caller.
inline void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(std::string("penlight._native: expected ") + what);
}

inline int64_t size_of(const In& array) { return static_cast<int64_t>(array.size()); }
inline int64_t size_of(const Out& array) { return static_cast<int64_t>(array.size()); }
inline int64_t size_of(const InIndex& array) { return static_cast<int64_t>(array.size()); }
inline int64_t size_of(const OutIndex& array) { return static_cast<int64_t>(array.size()); }

template <typename Array>
int64_t dim(const Array& array, size_t i) {
  return static_cast<int64_t>(array.shape(i));
}

inline const float* data_or_null(const std::optional<In>& array) { return array ? array->data() : nullptr; }

/// Uninitialised floats, aligned for the vector kernels.
inline std::unique_ptr<float[]> scratch_floats(int64_t count) {
  return std::unique_ptr<float[]>(new float[static_cast<size_t>(count) + 1]);
}

void bind_checksum(nb::module_& module);
void bind_convolution(nb::module_& module);
void bind_pooling(nb::module_& module);
void bind_normalization(nb::module_& module);
void bind_elementwise(nb::module_& module);
void bind_softmax(nb::module_& module);
void bind_optimizer(nb::module_& module);
void bind_half(nb::module_& module);
void bind_blas(nb::module_& module);
void bind_blocks(nb::module_& module);
void bind_attention(nb::module_& module);
void bind_product(nb::module_& module);
void bind_recurrent(nb::module_& module);

}  // namespace penlight
