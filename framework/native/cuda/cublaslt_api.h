// The part of cuBLASLt's C interface that we call, so that nothing of CUDA is needed to build. SPDX-License-Identifier: Apache-2.0
//
// Values are those of cublasLt.h and library_types.h; they are part of the library's binary interface and do not change
// (https://docs.nvidia.com/cuda/cublas/index.html#using-the-cublaslt-api).
#pragma once

#include <cstddef>
#include <cstdint>

namespace penlight::lt {

using Status = int;  // cublasStatus_t
constexpr Status kSuccess = 0;
constexpr Status kNotSupported = 15;

using Handle = struct Context*;
using MatmulDesc = struct MatmulDescOpaque*;
using MatrixLayout = struct MatrixLayoutOpaque*;
using Preference = struct PreferenceOpaque*;

struct Algo {
  uint64_t data[8];
};

struct HeuristicResult {
  Algo algo;
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

enum DataType : int { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 14 };  // cudaDataType
enum ComputeType : int { kCompute32 = 68, kCompute64 = 70, kComputeTf32 = 77 };    // cublasComputeType_t
enum DescAttribute : int {
  kTransA = 3,
  kTransB = 4,
  kEpilogue = 7,
  kBiasPointer = 8,  // cublasLtMatmulDescAttributes_t
  kAuxPointer = 11,
  kAuxLd = 12
};
enum LayoutAttribute : int { kBatchCount = 5, kBatchStride = 6 };  // cublasLtMatrixLayoutAttribute_t
enum PreferenceAttribute : int {
  kMaxWorkspace = 1,
  kAlignmentA = 5,
  kAlignmentB = 6,  // cublasLtMatmulPreferenceAttributes_t
  kAlignmentC = 7,
  kAlignmentD = 8
};

/// The functions, looked up by these names with "cublasLt" before them.
struct Functions {
  Status (*Create)(Handle*);
  Status (*Destroy)(Handle);
  size_t (*GetVersion)();
  Status (*MatmulDescCreate)(MatmulDesc*, int compute, int scale);
  Status (*MatmulDescDestroy)(MatmulDesc);
  Status (*MatmulDescSetAttribute)(MatmulDesc, int attribute, const void* value, size_t bytes);
  Status (*MatrixLayoutCreate)(MatrixLayout*, int type, uint64_t rows, uint64_t columns, int64_t ld);
  Status (*MatrixLayoutDestroy)(MatrixLayout);
  Status (*MatrixLayoutSetAttribute)(MatrixLayout, int attribute, const void* value, size_t bytes);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulPreferenceSetAttribute)(Preference, int attribute, const void* value, size_t bytes);
  Status (*MatmulAlgoGetHeuristic)(Handle, MatmulDesc, MatrixLayout a, MatrixLayout b, MatrixLayout c, MatrixLayout d, Preference,
                                   int wanted, HeuristicResult* results, int* found);
  Status (*Matmul)(Handle, MatmulDesc, const void* alpha, const void* a, MatrixLayout, const void* b, MatrixLayout,
                   const void* beta, const void* c, MatrixLayout, void* d, MatrixLayout, const Algo*, void* workspace,
                   size_t workspace_bytes, void* stream);
};

}  // namespace penlight::lt
