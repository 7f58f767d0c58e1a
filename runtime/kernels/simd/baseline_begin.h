// Opens the namespace of the 128-bit vectors that every processor has (SSE2, NEON). SPDX-License-Identifier: Apache-2.0
#define PENLIGHT_LANES 4
namespace penlight {
namespace baseline {
