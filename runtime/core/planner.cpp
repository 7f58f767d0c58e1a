// SPDX-License-Identifier: Apache-2.0
#include "planner.h"

namespace penlight {
namespace {

/// What an order puts first.
enum class PlanOrder {
  kFirst,    // by the step at which it starts
  kLargest,  // by size
  kWeight,   // by size times lifetime
  kLongest,  // by lifetime
  kLast      // by the step at which it ends; only plan_lower_bound sorts so
};

constexpr PlanOrder kPlanOrders[] = {PlanOrder::kFirst, PlanOrder::kLargest, PlanOrder::kWeight, PlanOrder::kLongest};
constexpr size_t kPlanOrderCount = sizeof(kPlanOrders) / sizeof(kPlanOrders[0]);
constexpr size_t kPlanRounds = 24;  // how often what ends up on top is moved to the front, in each order

/// Larger keys come first.
uint64_t plan_key(const PlanItem& item, PlanOrder by) {
  const uint32_t lifetime = item.last - item.first + 1;  // steps are few
  uint64_t weight = 0;
  switch (by) {
    case PlanOrder::kWeight:
      return __builtin_mul_overflow(item.size, lifetime, &weight) ? UINT64_MAX : weight;
    case PlanOrder::kLongest:
      return lifetime;
    case PlanOrder::kFirst:
      return ~uint64_t{item.first};
    case PlanOrder::kLast:
      return ~uint64_t{item.last};
    default:
      return item.size;
  }
}

/// Equal keys: the larger, then the earlier, so that plans are the same everywhere.
bool plan_before(const PlanItem* items, PlanOrder by, uint32_t a, uint32_t b) {
  const uint64_t key_a = plan_key(items[a], by);
  const uint64_t key_b = plan_key(items[b], by);
  if (key_a != key_b) return key_a > key_b;
  return items[a].size != items[b].size ? items[a].size > items[b].size : a < b;
}

void plan_sift_down(const PlanItem* items, PlanOrder by, uint32_t* order, size_t root, size_t count) {
  for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
    if (child + 1 < count && plan_before(items, by, order[child], order[child + 1])) ++child;
    if (!plan_before(items, by, order[root], order[child])) return;
    const uint32_t swapped = order[root];
    order[root] = order[child];
    order[child] = swapped;
    root = child;
  }
}

/// Heapsort: in place and without the C++ library (libc's qsort may allocate).
void plan_sort(const PlanItem* items, PlanOrder by, uint32_t* order, size_t count) {
  for (size_t i = 0; i < count; ++i) order[i] = static_cast<uint32_t>(i);
  for (size_t i = count / 2; i-- > 0;) plan_sift_down(items, by, order, i, count);
  for (size_t end = count; end > 1;) {
    --end;
    const uint32_t swapped = order[0];
    order[0] = order[end];
    order[end] = swapped;
    plan_sift_down(items, by, order, 0, end);
  }
}

bool plan_overlaps_in_time(const PlanItem& a, const PlanItem& b) { return a.first <= b.last && b.first <= a.last; }

/// The offset of the tightest gap that holds `item`; `placed` is sorted by offset.
size_t plan_best_offset(const PlanItem* items, const uint32_t* placed, size_t count, const PlanItem& item) {
  size_t end = 0;  // of what is placed so far and lives at the same time
  size_t best = SIZE_MAX;
  size_t best_gap = SIZE_MAX;
  for (size_t i = 0; i < count; ++i) {
    const PlanItem& other = items[placed[i]];
    if (!plan_overlaps_in_time(item, other)) continue;
    if (other.offset > end && other.offset - end >= item.size && other.offset - end < best_gap) {
      best = end;
      best_gap = other.offset - end;
    }
    if (other.offset + other.size > end) end = other.offset + other.size;
  }
  return best != SIZE_MAX ? best : end;
}

void plan_insert(const PlanItem* items, uint32_t* placed, size_t count, uint32_t index) {
  size_t at = count;
  for (; at > 0 && items[placed[at - 1]].offset > items[index].offset; --at) placed[at] = placed[at - 1];
  placed[at] = index;
}

/// Takes out what has ended before `step`.
size_t plan_expire(const PlanItem* items, uint32_t* placed, size_t count, uint32_t step) {
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (items[placed[i]].last >= step) placed[kept++] = placed[i];
  }
  return kept;
}

/// Sets the offsets in the given order. `sorted`: it is that of kFirst, so that nothing meets again what has ended. `top` becomes
/// the place in the order of the first item that ends where the plan does. False when the total does not fit.
bool plan_place(PlanItem* items, size_t count, const uint32_t* order, bool sorted, uint32_t* placed, size_t* total, size_t* top) {
  *total = 0;
  size_t searched = 0;
  for (size_t i = 0; i < count; ++i) {
    PlanItem& item = items[order[i]];
    item.offset = 0;
    if (item.size == 0) continue;  // needs no place
    if (sorted) searched = plan_expire(items, placed, searched, item.first);
    item.offset = searched < kPlanSearched ? plan_best_offset(items, placed, searched, item) : *total;
    size_t end = 0;
    if (__builtin_add_overflow(item.offset, item.size, &end) || end > PTRDIFF_MAX) return false;
    if (searched < kPlanSearched) plan_insert(items, placed, searched++, order[i]);
    if (end <= *total) continue;
    *total = end;
    *top = i;
  }
  return true;
}

void plan_move_to_front(uint32_t* order, size_t index) {
  const uint32_t moved = order[index];
  for (; index > 0; --index) order[index] = order[index - 1];
  order[0] = moved;
}

/// Plans in an order, `rounds` times more after what ended up on top was moved to the front; stops at `enough`. Returns the
/// smallest total, SIZE_MAX when none fits, and after how many rounds it came. The offsets are those of the last round.
size_t plan_rounds(PlanItem* items, size_t count, PlanOrder by, size_t rounds, size_t enough, uint32_t* order, uint32_t* placed,
                   size_t* best_round) {
  size_t best = SIZE_MAX;
  size_t top = 0;
  plan_sort(items, by, order, count);
  for (size_t round = 0; round <= rounds && best > enough; ++round) {
    size_t total = 0;
    const bool sorted = by == PlanOrder::kFirst && round == 0;
    if (round > 0) plan_move_to_front(order, top);
    if (!plan_place(items, count, order, sorted, placed, &total, &top) || total >= best) continue;
    best = total;
    *best_round = round;
  }
  return best;
}

}  // namespace

size_t plan_lower_bound(const PlanItem* items, size_t count, uint32_t* starts, uint32_t* ends) {
  plan_sort(items, PlanOrder::kFirst, starts, count);
  plan_sort(items, PlanOrder::kLast, ends, count);
  size_t live = 0;
  size_t bound = 0;
  for (size_t i = 0, ended = 0; i < count; ++i) {
    for (; items[ends[ended]].last < items[starts[i]].first; ++ended) live -= items[ends[ended]].size;
    live += items[starts[i]].size;
    if (live > bound) bound = live;
  }
  return bound;
}

bool plan_arena(PlanItem* items, size_t count, uint32_t* order, uint32_t* placed, size_t* total) {
  const size_t bound = plan_lower_bound(items, count, order, placed);
  const uint64_t affordable = kPlanWork / (uint64_t{count} * count + 1);
  const size_t most_rounds = affordable < kPlanRounds ? static_cast<size_t>(affordable) : kPlanRounds;
  PlanOrder best_order = PlanOrder::kFirst;
  size_t best_round = 0;
  *total = SIZE_MAX;
  for (size_t i = 0; i < 2 * kPlanOrderCount; ++i) {  // all orders as they are, then all with promotions
    const PlanOrder by = kPlanOrders[i % kPlanOrderCount];
    size_t round = 0;
    const size_t found = plan_rounds(items, count, by, i < kPlanOrderCount ? 0 : most_rounds, bound, order, placed, &round);
    if (found >= *total) continue;
    *total = found;
    best_order = by;
    best_round = round;
    if (found <= bound) return true;  // these are the offsets
  }
  return plan_rounds(items, count, best_order, best_round, *total, order, placed, &best_round) == *total && *total <= PTRDIFF_MAX;
}

}  // namespace penlight
