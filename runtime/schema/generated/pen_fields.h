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
constexpr PenFieldSchema kPenSymbolFields[] = {
    {4, PenKind::kString, 4, 0, true, nullptr},
    {6, PenKind::kScalar, 8, 0, false, nullptr},
    {8, PenKind::kScalar, 8, 0, false, nullptr},
};
constexpr PenTableSchema kPenSymbolSchema = {"Symbol", kPenSymbolFields, 3};

struct PenDimTerm {
  static constexpr PenScalar<uint32_t> kSymbol{4, 0};
  static constexpr PenScalar<int64_t> kCoefficient{6, 1};
};
constexpr PenFieldSchema kPenDimTermFields[] = {
    {4, PenKind::kScalar, 4, 0, false, nullptr},
    {6, PenKind::kScalar, 8, 0, false, nullptr},
};
constexpr PenTableSchema kPenDimTermSchema = {"DimTerm", kPenDimTermFields, 2};

struct PenDim {
  static constexpr PenScalar<int64_t> kConstant{4, 0};
  static constexpr PenChildren kTerms{6};
  static constexpr PenScalar<bool> kUnknown{8, false};
};
constexpr PenFieldSchema kPenDimFields[] = {
    {4, PenKind::kScalar, 8, 0, false, nullptr},
    {6, PenKind::kChildren, 4, 0, false, &kPenDimTermSchema},
    {8, PenKind::kScalar, 1, 1, false, nullptr},
};
constexpr PenTableSchema kPenDimSchema = {"Dim", kPenDimFields, 3};

struct PenSpan {
  static constexpr PenScalar<uint32_t> kSegment{4, 0};
  static constexpr PenScalar<uint64_t> kOffset{6, 0};
  static constexpr PenScalar<uint64_t> kSizeBytes{8, 0};
};
constexpr PenFieldSchema kPenSpanFields[] = {
    {4, PenKind::kScalar, 4, 0, false, nullptr},
    {6, PenKind::kScalar, 8, 0, false, nullptr},
    {8, PenKind::kScalar, 8, 0, false, nullptr},
};
constexpr PenTableSchema kPenSpanSchema = {"Span", kPenSpanFields, 3};

struct PenSegment {
  static constexpr PenScalar<uint64_t> kOffset{4, 0};
  static constexpr PenScalar<uint64_t> kSizeBytes{6, 0};
  static constexpr PenScalar<uint32_t> kCrc32c{8, 0};
  static constexpr PenScalar<uint32_t> kAlignment{10, 64};
};
constexpr PenFieldSchema kPenSegmentFields[] = {
    {4, PenKind::kScalar, 8, 0, false, nullptr},
    {6, PenKind::kScalar, 8, 0, false, nullptr},
    {8, PenKind::kScalar, 4, 0, false, nullptr},
    {10, PenKind::kScalar, 4, 0, false, nullptr},
};
constexpr PenTableSchema kPenSegmentSchema = {"Segment", kPenSegmentFields, 4};

struct PenValue {
  static constexpr PenString kName{4};
  static constexpr PenScalar<uint8_t> kDtype{6, 0};
  static constexpr PenChildren kShape{8};
  static constexpr PenChild kConstant{10};
};
constexpr PenFieldSchema kPenValueFields[] = {
    {4, PenKind::kString, 4, 0, true, nullptr},
    {6, PenKind::kScalar, 1, 13, false, nullptr},
    {8, PenKind::kChildren, 4, 0, false, &kPenDimSchema},
    {10, PenKind::kChild, 4, 0, false, &kPenSpanSchema},
};
constexpr PenTableSchema kPenValueSchema = {"Value", kPenValueFields, 4};

struct PenOperator {
  static constexpr PenString kDomain{4};
  static constexpr PenString kName{6};
  static constexpr PenScalar<uint32_t> kVersion{8, 0};
};
constexpr PenFieldSchema kPenOperatorFields[] = {
    {4, PenKind::kString, 4, 0, true, nullptr},
    {6, PenKind::kString, 4, 0, true, nullptr},
    {8, PenKind::kScalar, 4, 0, false, nullptr},
};
constexpr PenTableSchema kPenOperatorSchema = {"Operator", kPenOperatorFields, 3};

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
constexpr PenFieldSchema kPenAttributeFields[] = {
    {4, PenKind::kString, 4, 0, true, nullptr},
    {6, PenKind::kScalar, 1, 8, false, nullptr},
    {8, PenKind::kScalar, 8, 0, false, nullptr},
    {10, PenKind::kScalar, 8, 0, false, nullptr},
    {12, PenKind::kString, 4, 0, false, nullptr},
    {14, PenKind::kNumbers, 8, 0, false, nullptr},
    {16, PenKind::kNumbers, 8, 0, false, nullptr},
    {18, PenKind::kStrings, 4, 0, false, nullptr},
    {20, PenKind::kScalar, 4, 0, false, nullptr},
    {22, PenKind::kScalar, 4, 0, false, nullptr},
};
constexpr PenTableSchema kPenAttributeSchema = {"Attribute", kPenAttributeFields, 10};

struct PenNode {
  static constexpr PenScalar<uint32_t> kOperator{4, 0};
  static constexpr PenNumbers<int32_t> kInputs{6};
  static constexpr PenNumbers<int32_t> kOutputs{8};
  static constexpr PenChildren kAttributes{10};
  static constexpr PenString kName{12};
  static constexpr PenString kModulePath{14};
  static constexpr PenString kSource{16};
};
constexpr PenFieldSchema kPenNodeFields[] = {
    {4, PenKind::kScalar, 4, 0, false, nullptr},
    {6, PenKind::kNumbers, 4, 0, true, nullptr},
    {8, PenKind::kNumbers, 4, 0, true, nullptr},
    {10, PenKind::kChildren, 4, 0, false, &kPenAttributeSchema},
    {12, PenKind::kString, 4, 0, false, nullptr},
    {14, PenKind::kString, 4, 0, false, nullptr},
    {16, PenKind::kString, 4, 0, false, nullptr},
};
constexpr PenTableSchema kPenNodeSchema = {"Node", kPenNodeFields, 7};

struct PenState {
  static constexpr PenString kName{4};
  static constexpr PenScalar<uint8_t> kDtype{6, 0};
  static constexpr PenNumbers<int64_t> kShape{8};
  static constexpr PenChild kInitial{10};
};
constexpr PenFieldSchema kPenStateFields[] = {
    {4, PenKind::kString, 4, 0, true, nullptr},
    {6, PenKind::kScalar, 1, 13, false, nullptr},
    {8, PenKind::kNumbers, 8, 0, false, nullptr},
    {10, PenKind::kChild, 4, 0, false, &kPenSpanSchema},
};
constexpr PenTableSchema kPenStateSchema = {"State", kPenStateFields, 4};

struct PenMethod {
  static constexpr PenString kName{4};
  static constexpr PenChildren kValues{6};
  static constexpr PenNumbers<uint32_t> kInputs{8};
  static constexpr PenNumbers<uint32_t> kOutputs{10};
  static constexpr PenChildren kNodes{12};
  static constexpr PenNumbers<uint32_t> kStates{14};
};
constexpr PenFieldSchema kPenMethodFields[] = {
    {4, PenKind::kString, 4, 0, true, nullptr},
    {6, PenKind::kChildren, 4, 0, true, &kPenValueSchema},
    {8, PenKind::kNumbers, 4, 0, true, nullptr},
    {10, PenKind::kNumbers, 4, 0, true, nullptr},
    {12, PenKind::kChildren, 4, 0, true, &kPenNodeSchema},
    {14, PenKind::kNumbers, 4, 0, false, nullptr},
};
constexpr PenTableSchema kPenMethodSchema = {"Method", kPenMethodFields, 6};

struct PenSymbolBinding {
  static constexpr PenScalar<uint32_t> kSymbol{4, 0};
  static constexpr PenScalar<int64_t> kSize{6, 0};
};
constexpr PenFieldSchema kPenSymbolBindingFields[] = {
    {4, PenKind::kScalar, 4, 0, false, nullptr},
    {6, PenKind::kScalar, 8, 0, false, nullptr},
};
constexpr PenTableSchema kPenSymbolBindingSchema = {"SymbolBinding", kPenSymbolBindingFields, 2};

struct PenResources {
  static constexpr PenScalar<uint32_t> kMethod{4, 0};
  static constexpr PenChildren kBindings{6};
  static constexpr PenScalar<uint64_t> kArenaBytes{8, 0};
  static constexpr PenScalar<uint64_t> kWeightBytes{10, 0};
  static constexpr PenScalar<uint64_t> kMacs{12, 0};
  static constexpr PenNumbers<uint64_t> kNodeMacs{14};
};
constexpr PenFieldSchema kPenResourcesFields[] = {
    {4, PenKind::kScalar, 4, 0, false, nullptr},
    {6, PenKind::kChildren, 4, 0, false, &kPenSymbolBindingSchema},
    {8, PenKind::kScalar, 8, 0, false, nullptr},
    {10, PenKind::kScalar, 8, 0, false, nullptr},
    {12, PenKind::kScalar, 8, 0, false, nullptr},
    {14, PenKind::kNumbers, 8, 0, false, nullptr},
};
constexpr PenTableSchema kPenResourcesSchema = {"Resources", kPenResourcesFields, 6};

struct PenGoldenTensor {
  static constexpr PenNumbers<int64_t> kShape{4};
  static constexpr PenChild kData{6};
};
constexpr PenFieldSchema kPenGoldenTensorFields[] = {
    {4, PenKind::kNumbers, 8, 0, false, nullptr},
    {6, PenKind::kChild, 4, 0, true, &kPenSpanSchema},
};
constexpr PenTableSchema kPenGoldenTensorSchema = {"GoldenTensor", kPenGoldenTensorFields, 2};

struct PenGolden {
  static constexpr PenScalar<uint32_t> kMethod{4, 0};
  static constexpr PenChildren kInputs{6};
  static constexpr PenChildren kOutputs{8};
  static constexpr PenScalar<float> kAtol{10, 0.0f};
  static constexpr PenScalar<float> kRtol{12, 0.0f};
};
constexpr PenFieldSchema kPenGoldenFields[] = {
    {4, PenKind::kScalar, 4, 0, false, nullptr},
    {6, PenKind::kChildren, 4, 0, true, &kPenGoldenTensorSchema},
    {8, PenKind::kChildren, 4, 0, true, &kPenGoldenTensorSchema},
    {10, PenKind::kScalar, 4, 0, false, nullptr},
    {12, PenKind::kScalar, 4, 0, false, nullptr},
};
constexpr PenTableSchema kPenGoldenSchema = {"Golden", kPenGoldenFields, 5};

struct PenKeyValue {
  static constexpr PenString kKey{4};
  static constexpr PenString kValue{6};
};
constexpr PenFieldSchema kPenKeyValueFields[] = {
    {4, PenKind::kString, 4, 0, true, nullptr},
    {6, PenKind::kString, 4, 0, true, nullptr},
};
constexpr PenTableSchema kPenKeyValueSchema = {"KeyValue", kPenKeyValueFields, 2};

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
constexpr PenFieldSchema kPenProgramFields[] = {
    {4, PenKind::kChildren, 4, 0, true, &kPenOperatorSchema},
    {6, PenKind::kChildren, 4, 0, false, &kPenSymbolSchema},
    {8, PenKind::kChildren, 4, 0, true, &kPenMethodSchema},
    {10, PenKind::kChildren, 4, 0, false, &kPenSegmentSchema},
    {12, PenKind::kChildren, 4, 0, false, &kPenResourcesSchema},
    {14, PenKind::kChildren, 4, 0, false, &kPenGoldenSchema},
    {16, PenKind::kChildren, 4, 0, false, &kPenKeyValueSchema},
    {18, PenKind::kChildren, 4, 0, false, &kPenMethodSchema},
    {20, PenKind::kChildren, 4, 0, false, &kPenStateSchema},
};
constexpr PenTableSchema kPenProgramSchema = {"Program", kPenProgramFields, 9};

}  // namespace penlight
