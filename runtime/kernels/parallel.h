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

using Task = void (*)(void* argument, size_t index);

/// Runs task(argument, i) for i in [0, count), on the threads where there are several.
inline void parallel_run(const Parallel& parallel, size_t count, Task task, void* argument) {
  if (parallel.run != nullptr && parallel.threads > 1 && count > 1) return parallel.run(parallel.context, count, task, argument);
  for (size_t i = 0; i < count; ++i) task(argument, i);
}

/// Calls body(i) for i in [0, count).
template <typename Body>
void parallel_for(const Parallel& parallel, size_t count, Body&& body) {
  using Plain = typename RemoveReference<Body>::type;
  Plain* argument = &body;
  parallel_run(
      parallel, count, [](void* task, size_t index) { (*static_cast<Plain*>(task))(index); }, argument);
}

/// Number of pieces that `count` items are cut into when each piece is worth at least `grain` items.
inline size_t piece_count(const Parallel& parallel, size_t count, size_t grain) {
  const size_t wanted = count / (grain > 0 ? grain : 1);
  return wanted < 1 ? 1 : wanted < parallel.threads ? wanted : parallel.threads;
}

/// Work on [0, count), cut into pieces of nearly equal length.
struct Pieces {
  size_t count, pieces;
  void (*work)(void* body, size_t begin, size_t end);
  void* body;
};

inline void run_piece(void* pieces, size_t i) {
  const Pieces& p = *static_cast<const Pieces*>(pieces);
  const size_t quotient = p.count / p.pieces, rest = p.count % p.pieces;
  const size_t begin = i * quotient + (i < rest ? i : rest);
  const size_t end = begin + quotient + (i < rest ? 1 : 0);
  if (begin < end) p.work(p.body, begin, end);
}

/// Calls body(begin, end) on `pieces` pieces of [0, count). One function for all bodies cuts them, which keeps small builds small.
template <typename Body>
void parallel_pieces(const Parallel& parallel, size_t count, size_t pieces, Body&& body) {
  using Plain = typename RemoveReference<Body>::type;
  void* argument = const_cast<void*>(static_cast<const void*>(&body));  // Plain says whether it is constant
  Pieces cut{count, pieces, [](void* work, size_t begin, size_t end) { (*static_cast<Plain*>(work))(begin, end); }, argument};
  parallel_run(parallel, pieces, run_piece, &cut);
}

/// As above; pieces are worth at least `grain` items.
template <typename Body>
void parallel_ranges(const Parallel& parallel, size_t count, size_t grain, Body&& body) {
  parallel_pieces(parallel, count, piece_count(parallel, count, grain), body);
}

}  // namespace penlight
