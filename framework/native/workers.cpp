// A small pool: workers spin a little, then sleep between calls; a forked child starts anew without them. SPDX-License-Identifier:
// Apache-2.0
#include "workers.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

namespace penlight {

namespace {

size_t default_worker_count() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  const long wanted = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
  const size_t processors = std::thread::hardware_concurrency();
  if (wanted > 0 && wanted <= 256) return static_cast<size_t>(wanted);
  return processors > 0 ? processors : 1;
}

// Some tens of microseconds: they bridge the interpreter's way from one kernel to the next, where waking costs as much as a kernel.
constexpr int kSpins = 2000;

void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Whether `is_true` became so within a few spins.
template <typename Predicate>
bool spin_until(Predicate&& is_true) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (is_true()) return true;
    pause_processor();
  }
  return false;
}

class WorkerPool {
 public:
  explicit WorkerPool(size_t count) : process_(getpid()) {
    for (size_t i = 1; i < count; ++i) threads_.emplace_back([this] { work(); });
  }

  ~WorkerPool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  bool is_mine() const { return process_ == getpid(); }
  size_t count() const { return threads_.size() + 1; }

  /// False when another thread is using the pool.
  bool run(size_t count, void (*task)(void* argument, size_t index), void* argument) {
    std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = task;
      argument_ = argument;
      count_ = count;
      next_ = 0;
      busy_ = threads_.size();
      ++round_;  // publishes all of the above to the spinning workers
    }
    wake_.notify_all();
    drain();
    if (spin_until([this] { return busy_ == 0; })) return true;
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    return true;
  }

 private:
  void drain() {
    for (size_t i = next_++; i < count_; i = next_++) task_(argument_, i);
  }

  void work() {
    size_t seen = 0;
    for (;;) {
      const auto is_called = [&] { return stopping_ || round_ != seen; };
      if (!spin_until(is_called)) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, is_called);
      }
      if (stopping_) return;
      seen = round_;
      drain();
      if (--busy_ == 0) {
        std::lock_guard<std::mutex> lock(mutex_);  // so that the call cannot fall between the waiter's look and its wait
        done_.notify_one();
      }
    }
  }

  const pid_t process_;
  std::vector<std::thread> threads_;
  std::mutex turn_, mutex_;
  std::condition_variable wake_, done_;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> round_{0}, busy_{0}, next_{0};
  size_t count_ = 0;
  void (*task_)(void* argument, size_t index) = nullptr;
  void* argument_ = nullptr;
};

std::mutex pool_mutex;
size_t wanted_count = 0;
// Never destroyed at exit: worker threads may outlive static objects.
WorkerPool* pool = nullptr;

WorkerPool* current_pool() {
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (wanted_count == 0) wanted_count = default_worker_count();
  if (pool != nullptr && (!pool->is_mine() || pool->count() != wanted_count)) {
    if (pool->is_mine()) delete pool;  // a forked child has the object but not the threads: it is left behind
    pool = nullptr;
  }
  if (pool == nullptr) pool = new WorkerPool(wanted_count);
  return pool;
}

void run_on_pool(void* context, size_t count, void (*task)(void* argument, size_t index), void* argument) {
  if (static_cast<WorkerPool*>(context)->run(count, task, argument)) return;
  for (size_t i = 0; i < count; ++i) task(argument, i);
}

}  // namespace

size_t worker_count() {
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (wanted_count == 0) wanted_count = default_worker_count();
  return wanted_count;
}

void set_worker_count(size_t count) {
  std::lock_guard<std::mutex> lock(pool_mutex);
  wanted_count = count > 0 ? count : 1;
}

Parallel workers() {
  if (worker_count() == 1) return Parallel{};
  WorkerPool* mine = current_pool();
  return Parallel{run_on_pool, mine, mine->count()};
}

}  // namespace penlight
