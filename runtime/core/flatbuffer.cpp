// SPDX-License-Identifier: Apache-2.0
#include "flatbuffer.h"

namespace penlight {

FlatTable::FlatTable(const FlatBytes* bytes, size_t position) : bytes_(bytes), position_(position) {
  if (!bytes->holds(position, 4)) return;
  const int64_t vtable = static_cast<int64_t>(position) - bytes->load<int32_t>(position);
  if (vtable < 0 || !bytes->holds(static_cast<size_t>(vtable), 4)) return;
  vtable_ = static_cast<size_t>(vtable);
  const uint16_t vtable_size = bytes->load<uint16_t>(vtable_);
  size_ = bytes->load<uint16_t>(vtable_ + 2);
  if (vtable_size < 4 || !bytes->holds(vtable_, vtable_size) || !bytes->holds(position, size_)) return;
  vtable_size_ = vtable_size;
}

size_t FlatTable::locate(uint16_t slot, size_t size) const {
  if (slot + 2 > vtable_size_) return 0;
  const size_t offset = bytes_->load<uint16_t>(vtable_ + slot);
  return offset >= 4 && offset + size <= size_ ? position_ + offset : 0;
}

size_t FlatTable::follow(uint16_t slot) const {
  const size_t at = locate(slot, 4);
  return at == 0 ? 0 : bytes_->target(at);
}

const char* FlatTable::get(PenString field) const {
  const size_t at = follow(field.slot);
  const char* text = at == 0 ? nullptr : flat_string(*bytes_, at);
  return text != nullptr ? text : "";
}

const char* FlatTable::get(PenStrings field, size_t i) const {
  const size_t at = follow(field.slot);
  const FlatVector<uint32_t> offsets = at == 0 ? FlatVector<uint32_t>() : FlatVector<uint32_t>(bytes_, at);
  const size_t text = i < offsets.count() ? bytes_->target(offsets.position(i)) : 0;
  return text == 0 ? nullptr : flat_string(*bytes_, text);
}

FlatTable FlatTable::get(PenChild field) const {
  const size_t at = follow(field.slot);
  return at == 0 ? FlatTable() : FlatTable(bytes_, at);
}

FlatTables FlatTable::get(PenChildren field) const {
  const size_t at = follow(field.slot);
  return at == 0 ? FlatTables() : FlatTables(bytes_, at);
}

const char* flat_string(const FlatBytes& bytes, size_t position) {
  if (!bytes.holds(position, 4)) return nullptr;
  const size_t length = bytes.load<uint32_t>(position);
  const size_t start = position + 4;
  if (!bytes.holds(start, length) || !bytes.holds(start + length, 1) || bytes.data[start + length] != 0) return nullptr;
  return reinterpret_cast<const char*>(bytes.data + start);
}

}  // namespace penlight
