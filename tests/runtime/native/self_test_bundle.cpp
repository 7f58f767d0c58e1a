// Runs the self-tests of length-prefixed programs, and prints each that fails: its number and why. SPDX-License-Identifier:
// Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "penlight.h"

namespace {

constexpr size_t kAlignment = 64;  // of a program in memory

bool passes(const unsigned char* bytes, size_t size, penlight_error* error) {
  void* copy = aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment);
  if (copy == nullptr) return false;
  memcpy(copy, bytes, size);
  penlight_program* program = nullptr;
  const bool loaded = penlight_program_load(copy, size, nullptr, &program, error) == PENLIGHT_OK;
  const bool passed = loaded && penlight_program_self_test(program, error) == PENLIGHT_OK;
  if (loaded) penlight_program_free(program);
  free(copy);
  return passed;
}

bool read_length(FILE* file, size_t* length) {
  unsigned char bytes[8];
  if (fread(bytes, 1, sizeof bytes, file) != sizeof bytes) return false;
  *length = 0;
  for (int i = 3; i >= 0; --i) *length = *length << 8 | bytes[i];  // no program here has 4 GiB
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  FILE* file = count == 2 ? fopen(arguments[1], "rb") : nullptr;
  if (file == nullptr) return 2;
  int number = 0;
  for (size_t length = 0; read_length(file, &length); ++number) {
    penlight_error error = {};
    auto* bytes = static_cast<unsigned char*>(malloc(length));
    if (bytes == nullptr || fread(bytes, 1, length, file) != length) return 2;
    if (!passes(bytes, length, &error)) printf("%d %s\n", number, error.message);
    free(bytes);
  }
  printf("%d tested\n", number);
  fclose(file);
  return 0;
}
