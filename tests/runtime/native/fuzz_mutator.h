// Structure-aware mutation for libFuzzer: changes what the schema knows to be there, then makes the file's sizes and checksums
// right again, so that nearly every input reaches the verifier and many reach the kernels. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <new>

#include "core/structure.h"
#include "exercise.h"
#include "schema/generated/pen_fields.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

/// Small and fast random numbers; libFuzzer gives a seed per mutation.
class FuzzRandom {
 public:
  explicit FuzzRandom(uint32_t seed) : state_(seed * 2654435761u + 1) {}
  uint64_t next() { return state_ = state_ * 6364136223846793005u + 1442695040888963407u; }
  size_t below(size_t bound) { return bound == 0 ? 0 : static_cast<size_t>(next() >> 33) % bound; }

 private:
  uint64_t state_;
};

/// Bytes of a file that are one number.
struct FuzzPlace {
  size_t at;
  size_t size;
};

/// All numbers of a file's metadata: scalars, lengths, elements, and offsets.
class FuzzPlaces {
 public:
  static constexpr size_t kMost = 8192;

  explicit FuzzPlaces(const penlight::FlatBytes& bytes) : bytes_(bytes) {
    const size_t root = bytes.load<uint32_t>(0);
    table(penlight::UnverifiedTable(bytes_, root), penlight::kPenProgramTable);
  }

  size_t count() const { return count_; }
  const FuzzPlace& operator[](size_t i) const { return places_[i]; }

 private:
  /// 0: the file leaves the field out.
  void add(size_t at, size_t size) {
    if (at != 0 && count_ < kMost && bytes_.holds(at, size)) places_[count_++] = {at, size};
  }

  void table(const penlight::UnverifiedTable& table, uint8_t index) {
    const penlight::PenTableSchema& schema = penlight::kPenTables[index];
    for (size_t i = 0; table.present() && i < schema.count && count_ < kMost; ++i)
      field(table, penlight::pen_slot(i), penlight::kPenFields[schema.first + i]);
  }

  void field(const penlight::UnverifiedTable& table, uint32_t slot, const penlight::PenFieldSchema& field) {
    if (field.kind == penlight::PenKind::kScalar) return add(table.locate(slot, field.size), field.size);
    const size_t at = table.follow(slot);
    if (at == 0) return;
    if (field.kind == penlight::PenKind::kChild) return this->table(penlight::UnverifiedTable(bytes_, at), field.child);
    add(at, 4);  // a length
    const bool text = field.kind == penlight::PenKind::kString;
    const size_t size = text ? 1 : field.kind == penlight::PenKind::kNumbers ? field.size : 4;
    const size_t entries = bytes_.load<uint32_t>(at);
    for (size_t i = 0; i < entries && i < (text ? 2 : 4096) && count_ < kMost; ++i) {
      add(at + 4 + i * size, size);
      if (field.kind != penlight::PenKind::kChildren) continue;
      const size_t child = bytes_.target(at + 4 + 4 * i);
      if (child != 0) this->table(penlight::UnverifiedTable(bytes_, child), field.child);
    }
  }

  const penlight::FlatBytes bytes_;
  size_t count_ = 0;
  FuzzPlace places_[kMost];
};

/// The places of a file, in memory that the next call uses again.
inline const FuzzPlaces& fuzz_places(const penlight::FlatBytes& bytes) {
  alignas(FuzzPlaces) static unsigned char memory[sizeof(FuzzPlaces)];
  return *new (memory) FuzzPlaces(bytes);
}

/// Writes another number: a telling one, one nearby, or one that stands elsewhere in the file.
inline void fuzz_change(uint8_t* data, const FuzzPlaces& places, FuzzRandom& random) {
  constexpr int64_t kTelling[] = {0,
                                  1,
                                  -1,
                                  2,
                                  3,
                                  7,
                                  8,
                                  9,
                                  63,
                                  64,
                                  127,
                                  128,
                                  255,
                                  256,
                                  32767,
                                  65535,
                                  INT32_MAX,
                                  INT32_MIN,
                                  INT64_MAX,
                                  INT64_MIN,
                                  int64_t{1} << 32,
                                  int64_t{1} << 62};
  const FuzzPlace place = places[random.below(places.count())];
  int64_t number = 0;
  memcpy(&number, data + place.at, place.size);
  const FuzzPlace other = places[random.below(places.count())];
  switch (random.below(4)) {
    case 0:
      number = kTelling[random.below(sizeof(kTelling) / sizeof(kTelling[0]))];
      break;
    case 1:
      number = static_cast<int64_t>(static_cast<uint64_t>(number) + random.below(17) - 8);
      break;
    case 2:
      number ^= int64_t{1} << random.below(8 * place.size);
      break;
    default:
      number = 0;
      memcpy(&number, data + other.at, other.size < place.size ? other.size : place.size);
  }
  memcpy(data + place.at, &number, place.size);
}

/// Makes the segments' checksums right, as far as they lie in the file.
inline void repair_segments(uint8_t* data, size_t size, const penlight::FlatBytes& bytes) {
  uint64_t base = 0;
  memcpy(&base, data + 24, 8);
  const penlight::UnverifiedTable root(bytes, bytes.load<uint32_t>(0));
  const size_t segments = root.follow(penlight::PenProgram::kSegments.slot);
  for (size_t i = 0; segments != 0 && i < bytes.load<uint32_t>(segments) && i < 16; ++i) {
    const penlight::UnverifiedTable segment(bytes, bytes.target(segments + 4 + 4 * i));
    const size_t offset_at = segment.locate(penlight::PenSegment::kOffset.slot, 8);
    const size_t length_at = segment.locate(penlight::PenSegment::kSizeBytes.slot, 8);
    const uint64_t offset = offset_at == 0 ? 0 : bytes.load<uint64_t>(offset_at);
    const uint64_t length = length_at == 0 ? 0 : bytes.load<uint64_t>(length_at);
    const size_t field = segment.locate(penlight::PenSegment::kCrc32c.slot, 4);
    if (base > size || offset > size - base || length > size - base - offset || field == 0) continue;
    const uint32_t crc = penlight::crc32c(0, data + base + offset, static_cast<size_t>(length));
    memcpy(data + field, &crc, 4);
  }
}

inline penlight::FlatBytes fuzz_metadata(const uint8_t* data, size_t size) {
  uint64_t metadata = 0;
  if (size >= 72) memcpy(&metadata, data + 16, 8);
  return {data, metadata < size ? static_cast<size_t>(metadata) : size};
}

/// libFuzzer's own mutations now and then, changes of single numbers otherwise.
inline size_t fuzz_mutate_program(uint8_t* data, size_t size, size_t max_size, uint32_t seed) {
  FuzzRandom random(seed);
  if (size < 72 || random.below(8) == 0) size = LLVMFuzzerMutate(data, size, max_size);
  if (size < 72) return size;
  const penlight::FlatBytes bytes = fuzz_metadata(data, size);
  const FuzzPlaces& places = fuzz_places(bytes);
  for (size_t i = 1 + random.below(3); places.count() > 0 && i > 0; --i) fuzz_change(data, places, random);
  if (random.below(4) == 0 && bytes.size < size) LLVMFuzzerMutate(data + bytes.size, size - bytes.size, size - bytes.size);
  if (random.below(16) != 0) {
    repair_segments(data, size, bytes);
    repair_header(data, size);
  }
  return size;
}
