// Sorting of indices in place, without memory of its own. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

namespace penlight {

template <typename Less>
void index_sift_down(int64_t* order, int64_t root, int64_t count, const Less& less) {
  for (int64_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
    if (child + 1 < count && less(order[child], order[child + 1])) ++child;
    if (!less(order[root], order[child])) return;
    const int64_t swapped = order[root];
    order[root] = order[child];
    order[child] = swapped;
    root = child;
  }
}

/// Heapsort: no access outside of `order` whatever `less` says.
template <typename Less>
void sort_indices(int64_t* order, int64_t count, const Less& less) {
  for (int64_t i = count / 2; i-- > 0;) index_sift_down(order, i, count, less);
  for (int64_t end = count - 1; end > 0; --end) {
    const int64_t swapped = order[0];
    order[0] = order[end];
    order[end] = swapped;
    index_sift_down(order, int64_t{0}, end, less);
  }
}

}  // namespace penlight
