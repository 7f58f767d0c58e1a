// SPDX-License-Identifier: Apache-2.0
#include "declared.h"

namespace penlight {

bool declared_shape(FlatTable value, Shape* shape) {
  const FlatTables dims = value.get(PenValue::kShape);
  shape->rank = static_cast<int>(dims.count());
  bool constant = true;
  for (size_t i = 0; i < dims.count(); ++i) {
    const FlatTable dim = dims[i];
    const bool varies = dim.get(PenDim::kUnknown) || dim.get(PenDim::kTerms).count() != 0;
    shape->dims[i] = varies ? -1 : dim.get(PenDim::kConstant);
    constant = constant && !varies;
  }
  return constant;
}

bool declared_constant_shape(FlatTable value, Shape* shape) {
  return value.declares(PenValue::kShape.slot) && declared_shape(value, shape);
}

Shape plain_shape(FlatVector<int64_t> sizes) {
  Shape shape;
  shape.rank = static_cast<int>(sizes.count());
  for (size_t i = 0; i < sizes.count(); ++i) shape.dims[i] = sizes[i];
  return shape;
}

int64_t declared_symbol(FlatTable dim) {
  const FlatTables terms = dim.get(PenDim::kTerms);
  const bool plain = !dim.get(PenDim::kUnknown) && terms.count() == 1 && dim.get(PenDim::kConstant) == 0;
  return plain && terms[0].get(PenDimTerm::kCoefficient) == 1 ? int64_t{terms[0].get(PenDimTerm::kSymbol)} : -1;
}

DimState declared_size(FlatTable dim, const int64_t* sizes, int64_t* size) {
  if (dim.get(PenDim::kUnknown)) return DimState::kUnknown;
  int64_t sum = dim.get(PenDim::kConstant);
  const FlatTables terms = dim.get(PenDim::kTerms);
  for (size_t i = 0; i < terms.count(); ++i) {
    const int64_t symbol = sizes[terms[i].get(PenDimTerm::kSymbol)];
    if (symbol == kUnbound) return DimState::kUnknown;
    int64_t product = 0;
    if (!checked_mul(symbol, terms[i].get(PenDimTerm::kCoefficient), &product)) return DimState::kImpossible;
    if (!checked_add(sum, product, &sum)) return DimState::kImpossible;
  }
  *size = sum;
  return sum >= 0 ? DimState::kKnown : DimState::kImpossible;
}

void append_declared(MessageWriter& writer, const penlight_program& program, FlatTable value) {
  const FlatTables dims = value.get(PenValue::kShape);
  writer.append("(");
  for (size_t i = 0; i < dims.count(); ++i) {
    if (i != 0) writer.append(", ");
    const FlatTables terms = dims[i].get(PenDim::kTerms);
    const int64_t constant = dims[i].get(PenDim::kConstant);
    if (dims[i].get(PenDim::kUnknown)) {
      writer.append("?");
      continue;
    }
    for (size_t t = 0; t < terms.count(); ++t) {
      const int64_t coefficient = terms[t].get(PenDimTerm::kCoefficient);
      if (t != 0) writer.append(" + ");
      if (coefficient != 1) writer.append("%lld*", static_cast<long long>(coefficient));
      writer.append("%s", program.symbol(terms[t].get(PenDimTerm::kSymbol)).get(PenSymbol::kName));
    }
    if (terms.count() == 0) {
      writer.append("%lld", static_cast<long long>(constant));
    } else if (constant != 0) {
      writer.append(" %c %lld", constant < 0 ? '-' : '+', static_cast<long long>(constant < 0 ? -(constant + 1) + 1 : constant));
    }
  }
  writer.append(dims.count() == 1 ? ",)" : ")");
}

}  // namespace penlight
