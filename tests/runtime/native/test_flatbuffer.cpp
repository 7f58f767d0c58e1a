// The reader on buffers that no exporter wrote: nothing may be read outside of them. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "check.h"
#include "core/flatbuffer.h"
#include "core/structure.h"
#include "schema/generated/pen_fields.h"

namespace {

void touch_everything(const unsigned char* data, size_t size) {
  // A heap copy of just this size lets the sanitizer see one byte too many.
  auto* copy = static_cast<unsigned char*>(malloc(size == 0 ? 1 : size));
  memcpy(copy, data, size);
  const penlight::FlatBytes bytes = {copy, size};
  for (size_t at = 0; at < size + 8; ++at) {
    const penlight::UnverifiedTable table(bytes, at);
    for (uint16_t slot = 0; slot < 20; ++slot) table.follow(slot);
    penlight_error error;
    if (verify_structure(bytes, at, error) != penlight::Status::kOk) continue;
    const penlight::FlatTable root(copy + at);
    const penlight::FlatTables methods = root.get(penlight::PenProgram::kMethods);
    for (size_t i = 0; i < methods.count() && i < 4; ++i) {
      PENLIGHT_CHECK(strlen(methods[i].get(penlight::PenMethod::kName)) < size + 1);
      const auto inputs = methods[i].get(penlight::PenMethod::kInputs);
      PENLIGHT_CHECK(inputs[inputs.count()] == 0);
    }
    PENLIGHT_CHECK(!methods[methods.count()].present());
  }
  free(copy);
}

}  // namespace

void test_flatbuffer() {
  TestRandom random;
  unsigned char data[64] = {};
  touch_everything(data, 0);
  for (int round = 0; round < 3000; ++round) {
    const size_t size = random.next(sizeof(data) + 1);
    // Small numbers hit more offsets than random bytes would.
    for (size_t i = 0; i < size; ++i) data[i] = static_cast<unsigned char>(random.next(3) == 0 ? random.next(24) : 0);
    if (random.next(8) == 0) memset(data, 0xff, size);
    touch_everything(data, size);
  }
}
