// SPDX-License-Identifier: Apache-2.0
#include "structure.h"

#include <string.h>

#include "schema/generated/pen_fields.h"

namespace penlight {
namespace {

// A file written without sharing costs at most its own bytes; shared strings and tables cost more.
constexpr size_t kWalkCostFactor = 16;

class StructureWalk {
 public:
  StructureWalk(const FlatBytes& bytes, penlight_error& error) : bytes_(bytes), error_(error) {
    budget_ = bytes.size * kWalkCostFactor + 4096;
  }

  // Depth is bounded by the schema, which has no cycle.
  Status table(FlatTable table, const PenTableSchema& schema) {
    if (!table.present()) return broken(schema, "lies outside of the metadata");
    if (!spend(8)) return shared();
    for (uint16_t i = 0; i < schema.count; ++i) {
      const Status status = field(table, schema, schema.fields[i]);
      if (status != Status::kOk) return status;
    }
    return Status::kOk;
  }

 private:
  Status field(FlatTable table, const PenTableSchema& schema, const PenFieldSchema& field) {
    if (!table.declares(field.slot)) {
      return field.required ? broken(schema, "lacks a required field") : Status::kOk;
    }
    if (field.kind == PenKind::kScalar) return scalar(table, schema, field);
    const size_t at = table.follow(field.slot);
    if (at == 0) return broken(schema, "has a field that points out of the metadata");
    switch (field.kind) {
      case PenKind::kString:
        return string(at, schema);
      case PenKind::kChild:
        return this->table(FlatTable(&bytes_, at), *field.child);
      case PenKind::kNumbers:
        return numbers(at, schema, field.size);
      default:
        return offsets(at, schema, field);
    }
  }

  Status scalar(FlatTable table, const PenTableSchema& schema, const PenFieldSchema& field) {
    const size_t at = table.locate(field.slot, field.size);
    if (at == 0) return broken(schema, "has a field that does not fit");
    if (field.limit != 0 && bytes_.load<uint8_t>(at) > field.limit) return broken(schema, "has an enum number that is not known");
    return Status::kOk;
  }

  Status string(size_t at, const PenTableSchema& schema) {
    const char* text = flat_string(bytes_, at);
    if (text == nullptr) return broken(schema, "has a string that does not end inside the metadata");
    const size_t length = bytes_.load<uint32_t>(at);
    if (!spend(length + 4)) return shared();
    return strlen(text) == length ? Status::kOk : broken(schema, "has a string that holds a NUL character");
  }

  Status numbers(size_t at, const PenTableSchema& schema, size_t size) {
    const size_t count = bytes_.load<uint32_t>(at);
    if (count > (bytes_.size - at - 4) / size) return broken(schema, "has a vector that leaves the metadata");
    return spend(count * size + 4) ? Status::kOk : shared();
  }

  Status offsets(size_t at, const PenTableSchema& schema, const PenFieldSchema& field) {
    Status status = numbers(at, schema, 4);
    const FlatVector<uint32_t> vector(&bytes_, at);
    for (size_t i = 0; status == Status::kOk && i < vector.count(); ++i) {
      const size_t target = bytes_.target(vector.position(i));
      if (target == 0) return broken(schema, "has an entry that points out of the metadata");
      status = field.kind == PenKind::kStrings ? string(target, schema) : table(FlatTable(&bytes_, target), *field.child);
    }
    return status;
  }

  bool spend(size_t cost) {
    const bool enough = cost <= budget_;
    budget_ -= enough ? cost : budget_;
    return enough;
  }

  Status broken(const PenTableSchema& schema, const char* what) {
    return fail(error_, Status::kInvalidFile, "metadata: a %s table %s; the file is damaged, export it again", schema.name, what);
  }

  Status shared() {
    return fail(error_, Status::kInvalidFile,
                "metadata: its tables refer to the same bytes too often; the file is not one of an exporter");
  }

  const FlatBytes& bytes_;
  penlight_error& error_;
  size_t budget_;
};

}  // namespace

Status verify_structure(const FlatBytes& bytes, FlatTable root, penlight_error& error) {
  return StructureWalk(bytes, error).table(root, kPenProgramSchema);
}

}  // namespace penlight
