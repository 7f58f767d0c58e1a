// Steps of AdamW and SGD over many parameters in one call. SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "arrays.h"
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

/// Collects the arrays before the interpreter lock is released. Arrays are held by the lists meanwhile.
std::vector<Entry> collect(const nb::list& parameters, const nb::list& gradients, const std::vector<nb::list>& states) {
  std::vector<Entry> entries;
  entries.reserve(parameters.size());
  require(gradients.size() == parameters.size(), "one gradient for each parameter");
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto p = nb::cast<Out>(parameters[i], false);
    const auto g = nb::cast<In>(gradients[i], false);
    require(p.size() == g.size(), "gradients like the parameters");
    Entry entry{p.data(), g.data(), {nullptr, nullptr}, p.size()};
    for (size_t s = 0; s < states.size(); ++s) {
      require(states[s].size() == parameters.size(), "one state for each parameter");
      const auto state = nb::cast<Out>(states[s][i], false);
      require(state.size() == p.size(), "states like the parameters");
      entry.state[s] = state.data();
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

void adamw(nb::list parameters, nb::list gradients, nb::list exp_avgs, nb::list exp_avg_sqs, double lr, double beta1, double beta2,
           double eps, double weight_decay, double step) {
  const std::vector<Entry> entries = collect(parameters, gradients, {exp_avgs, exp_avg_sqs});
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
  each_block(entries, [&](const Entry& e, size_t first, size_t count) {
    table.adamw_step(s, e.p + first, e.g + first, e.state[0] + first, e.state[1] + first, count);
  });
}

void sgd(nb::list parameters, nb::list gradients, std::optional<nb::list> buffers, double lr, double momentum, double weight_decay,
         bool nesterov) {
  const std::vector<Entry> entries =
      collect(parameters, gradients, buffers ? std::vector<nb::list>{*buffers} : std::vector<nb::list>{});
  const Sgd s{static_cast<float>(lr), static_cast<float>(momentum), static_cast<float>(weight_decay), nesterov};
  nb::gil_scoped_release unlocked;
  const TrainingTable& table = training_table();
  each_block(entries, [&](const Entry& e, size_t first, size_t count) {
    table.sgd_step(s, e.p + first, e.g + first, e.state[0] == nullptr ? nullptr : e.state[0] + first, count);
  });
}

}  // namespace

void bind_optimizer(nb::module_& module) {
  module.def("adamw", &adamw, nb::arg("parameters"), nb::arg("gradients"), nb::arg("exp_avgs"), nb::arg("exp_avg_sqs"),
             nb::arg("lr"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("weight_decay"), nb::arg("step"));
  module.def("sgd", &sgd, nb::arg("parameters"), nb::arg("gradients"), nb::arg("buffers").none(), nb::arg("lr"),
             nb::arg("momentum"), nb::arg("weight_decay"), nb::arg("nesterov"));
}

}  // namespace penlight
