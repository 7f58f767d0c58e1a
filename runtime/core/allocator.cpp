// SPDX-License-Identifier: Apache-2.0
#include "allocator.h"

#include "core/platform.h"

#if PENLIGHT_MALLOC
#include <stdlib.h>
#endif

namespace penlight {
namespace {

#if PENLIGHT_MALLOC
void* libc_allocate(void*, size_t size, size_t alignment) {
  void* memory = nullptr;
  if (alignment < sizeof(void*)) alignment = sizeof(void*);
  return posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}

void libc_release(void*, void* memory, size_t) { free(memory); }
#else
void* libc_allocate(void*, size_t, size_t) { return nullptr; }

void libc_release(void*, void*, size_t) {}
#endif

}  // namespace

void Memory::initialize(const penlight_allocator* allocator, uint64_t budget, uint64_t used) {
  allocator_ = allocator != nullptr ? *allocator : penlight_allocator{libc_allocate, libc_release, nullptr};
  budget_ = budget;
  used_ = used;
}

void* Memory::allocate(size_t size, size_t alignment) {
  if (parent_ != nullptr) return parent_->allocate(size, alignment);
  if (size == 0) size = 1;  // NULL must mean refusal
  uint64_t total = 0;
  over_budget_ = __builtin_add_overflow(used_, uint64_t{size}, &total) || (budget_ != 0 && total > budget_);
  refused_ = size;
  // Sizes above PTRDIFF_MAX are undefined for pointer arithmetic, whatever the allocator would say.
  if (over_budget_ || size > PTRDIFF_MAX) return nullptr;
  void* memory = allocator_.allocate(allocator_.context, size, alignment);
  if (memory != nullptr) used_ = total;
  return memory;
}

void Memory::release(void* memory, size_t size) {
  if (parent_ != nullptr) return parent_->release(memory, size);
  if (memory == nullptr) return;
  if (size == 0) size = 1;
  allocator_.release(allocator_.context, memory, size);
  used_ -= size;
}

Status Memory::failure(penlight_error& error, const char* what) const {
  if (parent_ != nullptr) return parent_->failure(error, what);
  const auto bytes = static_cast<unsigned long long>(refused_);
  if (!over_budget_) return fail(error, Status::kOutOfMemory, "%s: the allocator refused %llu bytes", what, bytes);
  return fail(error, Status::kBudgetExceeded, "%s: %llu bytes more than the %llu in use exceed the memory budget of %llu; raise it",
              what, bytes, static_cast<unsigned long long>(used_), static_cast<unsigned long long>(budget_));
}

bool ArrayBytes::reserve(Memory& memory, size_t count, size_t element_size) {
  clear(element_size);
  if (count == 0) return true;
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, element_size, &bytes)) bytes = SIZE_MAX;  // the allocator refuses
  data_ = memory.allocate(bytes, 16);
  if (data_ == nullptr) return false;
  memory_ = &memory;
  count_ = count;
  return true;
}

bool ArrayBytes::reset(Memory& memory, size_t count, size_t element_size) {
  if (!reserve(memory, count, element_size)) return false;
  if (count > 0) memset(data_, 0, count * element_size);
  return true;
}

void ArrayBytes::clear(size_t element_size) {
  if (data_ != nullptr) memory_->release(data_, count_ * element_size);
  data_ = nullptr;
  count_ = 0;
}

}  // namespace penlight
