// Random lifetimes: no overlap, and close to the lower bound. SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "core/planner.h"

namespace {

constexpr size_t kItems = 60;

bool share_time(const penlight::PlanItem& a, const penlight::PlanItem& b) { return a.first <= b.last && b.first <= a.last; }

/// The largest sum of sizes that live at one step: no plan can be smaller.
uint64_t lower_bound(const penlight::PlanItem* items, size_t count) {
  uint64_t bound = 0;
  for (uint32_t step = 0; step < 200; ++step) {
    uint64_t live = 0;
    for (size_t i = 0; i < count; ++i) live += items[i].first <= step && step <= items[i].last ? items[i].size : 0;
    if (live > bound) bound = live;
  }
  return bound;
}

void check_plan(const penlight::PlanItem* items, size_t count, uint64_t total) {
  for (size_t i = 0; i < count; ++i) {
    PENLIGHT_CHECK(items[i].offset + items[i].size <= total);
    PENLIGHT_CHECK(items[i].offset % penlight::kArenaAlignment == 0);
    for (size_t j = 0; j < i; ++j) {
      const bool apart = items[i].offset + items[i].size <= items[j].offset || items[j].offset + items[j].size <= items[i].offset;
      PENLIGHT_CHECK(apart || items[i].size == 0 || items[j].size == 0 || !share_time(items[i], items[j]));
    }
  }
}

}  // namespace

void test_planner() {
  TestRandom random;
  penlight::PlanItem items[kItems];
  uint32_t order[kItems];
  uint32_t placed[kItems];
  uint64_t planned = 0;
  uint64_t bound = 0;
  for (int round = 0; round < 2000; ++round) {
    const size_t count = random.next(kItems + 1);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t first = random.next(40);
      items[i] = {random.next(64) * penlight::kArenaAlignment, 0, first, first + random.next(6)};
    }
    uint64_t total = 0;
    PENLIGHT_CHECK(penlight::plan_arena(items, count, order, placed, &total));
    check_plan(items, count, total);
    PENLIGHT_CHECK(total >= lower_bound(items, count));
    planned += total;
    bound += lower_bound(items, count);
  }
  PENLIGHT_CHECK(planned * 100 <= bound * 110);  // 5 % above the bound on average; real graphs are easier
  items[0] = {uint64_t{1} << 62, 0, 0, 1};
  items[1] = {uint64_t{1} << 62, 0, 0, 1};
  uint64_t total = 0;
  PENLIGHT_CHECK(!penlight::plan_arena(items, 2, order, placed, &total));
}
