// libFuzzer target: programs of one node, of every operator, with numbers of attributes, shapes, dtypes and operands changed as the
// bytes say. The bundle that PENLIGHT_FUZZ_BUNDLE names has several programs per operator. SPDX-License-Identifier: Apache-2.0
#include "fuzz_bundle.h"
#include "fuzz_clock.h"
#include "fuzz_mutator.h"

namespace {

/// A change: which number, and what it becomes. A few bytes each, so that libFuzzer can combine the changes of two inputs.
void apply_change(FuzzBytes& bytes, uint8_t* data, const FuzzPlaces& places) {
  const FuzzPlace place = places[bytes.below(places.count())];
  const uint8_t kind = bytes.byte();
  int64_t number = kind < 200 ? static_cast<int8_t>(bytes.byte()) : bytes.number();
  if (kind < 8) number = static_cast<int64_t>(uint64_t{1} << (static_cast<uint64_t>(number) & 63));
  memcpy(data + place.at, &number, place.size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t input_size) {
  const FuzzClock clock;
  FuzzBytes bytes(input, input_size);
  size_t size = 0;
  const uint8_t* file = fuzz_bundle().choose(bytes, &size);
  auto* data = static_cast<uint8_t*>(malloc(size));
  memcpy(data, file, size);
  const penlight::FlatBytes metadata = fuzz_metadata(data, size);
  const FuzzPlaces& places = fuzz_places(metadata);
  for (int changes = 0; changes < 16 && !bytes.empty(); ++changes) apply_change(bytes, data, places);
  repair_segments(data, size, metadata);
  repair_header(data, size);
  penlight_error error;
  exercise(data, size, 0, nullptr, &error);
  free(data);
  return 0;
}
