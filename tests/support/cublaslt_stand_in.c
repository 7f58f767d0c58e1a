// A cuBLASLt that computes on the CPU: the same C interface, checked as strictly. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 7, UNSUPPORTED = 15 };
enum { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };

typedef struct {
  int compute, scale;
  int32_t trans_a, trans_b;
  uint32_t epilogue;
  void* bias;
  void* aux;
  int64_t aux_ld;
} Desc;
typedef struct {
  int type;
  uint64_t rows, columns;
  int64_t ld;
  int32_t batch;
  int64_t stride;
} Layout;
typedef struct {
  uint64_t workspace;
  uint32_t aligned[4];
} Preference;
typedef struct {
  uint64_t data[8];
} Algo;
typedef struct {
  Algo algo;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
} Result;

static int heuristics, products, is_open, compute, refuses, alive, calls_to_failure;
static void* stream_seen;

/// Objects that were made and not destroyed.
int stand_in_alive(void) { return alive; }
/// Lets the call of this number from now on fail; those that make a product and the handle do not count.
void stand_in_fail(int call) { calls_to_failure = call; }
static int fails(void) { return calls_to_failure > 0 && --calls_to_failure == 0; }

int stand_in_heuristics(void) { return heuristics; }
int stand_in_products(void) { return products; }
int stand_in_compute(void) { return compute; }
void* stand_in_stream(void) { return stream_seen; }
void stand_in_refuse(int epilogue) { refuses = epilogue; }

size_t cublasLtGetVersion(void) { return 130000; }
int cublasLtCreate(void** handle) {
  is_open = 1;
  *handle = &is_open;
  return OK;
}
int cublasLtDestroy(void* handle) { return handle == &is_open ? OK : INVALID; }

int cublasLtMatmulDescCreate(Desc** desc, int kind, int scale) {
  if (fails()) return INVALID;
  ++alive;
  *desc = calloc(1, sizeof(Desc));
  (*desc)->compute = kind;
  (*desc)->scale = scale;
  (*desc)->epilogue = 1;
  return OK;
}
int cublasLtMatmulDescDestroy(Desc* desc) {
  free(desc);
  --alive;
  return OK;
}

static int take(void* to, size_t size, const void* value, size_t bytes) {
  if (bytes != size) return INVALID;
  memcpy(to, value, bytes);
  return OK;
}

int cublasLtMatmulDescSetAttribute(Desc* d, int attribute, const void* value, size_t bytes) {
  if (fails()) return INVALID;
  switch (attribute) {
    case 3:
      return take(&d->trans_a, 4, value, bytes);
    case 4:
      return take(&d->trans_b, 4, value, bytes);
    case 7:
      return take(&d->epilogue, 4, value, bytes);
    case 8:
      return take(&d->bias, 8, value, bytes);
    case 11:
      return take(&d->aux, 8, value, bytes);
    case 12:
      return take(&d->aux_ld, 8, value, bytes);
    default:
      return INVALID;
  }
}

int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  if (ld < (int64_t)rows) return INVALID;
  if (fails()) return INVALID;
  ++alive;
  *layout = calloc(1, sizeof(Layout));
  **layout = (Layout){type, rows, columns, ld, 1, 0};
  return OK;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) {
  free(layout);
  --alive;
  return OK;
}
int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value, size_t bytes) {
  if (fails()) return INVALID;
  if (attribute == 5) return take(&layout->batch, 4, value, bytes);
  return attribute == 6 ? take(&layout->stride, 8, value, bytes) : INVALID;
}

int cublasLtMatmulPreferenceCreate(Preference** preference) {
  if (fails()) return INVALID;
  ++alive;
  *preference = calloc(1, sizeof(Preference));
  return OK;
}
int cublasLtMatmulPreferenceDestroy(Preference* preference) {
  free(preference);
  --alive;
  return OK;
}
int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* value, size_t bytes) {
  if (fails()) return INVALID;
  if (attribute == 1) return take(&p->workspace, 8, value, bytes);
  if (attribute < 5 || attribute > 8) return INVALID;
  int status = take(&p->aligned[attribute - 5], 4, value, bytes);
  return status == OK && (p->aligned[attribute - 5] & (p->aligned[attribute - 5] - 1)) == 0 ? OK : INVALID;
}

static int size_of(int type) { return type == F64 ? 8 : type == F32 ? 4 : 2; }

static double load(const void* at, int64_t index, int type) {
  if (type == F64) return ((const double*)at)[index];
  if (type == F32) return ((const float*)at)[index];
  if (type == F16) return (double)((const _Float16*)at)[index];
  uint32_t bits = (uint32_t)((const uint16_t*)at)[index] << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static void store(void* at, int64_t index, int type, double value) {
  if (type == F64)
    ((double*)at)[index] = value;
  else if (type == F32)
    ((float*)at)[index] = (float)value;
  else if (type == F16)
    ((_Float16*)at)[index] = (_Float16)(float)value;
  else {
    float narrow = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, 4);
    bits += 0x7fff + ((bits >> 16) & 1);
    ((uint16_t*)at)[index] = (uint16_t)(bits >> 16);
  }
}

static int fits(const Desc* d, const Layout* a, const Layout* b, const Layout* c) {
  uint64_t m = c->rows, n = c->columns, k = d->trans_a ? a->rows : a->columns;
  return (d->trans_a ? a->columns : a->rows) == m && (d->trans_b ? b->columns : b->rows) == k &&
         (d->trans_b ? b->rows : b->columns) == n && a->type == b->type && b->type == c->type && a->batch == b->batch &&
         b->batch == c->batch;
}

int cublasLtMatmulAlgoGetHeuristic(void* handle, Desc* d, Layout* a, Layout* b, Layout* c, Layout* e, Preference* p, int wanted,
                                   Result* results, int* found) {
  ++heuristics;
  *found = 0;
  if (fails()) return INVALID;
  if (handle != &is_open || wanted < 1 || c != e || !fits(d, a, b, c)) return INVALID;
  if ((c->type == F64) != (d->compute == 70) || (d->scale == F64) != (d->compute == 70)) return UNSUPPORTED;
  for (int i = 0; i < 4; ++i)
    if (p->aligned[i] < (uint32_t)size_of(c->type)) return UNSUPPORTED;
  if ((int)d->epilogue == refuses) return UNSUPPORTED;
  memset(results, 0, sizeof *results);
  results->algo.data[0] = d->epilogue;
  results->algo.data[1] = p->workspace;
  *found = 1;
  return OK;
}

static double tanh_gelu(double x) { return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }
static double tanh_gelu_slope(double x) {
  double t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
}

static double finished(const Desc* d, int type, double value, int64_t i, int64_t j) {
  uint32_t kind = d->epilogue;
  int bits_bias = (kind & 4) != 0, aux = (kind & 128) != 0;
  int64_t at = j * d->aux_ld + i;
  if (bits_bias) value += load(d->bias, i, type);
  if (kind & 2) {
    if (aux) {
      unsigned char* byte = (unsigned char*)d->aux + at / 8;
      *byte = (unsigned char)((*byte & ~(1 << (at % 8))) | ((value > 0) << (at % 8)));
    }
    return value > 0 ? value : 0;
  }
  if (kind & 32) {
    if (aux) store(d->aux, at, type, value);
    return tanh_gelu(value);
  }
  if (kind & 8) return (((unsigned char*)d->aux)[at / 8] >> (at % 8)) & 1 ? value : 0;
  return kind & 64 ? value * tanh_gelu_slope(load(d->aux, at, type)) : value;
}

static int is_consistent(const Desc* d, const Layout* c) {
  int needs_bias = (d->epilogue & (4 | 16 | 256 | 512)) != 0, needs_aux = (d->epilogue & 128) != 0;
  if (needs_bias && d->bias == NULL) return 0;
  if (!needs_aux) return 1;
  int is_bits = (d->epilogue & (2 | 8)) != 0;
  return d->aux != NULL && d->aux_ld >= (int64_t)c->rows && d->aux_ld % (is_bits ? 128 : 8) == 0 && c->batch == 1;
}

int cublasLtMatmul(void* handle, Desc* d, const void* alpha, const void* a, Layout* la, const void* b, Layout* lb, const void* beta,
                   const void* c, Layout* lc, void* out, Layout* lo, const Algo* algo, void* workspace, size_t workspace_bytes,
                   void* stream) {
  ++products;
  compute = d->compute;
  stream_seen = stream;
  if (handle != &is_open || !fits(d, la, lb, lo) || lc != lo || c != out || !is_consistent(d, lo)) return INVALID;
  if (algo->data[0] != d->epilogue || algo->data[1] != workspace_bytes || workspace == NULL) return INVALID;
  int type = lo->type;
  double scale = d->scale == F64 ? *(const double*)alpha : *(const float*)alpha;
  double keep = d->scale == F64 ? *(const double*)beta : *(const float*)beta;
  int64_t m = (int64_t)lo->rows, n = (int64_t)lo->columns, k = (int64_t)(d->trans_a ? la->rows : la->columns);
  double* sums = calloc((size_t)(m + n), sizeof(double));
  for (int32_t s = 0; s < lo->batch; ++s)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t i = 0; i < m; ++i) {
        double sum = 0;
        for (int64_t p = 0; p < k; ++p) {
          double x = load(a, s * la->stride + (d->trans_a ? i * la->ld + p : p * la->ld + i), type);
          double y = load(b, s * lb->stride + (d->trans_b ? p * lb->ld + j : j * lb->ld + p), type);
          sum += x * y;
          if (d->epilogue == 256 && j == 0) sums[i] += x;
          if (d->epilogue == 512 && i == 0) sums[j] += y;
        }
        int64_t at = s * lo->stride + j * lo->ld + i;
        double value = finished(d, type, scale * sum + (keep == 0 ? 0 : keep * load(out, at, type)), i, j);
        if (d->epilogue & 16) sums[i] += value;
        store(out, at, type, value);
      }
  int64_t count = d->epilogue == 512 ? n : d->epilogue & (16 | 256) ? m : 0;
  for (int64_t i = 0; i < count; ++i) store(d->bias, i, type, sums[i]);
  free(sums);
  return OK;
}
