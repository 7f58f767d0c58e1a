// Random masks by Philox4x32-10 (Salmon et al. 2011), as Random123 defines it. SPDX-License-Identifier: Apache-2.0
// Seed and offset lie in device memory and the offset moves on there, so that a captured step draws anew at each replay.
#include "common.cuh"

using uint32 = unsigned;
using uint64 = unsigned long long;

constexpr uint32 kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u, kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

struct Words {
  uint32 value[4];
};

__device__ inline Words philox(uint64 counter, uint64 key) {
  Words x = {{static_cast<uint32>(counter), static_cast<uint32>(counter >> 32), 0, 0}};
  uint32 key0 = static_cast<uint32>(key), key1 = static_cast<uint32>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64 a = static_cast<uint64>(kMultiplier0) * x.value[0], b = static_cast<uint64>(kMultiplier1) * x.value[2];
    x = {{static_cast<uint32>(b >> 32) ^ x.value[1] ^ key0, static_cast<uint32>(b),
          static_cast<uint32>(a >> 32) ^ x.value[3] ^ key1, static_cast<uint32>(a)}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return x;
}

// mask = 0 with probability p, else 1 / (1 - p). state: seed, and the number of blocks of four words drawn so far.
template <typename T>
__global__ void dropout_mask(const void* state, T* mask, size_t count, float p, float scale) {
  uint64 seed = static_cast<const uint64*>(state)[0], offset = static_cast<const uint64*>(state)[1];
  for (size_t i = global_thread(); i * 4 < count; i += global_threads()) {
    Words words = philox(offset + i, seed);
    for (size_t k = 0; k < 4; ++k) {
      float uniform = static_cast<float>(words.value[k] >> 8) * (1.0f / (1 << 24));
      if (i * 4 + k < count) mask[i * 4 + k] = from_float<T>(uniform >= p ? scale : 0.0f);
    }
  }
}

// One thread, after the mask.
template <typename Real>
__global__ void dropout_advance(void* state, size_t blocks) {
  static_cast<uint64*>(state)[1] += blocks;
}
