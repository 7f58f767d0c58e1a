/* Uses the header from C99, checks what it says about wrong arguments, and runs a file. SPDX-License-Identifier: Apache-2.0 */
#include <penlight.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

static void* load_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  char* data;
  CHECK(file != NULL);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  data = malloc(*size);
  CHECK(fread(data, 1, *size, file) == *size);
  fclose(file);
  return data;
}

static void check_null_arguments(void) {
  penlight_error error;
  penlight_tensor tensor;
  penlight_tensor_info info;
  penlight_program* program = NULL;
  penlight_session* session = NULL;
  CHECK(penlight_program_load(NULL, 0, NULL, &program, &error) == PENLIGHT_INVALID_FILE && program == NULL);
  CHECK(penlight_program_load(NULL, 5, NULL, &program, &error) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_program_load("", 0, NULL, NULL, NULL) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_session_create(NULL, 0, NULL, &session, &error) == PENLIGHT_INVALID_ARGUMENT && session == NULL);
  CHECK(penlight_session_run(NULL, NULL, 0, NULL, 0, &error) == PENLIGHT_INVALID_ARGUMENT && strlen(error.message) > 0);
  CHECK(penlight_session_prepare(NULL, NULL, 0, NULL) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_session_output(NULL, 0, &tensor) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_program_input_info(NULL, 0, 0, &info) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_program_golden_input(NULL, 0, 0, &tensor) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_program_self_test(NULL, NULL) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_program_metadata(NULL, "key") == NULL && penlight_program_method_name(NULL, 0) == NULL);
  CHECK(penlight_program_method_count(NULL) == 0 && penlight_session_node_count(NULL) == 0);
  CHECK(penlight_session_state_count(NULL) == 0 && penlight_session_state(NULL, 0, NULL, &tensor) == PENLIGHT_INVALID_ARGUMENT);
  penlight_session_reset(NULL);
  penlight_program_free(NULL);
  penlight_session_free(NULL);
}

static void check_constants(void) {
  penlight_operator_info info;
  CHECK(penlight_version() == (PENLIGHT_VERSION_MAJOR << 16 | PENLIGHT_VERSION_MINOR << 8 | PENLIGHT_VERSION_PATCH));
  CHECK(strcmp(penlight_status_name(PENLIGHT_CANCELLED), "PENLIGHT_CANCELLED") == 0);
  CHECK(strcmp(penlight_status_name((penlight_status)77), "unknown status") == 0);
  CHECK(penlight_dtype_size(PENLIGHT_I64) == 8 && penlight_dtype_size((penlight_dtype)99) == 0);
  CHECK(penlight_operator_count() > 0 && penlight_operator_describe(0, &info) == PENLIGHT_OK &&
        info.max_version >= info.min_version);
  CHECK(penlight_operator_describe(penlight_operator_count(), &info) == PENLIGHT_INVALID_ARGUMENT);
}

static void run_golden(const penlight_program* program, size_t golden) {
  penlight_error error;
  penlight_tensor inputs[8];
  penlight_tensor output;
  penlight_session* session = NULL;
  volatile int cancel = 1;
  penlight_session_options options;
  size_t method = penlight_program_golden_method(program, golden);
  size_t count = penlight_program_input_count(program, method);
  size_t i;
  memset(&options, 0, sizeof(options));
  options.struct_size = sizeof(options);
  options.cancel = &cancel;
  options.profile = 1;
  CHECK(count <= 8);
  options.struct_size -= 1; /* would cut a field in two */
  CHECK(penlight_session_create(program, method, &options, &session, &error) == PENLIGHT_INVALID_ARGUMENT && session == NULL);
  options.struct_size = sizeof(options);
  CHECK(penlight_session_create(program, method, &options, &session, &error) == PENLIGHT_OK);
  CHECK(penlight_session_output(session, 0, &output) == PENLIGHT_INVALID_ARGUMENT);
  for (i = 0; i < count; ++i) CHECK(penlight_program_golden_input(program, golden, i, &inputs[i]) == PENLIGHT_OK);
  CHECK(penlight_session_run(session, inputs, count, NULL, 0, &error) == PENLIGHT_CANCELLED);
  cancel = 0;
  CHECK(penlight_session_run(session, inputs, count + 1, NULL, 0, &error) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_session_run(session, inputs, count, NULL, 0, &error) == PENLIGHT_OK);
  CHECK(penlight_session_output(session, 0, &output) == PENLIGHT_OK && output.data != NULL);
  CHECK(penlight_session_run(session, inputs, count, &output, 0, &error) == PENLIGHT_INVALID_ARGUMENT);
  inputs[0].rank = 9;
  CHECK(penlight_session_run(session, inputs, count, NULL, 0, &error) == PENLIGHT_INVALID_ARGUMENT);
  printf("%s: %lu nodes, %lu bytes of arena\n", penlight_program_method_name(program, method),
         (unsigned long)penlight_session_node_count(session), (unsigned long)penlight_session_arena_bytes(session));
  penlight_session_free(session);
}

int main(int argc, char** argv) {
  penlight_error error;
  penlight_program* program = NULL;
  size_t size;
  size_t i;
  void* data;
  CHECK(argc == 2);
  check_null_arguments();
  check_constants();
  data = load_file(argv[1], &size);
  CHECK(penlight_program_load((char*)data + 1, size - 1, NULL, &program, &error) == PENLIGHT_INVALID_ARGUMENT);
  CHECK(penlight_program_load(data, size, NULL, &program, &error) == PENLIGHT_OK && error.status == PENLIGHT_OK);
  CHECK(penlight_program_self_test(program, &error) == PENLIGHT_OK);
  CHECK(penlight_program_golden_count(program) > 0);
  for (i = 0; i < penlight_program_golden_count(program); ++i) run_golden(program, i);
  penlight_program_free(program);
  free(data);
  puts("ok");
  return 0;
}
