// Loads and runs a file through penlight.hpp. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include <penlight.hpp>
#include <utility>

#include "check.h"
#include "read_file.h"

namespace {

void test_refusals() {
  penlight_error error;
  const penlight::Program none = penlight::Program::load("12345678", 8, &error);
  PENLIGHT_CHECK(!none && error.status == PENLIGHT_INVALID_FILE && strlen(error.message) > 0);
  PENLIGHT_CHECK(!none.session(0, &error) && error.status == PENLIGHT_INVALID_ARGUMENT);
  penlight::Session closed;
  PENLIGHT_CHECK(!closed && closed.run({}) == PENLIGHT_INVALID_ARGUMENT && closed.output(0).data == nullptr);
}

void test_tensors() {
  float values[6] = {};
  const penlight_tensor matrix = penlight::tensor(values, {2, 3});
  PENLIGHT_CHECK(matrix.rank == 2 && matrix.size_bytes == sizeof(values) && penlight::element_count(matrix) == 6);
  PENLIGHT_CHECK(penlight::elements<float>(matrix) == values && penlight::elements<int32_t>(matrix) == nullptr);
}

/// A relu of a batch of four floats.
void test_run(const void* data, size_t size) {
  penlight_error error;
  penlight::Program program = penlight::Program::load(data, size, &error);
  PENLIGHT_CHECK(program && program.self_test() == PENLIGHT_OK && program.input_count() == 1 && program.output_count() == 1);
  penlight::Program moved = std::move(program);
  penlight::Session session = moved.session();
  PENLIGHT_CHECK(!program && session);
  float x[8] = {-1, 2, -3, 4, 5, -6, 7, -8};
  PENLIGHT_CHECK(session.run({penlight::tensor(x, {2, 4})}, &error) == PENLIGHT_OK);
  const float* y = penlight::elements<float>(session.output(0));
  for (int i = 0; i < 8; ++i) PENLIGHT_CHECK(y != nullptr && y[i] == (x[i] > 0 ? x[i] : 0.0f));
  PENLIGHT_CHECK(session.macs() == 8);
}

}  // namespace

int main(int argc, char** argv) {
  PENLIGHT_CHECK(argc == 2);
  test_refusals();
  test_tensors();
  size_t size = 0;
  uint8_t* bytes = read_file(argv[1], &size);
  test_run(bytes, size);
  free(bytes);
  puts("ok");
  return 0;
}
