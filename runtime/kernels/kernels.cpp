// The table of kernels, built from kernels.inc. SPDX-License-Identifier: Apache-2.0
#include "kernel.h"

namespace penlight {

#define PENLIGHT_KERNEL(domain, name, min_version, max_version, min_in, max_in, min_out, max_out, infer, run, family) \
  Status infer(Context& context);                                                                                     \
  Status run(Context& context);
#include "kernels.inc"
#undef PENLIGHT_KERNEL

#define PENLIGHT_KERNEL(domain, name, min_version, max_version, min_in, max_in, min_out, max_out, infer, run, family) \
  {domain, #name, min_version, max_version, min_in, max_in, min_out, max_out, infer, run},
const Kernel kKernels[] = {
#include "kernels.inc"
};
#undef PENLIGHT_KERNEL

const size_t kKernelCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace penlight
