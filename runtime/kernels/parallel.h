// How bare kernels use threads: over outputs only, so that results never depend on their number. SPDX-License-Identifier:
// Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace penlight {

/// Runs task(argument, i) for i in [0, count) and returns when all are done. `run` null: one thread.
struct Parallel {
  void (*run)(void* context, size_t count, void (*task)(void* argument, size_t index), void* argument) = nullptr;
  void* context = nullptr;
  size_t threads = 1;
};

template <typename T>
struct RemoveReference {
  using type = T;
};
template <typename T>
struct RemoveReference<T&> {
  using type = T;
};

/// Calls body(i) for i in [0, count).
template <typename Body>
void parallel_for(const Parallel& parallel, size_t count, Body&& body) {
  if (parallel.run == nullptr || parallel.threads <= 1 || count <= 1) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  using Plain = typename RemoveReference<Body>::type;
  Plain* argument = &body;
  parallel.run(
      parallel.context, count, [](void* task, size_t index) { (*static_cast<Plain*>(task))(index); }, argument);
}

/// Number of pieces that `count` items are cut into when each piece is worth at least `grain` items.
inline size_t piece_count(const Parallel& parallel, size_t count, size_t grain) {
  const size_t wanted = count / (grain > 0 ? grain : 1);
  return wanted < 1 ? 1 : wanted < parallel.threads ? wanted : parallel.threads;
}

/// Calls body(begin, end) on `pieces` pieces of [0, count) of nearly equal length.
template <typename Body>
void parallel_pieces(const Parallel& parallel, size_t count, size_t pieces, Body&& body) {
  parallel_for(parallel, pieces, [&](size_t i) {
    const size_t quotient = count / pieces, rest = count % pieces;
    const size_t begin = i * quotient + (i < rest ? i : rest);
    const size_t end = begin + quotient + (i < rest ? 1 : 0);
    if (begin < end) body(begin, end);
  });
}

/// As above; pieces are worth at least `grain` items.
template <typename Body>
void parallel_ranges(const Parallel& parallel, size_t count, size_t grain, Body&& body) {
  parallel_pieces(parallel, count, piece_count(parallel, count, grain), body);
}

}  // namespace penlight
