// penlight._native: the compiled kernels of training, on float32 NumPy arrays. SPDX-License-Identifier: Apache-2.0
//
// Results go into arrays that the caller gives; every function releases the interpreter lock and gives the same bits for any number
// of threads.
#include "arrays.h"
#include "call.h"
#include "kernels/isa.h"
#include "memory.h"
#include "workers.h"

namespace penlight {

namespace {

const char* isa_name() {
  switch (current_isa()) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kBaseline:
      return "baseline";
  }
  return "";
}

}  // namespace

}  // namespace penlight

NB_MODULE(_native, module) {
  module.doc() = "Compiled training kernels for float32 NumPy arrays.";
  module.def("num_threads", &penlight::worker_count, "Threads that a kernel call may use.");
  module.def("set_num_threads", &penlight::set_worker_count, nanobind::arg("count"));
  penlight::keep_freed_memory();
  module.def("release_freed_memory", &penlight::release_freed_memory, "Gives freed memory that is kept back to the system.");
  module.def("instruction_set", &penlight::isa_name, "The vector instructions in use: baseline, avx2 or avx512.");
  penlight::bind_checksum(module);
  if (!penlight::add_call_path(module.ptr())) throw nanobind::python_error();
  penlight::bind_convolution(module);
  penlight::bind_pooling(module);
  penlight::bind_normalization(module);
  penlight::bind_elementwise(module);
  penlight::bind_softmax(module);
  penlight::bind_optimizer(module);
  penlight::bind_half(module);
  penlight::bind_blas(module);
  penlight::bind_blocks(module);
  penlight::bind_attention(module);
  penlight::bind_product(module);
  penlight::bind_recurrent(module);
}
