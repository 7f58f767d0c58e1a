// Large float arrays whose memory waits for the next one of the same size. SPDX-License-Identifier: Apache-2.0
//
// The C library maps blocks beyond 32 MB anew each time and the system clears their pages: for the logits of a language model that
// is a good part of a training step. See memory.cpp for smaller ones.
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <mutex>
#include <vector>

#include "arrays.h"
#include "memory.h"

namespace penlight {

namespace {

constexpr size_t kBlockUnit = size_t{2} << 20;    // a huge page
constexpr size_t kKeptBytes = size_t{512} << 20;  // of free blocks; more goes back to the system

struct Block {
  void* data;
  size_t size;
};

struct FreeBlocks {
  std::mutex mutex;
  std::vector<Block> blocks;
  size_t bytes = 0;
};

/// Never destroyed: arrays may outlive static objects.
FreeBlocks& free_blocks() {
  static FreeBlocks* found = new FreeBlocks;
  return *found;
}

Block take_block(size_t size) {
  FreeBlocks& free = free_blocks();
  {
    std::lock_guard<std::mutex> lock(free.mutex);
    for (Block& block : free.blocks)
      if (block.size == size) {
        const Block found = block;
        block = free.blocks.back();
        free.blocks.pop_back();
        free.bytes -= size;
        return found;
      }
  }
  void* data = std::aligned_alloc(kBlockUnit, size);
  if (data == nullptr) throw std::bad_alloc();
  return {data, size};
}

void give_block(const Block& block) {
  FreeBlocks& free = free_blocks();
  {
    std::lock_guard<std::mutex> lock(free.mutex);
    if (free.bytes + block.size <= kKeptBytes) {
      free.blocks.push_back(block);
      free.bytes += block.size;
      return;
    }
  }
  std::free(block.data);
}

/// Uninitialised float32 of a shape.
nb::ndarray<nb::numpy, float> large_floats(const std::vector<size_t>& shape) {
  size_t bytes = sizeof(float);
  for (const size_t n : shape) require(!__builtin_mul_overflow(bytes, n, &bytes), "a shape that fits into memory");
  require(!__builtin_add_overflow(bytes, kBlockUnit - 1, &bytes), "a shape that fits into memory");
  auto owned = std::make_unique<Block>(take_block(bytes / kBlockUnit * kBlockUnit));
  nb::capsule owner(owned.get(), [](void* block) noexcept {
    give_block(*static_cast<Block*>(block));
    delete static_cast<Block*>(block);
  });
  return {static_cast<float*>(owned.release()->data), shape.size(), shape.data(), owner};
}

}  // namespace

void release_blocks() {
  FreeBlocks& free = free_blocks();
  std::lock_guard<std::mutex> lock(free.mutex);
  for (const Block& block : free.blocks) std::free(block.data);
  free.blocks.clear();
  free.bytes = 0;
}

void bind_blocks(nb::module_& module) {
  module.def("large_floats", &large_floats, nb::arg("shape"), "Uninitialised float32 in memory that is used again.");
}

}  // namespace penlight
