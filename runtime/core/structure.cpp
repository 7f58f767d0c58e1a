// SPDX-License-Identifier: Apache-2.0
#include "structure.h"

#include "schema/generated/pen_fields.h"

namespace penlight {
namespace {

constexpr size_t kVtableHead = 4;  // its own size and the table's

// A file written without sharing costs at most its own bytes; shared strings and tables cost more.
constexpr size_t kWalkCostFactor = 16;

class StructureWalk {
 public:
  StructureWalk(const FlatBytes& bytes, penlight_error& error) : bytes_(bytes), error_(error) {
    budget_ = bytes.size * kWalkCostFactor + 4096;
  }

  // Depth is bounded by the schema, which has no cycle.
  Status table(size_t position, uint8_t index) {
    const PenTableSchema& schema = kPenTables[index];
    const UnverifiedTable table(bytes_, position);
    table_ = index;
    if (!table.present()) return broken("lies outside of the metadata");
    if (!spend(8)) return shared();
    for (size_t i = 0; i < schema.count; ++i) {
      const Status status = field(table, pen_slot(i), kPenFields[schema.first + i]);
      table_ = index;
      if (status != Status::kOk) return status;
    }
    return Status::kOk;
  }

 private:
  Status field(const UnverifiedTable& table, uint32_t slot, const PenFieldSchema& field) {
    if (!table.declares(slot)) return field.required ? broken("lacks a required field") : Status::kOk;
    if (field.kind == PenKind::kScalar) return scalar(table.locate(slot, field.size), field);
    const size_t at = table.follow(slot);
    if (at == 0) return broken("has a field that points out of the metadata");
    if (field.kind == PenKind::kString) return string(at);
    return field.kind == PenKind::kChild ? this->table(at, field.child) : vector(at, field);
  }

  Status scalar(size_t at, const PenFieldSchema& field) {
    if (at == 0) return broken("has a field that does not fit");
    if (field.limit != 0 && bytes_.load<uint8_t>(at) > field.limit) return broken("has an enum number that is not known");
    return Status::kOk;
  }

  Status string(size_t at) {
    const size_t length = bytes_.load<uint32_t>(at);
    if (!bytes_.holds(at + 4, length) || !bytes_.holds(at + 4 + length, 1) || bytes_.data[at + 4 + length] != 0)
      return broken("has a string that does not end inside the metadata");
    if (!spend(length + 4)) return shared();
    if (memchr(bytes_.data + at + 4, 0, length) == nullptr) return Status::kOk;
    return broken("has a string that holds a NUL character");
  }

  Status vector(size_t at, const PenFieldSchema& field) {
    const size_t count = bytes_.load<uint32_t>(at);
    if (count > (bytes_.size - at - 4) / field.size) return broken("has a vector that leaves the metadata");
    if (field.limit != 0 && count > size_t{1} << field.limit) return too_long(count, size_t{1} << field.limit);
    if (!spend(count * field.size + 4)) return shared();
    Status status = Status::kOk;
    for (size_t i = 0; field.kind != PenKind::kNumbers && status == Status::kOk && i < count; ++i) {
      const size_t target = bytes_.target(at + 4 + 4 * i);
      if (target == 0) return broken("has an entry that points out of the metadata");
      status = field.kind == PenKind::kStrings ? string(target) : table(target, field.child);
    }
    return status;
  }

  bool spend(size_t cost) {
    const bool enough = cost <= budget_;
    budget_ -= enough ? cost : budget_;
    return enough;
  }

  Status broken(const char* what) { return fail(error_, Status::kInvalidFile, "metadata: a %s table %s", table_name(), what); }

  Status too_long(size_t count, size_t most) {
    return fail(error_, Status::kInvalidProgram, "metadata: a %s table has a list of %zu, which is more than %zu", table_name(),
                count, most);
  }

  const char* table_name() const { return nth_text(kPenTableNames, table_); }

  Status shared() { return fail(error_, Status::kInvalidFile, "metadata: its tables refer to the same bytes too often"); }

  const FlatBytes& bytes_;
  penlight_error& error_;
  size_t budget_;
  uint8_t table_ = 0;  // the one that is looked at
};

}  // namespace

size_t FlatBytes::target(size_t at) const {
  const size_t position = at + load<uint32_t>(at);
  return position > at && holds(position, 4) ? position : 0;
}

UnverifiedTable::UnverifiedTable(const FlatBytes& bytes, size_t position) : bytes_(bytes), position_(position) {
  if (position == 0 || !bytes.holds(position, 4)) return;
  const int64_t start = static_cast<int64_t>(position) - bytes.load<int32_t>(position);
  if (start <= 0 || !bytes.holds(static_cast<size_t>(start), kVtableHead)) return;
  const auto found = static_cast<size_t>(start);
  const size_t size = bytes.load<uint16_t>(found);
  if (size >= kVtableHead && bytes.holds(found, size) && bytes.holds(position, bytes.load<uint16_t>(found + 2))) vtable_ = found;
}

size_t UnverifiedTable::offset(uint32_t slot) const {
  return present() && slot + 2 <= bytes_.load<uint16_t>(vtable_) ? bytes_.load<uint16_t>(vtable_ + slot) : 0;
}

size_t UnverifiedTable::locate(uint32_t slot, size_t size) const {
  const size_t offset = this->offset(slot);
  return offset >= 4 && offset + size <= bytes_.load<uint16_t>(vtable_ + 2) ? position_ + offset : 0;
}

size_t UnverifiedTable::follow(uint32_t slot) const {
  const size_t at = locate(slot, 4);
  return at == 0 ? 0 : bytes_.target(at);
}

Status verify_structure(const FlatBytes& bytes, size_t root, penlight_error& error) {
  return StructureWalk(bytes, error).table(root, kPenProgramTable);
}

}  // namespace penlight
