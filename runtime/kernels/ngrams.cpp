// TfIdfVectorizer: counts n-grams of integers; strings come as numbers of a table. SPDX-License-Identifier: Apache-2.0
#include "shape_rules.h"

namespace penlight {

namespace {

struct NgramState {
  int64_t rows = 1, length = 0, columns = 0;
  int64_t pool = 0, sizes = 0, ngrams = 0;            // entries of pool_int64s, ngram_counts and ngram_indexes
  int64_t shortest = 1, longest = 1, most_skips = 0;  // as the attributes say, within what can matter
  int mode = 0;                                       // 0 TF, 1 IDF, 2 TFIDF
};

struct NgramTables {
  int64_t *pool, *starts, *columns;
  double* weights;
};

NgramTables ngram_tables(const NgramState& s, void* scratch) {
  auto* at = static_cast<int64_t*>(scratch);
  return {at, at + s.pool, at + s.pool + s.sizes, reinterpret_cast<double*>(at + s.pool + s.sizes + s.ngrams)};
}

/// Copies the attributes' lists; `infer` has seen their lengths.
void ngram_read(Context& context, const NgramState& s, const NgramTables& tables) {
  context.attributes->integers("pool_int64s", tables.pool, s.pool);
  context.attributes->integers("ngram_counts", tables.starts, s.sizes);
  context.attributes->integers("ngram_indexes", tables.columns, s.ngrams);
  for (int64_t i = 0; i < s.ngrams; ++i) tables.weights[i] = 1.0;
  context.attributes->reals("weights", tables.weights, s.ngrams);
}

/// ngram_counts[n - 1] is where the n-grams of n items start in the pool; all of it must be whole n-grams with a column each.
Status ngram_check(Context& context, const NgramState& s, const NgramTables& tables) {
  int64_t total = 0;
  for (int64_t n = 1; n <= s.sizes; ++n) {
    const int64_t begin = tables.starts[n - 1], end = n < s.sizes ? tables.starts[n] : s.pool;
    if (begin < 0 || end < begin || end > s.pool || (end - begin) % n != 0)
      return context.fail(Status::kInvalidProgram, "ngram_counts does not cut the pool into n-grams");
    total += (end - begin) / n;
  }
  if (total != s.ngrams) return context.fail(Status::kInvalidProgram, "ngram_indexes has not one entry for each n-gram");
  for (int64_t i = 0; i < s.ngrams; ++i)
    if (tables.columns[i] < 0 || tables.columns[i] >= s.columns)
      return context.fail(Status::kInvalidProgram, "ngram_indexes holds %lld", static_cast<long long>(tables.columns[i]));
  return Status::kOk;
}

template <typename T>
bool ngram_matches(const T* row, int64_t skip, const int64_t* ngram, int64_t size) {
  for (int64_t i = 0; i < size; ++i)
    if (int64_t{row[i * skip]} != ngram[i]) return false;
  return true;
}

/// Counts the n-grams of `size` items that stand `skip` apart.
template <typename T>
void ngram_count(const NgramState& s, const NgramTables& tables, const T* row, int64_t size, int64_t skip, int64_t first,
                 float* counts) {
  const int64_t begin = tables.starts[size - 1], end = size < s.sizes ? tables.starts[size] : s.pool;
  for (int64_t start = 0; start + (size - 1) * skip < s.length; ++start) {
    for (int64_t at = begin, n = first; at < end; at += size, ++n) {
      if (!ngram_matches(row + start, skip, tables.pool + at, size)) continue;
      float& count = counts[tables.columns[n]];
      const float weight = static_cast<float>(tables.weights[n]);
      count = s.mode == 0 ? count + 1.0f : s.mode == 1 ? weight : count + weight;
      break;
    }
  }
}

template <typename T>
void ngram_row(const NgramState& s, const NgramTables& tables, const T* row, float* counts) {
  for (int64_t i = 0; i < s.columns; ++i) counts[i] = 0.0f;
  int64_t first = 0;
  for (int64_t size = 1; size <= s.sizes && size <= s.longest; ++size) {
    const int64_t end = size < s.sizes ? tables.starts[size] : s.pool;
    // Nothing lies between the items of a single one, so that it counts once.
    const int64_t skips = size == 1 ? 0 : s.most_skips;
    for (int64_t skip = 0; size >= s.shortest && skip <= skips && (size - 1) * (skip + 1) < s.length; ++skip)
      ngram_count(s, tables, row, size, skip + 1, first, counts);
    first += (end - tables.starts[size - 1]) / size;
  }
}

}  // namespace

Status tf_idf_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kI32) | dtype_bit(DType::kI64)));
  PENLIGHT_TRY(check_rank(context, 0, 0, 2));
  const Attributes& attributes = *context.attributes;
  const Shape& x = context.input(0).shape;
  NgramState& s = context.state_as<NgramState>();
  s = NgramState{};
  s.rows = x.rank == 2 ? x.dims[0] : 1;
  s.length = x.rank == 0 ? 1 : x.dims[x.rank - 1];
  s.pool = attributes.integers("pool_int64s", nullptr, 0);
  s.sizes = attributes.integers("ngram_counts", nullptr, 0);
  s.ngrams = attributes.integers("ngram_indexes", nullptr, 0);
  if (s.pool < 0) return context.fail(Status::kUnsupportedOperator, "pool_int64s is missing");
  if (s.sizes < 0 || s.ngrams < 0) return context.fail(Status::kInvalidProgram, "ngram_counts or ngram_indexes is missing");
  const int64_t weights = attributes.reals("weights", nullptr, 0);
  if (weights >= 0 && weights != s.ngrams)
    return context.fail(Status::kInvalidProgram, "weights has not one entry for each n-gram");
  const char* mode = attributes.text("mode");
  if (mode == nullptr || (mode[0] != 'T' && mode[0] != 'I')) return context.fail(Status::kInvalidProgram, "mode is unknown");
  s.mode = mode[0] == 'I' ? 1 : mode[1] == 'F' && mode[2] == 'I' ? 2 : 0;
  s.shortest = attributes.integer("min_gram_length", 1);
  s.longest = attributes.integer("max_gram_length", 1);
  s.most_skips = attributes.integer("max_skip_count", 0);
  if (s.most_skips > s.length) s.most_skips = s.length;
  int64_t largest = -1;
  for (int64_t i = 0; i < s.ngrams; ++i) {
    const int64_t column = attributes.integer_at("ngram_indexes", static_cast<size_t>(i));
    if (column > largest) largest = column;
  }
  if (!checked_add(largest, 1, &s.columns)) return context.fail(Status::kInvalidProgram, "ngram_indexes is out of range");
  if (!add_scratch(context, s.pool + s.sizes + 2 * s.ngrams, sizeof(int64_t))) return scratch_too_large(context);
  const uint64_t places = saturating_mul(static_cast<uint64_t>(s.length) + 1, static_cast<uint64_t>(s.rows));
  const uint64_t work = saturating_mul(places, static_cast<uint64_t>(s.pool) + static_cast<uint64_t>(s.sizes) + 1);
  context.macs = saturating_add(saturating_mul(work, static_cast<uint64_t>(s.most_skips < 0 ? 0 : s.most_skips) + 1),
                                saturating_mul(static_cast<uint64_t>(s.rows), static_cast<uint64_t>(s.columns)));
  const int64_t out[] = {s.rows, s.columns};
  return set_output(context, 0, DType::kF32, x.rank == 2 ? make_shape(out, 2) : make_shape(out + 1, 1));
}

Status tf_idf_run(Context& context) {
  const NgramState& s = context.state_as<NgramState>();
  const NgramTables tables = ngram_tables(s, context.scratch);
  ngram_read(context, s, tables);
  PENLIGHT_TRY(ngram_check(context, s, tables));
  for (int64_t r = 0; r < s.rows; ++r) {
    float* counts = context.output(0).as<float>() + r * s.columns;
    if (context.input(0).dtype == DType::kI64)
      ngram_row(s, tables, context.input(0).as<int64_t>() + r * s.length, counts);
    else
      ngram_row(s, tables, context.input(0).as<int32_t>() + r * s.length, counts);
  }
  return Status::kOk;
}

}  // namespace penlight
