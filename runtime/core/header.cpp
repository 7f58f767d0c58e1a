// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "core/crc32c.h"
#include "core/program.h"

namespace penlight {
namespace {

constexpr uint64_t kKnownFeatures = 3;  // required feature bits that this runtime understands; schema/README.md
constexpr uint32_t kRuntimeVersion = PENLIGHT_VERSION_MAJOR << 16 | PENLIGHT_VERSION_MINOR << 8 | PENLIGHT_VERSION_PATCH;
constexpr uint64_t kLargestMetadata = 0x7fffffff;

/// The file's first bytes; schema/README.md.
struct FileHeader {
  uint32_t root;
  char identifier[4];
  uint32_t header_size, minimum_version;
  uint64_t metadata_size, segment_base, file_size, required, optional;
  uint32_t checksum, zero32;
  uint64_t zero64;
};
static_assert(sizeof(FileHeader) == kHeaderEnd, "the header has no gaps");

uint32_t metadata_checksum(const unsigned char* data, size_t size) {
  const uint32_t zero = 0;
  uint32_t crc = crc32c(0, data, 56);
  crc = crc32c(crc, &zero, 4);
  return crc32c(crc, data + 60, size - 60);
}

Status refuse_newer(const FileHeader& header, penlight_error& error) {
  const uint32_t v = header.minimum_version;
  return fail(
      error, Status::kUnsupportedVersion,
      "the file needs runtime %u.%u.%u (feature bits 0x%llx), this is %d.%d.%d; update the runtime or export for this version",
      v >> 16, (v >> 8) & 0xff, v & 0xff, static_cast<unsigned long long>(header.required), PENLIGHT_VERSION_MAJOR,
      PENLIGHT_VERSION_MINOR, PENLIGHT_VERSION_PATCH);
}

Status check_sizes(const FileHeader& header, size_t size, penlight_error& error) {
  if (header.header_size != kHeaderEnd - 8 || header.zero32 != 0 || header.zero64 != 0) {
    return fail(error, Status::kInvalidFile, "the header is damaged");
  }
  if (header.file_size != size) {
    const char* what = header.file_size > size ? "is truncated" : "has bytes behind its end";
    return fail(error, Status::kInvalidFile, "the file %s: its header says %llu bytes, there are %llu", what,
                static_cast<unsigned long long>(header.file_size), static_cast<unsigned long long>(size));
  }
  const bool metadata_fits =
      header.metadata_size >= kHeaderEnd && header.metadata_size <= size && header.metadata_size <= kLargestMetadata;
  const bool base_fits = header.segment_base >= header.metadata_size && header.segment_base <= size;
  if (!metadata_fits || !base_fits || header.segment_base % kSegmentAlignment != 0) {
    return fail(error, Status::kInvalidFile, "the header's sizes contradict each other");
  }
  return Status::kOk;
}

}  // namespace

Status read_header(penlight_program& program, const void* data, size_t size, size_t* root, penlight_error& error) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  if (size < kHeaderEnd || memcmp(bytes + 4, "PEN1", 4) != 0) {
    return fail(error, Status::kInvalidFile, "not a .pen file: %s",
                size < kHeaderEnd ? "it is shorter than the header" : "bytes 4 to 7 are not PEN1");
  }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  // Weights are used where they lie, so that a file cannot be read without a converted copy of all of it.
  return fail(error, Status::kUnsupportedVersion,
              "a .pen file is little-endian, this machine is not, and the runtime does not convert");
#endif
  FileHeader header;
  memcpy(&header, data, sizeof(header));
  // Before anything else, so that a newer file is told from a damaged one.
  if ((header.required & ~kKnownFeatures) != 0 || header.minimum_version > kRuntimeVersion) return refuse_newer(header, error);
  const Status status = check_sizes(header, size, error);
  if (status != Status::kOk) return status;
  program.data = bytes;
  program.size = size;
  program.segment_base = header.segment_base;
  program.metadata = {bytes, static_cast<size_t>(header.metadata_size)};
  *root = header.root;
  if (metadata_checksum(bytes, program.metadata.size) != header.checksum) {
    return fail(error, Status::kInvalidFile, "the metadata's checksum is wrong");
  }
  return Status::kOk;
}

}  // namespace penlight
