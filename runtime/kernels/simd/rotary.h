// Pairs of a row turned by angles; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

inline void rotary_halves(const float* x, const float* cosines, const float* sines, float* y, int64_t pairs) {
  for (int64_t i = 0; i < pairs; i += kLanes) {
    const size_t n = static_cast<size_t>(pairs - i);
    const Vf a = load_up_to(x + i, n), b = load_up_to(x + pairs + i, n);
    const Vf cosine = load_up_to(cosines + i, n), sine = load_up_to(sines + i, n);
    store_up_to(y + i, a * cosine - b * sine, n);
    store_up_to(y + pairs + i, a * sine + b * cosine, n);
  }
}

inline void rotary_in_turns(const float* x, const float* cosines, const float* sines, float* y, int64_t pairs) {
  int64_t i = 0;
  for (; i + kLanes <= pairs; i += kLanes) {
    const Vf low = load(x + 2 * i), high = load(x + 2 * i + kLanes);
    const Vf a = even_lanes(low, high), b = odd_lanes(low, high), cosine = load(cosines + i), sine = load(sines + i);
    store_in_turn(y + 2 * i, a * cosine - b * sine, a * sine + b * cosine);
  }
  for (; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    y[2 * i] = a * cosines[i] - b * sines[i];
    y[2 * i + 1] = a * sines[i] + b * cosines[i];
  }
}

constexpr RotaryTable kRotaryTable = {rotary_halves, rotary_in_turns};
