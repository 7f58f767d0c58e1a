/* The model's bytes, in model.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef PENLIGHT_MODEL_H
#define PENLIGHT_MODEL_H

#include <stddef.h>

/* 64 bytes let every kernel use the weights where they are; the runtime asks for at least 8. */
#if defined(__GNUC__)
#define PENLIGHT_MODEL_ALIGNED __attribute__((aligned(64)))
#else
#define PENLIGHT_MODEL_ALIGNED
#endif

extern const unsigned char penlight_model[] PENLIGHT_MODEL_ALIGNED;
extern const size_t penlight_model_size;

#endif
