// SPDX-License-Identifier: Apache-2.0
#include "planner.h"

namespace penlight {
namespace {

/// Larger first; among equals the earlier, so that plans are the same everywhere.
bool plan_before(const PlanItem* items, uint32_t a, uint32_t b) {
  if (items[a].size != items[b].size) return items[a].size > items[b].size;
  return a < b;
}

void plan_sift_down(const PlanItem* items, uint32_t* order, size_t root, size_t count) {
  for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
    if (child + 1 < count && plan_before(items, order[child], order[child + 1])) ++child;
    if (!plan_before(items, order[root], order[child])) return;
    const uint32_t swapped = order[root];
    order[root] = order[child];
    order[child] = swapped;
    root = child;
  }
}

/// Heapsort: in place and without the C++ library (libc's qsort may allocate).
void plan_sort(const PlanItem* items, uint32_t* order, size_t count) {
  for (size_t i = count / 2; i-- > 0;) plan_sift_down(items, order, i, count);
  for (size_t end = count; end > 1;) {
    --end;
    const uint32_t swapped = order[0];
    order[0] = order[end];
    order[end] = swapped;
    plan_sift_down(items, order, 0, end);
  }
}

bool plan_overlaps_in_time(const PlanItem& a, const PlanItem& b) { return a.first <= b.last && b.first <= a.last; }

/// The offset of the tightest gap that holds `item`; `placed` is sorted by offset.
uint64_t plan_best_offset(const PlanItem* items, const uint32_t* placed, size_t count, const PlanItem& item) {
  uint64_t end = 0;  // of what is placed so far and lives at the same time
  uint64_t best = UINT64_MAX;
  uint64_t best_gap = UINT64_MAX;
  for (size_t i = 0; i < count; ++i) {
    const PlanItem& other = items[placed[i]];
    if (!plan_overlaps_in_time(item, other)) continue;
    if (other.offset > end && other.offset - end >= item.size && other.offset - end < best_gap) {
      best = end;
      best_gap = other.offset - end;
    }
    if (other.offset + other.size > end) end = other.offset + other.size;
  }
  return best != UINT64_MAX ? best : end;
}

void plan_insert(const PlanItem* items, uint32_t* placed, size_t count, uint32_t index) {
  size_t at = count;
  for (; at > 0 && items[placed[at - 1]].offset > items[index].offset; --at) placed[at] = placed[at - 1];
  placed[at] = index;
}

}  // namespace

bool plan_arena(PlanItem* items, size_t count, uint32_t* order, uint32_t* placed, uint64_t* total) {
  for (size_t i = 0; i < count; ++i) order[i] = static_cast<uint32_t>(i);
  plan_sort(items, order, count);
  *total = 0;
  for (size_t i = 0; i < count; ++i) {
    PlanItem& item = items[order[i]];
    if (item.size == 0) return true;  // they come last and need no place
    item.offset = i < kPlanSearched ? plan_best_offset(items, placed, i, item) : *total;
    uint64_t end = 0;
    if (__builtin_add_overflow(item.offset, item.size, &end) || end > PTRDIFF_MAX) return false;
    if (i < kPlanSearched) plan_insert(items, placed, i, order[i]);
    if (end > *total) *total = end;
  }
  return true;
}

}  // namespace penlight
