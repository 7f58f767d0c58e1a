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

/// What all arrays have in common, so that its code is there once: zero-filled bytes that are released with their owner.
class ArrayBytes {
 public:
  ArrayBytes(const ArrayBytes&) = delete;
  ArrayBytes& operator=(const ArrayBytes&) = delete;

  size_t count() const { return count_; }

 protected:
  ArrayBytes() = default;
  bool reserve(Memory& memory, size_t count, size_t element_size);
  bool reset(Memory& memory, size_t count, size_t element_size);
  void clear(size_t element_size);

  void* data_ = nullptr;
  size_t count_ = 0;

 private:
  Memory* memory_ = nullptr;
};

/// A zero-filled array of plain data that is released with its owner.
template <typename T>
class Array : public ArrayBytes {
 public:
  static_assert(alignof(T) <= 16, "memory is not aligned to more");

  Array() = default;
  ~Array() { clear(); }

  /// Replaces the content by `count` zero elements; false leaves the array empty.
  bool reset(Memory& memory, size_t count) { return ArrayBytes::reset(memory, count, sizeof(T)); }
  /// The same without zeros, for what is written before it is read: pages that nothing writes to take no memory.
  bool reserve(Memory& memory, size_t count) { return ArrayBytes::reserve(memory, count, sizeof(T)); }
  void clear() { ArrayBytes::clear(sizeof(T)); }

  T* data() { return static_cast<T*>(data_); }
  const T* data() const { return static_cast<const T*>(data_); }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
};

}  // namespace penlight
