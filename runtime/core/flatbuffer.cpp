// SPDX-License-Identifier: Apache-2.0
#include "flatbuffer.h"

namespace penlight {
namespace {

const unsigned char* flat_target(const unsigned char* at) { return at + flat_load<uint32_t>(at); }

}  // namespace

const unsigned char* flat_field(const unsigned char* table, uint32_t slot) {
  if (table == nullptr) return nullptr;
  const unsigned char* vtable = table - flat_load<int32_t>(table);
  if (slot + 2 > flat_load<uint16_t>(vtable)) return nullptr;
  const size_t offset = flat_load<uint16_t>(vtable + slot);
  return offset == 0 ? nullptr : table + offset;
}

const unsigned char* flat_child(const unsigned char* table, uint32_t slot) {
  const unsigned char* at = flat_field(table, slot);
  return at == nullptr ? nullptr : flat_target(at);
}

const unsigned char* flat_vector(const unsigned char* table, uint32_t slot) {
  const unsigned char* at = flat_child(table, slot);
  return at == nullptr ? kFlatNothing : at;
}

template <typename T>
T flat_element(const unsigned char* vector, size_t i) {
  return i < flat_load<uint32_t>(vector) ? flat_load<T>(vector + 4 + i * sizeof(T)) : T{};
}

template int32_t flat_element(const unsigned char* vector, size_t i);
template uint32_t flat_element(const unsigned char* vector, size_t i);
template int64_t flat_element(const unsigned char* vector, size_t i);
template double flat_element(const unsigned char* vector, size_t i);

const unsigned char* flat_entry(const unsigned char* vector, size_t i) {
  return i < flat_load<uint32_t>(vector) ? flat_target(vector + 4 + 4 * i) : nullptr;
}

const unsigned char* flat_child_entry(const unsigned char* table, uint32_t slot, size_t i) {
  return flat_entry(flat_vector(table, slot), i);
}

template <typename T>
T flat_scalar(const unsigned char* table, uint32_t slot) {
  return flat_scalar_or(T{}, table, slot);
}

template <typename T>
T flat_scalar_or(T fallback, const unsigned char* table, uint32_t slot) {
  const unsigned char* at = flat_field(table, slot);
  return at == nullptr ? fallback : flat_load<T>(at);
}

template uint8_t flat_scalar(const unsigned char* table, uint32_t slot);
template uint32_t flat_scalar(const unsigned char* table, uint32_t slot);
template int64_t flat_scalar(const unsigned char* table, uint32_t slot);
template uint64_t flat_scalar(const unsigned char* table, uint32_t slot);
template float flat_scalar(const unsigned char* table, uint32_t slot);
template double flat_scalar(const unsigned char* table, uint32_t slot);
template uint8_t flat_scalar_or(uint8_t fallback, const unsigned char* table, uint32_t slot);
template uint32_t flat_scalar_or(uint32_t fallback, const unsigned char* table, uint32_t slot);
template int64_t flat_scalar_or(int64_t fallback, const unsigned char* table, uint32_t slot);
template uint64_t flat_scalar_or(uint64_t fallback, const unsigned char* table, uint32_t slot);
template float flat_scalar_or(float fallback, const unsigned char* table, uint32_t slot);
template double flat_scalar_or(double fallback, const unsigned char* table, uint32_t slot);

const char* flat_text(const unsigned char* table, uint32_t slot) {
  const unsigned char* at = flat_child(table, slot);
  return at == nullptr ? "" : reinterpret_cast<const char*>(at + 4);
}

const char* FlatTable::get(PenStrings field, size_t i) const {
  const unsigned char* at = flat_child_entry(at_, field.slot, i);
  return at == nullptr ? nullptr : reinterpret_cast<const char*>(at + 4);
}

}  // namespace penlight
