// Places tensors that live at different times at the same bytes of one arena. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/allocator.h"

namespace penlight {

constexpr uint64_t kArenaAlignment = 64;

/// A block of memory that is in use from step `first` to step `last`, both included.
struct PlanItem {
  uint64_t size;  // a multiple of kArenaAlignment
  uint64_t offset;
  uint32_t first;
  uint32_t last;
};

constexpr size_t kPlanSearched = 8192;

/// Sets every offset: largest items first, each into the tightest gap between those that live at the same time (greedy by size:
/// Pisarchyk and Lee 2020, arXiv:2001.03288). Only the kPlanSearched largest look for a gap, since that takes quadratic time; the
/// others are small and go to the end. False when the total does not fit into size_t. `order` and `placed` are working space for
/// `count` entries each.
bool plan_arena(PlanItem* items, size_t count, uint32_t* order, uint32_t* placed, uint64_t* total);

}  // namespace penlight
