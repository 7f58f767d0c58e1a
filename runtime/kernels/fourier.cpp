// DFT and STFT: the transform by powers of two where the length is one, else by its definition. SPDX-License-Identifier:
// Apache-2.0
#include <math.h>

#include "real_angles.h"
#include "shape_rules.h"

namespace penlight {

namespace {

constexpr uint32_t kFourierTypes = dtype_bit(DType::kF32) | dtype_bit(DType::kF64) | dtype_bit(DType::kF16);

struct FourierState {
  int64_t outer = 1, in = 0, inner = 1;  // x: (outer, in, inner, parts)
  int64_t parts = 1, out_parts = 2;      // 1: real numbers, 2: pairs
  int64_t length = 0, out = 0;
  bool inverse = false, mirrored = false;  // mirrored: the input holds half of a spectrum
  // STFT only: outer signals are cut into `frames` of `window` samples, `step` apart.
  int64_t frames = 0, step = 0, window = 0;
};

struct Complex {
  double re, im;
};

bool is_power_of_two(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

/// Sorts by the reversed bits of the index, the order that fourier_butterflies wants.
void fourier_reorder(Complex* x, int64_t n) {
  for (int64_t i = 1, j = 0; i < n; ++i) {
    int64_t bit = n >> 1;
    for (; (j & bit) != 0; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    const Complex other = x[i];
    x[i] = x[j];
    x[j] = other;
  }
}

/// In place; roots[k] = exp(-+2 pi i k / n).
void fourier_butterflies(Complex* x, const Complex* roots, int64_t n) {
  fourier_reorder(x, n);
  for (int64_t half = 1; half < n; half *= 2)
    for (int64_t first = 0; first < n; first += 2 * half)
      for (int64_t k = 0; k < half; ++k) {
        const Complex root = roots[k * (n / (2 * half))], a = x[first + k], b = x[first + half + k];
        const Complex turned = {b.re * root.re - b.im * root.im, b.re * root.im + b.im * root.re};
        x[first + k] = {a.re + turned.re, a.im + turned.im};
        x[first + half + k] = {a.re - turned.re, a.im - turned.im};
      }
}

/// y[k] for k < count by the definition.
void fourier_plain(const Complex* x, const Complex* roots, int64_t n, Complex* y, int64_t count) {
  for (int64_t k = 0; k < count; ++k) {
    Complex sum = {0, 0};
    for (int64_t i = 0, at = 0; i < n; ++i, at = (at + k) % n) {
      sum.re += x[i].re * roots[at].re - x[i].im * roots[at].im;
      sum.im += x[i].re * roots[at].im + x[i].im * roots[at].re;
    }
    y[k] = sum;
  }
}

void fill_roots(Complex* roots, int64_t n, bool inverse) {
  const double turn = (inverse ? 2.0 : -2.0) * 3.14159265358979323846 / static_cast<double>(n);
  for (int64_t k = 0; k < n; ++k) roots[k] = {real_cos(turn * static_cast<double>(k)), real_sin(turn * static_cast<double>(k))};
}

/// Working memory: the roots, then a line and its transform for each slice.
Complex* fourier_line(Context& context, const FourierState& s, size_t slice) {
  return static_cast<Complex*>(context.scratch) + s.length * (1 + 2 * static_cast<int64_t>(slice));
}

/// Transforms the line; its result begins at the returned place.
Complex* fourier_transform(Context& context, const FourierState& s, Complex* line) {
  const Complex* roots = static_cast<const Complex*>(context.scratch);
  Complex* result = line + s.length;
  if (is_power_of_two(s.length)) {
    fourier_butterflies(line, roots, s.length);
    result = line;
  } else {
    fourier_plain(line, roots, s.length, result, s.out);
  }
  for (int64_t k = 0; s.inverse && k < s.out; ++k) {
    result[k].re /= static_cast<double>(s.length);
    result[k].im /= static_cast<double>(s.length);
  }
  return result;
}

template <typename T>
double fourier_value(const T* x, int64_t at) {
  return static_cast<double>(static_cast<typename Element<T>::Compute>(x[at]));
}

/// Element i of a line that starts at x: its own, 0 past its end, or the conjugate of the element opposite.
template <typename T>
Complex fourier_input(const FourierState& s, const T* x, int64_t i) {
  const bool mirror = s.mirrored && i > s.length / 2;
  const int64_t from = mirror ? s.length - i : i;
  if (from >= s.in) return {0, 0};
  const int64_t at = from * s.inner * s.parts;
  const double im = s.parts == 2 ? fourier_value(x, at + 1) : 0.0;
  return {fourier_value(x, at), mirror ? -im : im};
}

template <typename T>
void fourier_store(const FourierState& s, const Complex& value, T* y) {
  using C = typename Element<T>::Compute;
  y[0] = T(static_cast<C>(value.re));
  if (s.out_parts == 2) y[1] = T(static_cast<C>(value.im));
}

template <typename T>
void run_dft(Context& context, const FourierState& s) {
  const T* x = context.input(0).as<T>();
  T* y = context.output(0).as<T>();
  const Parallel parallel = context_parallel(context);
  const size_t lines = static_cast<size_t>(s.outer * s.inner);
  parallel_for(parallel, parallel.threads, [&](size_t slice) {
    Complex* line = fourier_line(context, s, slice);
    for (size_t l = slice; l < lines; l += parallel.threads) {
      const int64_t outer = static_cast<int64_t>(l) / s.inner, inner = static_cast<int64_t>(l) % s.inner;
      const T* from = x + (outer * s.in * s.inner + inner) * s.parts;
      for (int64_t i = 0; i < s.length; ++i) line[i] = fourier_input(s, from, i);
      const Complex* result = fourier_transform(context, s, line);
      for (int64_t k = 0; k < s.out; ++k) fourier_store(s, result[k], y + ((outer * s.out + k) * s.inner + inner) * s.out_parts);
    }
  });
}

template <typename T>
void run_stft(Context& context, const FourierState& s) {
  const Tensor& window = context.input(2);
  const T* x = context.input(0).as<T>();
  const Parallel parallel = context_parallel(context);
  const size_t frames = static_cast<size_t>(s.outer * s.frames);
  parallel_for(parallel, parallel.threads, [&](size_t slice) {
    Complex* line = fourier_line(context, s, slice);
    for (size_t f = slice; f < frames; f += parallel.threads) {
      const int64_t signal = static_cast<int64_t>(f) / s.frames, first = static_cast<int64_t>(f) % s.frames * s.step;
      for (int64_t i = 0; i < s.length; ++i) {
        const double weight = window.present() && i < s.window ? fourier_value(window.as<T>(), i) : 1.0;
        const int64_t at = (signal * s.in + first + i) * s.parts;
        const bool inside = i < s.window && first + i < s.in;
        line[i] = {inside ? weight * fourier_value(x, at) : 0.0, inside && s.parts == 2 ? weight * fourier_value(x, at + 1) : 0.0};
      }
      const Complex* result = fourier_transform(context, s, line);
      for (int64_t k = 0; k < s.out; ++k)
        fourier_store(s, result[k], context.output(0).as<T>() + (static_cast<int64_t>(f) * s.out + k) * 2);
    }
  });
}

Status fourier_plan(Context& context, const FourierState& s, uint64_t lines) {
  int64_t numbers = 0;
  const int64_t slices = 2 * static_cast<int64_t>(context_parallel(context).threads) + 1;
  if (s.length > INT32_MAX || !checked_mul(s.length, slices, &numbers) || !add_scratch(context, numbers, sizeof(Complex)))
    return scratch_too_large(context);
  const uint64_t length = static_cast<uint64_t>(s.length);
  context.macs = saturating_mul(lines, saturating_mul(length, is_power_of_two(s.length) ? 64 : length));
  return Status::kOk;
}

/// A known positive number.
Status read_fourier_number(Context& context, int i, const char* what, int64_t* value) {
  int count = 0;
  PENLIGHT_TRY(read_known_integers(context, i, what, value, 1, &count));
  if (count == 1 && *value >= 1) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "%s must be one positive number", what);
}

template <typename Function>
void with_fourier_type(DType dtype, Function&& function) {
  if (dtype == DType::kF32) return function(TypeTag<float>{});
  if (dtype == DType::kF64) return function(TypeTag<double>{});
  function(TypeTag<Half>{});
}

}  // namespace

/// The axis is input 2 since version 20, before it an attribute.
Status dft_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFourierTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  const Shape& x = context.input(0).shape;
  FourierState& s = context.state_as<FourierState>();
  s = FourierState{};
  s.inverse = context.attributes->integer("inverse", 0) != 0;
  const bool onesided = context.attributes->integer("onesided", 0) != 0;
  int64_t axis_number = context.version < 20 ? context.attributes->integer("axis", 1) : -2;
  int axis = 0, count = 1;
  if (context.input(2).present()) PENLIGHT_TRY(read_known_integers(context, 2, "axis", &axis_number, 1, &count));
  if (count != 1) return context.fail(Status::kShapeMismatch, "axis must be one number");
  PENLIGHT_TRY(normalize_axis(context, axis_number, x.rank, &axis));
  s.parts = x.dims[x.rank - 1];
  if (axis == x.rank - 1 || s.parts < 1 || s.parts > 2)
    return context.fail(Status::kShapeMismatch, "the last dimension holds real numbers (1) or pairs (2) and is not the axis");
  s.outer = dims_product(x, 0, axis);
  s.in = x.dims[axis];
  s.inner = dims_product(x, axis + 1, x.rank - 1);
  s.mirrored = s.inverse && onesided;
  s.length = s.mirrored ? 2 * (s.in - 1) : s.in;
  if (context.input(1).present()) PENLIGHT_TRY(read_fourier_number(context, 1, "dft_length", &s.length));
  if (s.length < 1) return context.fail(Status::kShapeMismatch, "the length of the transform must be positive");
  s.out = onesided && !s.inverse ? s.length / 2 + 1 : s.length;
  s.out_parts = s.mirrored ? 1 : 2;
  Shape out = x;
  out.dims[axis] = s.out;
  out.dims[x.rank - 1] = s.out_parts;
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  return fourier_plan(context, s, static_cast<uint64_t>(s.outer * s.inner));
}

Status dft_run(Context& context) {
  const FourierState& s = context.state_as<FourierState>();
  if (context.output(0).shape.count() == 0) return Status::kOk;
  fill_roots(static_cast<Complex*>(context.scratch), s.length, s.inverse);
  with_fourier_type(context.input(0).dtype, [&](auto tag) { run_dft<typename decltype(tag)::Type>(context, s); });
  return Status::kOk;
}

Status stft_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFourierTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, 3));
  const Shape& x = context.input(0).shape;
  const Tensor& window = context.input(2);
  FourierState& s = context.state_as<FourierState>();
  s = FourierState{};
  s.parts = x.rank == 3 ? x.dims[2] : 1;
  if (s.parts < 1 || s.parts > 2) return context.fail(Status::kShapeMismatch, "the last dimension must be 1 or 2");
  s.outer = x.dims[0];
  s.in = x.dims[1];
  PENLIGHT_TRY(read_fourier_number(context, 1, "frame_step", &s.step));
  if (window.present()) {
    PENLIGHT_TRY(check_same_dtype(context, 2, 0));
    PENLIGHT_TRY(check_rank(context, 2, 1, 1));
    s.window = window.shape.dims[0];
  }
  s.length = window.present() ? s.window : s.in;
  if (context.input(3).present()) PENLIGHT_TRY(read_fourier_number(context, 3, "frame_length", &s.length));
  if (!window.present()) s.window = s.length;
  if (s.length < 1 || s.length > s.in || s.window > s.length)
    return context.fail(Status::kShapeMismatch, "a frame of %lld does not fit a signal of %lld", static_cast<long long>(s.length),
                        static_cast<long long>(s.in));
  s.frames = (s.in - s.length) / s.step + 1;
  s.out = context.attributes->integer("onesided", 1) != 0 ? s.length / 2 + 1 : s.length;
  const int64_t out[] = {s.outer, s.frames, s.out, 2};
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, make_shape(out, 4)));
  return fourier_plan(context, s, saturating_mul(static_cast<uint64_t>(s.outer), static_cast<uint64_t>(s.frames)));
}

Status stft_run(Context& context) {
  const FourierState& s = context.state_as<FourierState>();
  if (context.output(0).shape.count() == 0) return Status::kOk;
  fill_roots(static_cast<Complex*>(context.scratch), s.length, false);
  with_fourier_type(context.input(0).dtype, [&](auto tag) { run_stft<typename decltype(tag)::Type>(context, s); });
  return Status::kOk;
}

}  // namespace penlight
