// Steps of AdamW and SGD over many parameters in one call. SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "arrays.h"
#include "small.h"
#include "training.h"
#include "workers.h"

namespace penlight {

namespace {

/// The arrays of one parameter; `state` are those that belong to the optimizer.
struct Entry {
  float* p;
  const float* g;
  float* state[2];
  size_t count;
};

constexpr size_t kBlock = 1 << 15;  // elements of one piece of work

bool is_writable(PyObject* array) { return is_plain(array) && PyArray_ISWRITEABLE(as_array(array)); }

bool is_like(PyObject* array, const Entry& entry) { return static_cast<size_t>(PyArray_SIZE(as_array(array))) == entry.count; }

/// Collects the arrays before the interpreter lock is released; the lists hold them meanwhile. Empty where one is not float32 in
/// rows.
std::optional<std::vector<Entry>> collect(const nb::list& parameters, const nb::list& gradients,
                                          const std::vector<nb::list>& states) {
  std::vector<Entry> entries;
  entries.reserve(parameters.size());
  require(gradients.size() == parameters.size(), "one gradient for each parameter");
  for (const nb::list& state : states) require(state.size() == parameters.size(), "one state for each parameter");
  for (size_t i = 0; i < parameters.size(); ++i) {
    PyObject *p = nb::handle(parameters[i]).ptr(), *g = nb::handle(gradients[i]).ptr();
    if (!is_writable(p) || !is_plain(g)) return std::nullopt;
    Entry entry{writable_floats(p), floats(g), {nullptr, nullptr}, static_cast<size_t>(PyArray_SIZE(as_array(p)))};
    require(is_like(g, entry), "gradients like the parameters");
    for (size_t s = 0; s < states.size(); ++s) {
      PyObject* state = nb::handle(states[s][i]).ptr();
      if (!is_writable(state)) return std::nullopt;
      require(is_like(state, entry), "states like the parameters");
      entry.state[s] = writable_floats(state);
    }
    entries.push_back(entry);
  }
  return entries;
}

/// Calls step(entry, first, count) for every block of every parameter.
template <typename Step>
void each_block(const std::vector<Entry>& entries, Step&& step) {
  struct Block {
    const Entry* entry;
    size_t first;
  };
  std::vector<Block> blocks;
  for (const Entry& entry : entries)
    for (size_t first = 0; first < entry.count; first += kBlock) blocks.push_back({&entry, first});
  parallel_ranges(workers(), blocks.size(), 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const Entry& entry = *blocks[i].entry;
      const size_t left = entry.count - blocks[i].first;
      step(entry, blocks[i].first, left < kBlock ? left : kBlock);
    }
  });
}

/// False where the arrays are not float32 in rows; then nothing was done.
bool adamw(nb::list parameters, nb::list gradients, nb::list exp_avgs, nb::list exp_avg_sqs, double lr, double beta1, double beta2,
           double eps, double weight_decay, double step) {
  const auto entries = collect(parameters, gradients, {exp_avgs, exp_avg_sqs});
  if (!entries) return false;
  AdamW s;
  s.keep = static_cast<float>(1.0 - lr * weight_decay);
  s.mix1 = static_cast<float>(1.0 - beta1);
  s.keep2 = static_cast<float>(beta2);
  s.mix2 = static_cast<float>(1.0 - beta2);
  s.correction = static_cast<float>(std::sqrt(1.0 - std::pow(beta2, step)));
  s.eps = static_cast<float>(eps);
  s.rate = static_cast<float>(lr / (1.0 - std::pow(beta1, step)));
  nb::gil_scoped_release unlocked;
  const TrainingTable& table = training_table();
  each_block(*entries, [&](const Entry& e, size_t first, size_t count) {
    table.adamw_step(s, e.p + first, e.g + first, e.state[0] + first, e.state[1] + first, count);
  });
  return true;
}

/// As `adamw`.
bool sgd(nb::list parameters, nb::list gradients, std::optional<nb::list> buffers, double lr, double momentum, double weight_decay,
         bool nesterov) {
  const auto entries = collect(parameters, gradients, buffers ? std::vector<nb::list>{*buffers} : std::vector<nb::list>{});
  if (!entries) return false;
  const Sgd s{static_cast<float>(lr), static_cast<float>(momentum), static_cast<float>(weight_decay), nesterov};
  nb::gil_scoped_release unlocked;
  const TrainingTable& table = training_table();
  each_block(*entries, [&](const Entry& e, size_t first, size_t count) {
    table.sgd_step(s, e.p + first, e.g + first, e.state[0] == nullptr ? nullptr : e.state[0] + first, count);
  });
  return true;
}

}  // namespace

void bind_optimizer(nb::module_& module) {
  module.def("adamw", &adamw, nb::arg("parameters"), nb::arg("gradients"), nb::arg("exp_avgs"), nb::arg("exp_avg_sqs"),
             nb::arg("lr"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("weight_decay"), nb::arg("step"));
  module.def("sgd", &sgd, nb::arg("parameters"), nb::arg("gradients"), nb::arg("buffers").none(), nb::arg("lr"),
             nb::arg("momentum"), nb::arg("weight_decay"), nb::arg("nesterov"));
}

}  // namespace penlight
