// SPDX-License-Identifier: Apache-2.0
#include "self_test.h"

#include <math.h>
#include <string.h>

#include "core/declared.h"
#include "core/kept.h"

namespace penlight {
namespace {

/// Widens half and brain floats exactly.
double half_to_double(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return mantissa != 0 ? static_cast<double>(NAN) : sign * static_cast<double>(INFINITY);
  return sign * (exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25));
}

double brain_to_double(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value = 0;
  memcpy(&value, &wide, 4);
  return static_cast<double>(value);
}

template <typename T>
T sample_element(const void* data, size_t i) {
  T value;
  memcpy(&value, static_cast<const unsigned char*>(data) + i * sizeof(T), sizeof(T));
  return value;
}

double sample_real(DType dtype, const void* data, size_t i) {
  switch (dtype) {
    case DType::kF16:
      return half_to_double(sample_element<uint16_t>(data, i));
    case DType::kBF16:
      return brain_to_double(sample_element<uint16_t>(data, i));
    case DType::kF32:
      return static_cast<double>(sample_element<float>(data, i));
    default:
      return sample_element<double>(data, i);
  }
}

bool is_real(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32 || dtype == DType::kF64; }

bool reals_agree(double actual, double expected, double atol, double rtol, double* largest) {
  if (actual == expected || (isnan(actual) && isnan(expected))) return true;  // infinities of one sign as well
  const double difference = fabs(actual - expected);
  if (difference > *largest) *largest = difference;
  return isfinite(difference) && difference <= atol + rtol * fabs(expected);
}

}  // namespace

size_t first_difference(DType dtype, const void* actual, const void* expected, size_t count, double atol, double rtol,
                        double* difference) {
  const size_t size = dtype_size(dtype);
  size_t first = count;
  for (size_t i = 0; i < count; ++i) {
    const bool agree =
        is_real(dtype)
            ? reals_agree(sample_real(dtype, actual, i), sample_real(dtype, expected, i), atol, rtol, difference)
            : memcmp(static_cast<const char*>(actual) + i * size, static_cast<const char*>(expected) + i * size, size) == 0;
    if (!agree && first == count) first = i;
  }
  return first;
}

namespace {

Status compare_output(const penlight_program& program, size_t golden, size_t output, const penlight_session& session,
                      penlight_error& error) {
  penlight_tensor actual = {};
  session_describe_output(session, output, &actual);
  const penlight_tensor expected = golden_tensor(program, golden, GoldenSide::kOutput, output);
  const char* name = session.value(session.outputs[output]).get(PenValue::kName);
  if (actual.rank != expected.rank || memcmp(actual.shape, expected.shape, sizeof(int64_t) * actual.rank) != 0) {
    return fail(error, Status::kSelfTestFailed, "golden sample %zu: output '%.60s' has another shape than the exporter saw", golden,
                name);
  }
  const FlatTable table = program.golden(golden);
  const auto dtype = static_cast<DType>(actual.dtype);
  const size_t count = actual.size_bytes / dtype_size(dtype);
  double largest = 0;
  const size_t at = first_difference(dtype, actual.data, expected.data, count, static_cast<double>(table.get(PenGolden::kAtol)),
                                     static_cast<double>(table.get(PenGolden::kRtol)), &largest);
  if (at == count) return Status::kOk;
  return fail(error, Status::kSelfTestFailed,
              "golden sample %zu: output '%.60s' differs from the exporter's first at element %zu (largest difference %g, allowed "
              "%g + %g x); "
              "this build or machine computes other numbers",
              golden, name, at, largest, static_cast<double>(table.get(PenGolden::kAtol)),
              static_cast<double>(table.get(PenGolden::kRtol)));
}

Status run_sample(penlight_session& session, size_t golden, penlight_error& error) {
  const penlight_program& program = *session.program;
  Array<penlight_tensor> inputs;
  if (!inputs.reset(session.memory, session.inputs.count() - method_state_count(session.method)))
    return session.memory.failure(error, "self test");
  for (size_t i = 0; i < inputs.count(); ++i) inputs[i] = golden_tensor(program, golden, GoldenSide::kInput, i);
  Status status = session_run_kept(session, inputs.data(), inputs.count(), nullptr, 0, error);
  for (size_t i = 0; status == Status::kOk && i < session.visible_outputs; ++i)
    status = compare_output(program, golden, i, session, error);
  return status;
}

Status test_sample(const penlight_program& program, size_t golden, penlight_error& error) {
  penlight_session_options options = {};
  options.struct_size = sizeof(options);
  options.mac_budget = program.mac_budget;
  penlight_session* session = nullptr;
  const size_t method = program.golden(golden).get(PenGolden::kMethod);
  auto status = static_cast<Status>(penlight_session_create(&program, method, &options, &session, &error));
  if (status == Status::kOk) status = run_sample(*session, golden, error);
  penlight_session_free(session);
  return status;
}

}  // namespace

penlight_tensor golden_tensor(const penlight_program& program, size_t golden, GoldenSide side, size_t index) {
  const FlatTable table = program.golden(golden);
  const bool input = side == GoldenSide::kInput;
  const FlatTable tensor = table.get(input ? PenGolden::kInputs : PenGolden::kOutputs, index);
  const FlatTable method = program.method(table.get(PenGolden::kMethod));
  const uint32_t value = method.get(input ? PenMethod::kInputs : PenMethod::kOutputs)[index];
  Tensor sample;
  sample.dtype = static_cast<DType>(method.get(PenMethod::kValues, value).get(PenValue::kDtype));
  sample.shape = plain_shape(tensor.get(PenGoldenTensor::kShape));
  // Read only, as the header says of inputs.
  sample.data = const_cast<unsigned char*>(program.span_data(tensor.get(PenGoldenTensor::kData)));
  return to_argument(sample);
}

Status self_test(const penlight_program& program, penlight_error& error) {
  Status status = verify_segments(program, true, error);
  const size_t count = program.root.get(PenProgram::kGolden).count();
  for (size_t i = 0; status == Status::kOk && i < count; ++i) status = test_sample(program, i, error);
  return status;
}

}  // namespace penlight
