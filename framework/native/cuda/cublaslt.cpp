// penlight._cublaslt: matrix products of cuBLASLt, found when first used and planned once. SPDX-License-Identifier: Apache-2.0
//
// Built without CUDA. Matrices are column-major here, as the library has them; backends/cuda/products.py turns ours around.
#include <dlfcn.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "cublaslt_api.h"

namespace nb = nanobind;

namespace penlight::lt {

namespace {

void check(Status status, const char* function) {
  if (status == kSuccess) return;
  throw std::runtime_error(std::string("cublasLt") + function + ": status " + std::to_string(status));
}

/// Everything that the choice of an algorithm depends on.
struct Problem {
  int64_t m, n, k;
  int64_t trans_a, trans_b;
  int64_t lda, ldb, ldd;
  int64_t batch, stride_a, stride_b, stride_d;
  int64_t type, compute, epilogue, aux_ld;
  int64_t aligned_a, aligned_b, aligned_d;
  int64_t workspace;

  bool operator==(const Problem& other) const { return words() == other.words(); }
  std::array<int64_t, 20> words() const {
    return {m,        n,        k,    trans_a, trans_b,  lda,    ldb,       ldd,       batch,     stride_a,
            stride_b, stride_d, type, compute, epilogue, aux_ld, aligned_a, aligned_b, aligned_d, workspace};
  }
};

struct Hash {
  size_t operator()(const Problem& problem) const {
    uint64_t hash = 1469598103934665603u;  // FNV-1a over words
    for (const int64_t word : problem.words()) hash = (hash ^ static_cast<uint64_t>(word)) * 1099511628211u;
    return static_cast<size_t>(hash ^ (hash >> 32));
  }
};

/// Bytes that an address is a multiple of, as far as the library cares.
int64_t alignment(uintptr_t address) {
  const uintptr_t lowest = address & (~address + 1);
  return static_cast<int64_t>(lowest == 0 || lowest > 256 ? 256 : lowest);
}

struct Plan {
  bool is_supported = false;
  MatmulDesc desc = nullptr;
  MatrixLayout a = nullptr, b = nullptr, d = nullptr;
  Algo algo = {};
};

class Library {
 public:
  explicit Library(const std::vector<std::string>& names) {
    std::string tried;
    for (const std::string& name : names) {
      library_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library_ != nullptr) break;
      const char* reason = dlerror();
      tried += std::string(tried.empty() ? "" : "; ") + (reason == nullptr ? name : reason);
    }
    if (library_ == nullptr) throw std::runtime_error("cuBLASLt cannot be loaded: " + tried);
    find();
    check(functions_.Create(&handle_), "Create");
  }
  Library(const Library&) = delete;
  ~Library() {
    for (auto& [problem, plan] : plans_) release(plan);
    if (handle_ != nullptr) functions_.Destroy(handle_);
  }

  size_t version() const { return functions_.GetVersion(); }
  size_t plan_count() const { return plans_.size(); }

  /// d = epilogue(alpha * op(a) op(b) + beta * d). False where the library has no algorithm.
  bool multiply(uintptr_t a, uintptr_t b, uintptr_t d, uintptr_t bias, uintptr_t aux, int64_t m, int64_t n, int64_t k, bool trans_a,
                bool trans_b, int64_t lda, int64_t ldb, int64_t ldd, int64_t batch, int64_t stride_a, int64_t stride_b,
                int64_t stride_d, int type, int compute, int epilogue, int64_t aux_ld, double alpha, double beta,
                uintptr_t workspace, int64_t workspace_bytes, uintptr_t stream) {
    const Problem problem = {
        m,        n,        k,    trans_a, trans_b,  lda,    ldb,          ldd,          batch,        stride_a,
        stride_b, stride_d, type, compute, epilogue, aux_ld, alignment(a), alignment(b), alignment(d), workspace_bytes};
    if (batch > std::numeric_limits<int32_t>::max()) return false;  // the library counts batches in 32 bits
    Plan& plan = planned(problem);
    if (!plan.is_supported) return false;
    set(plan.desc, kBiasPointer, bias);
    if (aux_ld > 0) set(plan.desc, kAuxPointer, aux);
    const float alpha32 = static_cast<float>(alpha), beta32 = static_cast<float>(beta);
    const bool is_double = compute == kCompute64;
    const void* scale = is_double ? static_cast<const void*>(&alpha) : &alpha32;
    const void* keep = is_double ? static_cast<const void*>(&beta) : &beta32;
    void* result = reinterpret_cast<void*>(d);
    check(functions_.Matmul(handle_, plan.desc, scale, reinterpret_cast<const void*>(a), plan.a, reinterpret_cast<const void*>(b),
                            plan.b, keep, result, plan.d, result, plan.d, &plan.algo, reinterpret_cast<void*>(workspace),
                            static_cast<size_t>(workspace_bytes), reinterpret_cast<void*>(stream)),
          "Matmul");
    return true;
  }

 private:
  template <typename F>
  void symbol(F& function, const char* name) {
    const std::string full = std::string("cublasLt") + name;
    function = reinterpret_cast<F>(dlsym(library_, full.c_str()));
    if (function == nullptr) throw std::runtime_error("cuBLASLt: the library has no " + full);
  }

  void find() {
    symbol(functions_.Create, "Create");
    symbol(functions_.Destroy, "Destroy");
    symbol(functions_.GetVersion, "GetVersion");
    symbol(functions_.MatmulDescCreate, "MatmulDescCreate");
    symbol(functions_.MatmulDescDestroy, "MatmulDescDestroy");
    symbol(functions_.MatmulDescSetAttribute, "MatmulDescSetAttribute");
    symbol(functions_.MatrixLayoutCreate, "MatrixLayoutCreate");
    symbol(functions_.MatrixLayoutDestroy, "MatrixLayoutDestroy");
    symbol(functions_.MatrixLayoutSetAttribute, "MatrixLayoutSetAttribute");
    symbol(functions_.MatmulPreferenceCreate, "MatmulPreferenceCreate");
    symbol(functions_.MatmulPreferenceDestroy, "MatmulPreferenceDestroy");
    symbol(functions_.MatmulPreferenceSetAttribute, "MatmulPreferenceSetAttribute");
    symbol(functions_.MatmulAlgoGetHeuristic, "MatmulAlgoGetHeuristic");
    symbol(functions_.Matmul, "Matmul");
  }

  template <typename T>
  void set(MatmulDesc desc, DescAttribute attribute, T value) {
    check(functions_.MatmulDescSetAttribute(desc, attribute, &value, sizeof value), "MatmulDescSetAttribute");
  }

  template <typename T>
  void prefer(Preference preference, PreferenceAttribute attribute, T value) {
    check(functions_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "MatmulPreferenceSetAttribute");
  }

  /// `made` belongs to the plan from the start, which is released where a call fails.
  void layout(int64_t type, int64_t rows, int64_t columns, int64_t ld, int64_t batch, int64_t stride, MatrixLayout* made) {
    check(functions_.MatrixLayoutCreate(made, static_cast<int>(type), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                                        ld),
          "MatrixLayoutCreate");
    if (batch > 1) {
      const int32_t count = static_cast<int32_t>(batch);
      check(functions_.MatrixLayoutSetAttribute(*made, kBatchCount, &count, sizeof count), "MatrixLayoutSetAttribute");
      check(functions_.MatrixLayoutSetAttribute(*made, kBatchStride, &stride, sizeof stride), "MatrixLayoutSetAttribute");
    }
  }

  /// A plan is kept only when the library has answered: after an error the next call asks again.
  Plan& planned(const Problem& problem) {
    const auto found = plans_.find(problem);
    if (found != plans_.end()) return found->second;
    Plan plan;
    try {
      describe(problem, &plan);
      choose(problem, &plan);
    } catch (...) {
      release(plan);
      throw;
    }
    return plans_[problem] = plan;
  }

  void describe(const Problem& p, Plan* plan) {
    const int scale = p.compute == kCompute64 ? kFloat64 : kFloat32;
    check(functions_.MatmulDescCreate(&plan->desc, static_cast<int>(p.compute), scale), "MatmulDescCreate");
    set(plan->desc, kTransA, static_cast<int32_t>(p.trans_a));
    set(plan->desc, kTransB, static_cast<int32_t>(p.trans_b));
    set(plan->desc, kEpilogue, static_cast<uint32_t>(p.epilogue));
    if (p.aux_ld > 0) set(plan->desc, kAuxLd, p.aux_ld);
    layout(p.type, p.trans_a ? p.k : p.m, p.trans_a ? p.m : p.k, p.lda, p.batch, p.stride_a, &plan->a);
    layout(p.type, p.trans_b ? p.n : p.k, p.trans_b ? p.k : p.n, p.ldb, p.batch, p.stride_b, &plan->b);
    layout(p.type, p.m, p.n, p.ldd, p.batch, p.stride_d, &plan->d);
  }

  void choose(const Problem& p, Plan* plan) {
    Preference made = nullptr;
    check(functions_.MatmulPreferenceCreate(&made), "MatmulPreferenceCreate");
    const std::unique_ptr<PreferenceOpaque, Status (*)(Preference)> owner(made, functions_.MatmulPreferenceDestroy);
    Preference const preference = owner.get();
    prefer(preference, kMaxWorkspace, static_cast<uint64_t>(p.workspace));
    prefer(preference, kAlignmentA, static_cast<uint32_t>(p.aligned_a));
    prefer(preference, kAlignmentB, static_cast<uint32_t>(p.aligned_b));
    prefer(preference, kAlignmentC, static_cast<uint32_t>(p.aligned_d));
    prefer(preference, kAlignmentD, static_cast<uint32_t>(p.aligned_d));
    HeuristicResult result = {};
    int count = 0;
    const Status status =
        functions_.MatmulAlgoGetHeuristic(handle_, plan->desc, plan->a, plan->b, plan->d, plan->d, preference, 1, &result, &count);
    if (status != kNotSupported) check(status, "MatmulAlgoGetHeuristic");
    plan->is_supported = status == kSuccess && count > 0 && result.state == kSuccess;
    plan->algo = result.algo;
  }

  void release(Plan& plan) {
    for (MatrixLayout made : {plan.a, plan.b, plan.d})
      if (made != nullptr) functions_.MatrixLayoutDestroy(made);
    if (plan.desc != nullptr) functions_.MatmulDescDestroy(plan.desc);
  }

  void* library_ = nullptr;  // stays open: other modules may use it too
  Functions functions_ = {};
  Handle handle_ = nullptr;
  std::unordered_map<Problem, Plan, Hash> plans_;
};

}  // namespace

}  // namespace penlight::lt

NB_MODULE(_cublaslt, module) {
  using penlight::lt::Library;
  nb::class_<Library>(module, "Library", "cuBLASLt of one device, with a plan for every problem it has seen.")
      .def(nb::init<const std::vector<std::string>&>(), nb::arg("names"))
      .def_prop_ro("version", &Library::version)
      .def_prop_ro("plan_count", &Library::plan_count)
      .def("multiply", &Library::multiply, nb::arg("a"), nb::arg("b"), nb::arg("d"), nb::arg("bias"), nb::arg("aux"), nb::arg("m"),
           nb::arg("n"), nb::arg("k"), nb::arg("trans_a"), nb::arg("trans_b"), nb::arg("lda"), nb::arg("ldb"), nb::arg("ldd"),
           nb::arg("batch"), nb::arg("stride_a"), nb::arg("stride_b"), nb::arg("stride_d"), nb::arg("type"), nb::arg("compute"),
           nb::arg("epilogue"), nb::arg("aux_ld"), nb::arg("alpha"), nb::arg("beta"), nb::arg("workspace"),
           nb::arg("workspace_bytes"), nb::arg("stream"));
}
