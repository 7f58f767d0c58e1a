// The table of kernels without one: what the verifier asks of a kernel, for a fuzzer that loads and never runs.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel.h"

namespace penlight {
namespace {

Status absent(Context&) { return Status::kUnsupportedOperator; }

}  // namespace

#define PENLIGHT_KERNEL(domain, name, min_version, max_version, min_in, max_in, min_out, max_out, infer, run, family) \
  {domain, #name, min_version, max_version, min_in, max_in, min_out, max_out, absent, absent},
const Kernel kKernels[] = {
#include "kernels/kernels.inc"
};
#undef PENLIGHT_KERNEL

const size_t kKernelCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace penlight
