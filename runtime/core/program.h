// A loaded file: its bytes in place, its verified metadata, its operators resolved to kernels. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/allocator.h"
#include "core/flatbuffer.h"
#include "core/structure.h"
#include "kernels/kernel.h"
#include "penlight.h"
#include "schema/generated/pen_fields.h"

namespace penlight {

enum class AttributeKind : uint8_t { kInteger = 1, kReal, kText, kIntegers, kReals, kTexts, kTensor, kBody };  // pen.fbs

constexpr size_t kMaxBodyDepth = 8;  // bodies inside of bodies; pen.fbs says how many there may be of each list

constexpr size_t kHeaderEnd = 72;  // identifier and header; schema/README.md
constexpr uint64_t kSegmentAlignment = 64;

}  // namespace penlight

// The C API's opaque type. Everything in it is fixed once `load` has succeeded, so threads may share it.
struct penlight_program {
  penlight::Memory memory;
  const unsigned char* data = nullptr;
  size_t size = 0;
  uint64_t mac_budget = 0;  // of the self test
  uint64_t segment_base = 0;
  penlight::FlatBytes metadata;
  penlight::FlatTable root;
  penlight::Array<const penlight::Kernel*> kernels;  // one per operator of the file

  penlight::FlatTable method(size_t i) const { return root.get(penlight::PenProgram::kMethods, i); }
  penlight::FlatTable body(size_t i) const { return root.get(penlight::PenProgram::kBodies, i); }
  penlight::FlatTable symbol(size_t i) const { return root.get(penlight::PenProgram::kSymbols, i); }
  penlight::FlatTable state(size_t i) const { return root.get(penlight::PenProgram::kStates, i); }
  penlight::FlatTable golden(size_t i) const { return root.get(penlight::PenProgram::kGolden, i); }
  /// The bytes of a span that `verify_program` has seen.
  const unsigned char* span_data(penlight::FlatTable span) const;
};

namespace penlight {

/// Reads the header, checks structure, meaning and checksums, resolves operators.
Status load_program(penlight_program& program, const void* data, size_t size, bool check_segments, penlight_error& error);

/// Checks the fixed header, sets data, size, metadata and segment_base, compares the metadata's checksum, and tells where
/// the root table shall be (header.cpp).
Status read_header(penlight_program& program, const void* data, size_t size, size_t* root, penlight_error& error);

/// Semantic rules of segments (segments.cpp): inside the file, aligned, in ascending order without overlap, zero gaps, and if asked
/// for, checksums.
Status verify_segments(const penlight_program& program, bool checksums, penlight_error& error);

/// Semantic rules of everything else (verify.cpp); needs `kernels`.
Status verify_program(penlight_program& program, penlight_error& error);

/// Golden samples and resource statements refer to what exists and fit their methods (verify_samples.cpp).
Status verify_samples(const penlight_program& program, penlight_error& error);

/// Whether a span lies in its segment and holds exactly `bytes`, at an offset that suits elements of `element_size`.
bool span_fits(const penlight_program& program, FlatTable span, uint64_t bytes, size_t element_size);

/// False when the bytes of a tensor of this shape, zeros left out, times 8 do not fit into int64_t and size_t.
bool shape_fits(const Shape& shape);

/// Bytes of a tensor whose shape fits.
inline size_t tensor_bytes(DType dtype, const Shape& shape) { return static_cast<size_t>(shape.count()) * dtype_size(dtype); }
inline size_t tensor_bytes(const Tensor& tensor) { return tensor_bytes(tensor.dtype, tensor.shape); }

}  // namespace penlight
