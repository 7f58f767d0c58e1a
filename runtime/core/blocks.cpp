// SPDX-License-Identifier: Apache-2.0
#include "blocks.h"

namespace penlight {

struct alignas(64) Blocks::Header {
  Header* previous;
  Header* next;
  Header* next_free;
  size_t bytes;  // with this header
  uint32_t size_class;
  bool is_free;
};

namespace {

constexpr size_t kBlockUnit = 64;

/// Sizes come in classes of 1, 2 and 3 units and then two for each doubling. Returns the class and rounds `units` up to it.
uint32_t block_class(size_t* units) {
  uint32_t shift = 0;
  while ((*units >> shift) > 3) ++shift;
  size_t mantissa = (*units + (size_t{1} << shift) - 1) >> shift;
  if (mantissa == 4) {
    ++shift;
    mantissa = 2;
  }
  *units = mantissa << shift;
  return 2 * shift + static_cast<uint32_t>(mantissa);
}

}  // namespace

void* Blocks::allocate(Memory& memory, size_t size) {
  if (size > PTRDIFF_MAX / 4) return memory.allocate(SIZE_MAX);  // refused; below, sums stay in range
  size_t units = size == 0 ? 1 : (size + kBlockUnit - 1) / kBlockUnit;
  const uint32_t size_class = block_class(&units);
  Header* header = free_[size_class];
  if (header != nullptr) {
    free_[size_class] = header->next_free;
    header->is_free = false;
    return header + 1;
  }
  const size_t bytes = units * kBlockUnit + sizeof(Header);
  header = static_cast<Header*>(memory.allocate(bytes, alignof(Header)));
  if (header == nullptr) {
    trim(memory);
    header = static_cast<Header*>(memory.allocate(bytes, alignof(Header)));
  }
  if (header == nullptr) return nullptr;
  *header = {nullptr, all_, nullptr, bytes, size_class, false};
  if (all_ != nullptr) all_->previous = header;
  all_ = header;
  return header + 1;
}

void Blocks::release(void* data) {
  if (data == nullptr) return;
  Header* header = static_cast<Header*>(data) - 1;
  header->is_free = true;
  header->next_free = free_[header->size_class];
  free_[header->size_class] = header;
}

size_t Blocks::capacity(const void* data) { return (static_cast<const Header*>(data) - 1)->bytes - sizeof(Header); }

void Blocks::unlink(Header* header) {
  (header->previous != nullptr ? header->previous->next : all_) = header->next;
  if (header->next != nullptr) header->next->previous = header->previous;
}

/// Gives back what is released.
void Blocks::trim(Memory& memory) {
  for (Header*& first : free_) first = nullptr;
  for (Header* header = all_; header != nullptr;) {
    Header* next = header->next;
    if (header->is_free) {
      unlink(header);
      memory.release(header, header->bytes);
    }
    header = next;
  }
}

void Blocks::clear(Memory& memory) {
  for (Header* header = all_; header != nullptr; header = header->next) header->is_free = true;
  trim(memory);
}

}  // namespace penlight
