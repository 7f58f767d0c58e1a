// CRC32C of any bytes, by the runtime's own code. SPDX-License-Identifier: Apache-2.0
#include "arrays.h"
#include "core/crc32c.h"

namespace penlight {

namespace {

uint32_t crc32c_of(nb::handle data, uint32_t crc) {
  Py_buffer view;
  if (PyObject_GetBuffer(data.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
  {
    nb::gil_scoped_release released;
    crc = crc32c(crc, view.buf, static_cast<size_t>(view.len));
  }
  PyBuffer_Release(&view);
  return crc;
}

}  // namespace

void bind_checksum(nb::module_& module) {
  module.def("crc32c", &crc32c_of, nb::arg("data"), nb::arg("crc") = 0, "CRC32C of contiguous bytes that follow those of `crc`.");
}

}  // namespace penlight
