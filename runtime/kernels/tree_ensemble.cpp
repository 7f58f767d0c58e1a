// TreeEnsemble: decision trees whose leaves add weights to targets (ai.onnx.ml). SPDX-License-Identifier: Apache-2.0
#include "shape_rules.h"

namespace penlight {

namespace {

constexpr uint32_t kTreeTypes = dtype_bit(DType::kF32) | dtype_bit(DType::kF64);
constexpr int64_t kTreeRowsPerTask = 64;
constexpr uint8_t kMissingIsTrue = 8;  // bit of a node's mode: NaN goes to the true child

enum TreeMode : uint8_t { kLeaf, kLessOrEqual, kLess, kGreaterOrEqual, kGreater, kEqual, kNotEqual, kTreeModes };
enum class TreeSum : int { kSum, kAverage, kMinimum, kMaximum };

// x (N, F); per node: feature, threshold, children (M, 2: true, false), mode, and where its weights begin (M + 1);
// per weight: target and value; per tree its root.
enum TreeInput { kX, kFeatures, kThresholds, kChildren, kModes, kStarts, kTargets, kWeights, kRoots, kTreeInputs };

struct TreeState {
  int64_t rows = 0, features = 0, nodes = 0, trees = 0, targets = 0;
  TreeSum sum = TreeSum::kSum;
};

int64_t tree_tasks(const TreeState& s) { return s.rows / kTreeRowsPerTask + (s.rows % kTreeRowsPerTask != 0); }

/// All tables are constants, so that they are checked once here. Children stand behind their parent: no walk can run in circles.
Status check_trees(Context& context, const TreeState& s) {
  const int64_t weights = context.input(kTargets).shape.count();
  const auto *children = context.input(kChildren).as<int32_t>(), *features = context.input(kFeatures).as<int32_t>();
  const auto *starts = context.input(kStarts).as<int32_t>(), *targets = context.input(kTargets).as<int32_t>();
  const auto* modes = context.input(kModes).as<uint8_t>();
  for (int64_t i = 0; i < s.nodes; ++i) {
    const int mode = modes[i] & ~kMissingIsTrue;
    bool good = mode < kTreeModes && starts[i] >= 0 && starts[i] <= starts[i + 1] && starts[i + 1] <= weights;
    if (mode != kLeaf) {
      good = good && features[i] >= 0 && features[i] < s.features;
      for (int side = 0; side < 2; ++side) good = good && children[2 * i + side] > i && children[2 * i + side] < s.nodes;
    }
    if (!good) return context.fail(Status::kInvalidProgram, "tree node %lld is not valid", static_cast<long long>(i));
  }
  for (int64_t i = 0; i < weights; ++i)
    if (targets[i] < 0 || targets[i] >= s.targets) return context.fail(Status::kInvalidProgram, "a target is out of range");
  for (int64_t i = 0; i < s.trees; ++i) {
    const int32_t root = context.input(kRoots).as<int32_t>()[i];
    if (root < 0 || root >= s.nodes) return context.fail(Status::kInvalidProgram, "a tree's root is out of range");
  }
  return Status::kOk;
}

/// The steps to the leaf of one tree that takes longest, its weights among them; all nodes where the tree is deeper than usual.
/// `left`: nodes to visit in all, for trees may share some.
uint64_t tree_steps(Context& context, const TreeState& s, int32_t root, int64_t* left) {
  constexpr int kMostWaiting = 64;
  struct Waiting {
    int32_t node;
    uint32_t depth;
  } waiting[kMostWaiting + 1];
  const auto *children = context.input(kChildren).as<int32_t>(), *starts = context.input(kStarts).as<int32_t>();
  uint64_t longest = 1;
  int count = 0;
  waiting[count++] = {root, 1};
  while (count > 0) {
    const Waiting at = waiting[--count];
    if (count + 2 > kMostWaiting || --*left < 0)
      return static_cast<uint64_t>(s.nodes) + static_cast<uint64_t>(context.input(kTargets).shape.count());
    if ((context.input(kModes).as<uint8_t>()[at.node] & ~kMissingIsTrue) != kLeaf) {
      for (int side = 0; side < 2; ++side) waiting[count++] = {children[2 * at.node + side], at.depth + 1};
      continue;
    }
    const uint64_t steps = uint64_t{at.depth} + static_cast<uint64_t>(starts[at.node + 1] - starts[at.node]);
    longest = steps > longest ? steps : longest;
  }
  return longest;
}

/// Of one row.
uint64_t ensemble_steps(Context& context, const TreeState& s) {
  uint64_t sum = static_cast<uint64_t>(s.targets);
  int64_t left = 2 * s.nodes + s.trees;
  for (int64_t i = 0; i < s.trees; ++i)
    sum = saturating_add(sum, tree_steps(context, s, context.input(kRoots).as<int32_t>()[i], &left));
  return sum;
}

Status check_tree_tables(Context& context, const TreeState& s) {
  const int64_t sizes[] = {0,  s.nodes, s.nodes, 2 * s.nodes, s.nodes, s.nodes + 1, context.input(kWeights).shape.count(),
                           -1, s.trees};
  for (int i = kFeatures; i < kTreeInputs; ++i) {
    const bool real = i == kThresholds || i == kWeights;
    const DType dtype = real ? context.input(kX).dtype : i == kModes ? DType::kU8 : DType::kI32;
    if (context.input(i).dtype != dtype || (sizes[i] >= 0 && context.input(i).shape.count() != sizes[i]))
      return context.fail(Status::kInvalidProgram, "table %d has another dtype or size than the others", i);
    if (context.input(i).data == nullptr && context.input(i).shape.count() > 0)
      return context.fail(Status::kUnsupportedOperator, "table %d must be constant", i);
  }
  return check_trees(context, s);
}

template <typename T>
bool tree_goes_true(T value, T threshold, uint8_t mode) {
  if (value != value) return (mode & kMissingIsTrue) != 0 || mode == kNotEqual;
  switch (mode & ~kMissingIsTrue) {
    case kLessOrEqual:
      return value <= threshold;
    case kLess:
      return value < threshold;
    case kGreaterOrEqual:
      return value >= threshold;
    case kGreater:
      return value > threshold;
    case kEqual:
      return value == threshold;
    default:
      return value != threshold;
  }
}

/// The leaf where a row ends.
template <typename T>
int32_t find_leaf(Context& context, const T* row, int32_t node) {
  const auto *features = context.input(kFeatures).as<int32_t>(), *children = context.input(kChildren).as<int32_t>();
  const auto* modes = context.input(kModes).as<uint8_t>();
  const T* thresholds = context.input(kThresholds).as<T>();
  while ((modes[node] & ~kMissingIsTrue) != kLeaf)
    node = children[2 * node + (tree_goes_true(row[features[node]], thresholds[node], modes[node]) ? 0 : 1)];
  return node;
}

/// Adds the weights of one leaf to a row's targets; `found` tells which targets have one already.
template <typename T>
void add_leaf(Context& context, const TreeState& s, int32_t leaf, T* totals, bool* found) {
  const auto *starts = context.input(kStarts).as<int32_t>(), *targets = context.input(kTargets).as<int32_t>();
  const T* weights = context.input(kWeights).as<T>();
  for (int32_t i = starts[leaf]; i < starts[leaf + 1]; ++i) {
    const T weight = weights[i];
    T& total = totals[targets[i]];
    if (s.sum == TreeSum::kSum || s.sum == TreeSum::kAverage) {
      total += weight;
    } else if (!found[targets[i]] || (s.sum == TreeSum::kMinimum ? weight < total : weight > total)) {
      total = weight;
    }
    found[targets[i]] = true;
  }
}

/// One row. Sums have the operand's type and the trees' order as in onnxruntime: votes that are tied fall alike.
template <typename T>
void tree_row(Context& context, const TreeState& s, const T* row, T* totals, bool* found, T* y) {
  for (int64_t i = 0; i < s.targets; ++i) totals[i] = 0, found[i] = false;
  for (int64_t tree = 0; tree < s.trees; ++tree)
    add_leaf<T>(context, s, find_leaf(context, row, context.input(kRoots).as<int32_t>()[tree]), totals, found);
  const T count = static_cast<T>(s.sum == TreeSum::kAverage && s.trees > 0 ? s.trees : 1);
  for (int64_t i = 0; i < s.targets; ++i) y[i] = totals[i] / count;
}

template <typename T>
void tree_rows(void* argument, size_t task) {
  Context& context = *static_cast<Context*>(argument);
  const TreeState& s = context.state_as<TreeState>();
  const int64_t begin = static_cast<int64_t>(task) * kTreeRowsPerTask;
  const int64_t end = begin + kTreeRowsPerTask < s.rows ? begin + kTreeRowsPerTask : s.rows;
  const T* x = context.input(kX).as<T>();
  T* y = context.output(0).as<T>();
  auto* totals = reinterpret_cast<T*>(static_cast<double*>(context.scratch) + static_cast<int64_t>(task) * 2 * s.targets);
  auto* found = reinterpret_cast<bool*>(totals + s.targets);
  for (int64_t row = begin; row < end; ++row) tree_row<T>(context, s, x + row * s.features, totals, found, y + row * s.targets);
}

}  // namespace

Status tree_ensemble_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, kX, kTreeTypes));
  PENLIGHT_TRY(check_rank(context, kX, 2, 2));
  TreeState& s = context.state_as<TreeState>();
  const int64_t sum = context.attributes->integer("aggregate", 0);
  if (sum < 0 || sum > 3) return context.fail(Status::kInvalidProgram, "aggregate %lld is unknown", static_cast<long long>(sum));
  s = TreeState{context.input(kX).shape.dims[0],           context.input(kX).shape.dims[1],
                context.input(kFeatures).shape.count(),    context.input(kRoots).shape.count(),
                context.attributes->integer("targets", 1), static_cast<TreeSum>(sum)};
  if (s.targets < 1 || s.targets > INT32_MAX) return context.fail(Status::kInvalidProgram, "the number of targets is out of range");
  PENLIGHT_TRY(check_tree_tables(context, s));
  const int64_t out[] = {s.rows, s.targets};
  PENLIGHT_TRY(set_output(context, 0, context.input(kX).dtype, make_shape(out, 2)));
  int64_t scratch = 0;
  if (!checked_mul(tree_tasks(s), 2 * s.targets, &scratch) || !add_scratch(context, scratch, sizeof(double)))
    return scratch_too_large(context);
  context.macs = saturating_mul(static_cast<uint64_t>(s.rows), ensemble_steps(context, s));
  return Status::kOk;
}

Status tree_ensemble_run(Context& context) {
  const TreeState& s = context.state_as<TreeState>();
  const bool is_float = context.input(kX).dtype == DType::kF32;
  context.parallel(static_cast<size_t>(tree_tasks(s)), is_float ? tree_rows<float> : tree_rows<double>, &context);
  return Status::kOk;
}

}  // namespace penlight
