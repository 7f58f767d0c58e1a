// Reductions over any set of axes. SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "normalize.h"
#include "real_functions.h"
#include "shape_rules.h"

namespace penlight {

namespace {

enum class Reduction { kSum, kMean, kMax, kMin, kProd, kL1, kL2, kLogSum, kLogSumExp, kSumSquare };

/// The input's dimensions, merged into runs that are kept or reduced; a run of size 1 is dropped.
struct ReduceState {
  int kept = 0, reduced = 0;
  int64_t kept_dims[kMaxRank] = {}, kept_strides[kMaxRank] = {};
  int64_t reduced_dims[kMaxRank] = {}, reduced_strides[kMaxRank] = {};
  int64_t count = 1;  // elements of one result
  int64_t inner = 1;  // results that lie side by side in the input
  int64_t row = 1;    // elements of one result that lie `row_step` apart
  int64_t row_step = 1;
};

constexpr int64_t kReduceChunk = 64;

ReduceState plan_reduction(const Shape& x, uint32_t mask) {
  ReduceState s;
  int64_t strides[kMaxRank] = {};
  row_major_strides(x, strides);
  int before = -1;
  for (int i = 0; i < x.rank; ++i) {
    if (x.dims[i] == 1) continue;
    const int reduced = (mask >> i & 1u) != 0 ? 1 : 0;
    int64_t* dims = reduced != 0 ? s.reduced_dims : s.kept_dims;
    int64_t* steps = reduced != 0 ? s.reduced_strides : s.kept_strides;
    int& n = reduced != 0 ? s.reduced : s.kept;
    if (before != reduced) dims[n++] = 1;
    dims[n - 1] *= x.dims[i];
    steps[n - 1] = strides[i];
    before = reduced;
    if (reduced != 0) s.count *= x.dims[i];
  }
  if (before == 0 && s.reduced > 0) s.inner = s.kept_dims[--s.kept];
  if (s.inner == 1 && s.reduced > 0) {
    s.row = s.reduced_dims[--s.reduced];
    s.row_step = s.reduced_strides[s.reduced];
  }
  return s;
}

/// The offset of index `flat` over runs.
int64_t reduce_offset(int runs, const int64_t* dims, const int64_t* strides, int64_t flat) {
  int64_t offset = 0;
  for (int i = runs - 1; i >= 0; --i) {
    offset += flat % dims[i] * strides[i];
    flat /= dims[i];
  }
  return offset;
}

using ReduceLoad = void (*)(const void* x, int64_t first, int64_t step, int64_t n, void* values);

/// Reads n elements as double or, for integers, int64_t.
template <typename T>
void reduce_load(const void* x, int64_t first, int64_t step, int64_t n, void* values) {
  const T* from = static_cast<const T*>(x) + first;
  if (Element<T>::kIsFloat) {
    for (int64_t i = 0; i < n; ++i)
      static_cast<double*>(values)[i] = static_cast<double>(static_cast<typename Element<T>::Compute>(from[i * step]));
  } else {
    for (int64_t i = 0; i < n; ++i) static_cast<int64_t*>(values)[i] = static_cast<int64_t>(from[i * step]);
  }
}

double reduce_identity(Reduction r, double) {
  if (r == Reduction::kMax || r == Reduction::kLogSumExp) return -__builtin_inf();
  if (r == Reduction::kMin) return __builtin_inf();
  return r == Reduction::kProd ? 1.0 : 0.0;
}
int64_t reduce_identity(Reduction r, int64_t) {
  if (r == Reduction::kMax) return INT64_MIN;
  if (r == Reduction::kMin) return INT64_MAX;
  return r == Reduction::kProd ? 1 : 0;
}

template <typename A>
A wrapping_add(A a, A b) {
  return a + b;
}
template <>
int64_t wrapping_add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
template <typename A>
A wrapping_mul(A a, A b) {
  return a * b;
}
template <>
int64_t wrapping_mul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

template <typename A>
A reduce_step(Reduction r, A sum, A value) {
  switch (r) {
    case Reduction::kMax:
    case Reduction::kLogSumExp:
      return value > sum || value != value ? value : sum;
    case Reduction::kMin:
      return value < sum || value != value ? value : sum;
    case Reduction::kProd:
      return wrapping_mul(sum, value);
    case Reduction::kL1:
      return wrapping_add(sum, value < A{0} ? wrapping_mul(A(-1), value) : value);
    case Reduction::kL2:
    case Reduction::kSumSquare:
      return wrapping_add(sum, wrapping_mul(value, value));
    default:
      return wrapping_add(sum, value);
  }
}

/// The second pass of LogSumExp: the sum of exp(value - largest).
double log_sum_exp_step(double sum, double value, double largest) {
  return sum + (value == largest ? 1.0 : real_exp(value - largest));
}

double reduce_finish(Reduction r, double sum, int64_t count) {
  if (r == Reduction::kMean) return sum / static_cast<double>(count);
  if (r == Reduction::kL2) return sqrt(sum);
  return r == Reduction::kLogSum ? real_log(sum) : sum;
}
int64_t reduce_finish(Reduction r, int64_t sum, int64_t count) {
  if (r == Reduction::kMean) return count == 0 ? 0 : sum / count;
  return r == Reduction::kL2 ? static_cast<int64_t>(sqrt(static_cast<double>(sum > 0 ? sum : 0))) : sum;
}

/// Calls body(values, n) for the elements of `n` results side by side, or (n 1) of pieces of one result's rows.
template <typename A, typename Body>
void reduce_visit(const ReduceState& s, ReduceLoad load_values, const void* x, int64_t base, int64_t results, Body&& body) {
  A values[kReduceChunk];
  int64_t rows = 1;
  for (int i = 0; i < s.reduced; ++i) rows *= s.reduced_dims[i];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t offset = base + reduce_offset(s.reduced, s.reduced_dims, s.reduced_strides, r);
    if (s.inner > 1) {
      load_values(x, offset, 1, results, values);
      body(values, results);
      continue;
    }
    for (int64_t i = 0; i < s.row; i += kReduceChunk) {
      const int64_t n = s.row - i < kReduceChunk ? s.row - i : kReduceChunk;
      load_values(x, offset + i * s.row_step, s.row_step, n, values);
      body(values, n);
    }
  }
}

/// Results [0, results) of one chunk: side by side in the input when inner > 1, else one result.
template <typename A>
void reduce_chunk(const ReduceState& s, Reduction reduction, ReduceLoad load_values, const void* x, int64_t base, int64_t results,
                  A* sums) {
  const bool side_by_side = s.inner > 1;
  for (int64_t i = 0; i < results; ++i) sums[i] = reduce_identity(reduction, A{});
  reduce_visit<A>(s, load_values, x, base, results, [&](const A* values, int64_t n) {
    for (int64_t i = 0; i < n; ++i) sums[side_by_side ? i : 0] = reduce_step(reduction, sums[side_by_side ? i : 0], values[i]);
  });
  for (int64_t i = 0; i < results; ++i) sums[i] = reduce_finish(reduction, sums[i], s.count);
}

void log_sum_exp_chunk(const ReduceState& s, ReduceLoad load_values, const void* x, int64_t base, int64_t results, double* sums) {
  const bool side_by_side = s.inner > 1;
  double totals[kReduceChunk] = {};
  reduce_chunk<double>(s, Reduction::kMax, load_values, x, base, results, sums);
  reduce_visit<double>(s, load_values, x, base, results, [&](const double* values, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = side_by_side ? i : 0;
      totals[at] = log_sum_exp_step(totals[at], values[i], sums[at]);
    }
  });
  for (int64_t i = 0; i < results; ++i) sums[i] = s.count == 0 ? -__builtin_inf() : sums[i] + real_log(totals[i]);
}

/// What reads the elements of a dtype and writes its results.
struct ReduceElements {
  ReduceLoad load = nullptr;
  void (*store)(const void* sums, int64_t n, void* y, int64_t at) = nullptr;
};

template <typename T, typename A>
void reduce_store(const void* sums, int64_t n, void* y, int64_t at) {
  for (int64_t i = 0; i < n; ++i)
    static_cast<T*>(y)[at + i] = T(static_cast<typename Element<T>::Compute>(static_cast<const A*>(sums)[i]));
}

ReduceElements reduce_elements(DType dtype) {
  ReduceElements elements;
  with_any_type(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    elements.load = reduce_load<T>;
    if constexpr (Element<T>::kIsFloat) elements.store = reduce_store<T, double>;
  });
  if (elements.store == nullptr)  // integers keep their low bits
    with_element_size(dtype_size(dtype), [&](auto tag) { elements.store = reduce_store<typename decltype(tag)::Type, int64_t>; });
  return elements;
}

/// One chunk of results whose first element is at `base`, into y from `at` on.
template <typename A>
void reduce_into(Context& context, const ReduceState& s, Reduction reduction, const ReduceElements& elements, int64_t base,
                 int64_t n, int64_t at) {
  A sums[kReduceChunk];
  const void* x = context.input(0).data;
  if constexpr (Element<A>::kIsFloat) {
    if (reduction == Reduction::kLogSumExp)
      log_sum_exp_chunk(s, elements.load, x, base, n, sums);
    else
      reduce_chunk<A>(s, reduction, elements.load, x, base, n, sums);
  } else {
    reduce_chunk<A>(s, reduction, elements.load, x, base, n, sums);
  }
  elements.store(sums, n, context.output(0).data, at);
}

void reduce_tensor(Context& context, const ReduceState& s, Reduction reduction) {
  const DType dtype = context.input(0).dtype;
  const ReduceElements elements = reduce_elements(dtype);
  const auto reduce = (dtype_bit(dtype) & kFloatTypes) != 0 ? reduce_into<double> : reduce_into<int64_t>;
  const int64_t chunks = (s.inner + kReduceChunk - 1) / kReduceChunk,
                outer = context.output(0).shape.count() / (s.inner > 0 ? s.inner : 1);
  parallel_ranges(context_parallel(context), static_cast<size_t>(outer * chunks), static_cast<size_t>(8192 / (s.count + 1) + 1),
                  [&](size_t begin, size_t end) {
                    for (int64_t c = static_cast<int64_t>(begin); c < static_cast<int64_t>(end); ++c) {
                      const int64_t first = c % chunks * kReduceChunk, outside = c / chunks;
                      const int64_t base = reduce_offset(s.kept, s.kept_dims, s.kept_strides, outside) + first;
                      const int64_t n = s.inner - first < kReduceChunk ? s.inner - first : kReduceChunk;
                      reduce(context, s, reduction, elements, base, n, outside * s.inner + first);
                    }
                  });
}

/// The extremum of no integers: the largest number for the minimum, the smallest for the maximum.
void fill_integer_extremum(Tensor& y, bool largest) {
  with_any_type(y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if constexpr (!Element<T>::kIsFloat) {
      constexpr bool is_signed = T(-1) < T(0);
      const T ones = static_cast<T>(~uint64_t{0} >> (is_signed ? 65 - 8 * sizeof(T) : 64 - 8 * sizeof(T)));
      const T low = is_signed ? static_cast<T>(~static_cast<uint64_t>(ones)) : T(0), high = y.dtype == DType::kBool ? T(1) : ones;
      const int64_t n = y.shape.count();
      for (int64_t i = 0; i < n; ++i) y.as<T>()[i] = largest ? high : low;
    }
  });
}

Status reduce_axes(Context& context, uint32_t* mask) {
  const int rank = context.input(0).shape.rank;
  int64_t axes[kMaxRank];
  int count = 0;
  if (context.input(1).present()) {
    PENLIGHT_TRY(read_known_integers(context, 1, "axes", axes, kMaxRank, &count));
  } else {
    const int64_t n = context.attributes->integers("axes", axes, kMaxRank);
    if (n > kMaxRank) return context.fail(Status::kInvalidProgram, "%lld axes are too many", static_cast<long long>(n));
    count = n > 0 ? static_cast<int>(n) : 0;
  }
  if (count == 0) {
    *mask = context.attributes->integer("noop_with_empty_axes", 0) != 0 ? 0 : (uint32_t{1} << rank) - 1;
    return Status::kOk;
  }
  return axes_to_mask(context, axes, count, rank, mask);
}

Status reduce_infer(Context& context, uint32_t dtypes) {
  PENLIGHT_TRY(check_dtype(context, 0, dtypes));
  uint32_t mask = 0;
  PENLIGHT_TRY(reduce_axes(context, &mask));
  const Shape& x = context.input(0).shape;
  const bool keep = context.attributes->integer("keepdims", 1) != 0;
  Shape out;
  for (int i = 0; i < x.rank; ++i) {
    const bool reduced = (mask >> i & 1u) != 0;
    if (!reduced || keep) out.dims[out.rank++] = reduced ? 1 : x.dims[i];
  }
  const ReduceState s = context.state_as<ReduceState>() = plan_reduction(x, mask);
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  // Sums of nothing and of little count too.
  const uint64_t work = saturating_mul(static_cast<uint64_t>(out.count()), s.inner > 1 ? 1 : 16),
                 count = static_cast<uint64_t>(x.count());
  context.macs = count > work ? count : work;
  return Status::kOk;
}

constexpr uint32_t kReduceTypes = (kNumericTypes & ~dtype_bit(DType::kU64));

Status run_reduce(Context& context, Reduction reduction) {
  const ReduceState& s = context.state_as<ReduceState>();
  const DType dtype = context.input(0).dtype;
  if (context.output(0).shape.count() == 0) return Status::kOk;
  const bool extreme = reduction == Reduction::kMax || reduction == Reduction::kMin;
  if (s.count == 0 && extreme && (dtype_bit(dtype) & kFloatTypes) == 0) {
    fill_integer_extremum(context.output(0), reduction == Reduction::kMin);
    return Status::kOk;
  }
  const bool sums = reduction == Reduction::kSum || reduction == Reduction::kMean;
  if (dtype == DType::kF32 && sums && s.inner == 1 && s.reduced == 0 && s.row_step == 1 && s.count > 0) {
    const float* x = context.input(0).as<float>();
    float* y = context.output(0).as<float>();
    parallel_ranges(context_parallel(context), static_cast<size_t>(context.output(0).shape.count()),
                    static_cast<size_t>(16384 / s.row + 1), [&](size_t begin, size_t end) {
                      for (size_t i = begin; i < end; ++i) {
                        const int64_t at = reduce_offset(s.kept, s.kept_dims, s.kept_strides, static_cast<int64_t>(i));
                        y[i] = sum_f32(x + at, s.row) / (reduction == Reduction::kMean ? static_cast<float>(s.row) : 1.0f);
                      }
                    });
    return Status::kOk;
  }
  reduce_tensor(context, s, reduction);
  return Status::kOk;
}

}  // namespace

Status reduce_number_infer(Context& context) { return reduce_infer(context, kReduceTypes); }
Status reduce_extremum_infer(Context& context) { return reduce_infer(context, kReduceTypes | dtype_bit(DType::kBool)); }
Status reduce_log_infer(Context& context) {
  PENLIGHT_TRY(reduce_infer(context, kFloatTypes));
  context.macs = saturating_mul(context.macs, 4);  // an exponential for each, as in a softmax
  return Status::kOk;
}

Status reduce_sum_run(Context& context) { return run_reduce(context, Reduction::kSum); }
Status reduce_mean_run(Context& context) { return run_reduce(context, Reduction::kMean); }
Status reduce_max_run(Context& context) { return run_reduce(context, Reduction::kMax); }
Status reduce_min_run(Context& context) { return run_reduce(context, Reduction::kMin); }
Status reduce_prod_run(Context& context) { return run_reduce(context, Reduction::kProd); }
Status reduce_l1_run(Context& context) { return run_reduce(context, Reduction::kL1); }
Status reduce_l2_run(Context& context) { return run_reduce(context, Reduction::kL2); }
Status reduce_log_sum_run(Context& context) { return run_reduce(context, Reduction::kLogSum); }
Status reduce_log_sum_exp_run(Context& context) { return run_reduce(context, Reduction::kLogSumExp); }
Status reduce_sum_square_run(Context& context) { return run_reduce(context, Reduction::kSumSquare); }

}  // namespace penlight
