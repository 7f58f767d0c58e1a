// Closes baseline_begin.h. SPDX-License-Identifier: Apache-2.0
}  // namespace baseline
}  // namespace penlight
#undef PENLIGHT_LANES
