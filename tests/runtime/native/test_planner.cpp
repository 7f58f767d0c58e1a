// Random lifetimes: no overlap, never more than greedy by size, and close to the lower bound. SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "core/planner.h"

namespace {

constexpr size_t kItems = 60;

bool share_time(const penlight::PlanItem& a, const penlight::PlanItem& b) { return a.first <= b.last && b.first <= a.last; }

/// The largest sum of sizes that live at one step: no plan can be smaller.
uint64_t most_alive(const penlight::PlanItem* items, size_t count) {
  uint64_t bound = 0;
  for (uint32_t step = 0; step < 200; ++step) {
    uint64_t live = 0;
    for (size_t i = 0; i < count; ++i) live += items[i].first <= step && step <= items[i].last ? items[i].size : 0;
    if (live > bound) bound = live;
  }
  return bound;
}

/// Bytes that are free from `at` on among what lives with the item, 0 where something lies.
uint64_t gap_at(const penlight::PlanItem* items, const bool* placed, size_t count, const penlight::PlanItem& item, uint64_t at) {
  uint64_t end = UINT64_MAX;
  for (size_t i = 0; i < count; ++i) {
    if (!placed[i] || !share_time(item, items[i])) continue;
    if (items[i].offset <= at && at < items[i].offset + items[i].size) return 0;
    if (items[i].offset > at && items[i].offset < end) end = items[i].offset;
  }
  return end - at;
}

/// The total of greedy by size: the larger first, among equals the earlier, each at the start of the tightest gap, which is 0 or
/// the end of another. Written here once more, in a plain and slow way.
uint64_t greedy_by_size(penlight::PlanItem* items, size_t count) {
  bool placed[kItems] = {};
  size_t total = 0;
  for (size_t round = 0; round < count; ++round) {
    size_t next = count;
    for (size_t i = 0; i < count; ++i) {
      if (!placed[i] && (next == count || items[i].size > items[next].size)) next = i;
    }
    uint64_t best_gap = 0;
    uint64_t best = 0;
    for (size_t i = 0; i <= count; ++i) {
      if (i < count && (!placed[i] || !share_time(items[next], items[i]))) continue;
      const uint64_t at = i < count ? items[i].offset + items[i].size : 0;
      const uint64_t gap = gap_at(items, placed, count, items[next], at);
      if (gap < items[next].size || (best_gap != 0 && gap >= best_gap)) continue;
      best_gap = gap;
      best = at;
    }
    items[next].offset = best;
    placed[next] = true;
    if (best + items[next].size > total) total = best + items[next].size;
  }
  return total;
}

void check_plan(const penlight::PlanItem* items, size_t count, size_t total) {
  for (size_t i = 0; i < count; ++i) {
    PENLIGHT_CHECK(items[i].offset + items[i].size <= total);
    PENLIGHT_CHECK(items[i].offset % penlight::kArenaAlignment == 0);
    for (size_t j = 0; j < i; ++j) {
      const bool apart = items[i].offset + items[i].size <= items[j].offset || items[j].offset + items[j].size <= items[i].offset;
      PENLIGHT_CHECK(apart || items[i].size == 0 || items[j].size == 0 || !share_time(items[i], items[j]));
    }
  }
}

/// As many nodes as a method may have, each reading what the one before wrote: a few blocks are enough.
void test_long_chain() {
  constexpr size_t kLinks = 32768;
  static penlight::PlanItem links[kLinks];
  static uint32_t order[kLinks];
  static uint32_t placed[kLinks];
  for (uint32_t i = 0; i < kLinks; ++i) links[i] = {penlight::kArenaAlignment * (1 + i % 3), 0, i, i + 1};
  size_t total = 0;
  PENLIGHT_CHECK(penlight::plan_arena(links, kLinks, order, placed, &total));
  PENLIGHT_CHECK(total <= penlight::kArenaAlignment * 6);
}

}  // namespace

void test_planner() {
  TestRandom random;
  penlight::PlanItem items[kItems];
  uint32_t order[kItems];
  uint32_t placed[kItems];
  uint64_t planned = 0;
  uint64_t bound = 0;
  for (int round = 0; round < 1000; ++round) {
    const size_t count = random.next(kItems + 1);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t first = random.next(40);
      items[i] = {random.next(64) * penlight::kArenaAlignment, 0, first, first + random.next(6)};
    }
    size_t total = 0;
    PENLIGHT_CHECK(penlight::plan_arena(items, count, order, placed, &total));
    check_plan(items, count, total);
    PENLIGHT_CHECK(penlight::plan_lower_bound(items, count, order, placed) == most_alive(items, count));
    PENLIGHT_CHECK(total >= most_alive(items, count));
    planned += total;
    bound += most_alive(items, count);
    PENLIGHT_CHECK(total <= greedy_by_size(items, count));
  }
  PENLIGHT_CHECK(planned * 100 <= bound * 101);  // real graphs are easier
  size_t nothing = 1;
  PENLIGHT_CHECK(penlight::plan_arena(nullptr, 0, nullptr, nullptr, &nothing) && nothing == 0);
  items[0] = {PTRDIFF_MAX / 128 * 64 + 64, 0, 0, 1};
  items[1] = {PTRDIFF_MAX / 128 * 64 + 64, 0, 0, 1};
  size_t total = 0;
  PENLIGHT_CHECK(!penlight::plan_arena(items, 2, order, placed, &total));
  test_long_chain();
}
