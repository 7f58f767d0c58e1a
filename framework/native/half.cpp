// Operators on arrays of 16-bit floats: a block is widened, computed as float32 and rounded once. SPDX-License-Identifier:
// Apache-2.0
#include "half.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "arrays.h"
#include "kernels/normalize.h"
#include "kernels/vector_math.h"
#include "workers.h"

namespace penlight {

namespace {

// NumPy has no bfloat16 of its own, so both types come as their bits.
using InBits = nb::ndarray<const uint16_t, nb::c_contig, nb::device::cpu>;
using OutBits = nb::ndarray<uint16_t, nb::c_contig, nb::device::cpu>;

constexpr size_t kBlock = 1024;   // floats; three such blocks stay in the first cache
constexpr size_t kGrain = 32768;  // elements per thread

enum class Reduction : int { kSum, kMaximum, kMinimum };

template <typename Function>
struct Named {
  const char* name;  // of the operator
  Function function;
};

constexpr Named<Unary> kUnary[] = {
    {"abs", Unary::kAbs},
    {"neg", Unary::kNeg},
    {"exp", Unary::kExp},
    {"log", Unary::kLog},
    {"sqrt", Unary::kSqrt},
    {"reciprocal", Unary::kReciprocal},
    {"floor", Unary::kFloor},
    {"ceil", Unary::kCeil},
    {"round", Unary::kRound},
    {"tanh", Unary::kTanh},
    {"sigmoid", Unary::kSigmoid},
    {"erf", Unary::kErf},
    {"relu", Unary::kRelu},
    {"leaky_relu", Unary::kLeakyRelu},
    {"elu", Unary::kElu},
    {"hardswish", Unary::kHardSwish},
    {"silu", Unary::kSilu},
    {"gelu", Unary::kGelu},
    {"gelu_tanh", Unary::kGeluTanh},
};

constexpr Named<Binary> kBinary[] = {{"add", Binary::kAdd}, {"sub", Binary::kSub},     {"mul", Binary::kMul},
                                     {"div", Binary::kDiv}, {"minimum", Binary::kMin}, {"maximum", Binary::kMax}};

static_assert(static_cast<int>(Binary::kAdd) == 0 && static_cast<int>(Binary::kMax) == kHalfBinaries - 1, "half.h's order");

constexpr Named<Reduction> kReduction[] = {{"sum", Reduction::kSum}, {"amax", Reduction::kMaximum}, {"amin", Reduction::kMinimum}};

template <typename Function, size_t kCount>
Function named(const Named<Function> (&table)[kCount], const char* name) {
  for (const Named<Function>& entry : table)
    if (std::strcmp(entry.name, name) == 0) return entry.function;
  throw std::invalid_argument(std::string("penlight._native.half: there is no kernel ") + name);
}

const HalfConversion& conversion(bool is_bfloat) { return half_conversion(is_bfloat ? HalfType::kBFloat16 : HalfType::kFloat16); }

void widen(InBits x, Out y, bool is_bfloat) {
  require(x.size() == y.size(), "y like x");
  const HalfConversion& convert = conversion(is_bfloat);
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), x.size(), kGrain,
                  [&](size_t begin, size_t end) { convert.widen(x.data() + begin, y.data() + begin, end - begin); });
}

void round(In x, OutBits y, bool is_bfloat) {
  require(x.size() == y.size(), "y like x");
  const HalfConversion& convert = conversion(is_bfloat);
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), x.size(), kGrain,
                  [&](size_t begin, size_t end) { convert.round(x.data() + begin, y.data() + begin, end - begin); });
}

void unary(const char* name, InBits x, OutBits y, bool is_bfloat, float alpha, float beta) {
  require(x.size() == y.size(), "y like x");
  const HalfConversion& convert = conversion(is_bfloat);
  const UnaryParameters parameters{alpha, beta};
  const Unary function = named(kUnary, name);
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), x.size(), kGrain, [&](size_t begin, size_t end) {
    float block[kBlock];
    for (size_t i = begin; i < end; i += kBlock) {
      const size_t n = std::min(kBlock, end - i);
      convert.widen(x.data() + i, block, n);
      unary_f32(function, parameters, block, block, n, Parallel{});
      convert.round(block, y.data() + i, n);
    }
  });
}

/// z = f(x, y), where y has as many elements as x or is repeated along x; `swapped`: z = f(y, x).
void binary(const char* name, InBits x, InBits y, OutBits z, bool swapped, bool is_bfloat) {
  const size_t count = x.size(), inner = y.size();
  require(z.size() == count && inner > 0 && count % inner == 0, "z like x, and y that repeats along x");
  const HalfConversion& convert = conversion(is_bfloat);
  const Binary function = named(kBinary, name);
  const int index = static_cast<int>(function);
  nb::gil_scoped_release unlocked;
  if (inner == count && convert.binary[index] != nullptr) {
    parallel_ranges(workers(), count, kGrain, [&](size_t begin, size_t end) {
      const uint16_t *a = x.data() + begin, *b = y.data() + begin;
      convert.binary[index](swapped ? b : a, swapped ? a : b, z.data() + begin, end - begin);
    });
    return;
  }
  if (inner == 1 && convert.by_number[index] != nullptr) {
    float number;
    convert.widen(y.data(), &number, 1);
    parallel_ranges(workers(), count, kGrain, [&](size_t begin, size_t end) {
      (swapped ? convert.of_number : convert.by_number)[index](x.data() + begin, number, z.data() + begin, end - begin);
    });
    return;
  }
  // A short y is laid out several times, so that blocks stay long.
  const size_t copies = inner == count ? 0 : (kBlock + inner - 1) / inner;
  std::vector<float> tile(copies * inner);
  for (size_t i = 0; i < copies; ++i) convert.widen(y.data(), tile.data() + i * inner, inner);
  parallel_ranges(workers(), count, kGrain, [&](size_t begin, size_t end) {
    float left[kBlock], right[kBlock];
    for (size_t i = begin, n; i < end; i += n) {
      n = std::min(kBlock, end - i);
      const float* b = right;
      if (copies > 0) {
        const size_t offset = i % tile.size();
        n = std::min(n, tile.size() - offset);
        b = tile.data() + offset;
      } else {
        convert.widen(y.data() + i, right, n);
      }
      convert.widen(x.data() + i, left, n);
      binary_f32(function, swapped ? b : left, Step::kEach, swapped ? left : b, Step::kEach, left, n);
      convert.round(left, z.data() + i, n);
    }
  });
}

typedef float Lanes __attribute__((vector_size(16)));
typedef int32_t Masks __attribute__((vector_size(16)));

/// The largest of n > 0 floats (sign 1) or the smallest (sign -1); NaN if there is one.
float extreme_f32(const float* x, size_t n, float sign) {
  constexpr size_t kLanes = 4, kChains = 4;
  float best = sign * x[0];
  Lanes highest[kChains];
  Masks unordered = {};
  for (Lanes& lanes : highest) lanes = Lanes{} + best;
  size_t i = 0;
  for (; i + kLanes * kChains <= n; i += kLanes * kChains) {
    for (size_t c = 0; c < kChains; ++c) {
      Lanes value;
      __builtin_memcpy(&value, x + i + c * kLanes, sizeof value);
      value *= sign;
      highest[c] = value > highest[c] ? value : highest[c];
      unordered |= value != value;
    }
  }
  for (const Lanes& lanes : highest)
    for (size_t l = 0; l < kLanes; ++l) best = lanes[l] > best ? lanes[l] : best;
  if (unordered[0] | unordered[1] | unordered[2] | unordered[3]) return NAN;
  for (; i < n; ++i) best = sign * x[i] > best || x[i] != x[i] ? sign * x[i] : best;
  return sign * best;
}

float reduced_row(Reduction reduction, const HalfConversion& convert, const uint16_t* row, size_t width) {
  if (reduction != Reduction::kSum && convert.extreme != nullptr)
    return convert.extreme(row, width, reduction == Reduction::kMaximum ? 1.0f : -1.0f);
  float block[kBlock];
  double sum = 0;
  float best = 0;
  for (size_t i = 0; i < width; i += kBlock) {
    const size_t n = std::min(kBlock, width - i);
    convert.widen(row + i, block, n);
    if (reduction == Reduction::kSum) {
      sum += static_cast<double>(sum_f32(block, static_cast<int64_t>(n)));
      continue;
    }
    const float sign = reduction == Reduction::kMaximum ? 1.0f : -1.0f;
    const float found = extreme_f32(block, n, sign);
    best = i == 0 || sign * found > sign * best || found != found ? found : best;
  }
  return reduction == Reduction::kSum ? static_cast<float>(sum) : best;
}

/// y[r] of each row of x.
void reduce(const char* name, InBits x, Out y, bool is_bfloat) {
  const size_t rows = y.size();
  require(rows > 0 && x.size() % rows == 0 && x.size() > 0, "whole rows");
  const size_t width = x.size() / rows;
  const HalfConversion& convert = conversion(is_bfloat);
  const Reduction reduction = named(kReduction, name);
  nb::gil_scoped_release unlocked;
  parallel_ranges(workers(), rows, kGrain / width + 1, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) y.data()[r] = reduced_row(reduction, convert, x.data() + r * width, width);
  });
}

}  // namespace

void bind_half(nb::module_& module) {
  nb::module_ half = module.def_submodule("half", "Operators on bits of float16 and bfloat16.");
  half.def("widen", &widen, nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("is_bfloat"));
  half.def("round", &round, nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("is_bfloat"));
  half.def("unary", &unary, nb::arg("name"), nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("is_bfloat"),
           nb::arg("alpha") = 0.0f, nb::arg("beta") = 0.0f);
  half.def("binary", &binary, nb::arg("name"), nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("z").noconvert(),
           nb::arg("swapped"), nb::arg("is_bfloat"));
  half.def("reduce", &reduce, nb::arg("name"), nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("is_bfloat"));
}

}  // namespace penlight
