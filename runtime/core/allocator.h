// The one seam through which the runtime gets memory, with its budget. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/message.h"
#include "kernels/kernel.h"
#include "penlight.h"

namespace penlight {

/// Counts what it hands out and never exceeds the budget. Not thread safe: each program and each session has its own.
class Memory {
 public:
  /// `allocator` null: malloc. `budget` 0: no limit. `used`: bytes that count against the budget from the start.
  void initialize(const penlight_allocator* allocator, uint64_t budget, uint64_t used);
  /// Takes everything from `parent`, which must outlive it, and counts there.
  void share(Memory& parent) { parent_ = &parent; }
  /// Null when the budget or the allocator says no; `failure` then tells which. `size` may be 0.
  void* allocate(size_t size, size_t alignment = 16);
  void release(void* memory, size_t size);
  /// Turns the last refusal into a message.
  Status failure(penlight_error& error, const char* what) const;

  const penlight_allocator& allocator() const { return allocator_; }
  uint64_t used() const { return used_; }
  uint64_t budget() const { return budget_; }

 private:
  Memory* parent_ = nullptr;
  penlight_allocator allocator_ = {};
  uint64_t budget_ = 0;
  uint64_t used_ = 0;
  uint64_t refused_ = 0;  // bytes of the last refusal
  bool over_budget_ = false;
};

/// A zero-filled array of plain data that is released with its owner.
template <typename T>
class Array {
 public:
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { clear(); }

  /// Replaces the content by `count` zero elements; false leaves the array empty.
  bool reset(Memory& memory, size_t count) {
    clear();
    if (count == 0) return true;
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, sizeof(T), &bytes)) bytes = SIZE_MAX;  // the allocator refuses
    data_ = static_cast<T*>(memory.allocate(bytes, alignof(T) > 16 ? alignof(T) : 16));
    if (data_ == nullptr) return false;
    memset(static_cast<void*>(data_), 0, bytes);
    memory_ = &memory;
    count_ = count;
    return true;
  }

  /// Makes room for `count` elements and keeps what is there; grows by doubling.
  bool grow(Memory& memory, size_t count) {
    if (count <= count_) return true;
    const size_t doubled = count_ > SIZE_MAX / 2 / sizeof(T) ? count : count_ * 2;
    Array bigger;
    if (!bigger.reset(memory, count > doubled ? count : doubled)) return false;
    if (count_ > 0) memcpy(static_cast<void*>(bigger.data_), data_, count_ * sizeof(T));
    swap(bigger);
    return true;
  }

  void clear() {
    if (data_ != nullptr) memory_->release(data_, count_ * sizeof(T));
    data_ = nullptr;
    count_ = 0;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t count() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  void swap(Array& other) {
    T* data = data_;
    const size_t count = count_;
    data_ = other.data_, count_ = other.count_, memory_ = other.memory_;
    other.data_ = data, other.count_ = count;  // both belong to the same memory
  }

  T* data_ = nullptr;
  size_t count_ = 0;
  Memory* memory_ = nullptr;
};

}  // namespace penlight
