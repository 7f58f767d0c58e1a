/* Loads the model, runs the golden inputs that it carries, and compares. SPDX-License-Identifier: Apache-2.0
 *
 * Exit codes: 0 the outputs are those of the model that was trained, 1 they are not, 2 the model could not be run. Nothing here
 * needs a C library's heap, files or printf.
 */
#include <stdint.h>

#include "board.h"
#include "model.h"
#include "penlight.h"

#define MAX_OPERANDS 16

/* A heap that only grows, but for the block that was taken last. Sessions are made once, so that this is all it takes. */
static unsigned char* heap_next = board_heap_start;
static unsigned char* heap_peak = board_heap_start;

static void* heap_allocate(void* context, size_t size, size_t alignment) {
  uintptr_t start = ((uintptr_t)heap_next + alignment - 1) & ~(uintptr_t)(alignment - 1);
  (void)context;
  if (start > (uintptr_t)board_heap_end || size > (uintptr_t)board_heap_end - start) return NULL;
  heap_next = (unsigned char*)start + size;
  if (heap_next > heap_peak) heap_peak = heap_next;
  return (void*)start;
}

static void heap_release(void* context, void* memory, size_t size) {
  (void)context;
  if ((unsigned char*)memory + size == heap_next) heap_next = memory;
}

static void print_number(uint32_t number, uint32_t base) {
  char text[11];
  char* at = text + sizeof(text) - 1;
  *at = '\0';
  do {
    *--at = "0123456789abcdef"[number % base];
    number /= base;
  } while (number != 0);
  board_print(at);
}

static int fail(const char* what, const penlight_error* error) {
  board_print("self-test failed: ");
  board_print(what);
  board_print(": ");
  board_print(penlight_status_name(error->status));
  board_print(" ");
  board_print(error->message);
  board_print("\n");
  return 2;
}

/* FNV-1a, so that the bytes of an output can be compared with those of another device. */
static uint32_t hash_bytes(const unsigned char* bytes, size_t count) {
  uint32_t hash = 2166136261u;
  size_t i;
  for (i = 0; i < count; ++i) hash = (hash ^ bytes[i]) * 16777619u;
  return hash;
}

/* Runs the first golden sample on a session of its method and prints a hash of each output. */
static int run_golden(const penlight_program* program) {
  penlight_tensor inputs[MAX_OPERANDS], output;
  penlight_tensor_info info;
  penlight_session* session = NULL;
  penlight_error error;
  size_t method = penlight_program_golden_method(program, 0);
  size_t i, input_count = penlight_program_input_count(program, method);
  if (input_count > MAX_OPERANDS) return 2;
  for (i = 0; i < input_count; ++i) penlight_program_golden_input(program, 0, i, &inputs[i]);
  if (penlight_session_create(program, method, NULL, &session, &error) != PENLIGHT_OK) return fail("session", &error);
  if (penlight_session_run(session, inputs, input_count, NULL, 0, &error) != PENLIGHT_OK) return fail("run", &error);
  for (i = 0; i < penlight_program_output_count(program, method); ++i) {
    penlight_program_output_info(program, method, i, &info);
    penlight_session_output(session, i, &output);
    board_print(info.name);
    board_print(" fnv1a ");
    print_number(hash_bytes(output.data, output.size_bytes), 16);
    board_print("\n");
  }
  penlight_session_free(session);
  return 0;
}

int main(void) {
  static const penlight_allocator heap = {heap_allocate, heap_release, NULL};
  penlight_program_options options = {0};
  penlight_program* program = NULL;
  penlight_error error;
  int result;
  options.struct_size = sizeof(options);
  options.allocator = &heap;
  if (penlight_program_load(penlight_model, penlight_model_size, &options, &program, &error) != PENLIGHT_OK)
    return fail("load", &error);
  result = run_golden(program);
  if (result == 0 && penlight_program_self_test(program, &error) != PENLIGHT_OK) {
    fail("golden outputs", &error);
    result = 1;
  }
  if (result == 0) {
    board_print("self-test passed: ");
    print_number((uint32_t)(heap_peak - board_heap_start), 10);
    board_print(" bytes of memory\n");
  }
  penlight_program_free(program);
  return result;
}
