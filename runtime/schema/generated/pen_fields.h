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
    {PenKind::kString, true, 4, 0, 0},  // Symbol.name
    {PenKind::kScalar, false, 8, 0, 0},  // Symbol.minimum
    {PenKind::kScalar, false, 8, 0, 0},  // Symbol.maximum
    {PenKind::kScalar, false, 4, 0, 0},  // DimTerm.symbol
    {PenKind::kScalar, false, 8, 0, 0},  // DimTerm.coefficient
    {PenKind::kScalar, false, 8, 0, 0},  // Dim.constant
    {PenKind::kChildren, false, 4, 3, 1},  // Dim.terms
    {PenKind::kScalar, false, 1, 1, 0},  // Dim.unknown
    {PenKind::kScalar, false, 4, 0, 0},  // Span.segment
    {PenKind::kScalar, false, 8, 0, 0},  // Span.offset
    {PenKind::kScalar, false, 8, 0, 0},  // Span.size_bytes
    {PenKind::kScalar, false, 8, 0, 0},  // Segment.offset
    {PenKind::kScalar, false, 8, 0, 0},  // Segment.size_bytes
    {PenKind::kScalar, false, 4, 0, 0},  // Segment.crc32c
    {PenKind::kScalar, false, 4, 0, 0},  // Segment.alignment
    {PenKind::kString, true, 4, 0, 0},  // Value.name
    {PenKind::kScalar, false, 1, 13, 0},  // Value.dtype
    {PenKind::kChildren, false, 4, 3, 2},  // Value.shape
    {PenKind::kChild, false, 4, 0, 3},  // Value.constant
    {PenKind::kString, true, 4, 0, 0},  // Operator.domain
    {PenKind::kString, true, 4, 0, 0},  // Operator.name
    {PenKind::kScalar, false, 4, 0, 0},  // Operator.version
    {PenKind::kString, true, 4, 0, 0},  // Attribute.name
    {PenKind::kScalar, false, 1, 8, 0},  // Attribute.kind
    {PenKind::kScalar, false, 8, 0, 0},  // Attribute.integer
    {PenKind::kScalar, false, 8, 0, 0},  // Attribute.real
    {PenKind::kString, false, 4, 0, 0},  // Attribute.text
    {PenKind::kNumbers, false, 8, 0, 0},  // Attribute.integers
    {PenKind::kNumbers, false, 8, 0, 0},  // Attribute.reals
    {PenKind::kStrings, false, 4, 0, 0},  // Attribute.texts
    {PenKind::kScalar, false, 4, 0, 0},  // Attribute.tensor
    {PenKind::kScalar, false, 4, 0, 0},  // Attribute.body
    {PenKind::kScalar, false, 4, 0, 0},  // Node.operator
    {PenKind::kNumbers, true, 4, 0, 0},  // Node.inputs
    {PenKind::kNumbers, true, 4, 0, 0},  // Node.outputs
    {PenKind::kChildren, false, 4, 6, 7},  // Node.attributes
    {PenKind::kString, false, 4, 0, 0},  // Node.name
    {PenKind::kString, false, 4, 0, 0},  // Node.module_path
    {PenKind::kString, false, 4, 0, 0},  // Node.source
    {PenKind::kString, true, 4, 0, 0},  // State.name
    {PenKind::kScalar, false, 1, 13, 0},  // State.dtype
    {PenKind::kNumbers, false, 8, 3, 0},  // State.shape
    {PenKind::kChild, false, 4, 0, 3},  // State.initial
    {PenKind::kString, true, 4, 0, 0},  // Method.name
    {PenKind::kChildren, true, 4, 17, 5},  // Method.values
    {PenKind::kNumbers, true, 4, 8, 0},  // Method.inputs
    {PenKind::kNumbers, true, 4, 8, 0},  // Method.outputs
    {PenKind::kChildren, true, 4, 15, 8},  // Method.nodes
    {PenKind::kNumbers, false, 4, 0, 0},  // Method.states
    {PenKind::kScalar, false, 4, 0, 0},  // SymbolBinding.symbol
    {PenKind::kScalar, false, 8, 0, 0},  // SymbolBinding.size
    {PenKind::kScalar, false, 4, 0, 0},  // Resources.method
    {PenKind::kChildren, false, 4, 0, 11},  // Resources.bindings
    {PenKind::kScalar, false, 8, 0, 0},  // Resources.arena_bytes
    {PenKind::kScalar, false, 8, 0, 0},  // Resources.weight_bytes
    {PenKind::kScalar, false, 8, 0, 0},  // Resources.macs
    {PenKind::kNumbers, false, 8, 0, 0},  // Resources.node_macs
    {PenKind::kNumbers, false, 8, 3, 0},  // GoldenTensor.shape
    {PenKind::kChild, true, 4, 0, 3},  // GoldenTensor.data
    {PenKind::kScalar, false, 4, 0, 0},  // Golden.method
    {PenKind::kChildren, true, 4, 0, 13},  // Golden.inputs
    {PenKind::kChildren, true, 4, 0, 13},  // Golden.outputs
    {PenKind::kScalar, false, 4, 0, 0},  // Golden.atol
    {PenKind::kScalar, false, 4, 0, 0},  // Golden.rtol
    {PenKind::kString, true, 4, 0, 0},  // KeyValue.key
    {PenKind::kString, true, 4, 0, 0},  // KeyValue.value
    {PenKind::kChildren, true, 4, 12, 6},  // Program.operators
    {PenKind::kChildren, false, 4, 8, 0},  // Program.symbols
    {PenKind::kChildren, true, 4, 8, 10},  // Program.methods
    {PenKind::kChildren, false, 4, 16, 4},  // Program.segments
    {PenKind::kChildren, false, 4, 0, 12},  // Program.resources
    {PenKind::kChildren, false, 4, 0, 14},  // Program.golden
    {PenKind::kChildren, false, 4, 0, 15},  // Program.metadata
    {PenKind::kChildren, false, 4, 12, 10},  // Program.bodies
    {PenKind::kChildren, false, 4, 8, 9},  // Program.states
};
inline constexpr PenTableSchema kPenTables[] = {
    {0, 3},  // Symbol
    {3, 2},  // DimTerm
    {5, 3},  // Dim
    {8, 3},  // Span
    {11, 4},  // Segment
    {15, 4},  // Value
    {19, 3},  // Operator
    {22, 10},  // Attribute
    {32, 7},  // Node
    {39, 4},  // State
    {43, 6},  // Method
    {49, 2},  // SymbolBinding
    {51, 6},  // Resources
    {57, 2},  // GoldenTensor
    {59, 5},  // Golden
    {64, 2},  // KeyValue
    {66, 9},  // Program
};
// clang-format on
constexpr uint8_t kPenProgramTable = 16;
/// Of all tables, for nth_text.
inline constexpr char kPenTableNames[] =
    "Symbol\0"
    "DimTerm\0"
    "Dim\0"
    "Span\0"
    "Segment\0"
    "Value\0"
    "Operator\0"
    "Attribute\0"
    "Node\0"
    "State\0"
    "Method\0"
    "SymbolBinding\0"
    "Resources\0"
    "GoldenTensor\0"
    "Golden\0"
    "KeyValue\0"
    "Program";

}  // namespace penlight
