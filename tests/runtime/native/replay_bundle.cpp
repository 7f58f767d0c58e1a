// Runs length-prefixed programs one after the other, and says which one a sanitizer stopped at. SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "exercise.h"
#include "read_file.h"

int main(int argc, char** argv) {
  PENLIGHT_CHECK(argc == 2 || argc == 3);  // 3: the program that runs is written there first
  size_t size = 0;
  uint8_t* data = read_file(argv[1], &size);
  long ran = 0;
  long refused = 0;
  for (size_t at = 0; at + 8 <= size;) {
    uint64_t length = 0;
    memcpy(&length, data + at, 8);
    PENLIGHT_CHECK(length <= size - at - 8);
    FILE* last = argc > 2 ? fopen(argv[2], "wb") : nullptr;
    if (last != nullptr) {
      fwrite(data + at + 8, 1, length, last);
      fclose(last);
    }
    penlight_error error;
    const penlight_status status = exercise(data + at + 8, length, 0, nullptr, &error);
    PENLIGHT_CHECK(status == PENLIGHT_OK || error.message[0] != '\0');
    ++(status == PENLIGHT_OK ? ran : refused);
    at += 8 + length;
  }
  printf("%ld ran, %ld refused\n", ran, refused);
  free(data);
  return 0;
}
