// Winograd's transforms with channels as lanes; included inside the namespace of each instruction set. SPDX-License-Identifier:
// Apache-2.0

/// B^T of one column or row of kTile + 2 values.
template <int kTile>
PENLIGHT_INLINE void winograd_input_line(const Vf (&d)[kTile + 2], Vf (&v)[kTile + 2]) {
  if constexpr (kTile == 2) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  } else {
    const Vf even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1], near = d[4] - d[2], far = 2.0f * (d[3] - d[1]);
    v[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    v[1] = even + odd;
    v[2] = even - odd;
    v[3] = near + far;
    v[4] = near - far;
    v[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
  }
}

/// A^T of one column or row.
template <int kTile>
PENLIGHT_INLINE void winograd_output_line(const Vf (&m)[kTile + 2], Vf (&y)[kTile]) {
  if constexpr (kTile == 2) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  } else {
    const Vf a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    y[0] = m[0] + a + c;
    y[1] = b + 2.0f * d;
    y[2] = a + 4.0f * c;
    y[3] = b + 8.0f * d + m[5];
  }
}

template <int kTile>
__attribute__((noinline)) void winograd_input(const WinogradTile& t) {
  constexpr int kSide = kTile + 2;
  Vf columns[kSide][kSide];  // [column][row]
#pragma GCC unroll 1
  for (int j = 0; j < kSide; ++j) {
    Vf d[kSide];
#pragma GCC unroll 6
    for (int i = 0; i < kSide; ++i) d[i] = load(t.image + i * t.row + j * kLanes);
    winograd_input_line<kTile>(d, columns[j]);
  }
#pragma GCC unroll 1
  for (int i = 0; i < kSide; ++i) {
    Vf d[kSide], v[kSide];
#pragma GCC unroll 6
    for (int j = 0; j < kSide; ++j) d[j] = columns[j][i];
    winograd_input_line<kTile>(d, v);
#pragma GCC unroll 6
    for (int j = 0; j < kSide; ++j) store(t.to + (i * kSide + j) * t.step, v[j]);
  }
}

template <int kTile>
__attribute__((noinline)) void winograd_output(const WinogradTile& t) {
  constexpr int kSide = kTile + 2, kOutputs = kTile * kTile;
  constexpr int kGroups = (kOutputs + kLanes - 1) / kLanes;
  Vf columns[kSide][kTile];
#pragma GCC unroll 1
  for (int j = 0; j < kSide; ++j) {
    Vf m[kSide];
#pragma GCC unroll 6
    for (int i = 0; i < kSide; ++i) m[i] = load(t.image + (i * kSide + j) * t.step);
    winograd_output_line<kTile>(m, columns[j]);
  }
  const Vf bias = load(t.bias), low = splat(t.low), high = splat(t.high);
  Vf y[kGroups * kLanes] = {};
#pragma GCC unroll 4
  for (int i = 0; i < kTile; ++i) {
    Vf m[kSide], row[kTile];
#pragma GCC unroll 6
    for (int j = 0; j < kSide; ++j) m[j] = columns[j][i];
    winograd_output_line<kTile>(m, row);
#pragma GCC unroll 4
    for (int j = 0; j < kTile; ++j) y[i * kTile + j] = at_most(at_least(row[j] + bias, low), high);
  }
#pragma GCC unroll 4
  for (int group = 0; group < kGroups; ++group) {
    Vf lanes[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) lanes[i] = y[group * kLanes + i];
    transpose(lanes);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) store(t.to + i * 16 + group * kLanes, lanes[i]);
  }
}

constexpr WinogradTable kWinogradTable = {kLanes, {winograd_input<2>, winograd_input<4>}, {winograd_output<2>, winograd_output<4>}};
