// How much freed memory the process keeps. SPDX-License-Identifier: Apache-2.0
#pragma once

namespace penlight {

/// From now on up to 512 MB of freed memory wait for the next arrays. Does nothing where MALLOC_TRIM_THRESHOLD_,
/// MALLOC_MMAP_THRESHOLD_ or GLIBC_TUNABLES are set, or without glibc.
void keep_freed_memory();
/// Gives what is kept back to the system, the large blocks too.
void release_freed_memory();
void release_blocks();

}  // namespace penlight
