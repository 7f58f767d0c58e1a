// What the system below the runtime has. Each macro may be set on the command line. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#if defined(__unix__) || defined(__APPLE__) || defined(__wasm__)
#define PENLIGHT_HOSTED 1
#else
#define PENLIGHT_HOSTED 0  // bare metal
#endif

/// 1: code size before speed, for small devices.
#if !defined(PENLIGHT_SMALL)
#define PENLIGHT_SMALL 0
#endif

/// 1: pthreads. 0: a session that asks for threads of its own is refused; the caller's pool works.
#if !defined(PENLIGHT_THREADS)
#define PENLIGHT_THREADS PENLIGHT_HOSTED
#endif

/// 1: clock_gettime. 0: profiles say 0 ns.
#if !defined(PENLIGHT_CLOCK)
#define PENLIGHT_CLOCK PENLIGHT_HOSTED
#endif

/// 1: the allocator that is used unless the caller gives one is libc's. 0: it refuses everything, so that no malloc is linked.
#if !defined(PENLIGHT_MALLOC)
#define PENLIGHT_MALLOC PENLIGHT_HOSTED
#endif

namespace penlight {

/// Asks for placement new: a compiler for bare metal may come without the C++ library's <new>.
struct InPlace {
  void* memory;
};

}  // namespace penlight

inline void* operator new(size_t, penlight::InPlace place) noexcept { return place.memory; }
