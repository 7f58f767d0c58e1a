// SPDX-License-Identifier: Apache-2.0
#include "flatbuffer.h"

namespace penlight {

size_t FlatBytes::target(size_t at) const {
  const size_t position = at + load<uint32_t>(at);
  return position > at && holds(position, 4) ? position : 0;
}

uint64_t flat_span(const FlatBytes* bytes, size_t position, size_t element_size) {
  const size_t length = bytes->load<uint32_t>(position);
  if (!bytes->holds(position, 4) || length > (bytes->size - position - 4) / element_size) return 0;
  return uint64_t{length} << 32 | static_cast<uint32_t>(position + 4);
}

template <typename T>
T flat_element(const FlatBytes* bytes, uint32_t start, uint32_t count, size_t i) {
  return i < count ? bytes->load<T>(start + i * sizeof(T)) : T{};
}

template int32_t flat_element(const FlatBytes* bytes, uint32_t start, uint32_t count, size_t i);
template uint32_t flat_element(const FlatBytes* bytes, uint32_t start, uint32_t count, size_t i);
template int64_t flat_element(const FlatBytes* bytes, uint32_t start, uint32_t count, size_t i);
template double flat_element(const FlatBytes* bytes, uint32_t start, uint32_t count, size_t i);

uint32_t flat_entry(const FlatBytes* bytes, uint32_t start, uint32_t count, size_t i) {
  return i < count ? static_cast<uint32_t>(bytes->target(start + 4 * i)) : 0;
}

uint32_t FlatTable::vtable(const FlatBytes* bytes, uint32_t table) {
  if (table == 0 || !bytes->holds(table, 4)) return 0;
  const int64_t start = int64_t{table} - bytes->load<int32_t>(table);
  if (start <= 0 || !bytes->holds(static_cast<size_t>(start), 4)) return 0;
  const auto found = static_cast<size_t>(start);
  const uint16_t size = bytes->load<uint16_t>(found);
  if (size < 4 || !bytes->holds(found, size) || !bytes->holds(table, bytes->load<uint16_t>(found + 2))) return 0;
  return static_cast<uint32_t>(found);
}

bool FlatTable::declares(const FlatBytes* bytes, uint32_t table, uint32_t slot) {
  const uint32_t found = vtable(bytes, table);
  return found != 0 && slot + 2 <= bytes->load<uint16_t>(found) && bytes->load<uint16_t>(found + slot) != 0;
}

uint32_t FlatTable::locate(const FlatBytes* bytes, uint32_t table, uint32_t slot, size_t size) {
  if (!declares(bytes, table, slot)) return 0;
  const uint32_t found = vtable(bytes, table);
  const size_t offset = bytes->load<uint16_t>(found + slot);
  return offset >= 4 && offset + size <= bytes->load<uint16_t>(found + 2) ? static_cast<uint32_t>(table + offset) : 0;
}

uint32_t FlatTable::follow(const FlatBytes* bytes, uint32_t table, uint32_t slot) {
  const uint32_t at = locate(bytes, table, slot, 4);
  return at == 0 ? 0 : static_cast<uint32_t>(bytes->target(at));
}

template <typename T>
T FlatTable::scalar(const FlatBytes* bytes, uint32_t table, uint32_t slot) {
  return scalar_or(T{}, bytes, table, slot);
}

template <typename T>
T FlatTable::scalar_or(T fallback, const FlatBytes* bytes, uint32_t table, uint32_t slot) {
  const uint32_t at = locate(bytes, table, slot, sizeof(T));
  return at == 0 ? fallback : bytes->load<T>(at);
}

template uint8_t FlatTable::scalar(const FlatBytes* bytes, uint32_t table, uint32_t slot);
template uint32_t FlatTable::scalar(const FlatBytes* bytes, uint32_t table, uint32_t slot);
template int64_t FlatTable::scalar(const FlatBytes* bytes, uint32_t table, uint32_t slot);
template uint64_t FlatTable::scalar(const FlatBytes* bytes, uint32_t table, uint32_t slot);
template float FlatTable::scalar(const FlatBytes* bytes, uint32_t table, uint32_t slot);
template double FlatTable::scalar(const FlatBytes* bytes, uint32_t table, uint32_t slot);
template uint8_t FlatTable::scalar_or(uint8_t fallback, const FlatBytes* bytes, uint32_t table, uint32_t slot);
template uint32_t FlatTable::scalar_or(uint32_t fallback, const FlatBytes* bytes, uint32_t table, uint32_t slot);
template int64_t FlatTable::scalar_or(int64_t fallback, const FlatBytes* bytes, uint32_t table, uint32_t slot);
template uint64_t FlatTable::scalar_or(uint64_t fallback, const FlatBytes* bytes, uint32_t table, uint32_t slot);
template float FlatTable::scalar_or(float fallback, const FlatBytes* bytes, uint32_t table, uint32_t slot);
template double FlatTable::scalar_or(double fallback, const FlatBytes* bytes, uint32_t table, uint32_t slot);

uint64_t FlatTable::span(const FlatBytes* bytes, uint32_t table, uint32_t slot, size_t element_size) {
  const uint32_t at = follow(bytes, table, slot);
  return at == 0 ? 0 : flat_span(bytes, at, element_size);
}

uint64_t FlatTable::words(const FlatBytes* bytes, uint32_t table, uint32_t slot) { return span(bytes, table, slot, 4); }

const char* FlatTable::text(const FlatBytes* bytes, uint32_t table, uint32_t slot) {
  const uint32_t at = follow(bytes, table, slot);
  const char* found = at == 0 ? nullptr : flat_string(*bytes, at);
  return found != nullptr ? found : "";
}

uint32_t FlatTable::entry(const FlatBytes* bytes, uint32_t table, uint32_t slot, size_t i) {
  const FlatSpan found(bytes, words(bytes, table, slot));
  return flat_entry(bytes, found.start, found.count, i);
}

const char* FlatTable::get(PenStrings field, size_t i) const {
  const uint32_t at = entry(bytes_, position_, field.slot, i);
  return at == 0 ? nullptr : flat_string(*bytes_, at);
}

const char* flat_string(const FlatBytes& bytes, size_t position) {
  if (!bytes.holds(position, 4)) return nullptr;
  const size_t length = bytes.load<uint32_t>(position);
  const size_t start = position + 4;
  if (!bytes.holds(start, length) || !bytes.holds(start + length, 1) || bytes.data[start + length] != 0) return nullptr;
  return reinterpret_cast<const char*>(bytes.data + start);
}

}  // namespace penlight
