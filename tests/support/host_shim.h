// Runs CUDA kernels on the CPU for tests: the threads of a block are fibres that take turns at every barrier and shuffle.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__
#define __device__
#define __shared__ static  // one block runs at a time
#define __launch_bounds__(...)
#define __forceinline__ inline

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

// A copy to shared memory that runs in the background: it may land at once or as late as when somebody waits for it.
struct Copy {
  void* target;
  const void* source;  // null: zeros
  size_t bytes;
};

struct Fibre {
  ucontext_t context;  // starts it; jumps do the rest, as they need no system call
  jmp_buf place;
  bool is_started;
  std::vector<char> stack;
  ShimIndex index;
  unsigned number;
  bool done;
  std::vector<std::vector<Copy>> groups;  // the last one is still open
};

struct Warp {
  Barrier barrier;
  const void* slots[kLanes];  // what each lane shows the others until the next barrier
};

struct Block {
  jmp_buf scheduler;
  std::vector<Fibre> fibres;
  std::vector<Warp> warps;
  Barrier barrier;
  Fibre* current = nullptr;
  size_t progress = 0;
  std::function<void()> kernel;
};
inline Block block;

// Two extremes of what hardware may do; a kernel that lacks a barrier or a wait is wrong under one of them.
inline bool is_reversed = false;  // the last thread runs first, and copies land at once instead of late

// Goes on with the next fibre until it is this one's turn again.
inline void yield() {
  if (_setjmp(block.current->place) == 0) _longjmp(block.scheduler, 1);
}

inline void resume(Fibre& fibre) {
  block.current = &fibre;
  threadIdx = fibre.index;
  if (_setjmp(block.scheduler) != 0) return;
  if (fibre.is_started) _longjmp(fibre.place, 1);
  fibre.is_started = true;
  setcontext(&fibre.context);
}

inline void wait(Barrier& barrier) {
  unsigned generation = barrier.generation;
  ++barrier.arrived;
  ++block.progress;
  barrier.open_if_complete();
  while (barrier.generation == generation) yield();
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
  _longjmp(block.scheduler, 1);
}

inline void start(Fibre& fibre, unsigned number) {
  fibre.number = number;
  fibre.index = {number % blockDim.x, number / blockDim.x % blockDim.y, number / (blockDim.x * blockDim.y)};
  fibre.done = fibre.is_started = false;
  fibre.groups.assign(1, {});
  fibre.stack.resize(kStackBytes);
  getcontext(&fibre.context);
  fibre.context.uc_stack.ss_sp = fibre.stack.data();
  fibre.context.uc_stack.ss_size = kStackBytes;
  fibre.context.uc_link = nullptr;
  makecontext(&fibre.context, fibre_main, 0);
  ++block.barrier.members;
  ++block.warps[number / kLanes].barrier.members;
}

// A warp runs as far ahead of the others as barriers let it: what one overwrites too early, another has not read yet.
inline void run_warp(unsigned warp, unsigned threads) {
  unsigned first = warp * kLanes, last = first + kLanes < threads ? first + kLanes : threads;
  for (size_t before = block.progress - 1; before != block.progress;) {
    before = block.progress;
    for (unsigned i = first; i < last; ++i) {
      Fibre& fibre = block.fibres[is_reversed ? last - 1 - (i - first) : i];
      if (!fibre.done) resume(fibre);
    }
  }
}

// False when threads wait for each other for ever: a barrier that not all of them reach.
inline bool run_block() {
  unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  block.barrier = {};
  block.warps.assign((threads + kLanes - 1) / kLanes, {});
  block.fibres.resize(threads);
  for (unsigned i = 0; i < threads; ++i) start(block.fibres[i], i);
  unsigned warps = static_cast<unsigned>(block.warps.size());
  for (size_t before = block.progress - 1; before != block.progress;) {
    before = block.progress;
    for (unsigned i = 0; i < warps; ++i) run_warp(is_reversed ? warps - 1 - i : i, threads);
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

namespace shim {

inline unsigned lane() { return block.current->number % kLanes; }
inline Warp& warp() { return block.warps[block.current->number / kLanes]; }

// Calls read(slots) when every lane has shown its value; no lane goes on before all have read.
template <typename T, typename Read>
auto exchange(const T& value, Read read) {
  warp().slots[lane()] = &value;
  wait(warp().barrier);
  auto result = read(warp().slots);
  wait(warp().barrier);
  return result;
}

template <typename T>
T from_lane(const T& value, unsigned source) {
  return exchange(value, [source](const void** slots) { return *static_cast<const T*>(slots[source % kLanes]); });
}

inline void finish(const std::vector<Copy>& group) {
  for (const Copy& copy : group) {
    if (copy.source == nullptr)
      memset(copy.target, 0, copy.bytes);
    else
      memcpy(copy.target, copy.source, copy.bytes);
  }
}

}  // namespace shim

inline void __syncthreads() { shim::wait(shim::block.barrier); }
inline void __syncwarp(unsigned = ~0u) { shim::wait(shim::warp().barrier); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return shim::from_lane(value, shim::lane() ^ static_cast<unsigned>(mask));
}
template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  return shim::from_lane(value, static_cast<unsigned>(source));
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
  unsigned source = shim::lane() + delta;
  return shim::from_lane(value, source < shim::kLanes ? source : shim::lane());
}
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned delta) {
  return shim::from_lane(value, delta <= shim::lane() ? shim::lane() - delta : shim::lane());
}

inline unsigned __ballot_sync(unsigned, int predicate) {
  return shim::exchange(predicate, [](const void** slots) {
    unsigned bits = 0;
    for (unsigned i = 0; i < shim::kLanes; ++i) bits |= (*static_cast<const int*>(slots[i]) != 0 ? 1u : 0u) << i;
    return bits;
  });
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == ~0u; }

inline void cp_async(void* target, const void* source, int bytes, bool is_valid) {
  shim::Copy copy{target, is_valid ? source : nullptr, static_cast<size_t>(bytes)};
  if (shim::is_reversed)
    shim::finish({copy});
  else
    shim::block.current->groups.back().push_back(copy);
}
inline void cp_async_commit() { shim::block.current->groups.emplace_back(); }
template <int kPending>
void cp_async_wait() {
  auto& groups = shim::block.current->groups;
  while (groups.size() > kPending + 1) {
    shim::finish(groups.front());
    groups.erase(groups.begin());
  }
}

// Lane 8 * i + r shows the address of row r of the 8 x 8 matrix i; lane t gets elements 2 (t % 4) and 2 (t % 4) + 1 of row t / 4 of
// every matrix, or of column t / 4 when transposed (PTX ISA, ldmatrix).
template <bool kTranspose>
void load_matrices(unsigned (&fragment)[4], const void* row) {
  unsigned lane = shim::lane();
  shim::exchange(row, [&fragment, lane](const void** slots) {
    for (unsigned i = 0; i < 4; ++i) {
      uint16_t pair[2];
      for (unsigned k = 0; k < 2; ++k) {
        unsigned along = 2 * (lane % 4) + k, across = lane / 4;
        unsigned r = kTranspose ? along : across, c = kTranspose ? across : along;
        pair[k] = static_cast<const uint16_t*>(*static_cast<void* const*>(slots[8 * i + r]))[c];
      }
      memcpy(&fragment[i], pair, sizeof pair);
    }
    return 0;
  });
}

namespace shim {

inline float wide(__half x) { return __half2float(x); }
inline float wide(__nv_bfloat16 x) { return __bfloat162float(x); }

// One of the two halves in a register.
template <typename Half>
float element(unsigned pair, unsigned which) {
  uint16_t bits = static_cast<uint16_t>(pair >> 16 * which);
  Half half;
  memcpy(&half, &bits, sizeof bits);
  return wide(half);
}

struct Operands {
  unsigned a[4], b[2];
};

}  // namespace shim

// c (16 x 8) += a (16 x 16) * b (16 x 8); fragments as the PTX ISA lays them out for mma.m16n8k16.
template <typename Half>
void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  shim::Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  unsigned lane = shim::lane();
  shim::exchange(mine, [&c, lane](const void** slots) {
    for (unsigned i = 0; i < 4; ++i) {
      unsigned row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      for (unsigned k = 0; k < 16; ++k) {
        const auto& left = *static_cast<const shim::Operands*>(slots[row % 8 * 4 + k % 8 / 2]);
        const auto& right = *static_cast<const shim::Operands*>(slots[column * 4 + k % 8 / 2]);
        c[i] += shim::element<Half>(left.a[row / 8 + 2 * (k / 8)], k % 2) * shim::element<Half>(right.b[k / 8], k % 2);
      }
    }
    return 0;
  });
}
