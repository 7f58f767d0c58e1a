// Threads of the training kernels. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/parallel.h"

namespace penlight {

/// Threads that a kernel call may use, the caller among them; starts as OMP_NUM_THREADS or the number of processors.
size_t worker_count();
void set_worker_count(size_t count);
/// The workers as kernels take them. One call at a time gets them; a second one at the same time runs on its own thread.
Parallel workers();

}  // namespace penlight
