// The training loops compiled for each instruction set. SPDX-License-Identifier: Apache-2.0
#include "training.h"

#include "kernels/isa.h"

// clang-format off
#include "kernels/simd/baseline.h"
#include "kernels/simd/baseline_begin.h"
#include "simd/training.h"
#include "kernels/simd/baseline_end.h"
#if PENLIGHT_X86
#include "kernels/simd/avx2.h"
#include "kernels/simd/avx2_begin.h"
#include "simd/training.h"
#include "kernels/simd/avx2_end.h"
#include "kernels/simd/avx512.h"
#include "kernels/simd/avx512_begin.h"
#include "simd/training.h"
#include "kernels/simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const TrainingTable* kTrainingTables[] = {
    &baseline::kTrainingTable,
#if PENLIGHT_X86
    &avx2::kTrainingTable,
    &avx512::kTrainingTable,
#endif
};

}  // namespace

const TrainingTable& training_table() { return *table_for_isa(kTrainingTables); }

}  // namespace penlight
