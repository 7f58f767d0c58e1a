// Places tensors that live at different times at the same bytes of one arena. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/allocator.h"

namespace penlight {

constexpr size_t kArenaAlignment = 64;

/// A block of memory that is in use from step `first` to step `last`, both included.
struct PlanItem {
  size_t size;  // a multiple of kArenaAlignment
  size_t offset;
  uint32_t first;
  uint32_t last;
};

constexpr size_t kPlanSearched = 8192;    // looking for gaps takes quadratic time: of more items, the others go to the end
constexpr uint64_t kPlanWork = 4u << 20;  // looks at other items that may be spent on each order to find a better one like it

/// Sets every offset. Items are placed one by one, each into the tightest gap between those that live at the same time: first in
/// the order in which they start, which takes little time and mostly gives what lives at once, below which no plan can go. Where it
/// does not, the order of their sizes is tried (greedy by size: Pisarchyk and Lee 2020, arXiv:2001.03288), then further ones, and
/// the best is taken. So a plan is never worse than greedy by size, up to kPlanSearched items.
/// False when the total does not fit into size_t. `order` and `placed` are working space for `count` entries each.
bool plan_arena(PlanItem* items, size_t count, uint32_t* order, uint32_t* placed, size_t* total);

/// The most bytes that live at one step. Uses the same working space.
size_t plan_lower_bound(const PlanItem* items, size_t count, uint32_t* starts, uint32_t* ends);

}  // namespace penlight
