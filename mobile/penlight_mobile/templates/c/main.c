/* Loads the model, runs the golden inputs that it carries, prints the outputs, and compares. SPDX-License-Identifier: Apache-2.0
 *
 * Exit codes: 0 the outputs are those of the model that was trained, 1 they are not, 2 the model could not be run.
 * For inputs of your own, fill `inputs` in run_golden as penlight.h describes.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "penlight.h"

#define MAX_OPERANDS 64

static int fail(const char* what, const penlight_error* error) {
  printf("self-test failed: %s: %s (%s)\n", what, error->message, penlight_status_name(error->status));
  return 2;
}

static size_t element_count(const penlight_tensor* tensor) {
  size_t count = 1;
  uint32_t i;
  for (i = 0; i < tensor->rank; ++i) count *= (size_t)tensor->shape[i];
  return count;
}

static void print_element(const penlight_tensor* tensor, size_t i) {
  switch (tensor->dtype) {
    case PENLIGHT_F32:
      printf(" %.9g", (double)((const float*)tensor->data)[i]);
      break;
    case PENLIGHT_F64:
      printf(" %.17g", ((const double*)tensor->data)[i]);
      break;
    case PENLIGHT_I64:
      printf(" %" PRId64, ((const int64_t*)tensor->data)[i]);
      break;
    case PENLIGHT_I32:
      printf(" %" PRId32, ((const int32_t*)tensor->data)[i]);
      break;
    case PENLIGHT_I16:
      printf(" %d", ((const int16_t*)tensor->data)[i]);
      break;
    case PENLIGHT_I8:
      printf(" %d", ((const int8_t*)tensor->data)[i]);
      break;
    case PENLIGHT_U64:
      printf(" %" PRIu64, ((const uint64_t*)tensor->data)[i]);
      break;
    case PENLIGHT_U32:
      printf(" %" PRIu32, ((const uint32_t*)tensor->data)[i]);
      break;
    case PENLIGHT_F16: /* as bits */
    case PENLIGHT_BF16:
      printf(" 0x%04x", ((const uint16_t*)tensor->data)[i]);
      break;
    case PENLIGHT_U16:
      printf(" %u", ((const uint16_t*)tensor->data)[i]);
      break;
    case PENLIGHT_U8:
    case PENLIGHT_BOOL:
      printf(" %u", ((const uint8_t*)tensor->data)[i]);
      break;
  }
}

static void print_tensor(const char* name, const penlight_tensor* tensor) {
  size_t i, count = element_count(tensor);
  uint32_t axis;
  printf("%s [", name);
  for (axis = 0; axis < tensor->rank; ++axis) printf("%s%" PRId64, axis > 0 ? ", " : "", tensor->shape[axis]);
  printf("]:");
  for (i = 0; i < count; ++i) print_element(tensor, i);
  printf("\n");
}

static double max_difference(const penlight_tensor* actual, const penlight_tensor* expected) {
  size_t i, count = element_count(expected);
  double largest = 0;
  if (expected->dtype != PENLIGHT_F32) return memcmp(actual->data, expected->data, expected->size_bytes) == 0 ? 0 : INFINITY;
  for (i = 0; i < count; ++i) {
    double difference = fabs((double)((const float*)actual->data)[i] - (double)((const float*)expected->data)[i]);
    if (difference > largest) largest = difference;
  }
  return largest;
}

/* Runs one golden sample on a session of its method, prints the outputs and raises *difference to the largest one seen. */
static int run_golden(const penlight_program* program, size_t golden, double* difference) {
  penlight_tensor inputs[MAX_OPERANDS], output, expected;
  penlight_tensor_info info;
  penlight_session* session = NULL;
  penlight_error error;
  size_t method = penlight_program_golden_method(program, golden);
  size_t i, input_count = penlight_program_input_count(program, method),
            output_count = penlight_program_output_count(program, method);
  if (input_count > MAX_OPERANDS) {
    printf("self-test failed: more than %d inputs\n", MAX_OPERANDS);
    return 2;
  }
  for (i = 0; i < input_count; ++i) penlight_program_golden_input(program, golden, i, &inputs[i]);
  if (penlight_session_create(program, method, NULL, &session, &error) != PENLIGHT_OK) return fail("session", &error);
  if (penlight_session_run(session, inputs, input_count, NULL, 0, &error) != PENLIGHT_OK) {
    penlight_session_free(session);
    return fail("run", &error);
  }
  for (i = 0; i < output_count; ++i) {
    double here;
    penlight_program_output_info(program, method, i, &info);
    penlight_session_output(session, i, &output);
    penlight_program_golden_output(program, golden, i, &expected);
    print_tensor(info.name, &output);
    here = max_difference(&output, &expected);
    if (here > *difference) *difference = here;
  }
  penlight_session_free(session);
  return 0;
}

int main(void) {
  penlight_program* program = NULL;
  penlight_error error;
  double difference = 0;
  size_t golden;
  int result = 0;
  if (penlight_program_load(penlight_model, penlight_model_size, NULL, &program, &error) != PENLIGHT_OK)
    return fail("load", &error);
  for (golden = 0; result == 0 && golden < penlight_program_golden_count(program); ++golden)
    result = run_golden(program, golden, &difference);
  /* The library's own comparison decides: it knows the tolerance that the file promises. */
  if (result == 0 && penlight_program_self_test(program, &error) != PENLIGHT_OK) {
    fail("golden outputs", &error);
    result = 1;
  }
  if (result == 0) printf("self-test passed: max abs difference %.3g\n", difference);
  penlight_program_free(program);
  return result;
}
