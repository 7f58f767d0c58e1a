// Elementwise functions of floats; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

/// Applied to a vector; `a` and `b` are the operator's alpha and beta.
template <Unary kFunction>
PENLIGHT_INLINE Vf unary_vector(Vf x, float a, float b) {
  const Vf zero = {};
  switch (kFunction) {
    case Unary::kIdentity:
      return x;
    case Unary::kAbs:
      return magnitude(x);
    case Unary::kNeg:
      return -x;
    case Unary::kExp:
      return vector_exp(x);
    case Unary::kLog:
      return vector_log(x);
    case Unary::kSqrt:
      return square_root(x);
    case Unary::kReciprocal:
      return 1.0f / x;
    case Unary::kFloor:
      return vector_floor(x);
    case Unary::kCeil:
      return vector_ceil(x);
    case Unary::kRound:
      return vector_round(x);
    case Unary::kSign:
      return select(x > 0.0f, splat(1.0f), select(x < 0.0f, splat(-1.0f), x));
    case Unary::kTanh:
      return vector_tanh(x);
    case Unary::kSigmoid:
      return vector_sigmoid(x);
    case Unary::kErf:
      return vector_erf(x);
    case Unary::kSoftplus:
      return vector_softplus(x);
    case Unary::kRelu:
      return at_least(x, zero);
    case Unary::kLeakyRelu:
      return select(x < 0.0f, x * a, x);
    case Unary::kElu:
      return select(x < 0.0f, a * vector_expm1(x), x);
    case Unary::kSelu:
      return b * select(x > 0.0f, x, a * vector_expm1(x));
    case Unary::kCelu:
      return at_least(x, zero) + at_most(a * vector_expm1(x / a), zero);
    case Unary::kThresholdedRelu:
      return select(x > a, x, select(x != x, x, zero));
    case Unary::kHardSigmoid:
      return at_most(at_least(madd(splat(a), x, b), zero), splat(1.0f));
    case Unary::kHardSwish:
      return x * at_most(at_least(madd(splat(1.0f / 6.0f), x, 0.5f), zero), splat(1.0f));
    case Unary::kMish:
      return x * vector_tanh(vector_softplus(x));
    case Unary::kSilu:
      return x * vector_sigmoid(a * x);
    case Unary::kGelu:  // `a` is of fused operators, activation.h
      return 0.5f * x * (1.0f + (a != 0.0f ? vector_erf_near(x * 0.707106781f) : vector_erf(x * 0.707106781f)));
    case Unary::kGeluTanh:
      return 0.5f * x * (1.0f + vector_tanh(0.797884561f * madd(x * x * x, splat(0.044715f), x)));
    case Unary::kClip:
      return at_most(at_least(x, splat(a)), splat(b));
    case Unary::kSoftsign:
      return x / (1.0f + magnitude(x));
    case Unary::kCount:
      break;
  }
  return x;
}

template <Unary kFunction>
__attribute__((noinline)) void unary_array(const float* x, float* y, size_t n, float a, float b) {
#if PENLIGHT_SMALL  // one body for whole vectors and for the rest
  for (size_t i = 0; i < n; i += kLanes) {
    const size_t rest = n - i;
    const Vf v = unary_vector<kFunction>(rest < kLanes ? load_first(x + i, rest) : load(x + i), a, b);
    rest < kLanes ? store_first(y + i, v, rest) : store(y + i, v);
  }
#else
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, unary_vector<kFunction>(load(x + i), a, b));
  if (i < n) store_first(y + i, unary_vector<kFunction>(load_first(x + i, n - i), a, b), n - i);
#endif
}

/// The table's entry of a function; that of one that the build does without is never called.
template <Unary kFunction>
constexpr UnaryArray unary_entry() {
  if constexpr (function_selected(kFunction))
    return unary_array<kFunction>;
  else
    return nullptr;
}

template <Binary kFunction>
PENLIGHT_INLINE Vf binary_vector(Vf x, Vf y) {
  switch (kFunction) {
    case Binary::kAdd:
      return x + y;
    case Binary::kSub:
      return x - y;
    case Binary::kMul:
      return x * y;
    case Binary::kDiv:
      return x / y;
    case Binary::kMin:
      return minimum(x, y);
    case Binary::kMax:
      return maximum(x, y);
    case Binary::kPRelu:
      return select(x < 0.0f, x * y, x);
    case Binary::kCount:
      break;
  }
  return x;
}

template <Binary kFunction, Step kX, Step kY>
__attribute__((noinline)) void binary_array(const float* x, const float* y, float* z, size_t n) {
  constexpr bool each_x = kX == Step::kEach, each_y = kY == Step::kEach;
  if (n == 0) return;
  const Vf same_x = splat(x[0]), same_y = splat(y[0]);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    store(z + i, binary_vector<kFunction>(each_x ? load(x + i) : same_x, each_y ? load(y + i) : same_y));
  const size_t rest = n - i;
  if (rest == 0) return;
  const Vf last_x = each_x ? load_first(x + i, rest) : same_x, last_y = each_y ? load_first(y + i, rest) : same_y;
  store_first(z + i, binary_vector<kFunction>(last_x, last_y), rest);
}

/// y[i] = x[2 * i]; reads no further than x[2 * n - 2].
inline void every_second(const float* x, float* y, size_t n) {
  size_t i = 0;
  for (; i + kLanes < n; i += kLanes) store(y + i, even_lanes(load(x + 2 * i), load(x + 2 * i + kLanes)));
  for (; i < n; ++i) y[i] = x[2 * i];
}

template <Binary kFunction, Step kX, Step kY>
constexpr BinaryArray binary_entry() {
  if constexpr (function_selected(kFunction))
    return binary_array<kFunction, kX, kY>;
  else
    return nullptr;
}

#define PENLIGHT_BINARY_ROW(name)                                                                                   \
  {                                                                                                                 \
    binary_entry<Binary::name, Step::kEach, Step::kEach>(), binary_entry<Binary::name, Step::kEach, Step::kSame>(), \
        binary_entry<Binary::name, Step::kSame, Step::kEach>()                                                      \
  }

constexpr UnaryTable kUnaryTable = {
    {unary_entry<Unary::kIdentity>(),    unary_entry<Unary::kAbs>(),       unary_entry<Unary::kNeg>(),
     unary_entry<Unary::kExp>(),         unary_entry<Unary::kLog>(),       unary_entry<Unary::kSqrt>(),
     unary_entry<Unary::kReciprocal>(),  unary_entry<Unary::kFloor>(),     unary_entry<Unary::kCeil>(),
     unary_entry<Unary::kRound>(),       unary_entry<Unary::kSign>(),      unary_entry<Unary::kTanh>(),
     unary_entry<Unary::kSigmoid>(),     unary_entry<Unary::kErf>(),       unary_entry<Unary::kSoftplus>(),
     unary_entry<Unary::kRelu>(),        unary_entry<Unary::kLeakyRelu>(), unary_entry<Unary::kElu>(),
     unary_entry<Unary::kSelu>(),        unary_entry<Unary::kCelu>(),      unary_entry<Unary::kThresholdedRelu>(),
     unary_entry<Unary::kHardSigmoid>(), unary_entry<Unary::kHardSwish>(), unary_entry<Unary::kMish>(),
     unary_entry<Unary::kSilu>(),        unary_entry<Unary::kGelu>(),      unary_entry<Unary::kGeluTanh>(),
     unary_entry<Unary::kClip>(),        unary_entry<Unary::kSoftsign>()}};

constexpr BinaryTable kBinaryTable = {{PENLIGHT_BINARY_ROW(kAdd), PENLIGHT_BINARY_ROW(kSub), PENLIGHT_BINARY_ROW(kMul),
                                       PENLIGHT_BINARY_ROW(kDiv), PENLIGHT_BINARY_ROW(kMin), PENLIGHT_BINARY_ROW(kMax),
                                       PENLIGHT_BINARY_ROW(kPRelu)}};

constexpr MoveTable kMoveTable = {every_second};

#undef PENLIGHT_BINARY_ROW
