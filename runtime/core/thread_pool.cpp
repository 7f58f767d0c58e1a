// SPDX-License-Identifier: Apache-2.0
#include "thread_pool.h"

#include "core/platform.h"

#if PENLIGHT_THREADS
#include <pthread.h>
#include <stdint.h>

namespace penlight {

struct ThreadPool {
  pthread_mutex_t mutex;
  pthread_cond_t work;  // a new round, or the end
  pthread_cond_t idle;  // the last worker of a round is done
  void (*task)(void*, size_t);
  void* argument;
  size_t count;
  size_t next;     // the next index to take; atomic
  size_t busy;     // workers that have not finished the round
  uint32_t round;  // counts rounds; atomic for the spinning readers
  bool stop;
  size_t workers;
  pthread_t threads[kMaxThreads];
};

namespace {

// A few microseconds: long enough to bridge the gap between two kernels, short enough to leave the core to others.
constexpr int kPoolSpins = 2000;

void pool_pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void pool_take_indices(ThreadPool* pool) {
  for (;;) {
    const size_t index = __atomic_fetch_add(&pool->next, 1, __ATOMIC_RELAXED);
    if (index >= pool->count) return;
    pool->task(pool->argument, index);
  }
}

/// Returns the number of a round that is not `seen`.
uint32_t pool_await_round(ThreadPool* pool, uint32_t seen) {
  for (int spin = 0; spin < kPoolSpins; ++spin) {
    const uint32_t round = __atomic_load_n(&pool->round, __ATOMIC_ACQUIRE);
    if (round != seen) return round;
    pool_pause();
  }
  pthread_mutex_lock(&pool->mutex);
  while (pool->round == seen) pthread_cond_wait(&pool->work, &pool->mutex);
  const uint32_t round = pool->round;
  pthread_mutex_unlock(&pool->mutex);
  return round;
}

void* pool_worker(void* argument) {
  auto* pool = static_cast<ThreadPool*>(argument);
  uint32_t seen = 0;
  for (;;) {
    seen = pool_await_round(pool, seen);
    if (pool->stop) return nullptr;
    pool_take_indices(pool);
    if (__atomic_sub_fetch(&pool->busy, 1, __ATOMIC_ACQ_REL) == 0) {
      pthread_mutex_lock(&pool->mutex);  // so that the signal cannot fall between the waiter's look and its wait
      pthread_cond_signal(&pool->idle);
      pthread_mutex_unlock(&pool->mutex);
    }
  }
}

void pool_start_round(ThreadPool* pool) {
  pthread_mutex_lock(&pool->mutex);
  __atomic_store_n(&pool->round, pool->round + 1, __ATOMIC_RELEASE);
  pthread_cond_broadcast(&pool->work);
  pthread_mutex_unlock(&pool->mutex);
}

void pool_await_workers(ThreadPool* pool) {
  for (int spin = 0; spin < kPoolSpins; ++spin) {
    if (__atomic_load_n(&pool->busy, __ATOMIC_ACQUIRE) == 0) return;
    pool_pause();
  }
  pthread_mutex_lock(&pool->mutex);
  while (__atomic_load_n(&pool->busy, __ATOMIC_ACQUIRE) != 0) pthread_cond_wait(&pool->idle, &pool->mutex);
  pthread_mutex_unlock(&pool->mutex);
}

void pool_run(void* context, size_t count, void (*task)(void*, size_t), void* argument) {
  auto* pool = static_cast<ThreadPool*>(context);
  pool->task = task;
  pool->argument = argument;
  pool->count = count;
  pool->next = 0;
  pool->busy = pool->workers;
  pool_start_round(pool);
  pool_take_indices(pool);
  pool_await_workers(pool);
}

}  // namespace

Status thread_pool_create(Memory& memory, size_t threads, ThreadPool** created, penlight_error& error) {
  auto* pool = static_cast<ThreadPool*>(memory.allocate(sizeof(ThreadPool)));
  if (pool == nullptr) return memory.failure(error, "thread pool");
  memset(pool, 0, sizeof(*pool));
  pthread_mutex_init(&pool->mutex, nullptr);
  pthread_cond_init(&pool->work, nullptr);
  pthread_cond_init(&pool->idle, nullptr);
  for (size_t i = 0; i + 1 < threads; ++i) {
    if (pthread_create(&pool->threads[i], nullptr, pool_worker, pool) != 0) {
      thread_pool_free(memory, pool);
      return fail(error, Status::kOutOfMemory, "the system refused thread %zu of %zu; ask for fewer threads", i + 2, threads);
    }
    ++pool->workers;
  }
  *created = pool;
  return Status::kOk;
}

void thread_pool_free(Memory& memory, ThreadPool* pool) {
  if (pool == nullptr) return;
  pool->stop = true;
  pool_start_round(pool);
  for (size_t i = 0; i < pool->workers; ++i) pthread_join(pool->threads[i], nullptr);
  pthread_cond_destroy(&pool->idle);
  pthread_cond_destroy(&pool->work);
  pthread_mutex_destroy(&pool->mutex);
  memory.release(pool, sizeof(*pool));
}

penlight_thread_pool thread_pool_interface(ThreadPool* pool) { return {pool_run, pool->workers + 1, pool}; }

}  // namespace penlight
#else
namespace penlight {

Status thread_pool_create(Memory&, size_t, ThreadPool**, penlight_error& error) {
  return fail(error, Status::kInvalidArgument, "this build has no threads; give a thread_pool, or 1 thread");
}

void thread_pool_free(Memory&, ThreadPool*) {}
penlight_thread_pool thread_pool_interface(ThreadPool*) { return {}; }

}  // namespace penlight
#endif
