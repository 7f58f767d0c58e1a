// A method of a program, prepared for shapes and ready to run. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/allocator.h"
#include "core/blocks.h"
#include "core/planner.h"
#include "core/pool.h"
#include "core/program.h"
#include "core/thread_pool.h"
#include "kernels/kernel.h"
#include "penlight.h"

namespace penlight {

/// Where a value's bytes are.
enum class Place : uint8_t {
  kNowhere,   // not computed yet, or left out
  kInput,     // the caller's memory
  kConstant,  // the file
  kFolded,    // computed while shapes were prepared
  kArena,
  kBounded,  // in the arena, at the largest size that it can have; the real one is known after its node has run
  kBlock     // in a block of its own that is taken while running: its size depends on values
};

/// Whether only a run can tell the value's shape.
inline bool shaped_late(Place place) { return place == Place::kBounded || place == Place::kBlock; }
inline bool in_arena(Place place) { return place == Place::kArena || place == Place::kBounded; }

/// What all rows have in common, so that its code is there once.
class RowBytes {
 public:
  void set(void* data, size_t count) {
    data_ = data;
    count_ = count;
  }
  size_t count() const { return count_; }

 protected:
  void* data_ = nullptr;
  size_t count_ = 0;
};

/// A table of the session, in the memory that holds all of them.
template <typename T>
class Row : public RowBytes {
 public:
  static_assert(alignof(T) <= 8, "rows are aligned to 8 bytes");

  T* data() { return static_cast<T*>(data_); }
  const T* data() const { return static_cast<const T*>(data_); }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
};

constexpr uint32_t kNoItem = UINT32_MAX;

/// What is known of a value; prepare sets all of it anew.
struct ValueRecord {
  Tensor tensor;
  size_t offset;       // in the arena
  uint32_t item;       // of the plan
  uint32_t last_step;  // of a value in a block: the last node that reads it
  Place place;
  bool is_marked;  // by the overlap checker
};

struct NodeRecord {
  const Kernel* kernel = nullptr;
  uint32_t first_operand = 0;  // into Session::operands: inputs, then outputs
  uint16_t input_count = 0;
  uint16_t output_count = 0;
  int version = 0;
  // Set by prepare.
  bool folded = false;
  bool late = false;        // shapes, memory and all else are found when its turn comes in a run
  bool bounded = false;     // its outputs are kBounded
  uint8_t state_words = 0;  // those that are not zero
  uint64_t wanted_outputs = 0;
  uint64_t macs = 0;
  unsigned char* state = nullptr;  // in Session::folded: the words, then the place of each
  size_t scratch_bytes = 0;
  size_t scratch_offset = 0;        // into the arena; while planning, the item
  unsigned char* packed = nullptr;  // constants as the kernel wants them, kept while prepared anew
  size_t packed_bytes = 0;
  void (*pack)(Context& context, void* packed) = nullptr;
  uint64_t nanoseconds = 0;  // of the last run
};

/// What Attributes::node points to.
struct AttributeSource {
  const penlight_session* session;
  uint32_t node;
};

// What a node and a value of a body count against the budget beside the node's work: loops of nothing end too.
constexpr uint64_t kBodyNodeCost = 64, kBodyValueCost = 8;

}  // namespace penlight

struct penlight_session {
  // Fixed by create.
  const penlight_program* program = nullptr;
  penlight::FlatTable method;
  penlight::Memory memory;
  penlight_thread_pool threads = {};
  penlight::ThreadPool* own_threads = nullptr;
  uint64_t mac_budget = 0;
  const volatile int* cancel = nullptr;
  bool profile = false;
  bool deterministic = false;
  bool low_memory = false;
  size_t value_count = 0;  // of the file; values behind these stand for outputs that the file leaves out
  penlight::Row<penlight::NodeRecord> nodes;
  penlight::Row<penlight::ValueRecord> values;
  penlight::Row<int32_t> operands;  // value indices, -1: left out (inputs only)
  penlight::Row<uint32_t> inputs;   // the method's
  penlight::Row<uint32_t> outputs;
  unsigned char* tables = nullptr;  // the memory of all rows
  size_t tables_bytes = 0;

  // Bodies of nodes are sessions inside of this one; only the outermost owns and counts.
  penlight_session* root = nullptr;
  penlight::Row<penlight_session*> bodies;   // the root's, by index in the file; null: not reachable from the method
  penlight::FlatVector<int64_t> captures;    // of a body: the inputs of its node that its own last inputs are
  penlight::Row<penlight_tensor> arguments;  // of a body, or of a method with states
  uint64_t spent = 0;                        // the root's: what the run has counted against the budget
  // State tensors (kept.cpp). Sessions of one program may share them: then one keeps them for all.
  penlight_session* keeper = nullptr;
  penlight::Row<unsigned char*> kept;  // the keeper's, by index in the file; null: no method that was opened has it
  size_t visible_outputs = 0;          // those in front of the states'
  bool is_body() const { return root != this; }
  uint64_t body_cost() const { return penlight::kBodyNodeCost * (nodes.count() + 1) + penlight::kBodyValueCost * values.count(); }

  // Set by prepare.
  bool prepared = false;
  penlight::Row<int64_t> symbols;      // sizes, kUnbound for those that no input fixes
  penlight::Row<size_t> output_slots;  // arena offsets of outputs that are inputs, and so are copied; while planning, the items
  penlight::Pool folded;               // results and what nodes keep for their runs
  penlight::Row<penlight::PlanItem> items;
  penlight::Row<uint32_t> plan_work;
  unsigned char* arena = nullptr;
  size_t arena_capacity = 0;
  size_t arena_bytes = 0;
  uint64_t macs = 0;
  bool has_late = false;          // some values' shapes are known after a run only
  bool has_run = false;           // since prepare, and without a failure
  bool outputs_in_arena = false;  // the last run wrote there, and not into the caller's buffers

  // Large, and so behind what is reached by short offsets.
  penlight::Blocks blocks;        // the root's
  char kernel_message[400] = {};  // what the running kernel said

  penlight::FlatTable value(size_t i) const { return method.get(penlight::PenMethod::kValues, i); }
  penlight::FlatTable node(size_t i) const { return method.get(penlight::PenMethod::kNodes, i); }
  const int32_t* node_inputs(const penlight::NodeRecord& n) const { return operands.data() + n.first_operand; }
  const int32_t* node_outputs(const penlight::NodeRecord& n) const { return node_inputs(n) + n.input_count; }
};

namespace penlight {

/// An empty session that keeps itself in `memory`, which it shares or copies later; null when there is none.
penlight_session* session_allocate(Memory& memory);
/// Reads the method into the session and starts its threads. A failed session must still be closed.
Status session_open(penlight_session& session, const penlight_program& program, size_t method,
                    const penlight_session_options& options, penlight_error& error);
void session_close(penlight_session& session);
/// Allocates and fills the tables; the program, the method, the root, the keeper and the memory are set.
Status session_read_method(penlight_session& session, penlight_error& error);

/// Fixes the symbols' sizes from the inputs' shapes and sets the inputs' tensors (bind.cpp).
Status session_bind(penlight_session& session, const penlight_tensor* inputs, size_t count, penlight_error& error);
/// Whether `inputs` have the prepared shapes.
bool session_shapes_match(const penlight_session& session, const penlight_tensor* inputs, size_t count);
/// Compares a tensor's dtype and shape with what the file declares (bind.cpp).
Status session_check_declared(const penlight_session& session, size_t value, const Tensor& tensor, penlight_error& error);

/// Everything from bind to the arena (prepare.cpp). On failure the session is unprepared and can be prepared again.
Status session_prepare(penlight_session& session, const penlight_tensor* inputs, size_t count, penlight_error& error);
/// Packs the constants of a node that `infer` has described; false when there is no memory for them (packed.cpp).
bool session_pack(penlight_session& session, NodeRecord& record, Context& context);
void session_release_packed(penlight_session& session, NodeRecord& record);
/// The inputs of a node that may be packed, as Context has them (packed.cpp).
uint64_t session_constant_inputs(const penlight_session& session, const NodeRecord& record);
/// Lifetimes, offsets, the overlap check and the arena (arena.cpp).
Status session_plan(penlight_session& session, penlight_error& error);
/// Entry `index` of the plan, as the C API counts them (arena.cpp).
void session_describe_plan(const penlight_session& session, size_t index, penlight_plan_entry* entry);
/// Checks an output that `infer` has described and keeps it as the value's tensor (prepare.cpp).
Status session_take_output(penlight_session& session, size_t node, int index, const Context& context, Place place,
                           penlight_error& error);
/// Infers and runs a node whose turn has come in a run, with memory from blocks (late.cpp).
Status session_run_late(penlight_session& session, size_t node, penlight_error& error);
/// Releases the blocks that node `step` was the last to read (late.cpp).
void session_release_after(penlight_session& session, size_t step);
/// Releases all blocks of values (late.cpp).
void session_release_blocks(penlight_session& session);
/// Counts work against the budget of one run (late.cpp).
Status session_spend(penlight_session& session, uint64_t macs, penlight_error& error);

/// Opens a session for each body of the session's nodes, and theirs (body.cpp).
Status session_open_bodies(penlight_session& session, penlight_error& error);
void session_close_bodies(penlight_session& root);

/// True when no two tensors that live at the same time share a byte. Recomputes lifetimes by itself (overlap.cpp).
bool session_is_free_of_overlap(penlight_session& session);

Status session_run(penlight_session& session, const penlight_tensor* inputs, size_t input_count, penlight_tensor* outputs,
                   size_t output_count, penlight_error& error);
/// Gives the NaNs of the outputs, after a run, one form (canonical.cpp).
void session_settle_nans(penlight_session& session, const penlight_tensor* outputs);
/// Fills in dtype and shape, and no more.
void describe_tensor(const Tensor& tensor, penlight_tensor* to);
/// A tensor as the C API has it.
penlight_tensor to_argument(const Tensor& tensor);
void session_describe_output(const penlight_session& session, size_t index, penlight_tensor* tensor);

/// A node's view of the session while its kernel is called: the operands are copies of the session's tensors.
class NodeCall {
 public:
  /// `outputs_known`: whether the outputs' tensors exist, that is for `run` and not for `infer`.
  NodeCall(penlight_session& session, size_t node, bool outputs_known);
  NodeCall(const NodeCall&) = delete;
  NodeCall& operator=(const NodeCall&) = delete;

  Context context;

 private:
  AttributeSource source_;
  Attributes attributes_;
  // Inputs, then outputs. Bytes, because constructing 128 tensors would take longer than a small node.
  alignas(Tensor) unsigned char operands_[2 * kMaxOperands * sizeof(Tensor)];
};

/// A node's attribute by name, absent when it has none (kernel_support.cpp).
FlatTable find_attribute(const penlight_session& session, size_t node, const char* name);

/// Completes what the kernel said with the node's and the operator's name (kernel_support.cpp).
Status node_failure(const penlight_session& session, size_t node, Status status, penlight_error& error);

}  // namespace penlight
