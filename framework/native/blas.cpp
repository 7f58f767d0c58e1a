// Holds NumPy's OpenBLAS to one thread. SPDX-License-Identifier: Apache-2.0
//
// OpenBLAS cuts the sums of a product where the number of its threads says so: with two it gives other bits than with one.
// Our own kernels share out the large products by their shape alone; what is left for BLAS runs on the calling thread.
#include "arrays.h"

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>

#include <cstring>
#endif

namespace penlight {

namespace {

#if defined(__linux__)

using SetThreads = void (*)(int count);

// NumPy's wheels give the names a prefix and a suffix, distributions do not.
constexpr const char* kNames[] = {"scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads",
                                  "openblas_set_num_threads64_", "openblas_set_num_threads"};

int hold_library(struct dl_phdr_info* info, size_t, void* held) {
  if (info->dlpi_name == nullptr || std::strstr(info->dlpi_name, "blas") == nullptr) return 0;
  void* library = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return 0;
  for (const char* name : kNames) {
    if (const auto set_threads = reinterpret_cast<SetThreads>(dlsym(library, name))) {
      set_threads(1);
      *static_cast<bool*>(held) = true;
      break;
    }
  }
  dlclose(library);
  return 0;  // go on: SciPy may have brought a second one
}

/// False where NumPy uses another library, whose threads are the user's affair.
bool hold_blas() {
  bool held = false;
  dl_iterate_phdr(hold_library, &held);
  return held;
}

#else

bool hold_blas() { return false; }

#endif

}  // namespace

void bind_blas(nb::module_& module) {
  module.def("hold_blas", &hold_blas, "Holds the OpenBLAS libraries of this process to one thread; whether there is one.");
}

}  // namespace penlight
