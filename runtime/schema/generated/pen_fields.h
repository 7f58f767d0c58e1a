// Written by runtime/tools/regenerate_schema.py from schema/pen.fbs; do not edit. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

#include "core/field.h"

namespace penlight {

constexpr uint8_t kPenDTypeLargest = 13;
constexpr uint8_t kPenAttributeKindLargest = 8;

struct PenSymbol {
  static constexpr PenString kName{4};
  static constexpr PenScalar<int64_t> kMinimum{6, 1};
  static constexpr PenScalar<int64_t> kMaximum{8, INT64_MAX};
};

struct PenDimTerm {
  static constexpr PenScalar<uint32_t> kSymbol{4, 0};
  static constexpr PenScalar<int64_t> kCoefficient{6, 1};
};

struct PenDim {
  static constexpr PenScalar<int64_t> kConstant{4, 0};
  static constexpr PenChildren kTerms{6};
  static constexpr PenScalar<bool> kUnknown{8, false};
};

struct PenSpan {
  static constexpr PenScalar<uint32_t> kSegment{4, 0};
  static constexpr PenScalar<uint64_t> kOffset{6, 0};
  static constexpr PenScalar<uint64_t> kSizeBytes{8, 0};
};

struct PenSegment {
  static constexpr PenScalar<uint64_t> kOffset{4, 0};
  static constexpr PenScalar<uint64_t> kSizeBytes{6, 0};
  static constexpr PenScalar<uint32_t> kCrc32c{8, 0};
  static constexpr PenScalar<uint32_t> kAlignment{10, 64};
};

struct PenValue {
  static constexpr PenString kName{4};
  static constexpr PenScalar<uint8_t> kDtype{6, 0};
  static constexpr PenChildren kShape{8};
  static constexpr PenChild kConstant{10};
};

struct PenOperator {
  static constexpr PenString kDomain{4};
  static constexpr PenString kName{6};
  static constexpr PenScalar<uint32_t> kVersion{8, 0};
};

struct PenAttribute {
  static constexpr PenString kName{4};
  static constexpr PenScalar<uint8_t> kKind{6, 0};
  static constexpr PenScalar<int64_t> kInteger{8, 0};
  static constexpr PenScalar<double> kReal{10, 0.0};
  static constexpr PenString kText{12};
  static constexpr PenNumbers<int64_t> kIntegers{14};
  static constexpr PenNumbers<double> kReals{16};
  static constexpr PenStrings kTexts{18};
  static constexpr PenScalar<uint32_t> kTensor{20, 0};
  static constexpr PenScalar<uint32_t> kBody{22, 0};
};

struct PenNode {
  static constexpr PenScalar<uint32_t> kOperator{4, 0};
  static constexpr PenNumbers<int32_t> kInputs{6};
  static constexpr PenNumbers<int32_t> kOutputs{8};
  static constexpr PenChildren kAttributes{10};
  static constexpr PenString kName{12};
  static constexpr PenString kModulePath{14};
  static constexpr PenString kSource{16};
};

struct PenState {
  static constexpr PenString kName{4};
  static constexpr PenScalar<uint8_t> kDtype{6, 0};
  static constexpr PenNumbers<int64_t> kShape{8};
  static constexpr PenChild kInitial{10};
};

struct PenMethod {
  static constexpr PenString kName{4};
  static constexpr PenChildren kValues{6};
  static constexpr PenNumbers<uint32_t> kInputs{8};
  static constexpr PenNumbers<uint32_t> kOutputs{10};
  static constexpr PenChildren kNodes{12};
  static constexpr PenNumbers<uint32_t> kStates{14};
};

struct PenSymbolBinding {
  static constexpr PenScalar<uint32_t> kSymbol{4, 0};
  static constexpr PenScalar<int64_t> kSize{6, 0};
};

struct PenResources {
  static constexpr PenScalar<uint32_t> kMethod{4, 0};
  static constexpr PenChildren kBindings{6};
  static constexpr PenScalar<uint64_t> kArenaBytes{8, 0};
  static constexpr PenScalar<uint64_t> kWeightBytes{10, 0};
  static constexpr PenScalar<uint64_t> kMacs{12, 0};
  static constexpr PenNumbers<uint64_t> kNodeMacs{14};
};

struct PenGoldenTensor {
  static constexpr PenNumbers<int64_t> kShape{4};
  static constexpr PenChild kData{6};
};

struct PenGolden {
  static constexpr PenScalar<uint32_t> kMethod{4, 0};
  static constexpr PenChildren kInputs{6};
  static constexpr PenChildren kOutputs{8};
  static constexpr PenScalar<float> kAtol{10, 0.0f};
  static constexpr PenScalar<float> kRtol{12, 0.0f};
};

struct PenKeyValue {
  static constexpr PenString kKey{4};
  static constexpr PenString kValue{6};
};

struct PenProgram {
  static constexpr PenChildren kOperators{4};
  static constexpr PenChildren kSymbols{6};
  static constexpr PenChildren kMethods{8};
  static constexpr PenChildren kSegments{10};
  static constexpr PenChildren kResources{12};
  static constexpr PenChildren kGolden{14};
  static constexpr PenChildren kMetadata{16};
  static constexpr PenChildren kBodies{18};
  static constexpr PenChildren kStates{20};
};

// clang-format off
inline constexpr PenFieldSchema kPenFields[] = {
    {4, PenKind::kString, 4, 0, true, {0}},
    {6, PenKind::kScalar, 8, 0, false, {0}},
    {8, PenKind::kScalar, 8, 0, false, {0}},
    {4, PenKind::kScalar, 4, 0, false, {0}},
    {6, PenKind::kScalar, 8, 0, false, {0}},
    {4, PenKind::kScalar, 8, 0, false, {0}},
    {6, PenKind::kChildren, 4, 0, false, {1}},
    {8, PenKind::kScalar, 1, 1, false, {0}},
    {4, PenKind::kScalar, 4, 0, false, {0}},
    {6, PenKind::kScalar, 8, 0, false, {0}},
    {8, PenKind::kScalar, 8, 0, false, {0}},
    {4, PenKind::kScalar, 8, 0, false, {0}},
    {6, PenKind::kScalar, 8, 0, false, {0}},
    {8, PenKind::kScalar, 4, 0, false, {0}},
    {10, PenKind::kScalar, 4, 0, false, {0}},
    {4, PenKind::kString, 4, 0, true, {0}},
    {6, PenKind::kScalar, 1, 13, false, {0}},
    {8, PenKind::kChildren, 4, 0, false, {2}},
    {10, PenKind::kChild, 4, 0, false, {3}},
    {4, PenKind::kString, 4, 0, true, {0}},
    {6, PenKind::kString, 4, 0, true, {0}},
    {8, PenKind::kScalar, 4, 0, false, {0}},
    {4, PenKind::kString, 4, 0, true, {0}},
    {6, PenKind::kScalar, 1, 8, false, {0}},
    {8, PenKind::kScalar, 8, 0, false, {0}},
    {10, PenKind::kScalar, 8, 0, false, {0}},
    {12, PenKind::kString, 4, 0, false, {0}},
    {14, PenKind::kNumbers, 8, 0, false, {0}},
    {16, PenKind::kNumbers, 8, 0, false, {0}},
    {18, PenKind::kStrings, 4, 0, false, {0}},
    {20, PenKind::kScalar, 4, 0, false, {0}},
    {22, PenKind::kScalar, 4, 0, false, {0}},
    {4, PenKind::kScalar, 4, 0, false, {0}},
    {6, PenKind::kNumbers, 4, 0, true, {0}},
    {8, PenKind::kNumbers, 4, 0, true, {0}},
    {10, PenKind::kChildren, 4, 0, false, {7}},
    {12, PenKind::kString, 4, 0, false, {0}},
    {14, PenKind::kString, 4, 0, false, {0}},
    {16, PenKind::kString, 4, 0, false, {0}},
    {4, PenKind::kString, 4, 0, true, {0}},
    {6, PenKind::kScalar, 1, 13, false, {0}},
    {8, PenKind::kNumbers, 8, 0, false, {0}},
    {10, PenKind::kChild, 4, 0, false, {3}},
    {4, PenKind::kString, 4, 0, true, {0}},
    {6, PenKind::kChildren, 4, 0, true, {5}},
    {8, PenKind::kNumbers, 4, 0, true, {0}},
    {10, PenKind::kNumbers, 4, 0, true, {0}},
    {12, PenKind::kChildren, 4, 0, true, {8}},
    {14, PenKind::kNumbers, 4, 0, false, {0}},
    {4, PenKind::kScalar, 4, 0, false, {0}},
    {6, PenKind::kScalar, 8, 0, false, {0}},
    {4, PenKind::kScalar, 4, 0, false, {0}},
    {6, PenKind::kChildren, 4, 0, false, {11}},
    {8, PenKind::kScalar, 8, 0, false, {0}},
    {10, PenKind::kScalar, 8, 0, false, {0}},
    {12, PenKind::kScalar, 8, 0, false, {0}},
    {14, PenKind::kNumbers, 8, 0, false, {0}},
    {4, PenKind::kNumbers, 8, 0, false, {0}},
    {6, PenKind::kChild, 4, 0, true, {3}},
    {4, PenKind::kScalar, 4, 0, false, {0}},
    {6, PenKind::kChildren, 4, 0, true, {13}},
    {8, PenKind::kChildren, 4, 0, true, {13}},
    {10, PenKind::kScalar, 4, 0, false, {0}},
    {12, PenKind::kScalar, 4, 0, false, {0}},
    {4, PenKind::kString, 4, 0, true, {0}},
    {6, PenKind::kString, 4, 0, true, {0}},
    {4, PenKind::kChildren, 4, 0, true, {6}},
    {6, PenKind::kChildren, 4, 0, false, {0}},
    {8, PenKind::kChildren, 4, 0, true, {10}},
    {10, PenKind::kChildren, 4, 0, false, {4}},
    {12, PenKind::kChildren, 4, 0, false, {12}},
    {14, PenKind::kChildren, 4, 0, false, {14}},
    {16, PenKind::kChildren, 4, 0, false, {15}},
    {18, PenKind::kChildren, 4, 0, false, {10}},
    {20, PenKind::kChildren, 4, 0, false, {9}},
};
inline constexpr PenTableSchema kPenTables[] = {
    {PENLIGHT_TABLE_NAME("Symbol"), {0}, 3},
    {PENLIGHT_TABLE_NAME("DimTerm"), {3}, 2},
    {PENLIGHT_TABLE_NAME("Dim"), {5}, 3},
    {PENLIGHT_TABLE_NAME("Span"), {8}, 3},
    {PENLIGHT_TABLE_NAME("Segment"), {11}, 4},
    {PENLIGHT_TABLE_NAME("Value"), {15}, 4},
    {PENLIGHT_TABLE_NAME("Operator"), {19}, 3},
    {PENLIGHT_TABLE_NAME("Attribute"), {22}, 10},
    {PENLIGHT_TABLE_NAME("Node"), {32}, 7},
    {PENLIGHT_TABLE_NAME("State"), {39}, 4},
    {PENLIGHT_TABLE_NAME("Method"), {43}, 6},
    {PENLIGHT_TABLE_NAME("SymbolBinding"), {49}, 2},
    {PENLIGHT_TABLE_NAME("Resources"), {51}, 6},
    {PENLIGHT_TABLE_NAME("GoldenTensor"), {57}, 2},
    {PENLIGHT_TABLE_NAME("Golden"), {59}, 5},
    {PENLIGHT_TABLE_NAME("KeyValue"), {64}, 2},
    {PENLIGHT_TABLE_NAME("Program"), {66}, 9},
};
// clang-format on
inline constexpr const PenTableSchema& kPenProgramSchema = kPenTables[16];

inline const PenTableSchema& PenTableIndex::operator*() const { return kPenTables[index]; }
inline const PenFieldSchema& PenFieldRange::operator[](size_t i) const { return kPenFields[first + i]; }

}  // namespace penlight
