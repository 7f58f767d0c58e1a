/* Penlight edge runtime: loads a .pen file, verifies it, runs it. C99. SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes are safe to load and to run: a file that breaks a rule is refused with a message, and no call reads or writes outside
 * of the buffers it was given. The library prints nothing, never aborts, keeps no global state and creates no thread unless asked.
 *
 * Lifetimes: a program uses the caller's bytes in place, so they must outlive it; a session uses its program in the same way.
 * Threads: a program may be shared between threads; a session serves one thread at a time.
 */
#ifndef PENLIGHT_H
#define PENLIGHT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define PENLIGHT_API
#elif defined(__GNUC__) && !defined(__clang__) /* kept where the runtime is compiled as a whole program, which makes it smaller */
#define PENLIGHT_API __attribute__((visibility("default"), externally_visible))
#else
#define PENLIGHT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define PENLIGHT_VERSION_MAJOR 0
#define PENLIGHT_VERSION_MINOR 1
#define PENLIGHT_VERSION_PATCH 0
#define PENLIGHT_MAX_RANK 8

typedef enum penlight_status {
  PENLIGHT_OK = 0,
  PENLIGHT_INVALID_ARGUMENT = 1,     /* the caller broke this header's rules */
  PENLIGHT_INVALID_FILE = 2,         /* not a .pen file, truncated, or damaged */
  PENLIGHT_UNSUPPORTED_VERSION = 3,  /* a newer runtime is needed */
  PENLIGHT_INVALID_PROGRAM = 4,      /* the metadata breaks a semantic rule */
  PENLIGHT_UNSUPPORTED_OPERATOR = 5, /* no kernel for an operator, a version or a dtype */
  PENLIGHT_SHAPE_MISMATCH = 6,       /* an input's dtype or shape is not what the method declares */
  PENLIGHT_OUT_OF_MEMORY = 7,        /* the allocator returned NULL */
  PENLIGHT_BUDGET_EXCEEDED = 8,      /* more memory or time than the caller allows */
  PENLIGHT_INVALID_VALUE = 9,        /* a value met while running, such as an index out of range */
  PENLIGHT_CANCELLED = 10,
  PENLIGHT_SELF_TEST_FAILED = 11
} penlight_status;

/* The values are those of penlight.pen.DType in schema/pen.fbs. */
typedef enum penlight_dtype {
  PENLIGHT_F32 = 1,
  PENLIGHT_F16 = 2,
  PENLIGHT_BF16 = 3,
  PENLIGHT_F64 = 4,
  PENLIGHT_I8 = 5,
  PENLIGHT_U8 = 6,
  PENLIGHT_I16 = 7,
  PENLIGHT_U16 = 8,
  PENLIGHT_I32 = 9,
  PENLIGHT_U32 = 10,
  PENLIGHT_I64 = 11,
  PENLIGHT_U64 = 12,
  PENLIGHT_BOOL = 13
} penlight_dtype;

typedef struct penlight_program penlight_program;
typedef struct penlight_session penlight_session;

/* A line of the kernel table: the range of since_versions is inclusive. */
typedef struct penlight_operator_info {
  const char* domain; /* "" is ai.onnx */
  const char* name;
  uint32_t min_version;
  uint32_t max_version;
} penlight_operator_info;

/* What went wrong, in words that name the node, the operator and the remedy. Every `error` argument below may be NULL. */
typedef struct penlight_error {
  penlight_status status;
  char message[508];
} penlight_error;

/* Memory comes from here alone. `allocate` returns memory aligned to `alignment` (a power of two) or NULL. */
typedef struct penlight_allocator {
  void* (*allocate)(void* context, size_t size, size_t alignment);
  void (*release)(void* context, void* memory, size_t size);
  void* context;
} penlight_allocator;

/* Runs `task(argument, index)` for every index in [0, count) and returns when all are done. */
typedef struct penlight_thread_pool {
  void (*run)(void* context, size_t count, void (*task)(void* argument, size_t index), void* argument);
  size_t threads;
  void* context;
} penlight_thread_pool;

/* Options: set struct_size to sizeof, zero the rest for defaults. */
typedef struct penlight_program_options {
  size_t struct_size;
  const penlight_allocator* allocator; /* NULL: malloc; copied */
  uint64_t memory_budget_bytes; /* 0: no limit; covers the program and all its sessions' memory, each session counted alone */
  uint32_t check_segments;      /* 1: read all weights to compare their CRC32C, which the self test does in any case. Without,
                                   loading takes the same time for any size of weights, and damaged weights are wrong numbers;
                                   memory never depends on them, and everything else is always checked */
  uint64_t mac_budget;          /* 0: no limit; of every run that the self test makes, as in the session's options */
} penlight_program_options;

typedef struct penlight_session_options {
  size_t struct_size;
  uint32_t threads;                        /* 0 or 1: the calling thread alone; n: a pool of n, the caller among them */
  const penlight_thread_pool* thread_pool; /* the caller's pool instead; copied */
  uint64_t mac_budget;                     /* 0: no limit; multiply-accumulates (and moved elements) of one run; every node that
                                              a loop runs counts too, so that no loop is without end */
  const volatile int* cancel;              /* becomes non-zero: run stops before the next node with PENLIGHT_CANCELLED */
  uint32_t profile;                        /* 1: time every node */
  penlight_session* states_of;             /* NULL: state tensors of its own; else those of that session of the same program, which
                                              must outlive this one; one thread at a time then uses both */
  uint32_t deterministic;                  /* 1: the same bits on every processor, whatever the number of threads: products and sums
                                              are rounded one by one. It takes up to 2.5 times as long */
  uint32_t low_memory;                     /* 1: keep no weights in a second, faster order (up to four times the size of those that
                                              have one). So it is too where the program has a memory budget */
} penlight_session_options;

/* An input or output as the method declares it. A size that varies is -1 and has a name in `symbols` (or "" when it is derived).
 * Strings are PENLIGHT_U8 with one more dimension at the end: UTF-8, zeros behind the end of each. The metadata entry
 * "strings." + the method's name is a JSON list of the names of those inputs and outputs. */
typedef struct penlight_tensor_info {
  const char* name;
  penlight_dtype dtype;
  uint32_t rank;
  int64_t shape[PENLIGHT_MAX_RANK];
  const char* symbols[PENLIGHT_MAX_RANK];
} penlight_tensor_info;

/* A dense row-major tensor in somebody's memory. */
typedef struct penlight_tensor {
  void* data;
  size_t size_bytes;
  penlight_dtype dtype;
  uint32_t rank;
  int64_t shape[PENLIGHT_MAX_RANK];
} penlight_tensor;

typedef struct penlight_node_profile {
  const char* name; /* the node's name in the file, "" when it has none */
  const char* operator_name;
  const char* source;   /* module path or file:line, "" when unknown */
  uint64_t nanoseconds; /* of the last run */
  uint64_t macs;        /* at the prepared shapes */
} penlight_node_profile;

/* A value of a prepared session, or the working memory of a node: what it takes and where the plan of the arena puts it. */
typedef struct penlight_plan_entry {
  const char* name;     /* the value's; of working memory the node's */
  penlight_dtype dtype; /* 0 where there is none: working memory, and what only a run can tell */
  uint32_t rank;
  int64_t shape[PENLIGHT_MAX_RANK];
  uint32_t in_arena;   /* 0: a constant, an input, computed from shapes alone, or taken while running; what follows is 0 then */
  uint64_t offset;     /* of the arena */
  uint64_t size_bytes; /* rounded up to the arena's alignment */
  size_t first_node;   /* in use from this node */
  size_t last_node;    /* to this one; the node count stands for the end of the run */
} penlight_plan_entry;

/* major << 16 | minor << 8 | patch. */
PENLIGHT_API uint32_t penlight_version(void);
/* "PENLIGHT_OK" and so on; "unknown status" for other numbers. */
PENLIGHT_API const char* penlight_status_name(penlight_status status);
PENLIGHT_API size_t penlight_dtype_size(penlight_dtype dtype);
/* The operators that this build can run. */
PENLIGHT_API size_t penlight_operator_count(void);
PENLIGHT_API penlight_status penlight_operator_describe(size_t index, penlight_operator_info* info);

/* Loads and verifies. `data` must be aligned to 8 bytes and stay unchanged while the program lives; 64 lets weights be used in
 * place by every kernel. */
PENLIGHT_API penlight_status penlight_program_load(const void* data, size_t size_bytes, const penlight_program_options* options,
                                                   penlight_program** program, penlight_error* error);
PENLIGHT_API void penlight_program_free(penlight_program* program);
PENLIGHT_API size_t penlight_program_method_count(const penlight_program* program);
PENLIGHT_API const char* penlight_program_method_name(const penlight_program* program, size_t method);
PENLIGHT_API size_t penlight_program_input_count(const penlight_program* program, size_t method);
PENLIGHT_API size_t penlight_program_output_count(const penlight_program* program, size_t method);
/* The strings in `info` live as long as the program. */
PENLIGHT_API penlight_status penlight_program_input_info(const penlight_program* program, size_t method, size_t index,
                                                         penlight_tensor_info* info);
PENLIGHT_API penlight_status penlight_program_output_info(const penlight_program* program, size_t method, size_t index,
                                                          penlight_tensor_info* info);
/* The value of a metadata key, NULL when it is absent. */
PENLIGHT_API const char* penlight_program_metadata(const penlight_program* program, const char* key);
PENLIGHT_API size_t penlight_program_metadata_count(const penlight_program* program);
PENLIGHT_API penlight_status penlight_program_metadata_entry(const penlight_program* program, size_t index, const char** key,
                                                             const char** value);
/* Compares the CRC32C of all segments, then runs every golden input of the file and compares with its golden output. */
PENLIGHT_API penlight_status penlight_program_self_test(const penlight_program* program, penlight_error* error);
/* Golden inputs and outputs that the file carries, for a program that wants to feed or print them itself. */
PENLIGHT_API size_t penlight_program_golden_count(const penlight_program* program);
/* The method that golden sample belongs to. */
PENLIGHT_API size_t penlight_program_golden_method(const penlight_program* program, size_t golden);
PENLIGHT_API penlight_status penlight_program_golden_input(const penlight_program* program, size_t golden, size_t index,
                                                           penlight_tensor* tensor);
PENLIGHT_API penlight_status penlight_program_golden_output(const penlight_program* program, size_t golden, size_t index,
                                                            penlight_tensor* tensor);

PENLIGHT_API penlight_status penlight_session_create(const penlight_program* program, size_t method,
                                                     const penlight_session_options* options, penlight_session** session,
                                                     penlight_error* error);
PENLIGHT_API void penlight_session_free(penlight_session* session);
/* Fixes the inputs' shapes, plans the memory and allocates it. `run` does it by itself when shapes changed; a run whose shapes are
 * prepared makes no heap call. What depends on values cannot be planned: nodes that read tensors whose sizes only a run can tell
 * (behind NonZero, If, Loop and the like) take their memory from the allocator while running, within the budget, and keep it for
 * later runs. Only rank and shape of `inputs` are read. */
PENLIGHT_API penlight_status penlight_session_prepare(penlight_session* session, const penlight_tensor* inputs, size_t input_count,
                                                      penlight_error* error);
/* Shape and size of an output for the prepared shapes; `data` is NULL before the first run and points into the session's memory
 * after it. Before a run, sizes that depend on values are -1, and size_bytes is the most that the output can take, or 0 when that
 * is not known. */
PENLIGHT_API penlight_status penlight_session_output(const penlight_session* session, size_t index, penlight_tensor* tensor);
/* Runs. Inputs are read in place. `outputs` may be NULL (read them through penlight_session_output), or give for each output a
 * buffer of at least size_bytes that is written in place and whose dtype, rank and shape are filled in; it may overlap no other
 * buffer. After a failure the buffers' contents are undefined and the session can be used again. */
PENLIGHT_API penlight_status penlight_session_run(penlight_session* session, const penlight_tensor* inputs, size_t input_count,
                                                  penlight_tensor* outputs, size_t output_count, penlight_error* error);
/* State tensors: what the method keeps from run to run, such as a key-value cache. They are neither inputs nor outputs. A run that
 * fails leaves them as they were. */
PENLIGHT_API size_t penlight_session_state_count(const penlight_session* session);
/* The content, which may be read and written between runs; `name` may be NULL. */
PENLIGHT_API penlight_status penlight_session_state(const penlight_session* session, size_t index, const char** name,
                                                    penlight_tensor* tensor);
/* Gives all states that the session uses their first content again. */
PENLIGHT_API void penlight_session_reset(penlight_session* session);
/* Bytes of the arena for the prepared shapes, without what nodes take while running. */
PENLIGHT_API uint64_t penlight_session_arena_bytes(const penlight_session* session);
/* Multiply-accumulates of one run at the prepared shapes: before a run those that can be known, then those of the last run. */
PENLIGHT_API uint64_t penlight_session_macs(const penlight_session* session);
PENLIGHT_API size_t penlight_session_node_count(const penlight_session* session);
PENLIGHT_API penlight_status penlight_session_node_profile(const penlight_session* session, size_t node,
                                                           penlight_node_profile* profile);
/* The memory plan for the prepared shapes: an entry per value in the file's order, then one per node for its working memory. */
PENLIGHT_API size_t penlight_session_plan_count(const penlight_session* session);
PENLIGHT_API penlight_status penlight_session_plan_entry(const penlight_session* session, size_t index, penlight_plan_entry* entry);

#ifdef __cplusplus
}
#endif
#endif
