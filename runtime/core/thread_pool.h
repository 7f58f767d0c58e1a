// A small pool of threads for sessions that ask for one; the calling thread works too. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#include "core/allocator.h"
#include "penlight.h"

namespace penlight {

struct ThreadPool;

constexpr size_t kMaxThreads = 256;

/// Starts `threads - 1` threads. `*pool` stays null when memory or threads are refused; `error` then says which.
Status thread_pool_create(Memory& memory, size_t threads, ThreadPool** pool, penlight_error& error);
/// Ends the threads and releases the memory. Null is allowed.
void thread_pool_free(Memory& memory, ThreadPool* pool);
/// The pool as the kernels see it; valid as long as the pool.
penlight_thread_pool thread_pool_interface(ThreadPool* pool);

}  // namespace penlight
