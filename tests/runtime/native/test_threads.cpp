// The pool runs every index once, round after round. SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "core/thread_pool.h"

namespace {

void add_one(void* argument, size_t index) { __atomic_fetch_add(&static_cast<int*>(argument)[index], 1, __ATOMIC_RELAXED); }

}  // namespace

void test_threads() {
  penlight::Memory memory;
  memory.initialize(nullptr, 0, 0);
  for (size_t threads = 1; threads <= 4; ++threads) {
    penlight_error error;
    penlight::ThreadPool* pool = nullptr;
    PENLIGHT_CHECK(penlight::thread_pool_create(memory, threads, &pool, error) == penlight::Status::kOk && pool != nullptr);
    const penlight_thread_pool calls = penlight::thread_pool_interface(pool);
    PENLIGHT_CHECK(calls.threads == threads);
    int counts[7] = {};
    for (int round = 0; round < 500; ++round) calls.run(calls.context, 7, add_one, counts);
    for (const int count : counts) PENLIGHT_CHECK(count == 500);
    penlight::thread_pool_free(memory, pool);
  }
  PENLIGHT_CHECK(memory.used() == 0);
}
