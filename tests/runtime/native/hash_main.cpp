// Prints the SHA-256 of all outputs that a .pen file's own samples give in a deterministic session. SPDX-License-Identifier:
// Apache-2.0
//
//     hash_main THREADS ISA FILE.pen...     ISA: 0 baseline, 1 AVX2, 2 AVX-512; - for the widest
#include <stdio.h>
#include <stdlib.h>

#include "penlight.h"
#include "sha256.h"

#if defined(PENLIGHT_ISA_HOOK)
static int isa_of_test = 0;
namespace penlight {
enum class Isa : int;
Isa current_isa() { return static_cast<Isa>(isa_of_test); }
}  // namespace penlight
#endif

namespace {

constexpr size_t kMostOperands = 16;

int fail(const char* what, const penlight_error& error) {
  fprintf(stderr, "%s: %s\n", what, error.message);
  return 1;
}

int hash_sample(const penlight_program* program, size_t golden, uint32_t threads, Sha256* hash) {
  penlight_error error = {};
  penlight_session_options options = {};
  options.struct_size = sizeof options;
  options.threads = threads;
  options.deterministic = 1;
  const size_t method = penlight_program_golden_method(program, golden);
  penlight_session* session = nullptr;
  if (penlight_session_create(program, method, &options, &session, &error) != PENLIGHT_OK) return fail("session", error);
  penlight_tensor inputs[kMostOperands];
  const size_t count = penlight_program_input_count(program, method);
  for (size_t i = 0; i < count && i < kMostOperands; ++i) penlight_program_golden_input(program, golden, i, &inputs[i]);
  if (penlight_session_run(session, inputs, count, nullptr, 0, &error) != PENLIGHT_OK) return fail("run", error);
  for (size_t i = 0; i < penlight_program_output_count(program, method); ++i) {
    penlight_tensor output;
    penlight_session_output(session, i, &output);
    hash->add(output.data, output.size_bytes);
  }
  penlight_session_free(session);
  return 0;
}

int hash_file(const char* path, uint32_t threads) {
  FILE* file = fopen(path, "rb");
  if (file == nullptr) return 1;
  fseek(file, 0, SEEK_END);
  const long size = ftell(file);
  fseek(file, 0, SEEK_SET);
  void* data = malloc(static_cast<size_t>(size));
  if (data == nullptr || fread(data, 1, static_cast<size_t>(size), file) != static_cast<size_t>(size)) return 1;
  fclose(file);
  penlight_error error = {};
  penlight_program* program = nullptr;
  if (penlight_program_load(data, static_cast<size_t>(size), nullptr, &program, &error) != PENLIGHT_OK) return fail(path, error);
  Sha256 hash;
  for (size_t i = 0; i < penlight_program_golden_count(program); ++i)
    if (hash_sample(program, i, threads, &hash) != 0) return 1;
  char text[65];
  hash.finish(text);
  printf("%s\n", text);
  penlight_program_free(program);
  free(data);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) return 2;
#if defined(PENLIGHT_ISA_HOOK)
  isa_of_test = atoi(arguments[2]);
#endif
  for (int i = 3; i < count; ++i)
    if (hash_file(arguments[i], static_cast<uint32_t>(atoi(arguments[1]))) != 0) return 1;
  return 0;
}
