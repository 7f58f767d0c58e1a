// SPDX-License-Identifier: Apache-2.0
#include "core/crc32c.h"
#include "core/program.h"

namespace penlight {
namespace {

bool all_zero(const unsigned char* data, uint64_t size) {
  for (uint64_t i = 0; i < size; ++i) {
    if (data[i] != 0) return false;
  }
  return true;
}

struct SegmentRange {
  uint64_t start;  // from byte 0 of the file
  uint64_t end;
};

/// False when the segment leaves the file or is not aligned as it says.
bool segment_range(const penlight_program& program, FlatTable segment, SegmentRange* range) {
  const uint64_t alignment = segment.get(PenSegment::kAlignment);
  if (alignment < kSegmentAlignment || (alignment & (alignment - 1)) != 0) return false;
  if (__builtin_add_overflow(program.segment_base, segment.get(PenSegment::kOffset), &range->start)) return false;
  if (__builtin_add_overflow(range->start, segment.get(PenSegment::kSizeBytes), &range->end)) return false;
  return range->start % alignment == 0 && range->end <= program.size;
}

}  // namespace

Status verify_segments(const penlight_program& program, bool checksums, penlight_error& error) {
  const FlatTables segments = program.root.get(PenProgram::kSegments);
  uint64_t end = program.metadata.size;
  for (size_t i = 0; i < segments.count(); ++i) {
    SegmentRange range = {};
    if (!segment_range(program, segments[i], &range) || range.start < end) {
      return fail(error, Status::kInvalidFile, "segment %zu leaves the file, overlaps another or is not aligned", i);
    }
    if (!all_zero(program.data + end, range.start - end)) {
      return fail(error, Status::kInvalidFile, "the gap before segment %zu is not zero", i);
    }
    const auto size = static_cast<size_t>(range.end - range.start);
    if (checksums && crc32c(0, program.data + range.start, size) != segments[i].get(PenSegment::kCrc32c)) {
      return fail(error, Status::kInvalidFile, "segment %zu: the checksum is wrong", i);
    }
    end = range.end;
  }
  if (!all_zero(program.data + end, program.size - end)) {
    return fail(error, Status::kInvalidFile, "the bytes behind the last segment are not zero");
  }
  return Status::kOk;
}

bool span_fits(const penlight_program& program, FlatTable span, uint64_t bytes, size_t element_size) {
  const FlatTables segments = program.root.get(PenProgram::kSegments);
  const uint32_t index = span.get(PenSpan::kSegment);
  if (!span.present() || index >= segments.count()) return false;
  const uint64_t size = segments[index].get(PenSegment::kSizeBytes);
  const uint64_t offset = span.get(PenSpan::kOffset);
  if (span.get(PenSpan::kSizeBytes) != bytes || offset > size || bytes > size - offset) return false;
  return element_size != 0 && offset % element_size == 0;
}

bool shape_fits(const Shape& shape) {
  constexpr size_t kMostElements = SIZE_MAX / 16;  // the widest has 8 bytes, and differences of addresses are signed
  size_t product = 1;
  for (int i = 0; i < shape.rank; ++i) {
    const auto size = static_cast<uint64_t>(shape.dims[i]);  // a negative one becomes too large
    if (size > kMostElements / product) return false;
    if (size > 1) product *= static_cast<size_t>(size);
  }
  return true;
}

}  // namespace penlight

const unsigned char* penlight_program::span_data(penlight::FlatTable span) const {
  const auto segment = root.get(penlight::PenProgram::kSegments, span.get(penlight::PenSpan::kSegment));
  return data + segment_base + segment.get(penlight::PenSegment::kOffset) + span.get(penlight::PenSpan::kOffset);
}
