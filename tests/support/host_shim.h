// Runs CUDA kernels on the CPU for tests: the threads of a block are fibres that take turns at every barrier and shuffle.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__
#define __device__
#define __shared__ static  // one block runs at a time

struct ShimIndex {
  unsigned x, y, z;
};
inline ShimIndex threadIdx, blockIdx, blockDim, gridDim;

using __half = _Float16;
inline float __half2float(__half x) { return static_cast<float>(x); }
inline __half __float2half_rn(float x) { return static_cast<__half>(x); }

inline float __int_as_float(int bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

struct __nv_bfloat16 {
  uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 x) { return __int_as_float(static_cast<int>(static_cast<uint32_t>(x.bits) << 16)); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (x != x) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

namespace shim {

constexpr unsigned kLanes = 32;
constexpr size_t kStackBytes = 64 * 1024;

// All members wait until the last one has come; a thread that ends leaves.
struct Barrier {
  unsigned members = 0, arrived = 0, generation = 0;
  void open_if_complete() {
    if (members > 0 && arrived == members) arrived = 0, ++generation;
  }
};

struct Fibre {
  ucontext_t context;
  std::vector<char> stack;
  ShimIndex index;
  unsigned number;
  bool done;
};

struct Warp {
  Barrier barrier;
  float slots[kLanes];
};

struct Block {
  ucontext_t scheduler;
  std::vector<Fibre> fibres;
  std::vector<Warp> warps;
  Barrier barrier;
  Fibre* current = nullptr;
  size_t progress = 0;
  std::function<void()> kernel;
};
inline Block block;

inline void wait(Barrier& barrier) {
  unsigned generation = barrier.generation;
  ++barrier.arrived;
  ++block.progress;
  barrier.open_if_complete();
  while (barrier.generation == generation) swapcontext(&block.current->context, &block.scheduler);
}

inline void fibre_main() {
  block.kernel();
  Fibre& self = *block.current;
  self.done = true;
  ++block.progress;
  for (Barrier* barrier : {&block.barrier, &block.warps[self.number / kLanes].barrier}) {
    --barrier->members;
    barrier->open_if_complete();
  }
}

inline void start(Fibre& fibre, unsigned number) {
  fibre.number = number;
  fibre.index = {number % blockDim.x, number / blockDim.x % blockDim.y, number / (blockDim.x * blockDim.y)};
  fibre.done = false;
  fibre.stack.resize(kStackBytes);
  getcontext(&fibre.context);
  fibre.context.uc_stack.ss_sp = fibre.stack.data();
  fibre.context.uc_stack.ss_size = kStackBytes;
  fibre.context.uc_link = &block.scheduler;
  makecontext(&fibre.context, fibre_main, 0);
  ++block.barrier.members;
  ++block.warps[number / kLanes].barrier.members;
}

// False when threads wait for each other for ever: a barrier that not all of them reach.
inline bool run_block() {
  unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  block.barrier = {};
  block.warps.assign((threads + kLanes - 1) / kLanes, {});
  block.fibres.resize(threads);
  for (unsigned i = 0; i < threads; ++i) start(block.fibres[i], i);
  for (size_t before = block.progress - 1; before != block.progress;) {
    before = block.progress;
    for (Fibre& fibre : block.fibres) {
      if (fibre.done) continue;
      block.current = &fibre;
      threadIdx = fibre.index;
      swapcontext(&block.scheduler, &fibre.context);
    }
  }
  for (Fibre& fibre : block.fibres)
    if (!fibre.done) return false;
  return true;
}

// grid: blocks x, y, z and threads x, y, z. Returns 0, or 1 for a deadlock.
inline int run(const unsigned* grid, std::function<void()> kernel) {
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {grid[3], grid[4], grid[5]};
  block.kernel = kernel;
  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0]; ++x) {
        blockIdx = {x, y, z};
        if (!run_block()) return 1;
      }
  return 0;
}

}  // namespace shim

inline void __syncthreads() { shim::wait(shim::block.barrier); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  unsigned number = shim::block.current->number;
  shim::Warp& warp = shim::block.warps[number / shim::kLanes];
  warp.slots[number % shim::kLanes] = value;
  shim::wait(warp.barrier);
  float result = warp.slots[(number % shim::kLanes) ^ static_cast<unsigned>(mask)];
  shim::wait(warp.barrier);
  return result;
}
