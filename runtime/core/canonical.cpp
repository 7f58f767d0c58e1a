// NaNs of a deterministic session. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "core/session.h"

namespace penlight {
namespace {

/// Processors differ in the sign and payload of the NaNs that they make: all become the positive quiet one.
template <typename Bits>
void settle_nans(void* data, size_t count, Bits infinity, Bits quiet) {
  auto* bytes = static_cast<unsigned char*>(data);
  const auto magnitude = static_cast<Bits>(static_cast<Bits>(~Bits{0}) >> 1);
  for (size_t i = 0; i < count; ++i, bytes += sizeof(Bits)) {
    Bits bits;
    memcpy(&bits, bytes, sizeof bits);
    bits = static_cast<Bits>(bits & magnitude) > infinity ? quiet : bits;  // no branch: compilers turn this into vectors
    memcpy(bytes, &bits, sizeof bits);
  }
}

void settle_tensor(DType dtype, void* data, size_t size_bytes) {
  switch (dtype) {
    case DType::kF32:
      return settle_nans<uint32_t>(data, size_bytes / 4, 0x7f800000u, 0x7fc00000u);
    case DType::kF64:
      return settle_nans<uint64_t>(data, size_bytes / 8, uint64_t{0x7ff} << 52, uint64_t{0xfff} << 51);
    case DType::kF16:
      return settle_nans<uint16_t>(data, size_bytes / 2, 0x7c00u, 0x7e00u);
    case DType::kBF16:
      return settle_nans<uint16_t>(data, size_bytes / 2, 0x7f80u, 0x7fc0u);
    default:
      return;
  }
}

}  // namespace

void session_settle_nans(penlight_session& session, const penlight_tensor* outputs) {
  for (size_t i = 0; i < session.visible_outputs; ++i) {
    const size_t value = session.outputs[i];
    if (outputs == nullptr && session.values[value].place == Place::kConstant) continue;  // lies in the file
    penlight_tensor tensor;
    session_describe_output(session, i, &tensor);
    settle_tensor(session.values[value].tensor.dtype, outputs != nullptr ? outputs[i].data : tensor.data, tensor.size_bytes);
  }
}

}  // namespace penlight
