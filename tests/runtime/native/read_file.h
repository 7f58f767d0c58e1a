// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/// The bytes of a file; the caller frees them. Ends the program when it cannot be read.
inline uint8_t* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  if (file == nullptr) {
    perror(path);
    exit(2);
  }
  fseek(file, 0, SEEK_END);
  *size = static_cast<size_t>(ftell(file));
  rewind(file);
  auto* data = static_cast<uint8_t*>(malloc(*size + 1));
  if (fread(data, 1, *size, file) != *size) exit(2);
  fclose(file);
  return data;
}
