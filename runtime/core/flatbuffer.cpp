// SPDX-License-Identifier: Apache-2.0
#include "flatbuffer.h"

namespace penlight {

size_t FlatBytes::target(size_t at) const {
  const size_t position = at + load<uint32_t>(at);
  return position > at && holds(position, 4) ? position : 0;
}

FlatSpan::FlatSpan(const FlatBytes* from, size_t position, size_t element_size) : bytes(from) {
  const size_t length = from->load<uint32_t>(position);
  if (!from->holds(position, 4) || length > (from->size - position - 4) / element_size) return;
  start = static_cast<uint32_t>(position + 4);
  count = static_cast<uint32_t>(length);
}

FlatTable::FlatTable(const FlatBytes* bytes, size_t position) : bytes_(bytes) {
  if (!bytes->holds(position, 4)) return;
  position_ = static_cast<uint32_t>(position);
  const int64_t start = static_cast<int64_t>(position) - bytes->load<int32_t>(position);
  if (start < 0 || !bytes->holds(static_cast<size_t>(start), 4)) return;
  const auto vtable = static_cast<size_t>(start);
  const uint16_t vtable_size = bytes->load<uint16_t>(vtable);
  if (vtable_size < 4 || !bytes->holds(vtable, vtable_size) || !bytes->holds(position, bytes->load<uint16_t>(vtable + 2))) return;
  vtable_ = static_cast<uint32_t>(vtable);
}

bool FlatTable::declares(FlatTable table, uint16_t slot) {
  if (table.vtable_ == 0 || slot + 2 > table.bytes_->load<uint16_t>(table.vtable_)) return false;
  return table.bytes_->load<uint16_t>(table.vtable_ + slot) != 0;
}

size_t FlatTable::locate(FlatTable table, uint16_t slot, size_t size) {
  if (!declares(table, slot)) return 0;
  const size_t offset = table.bytes_->load<uint16_t>(table.vtable_ + slot);
  return offset >= 4 && offset + size <= table.bytes_->load<uint16_t>(table.vtable_ + 2) ? table.position_ + offset : 0;
}

size_t FlatTable::follow(FlatTable table, uint16_t slot) {
  const size_t at = locate(table, slot, 4);
  return at == 0 ? 0 : table.bytes_->target(at);
}

template <typename T>
T FlatTable::scalar(FlatTable table, PenScalar<T> field) {
  const size_t at = locate(table, field.slot, sizeof(T));
  return at == 0 ? field.fallback : table.bytes_->load<T>(at);
}

/// A truth value is any byte but 0.
template <>
bool FlatTable::scalar(FlatTable table, PenScalar<bool> field) {
  return scalar(table, PenScalar<uint8_t>{field.slot, field.fallback}) != 0;
}

template uint8_t FlatTable::scalar(FlatTable table, PenScalar<uint8_t> field);
template uint32_t FlatTable::scalar(FlatTable table, PenScalar<uint32_t> field);
template int64_t FlatTable::scalar(FlatTable table, PenScalar<int64_t> field);
template uint64_t FlatTable::scalar(FlatTable table, PenScalar<uint64_t> field);
template float FlatTable::scalar(FlatTable table, PenScalar<float> field);
template double FlatTable::scalar(FlatTable table, PenScalar<double> field);

template <typename T>
T FlatVector<T>::element(FlatSpan span, size_t i) {
  return i < span.count ? span.bytes->load<T>(span.start + i * sizeof(T)) : T{};
}

template int32_t FlatVector<int32_t>::element(FlatSpan span, size_t i);
template uint32_t FlatVector<uint32_t>::element(FlatSpan span, size_t i);
template int64_t FlatVector<int64_t>::element(FlatSpan span, size_t i);
template double FlatVector<double>::element(FlatSpan span, size_t i);

FlatSpan FlatTable::span(FlatTable table, uint16_t slot, size_t element_size) {
  const size_t at = follow(table, slot);
  return at == 0 ? FlatSpan() : FlatSpan(table.bytes_, at, element_size);
}

const char* FlatTable::text(FlatTable table, uint16_t slot) {
  const size_t at = follow(table, slot);
  const char* found = at == 0 ? nullptr : flat_string(*table.bytes_, at);
  return found != nullptr ? found : "";
}

const char* FlatTable::get(PenStrings field, size_t i) const {
  const FlatVector<uint32_t> offsets = get(PenNumbers<uint32_t>{field.slot});
  const size_t at = i < offsets.count() ? bytes_->target(offsets.position(i)) : 0;
  return at == 0 ? nullptr : flat_string(*bytes_, at);
}

FlatTable FlatTable::child(FlatTable table, uint16_t slot) {
  const size_t at = follow(table, slot);
  return at == 0 ? FlatTable() : FlatTable(table.bytes_, at);
}

FlatTable FlatTables::entry(FlatSpan span, size_t i) {
  const size_t at = i < span.count ? span.bytes->target(span.start + 4 * i) : 0;
  return at == 0 ? FlatTable() : FlatTable(span.bytes, at);
}

const char* flat_string(const FlatBytes& bytes, size_t position) {
  if (!bytes.holds(position, 4)) return nullptr;
  const size_t length = bytes.load<uint32_t>(position);
  const size_t start = position + 4;
  if (!bytes.holds(start, length) || !bytes.holds(start + length, 1) || bytes.data[start + length] != 0) return nullptr;
  return reinterpret_cast<const char*>(bytes.data + start);
}

}  // namespace penlight
