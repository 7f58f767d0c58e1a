// SPDX-License-Identifier: Apache-2.0
#include "pool.h"

namespace penlight {

void* Pool::allocate(Memory& memory, size_t size) {
  if (size > SIZE_MAX / 2) return nullptr;
  size = (size + kAlignment - 1) / kAlignment * kAlignment;
  for (; current_ != nullptr; current_ = current_->next) {
    if (current_->size - current_->used >= size) break;
    if (current_->next == nullptr) break;
  }
  if (current_ == nullptr || current_->size - current_->used < size) {
    const size_t bytes = size + kHeader > kChunkBytes ? size + kHeader : kChunkBytes;
    auto* chunk = static_cast<Chunk*>(memory.allocate(bytes, kAlignment));
    if (chunk == nullptr) return nullptr;
    *chunk = {nullptr, bytes, kHeader};
    (current_ == nullptr ? first_ : current_->next) = chunk;
    current_ = chunk;
  }
  unsigned char* start = reinterpret_cast<unsigned char*>(current_) + current_->used;
  current_->used += size;
  return start;
}

void Pool::rewind() {
  for (Chunk* chunk = first_; chunk != nullptr; chunk = chunk->next) chunk->used = kHeader;
  current_ = first_;
}

void Pool::clear(Memory& memory) {
  while (first_ != nullptr) {
    Chunk* next = first_->next;
    memory.release(first_, first_->size);
    first_ = next;
  }
  current_ = nullptr;
}

}  // namespace penlight
