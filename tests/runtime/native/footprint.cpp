// What a model costs: time to load and to prepare, memory beside its weights and its arena, heap calls of a run (which abort here).
// footprint FILE.pen [size of open dimensions]. Prints one number per line. SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "core/planner.h"
#include "core/program.h"
#include "exercise.h"
#include "schema/generated/pen_fields.h"

// The C library's allocator under its other names, so that this program can see each call. All of them come by here.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* memory);
}

namespace {

bool g_forbidden = false;  // heap calls end the program

void heap_call() {
  if (!g_forbidden) return;
  constexpr char kText[] = "a heap call while running\n";
  if (write(2, kText, sizeof(kText) - 1) > 0) _exit(3);
  _exit(4);
}

}  // namespace

extern "C" {
void* malloc(size_t size) { return heap_call(), __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return heap_call(), __libc_calloc(count, size); }
void* realloc(void* memory, size_t size) { return heap_call(), __libc_realloc(memory, size); }
void* memalign(size_t alignment, size_t size) { return heap_call(), __libc_memalign(alignment, size); }
void* aligned_alloc(size_t alignment, size_t size) { return heap_call(), __libc_memalign(alignment, size); }
void free(void* memory) { heap_call(), __libc_free(memory); }
int posix_memalign(void** memory, size_t alignment, size_t size) {
  heap_call();
  *memory = __libc_memalign(alignment, size);
  return *memory != nullptr ? 0 : ENOMEM;
}
}

namespace {

constexpr unsigned char kPaint = 0xa5;

constexpr size_t kMostBlocks = 4096;

struct HeldBlock {
  unsigned char* memory;
  size_t size;
};

/// What the runtime has asked for.
struct HeldBlocks {
  size_t count = 0;
  HeldBlock blocks[kMostBlocks];

  /// The arena has one unit more than the plan.
  HeldBlock find(size_t size) const {
    for (size_t i = 0; i < count; ++i) {
      if (blocks[i].size == size) return blocks[i];
    }
    return {nullptr, 0};
  }
};

void* note_block(void* context, size_t size, size_t alignment) {
  auto* held = static_cast<HeldBlocks*>(context);
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment < sizeof(void*) ? sizeof(void*) : alignment, size) != 0) return nullptr;
  if (held->count < kMostBlocks) held->blocks[held->count++] = {static_cast<unsigned char*>(memory), size};
  return memory;
}

void note_release(void*, void* memory, size_t) { free(memory); }

double processor_microseconds() {
  timespec now = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return 1e6 * static_cast<double>(now.tv_sec) + 1e-3 * static_cast<double>(now.tv_nsec);
}

/// Kilobytes of memory that no file backs, read without the heap. Counted page by page: the sums in /proc/self/status lag behind,
/// on some machines by 128 KB for each processor.
long anonymous_kilobytes() {
  static char text[8192];
  const int file = open("/proc/self/smaps_rollup", O_RDONLY);
  const ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
  if (file >= 0) close(file);
  PENLIGHT_CHECK(length > 0);
  text[length] = '\0';
  constexpr char kKey[] = "\nAnonymous:";
  const char* line = strstr(text, kKey);
  PENLIGHT_CHECK(line != nullptr);
  return strtol(line + strlen(kKey), nullptr, 10);
}

penlight_program_options make_options(bool check, const penlight_allocator* allocator) {
  penlight_program_options options = {};
  options.struct_size = sizeof(options);
  options.check_segments = check ? 1 : 0;
  options.allocator = allocator;
  return options;
}

/// The least of `rounds`.
double time_load(const void* data, size_t size, bool check, int rounds) {
  const penlight_program_options options = make_options(check, nullptr);
  double least = 1e30;
  for (int i = 0; i < rounds; ++i) {
    penlight_program* program = nullptr;
    const double start = processor_microseconds();
    PENLIGHT_CHECK(penlight_program_load(data, size, &options, &program, nullptr) == PENLIGHT_OK);
    const double took = processor_microseconds() - start;
    if (took < least) least = took;
    penlight_program_free(program);
  }
  return least;
}

/// Loads while nobody may read the weights: what loading costs cannot depend on them. Returns how many bytes were out of reach.
size_t load_without_weights(const penlight_program* program, void* data, size_t size) {
  constexpr size_t kPage = 65536;  // of any machine
  const penlight::FlatTable weights = program->root.get(penlight::PenProgram::kSegments, 0);
  const uint64_t base = program->segment_base + weights.get(penlight::PenSegment::kOffset);
  const size_t first = (static_cast<size_t>(base) + kPage - 1) / kPage * kPage;
  const size_t end = static_cast<size_t>(base + weights.get(penlight::PenSegment::kSizeBytes)) / kPage * kPage;
  if (first >= end) return 0;
  PENLIGHT_CHECK(mprotect(static_cast<unsigned char*>(data) + first, end - first, PROT_NONE) == 0);
  time_load(data, size, false, 1);
  PENLIGHT_CHECK(mprotect(static_cast<unsigned char*>(data) + first, end - first, PROT_READ) == 0);
  return end - first;
}

double time_prepare(const penlight_program* program, const penlight_tensor* inputs, size_t count, int rounds) {
  double least = 1e30;
  for (int i = 0; i < rounds; ++i) {
    penlight_session* session = nullptr;
    const double start = processor_microseconds();
    PENLIGHT_CHECK(penlight_session_create(program, 0, nullptr, &session, nullptr) == PENLIGHT_OK);
    PENLIGHT_CHECK(penlight_session_prepare(session, inputs, count, nullptr) == PENLIGHT_OK);
    const double took = processor_microseconds() - start;
    if (took < least) least = took;
    penlight_session_free(session);
  }
  return least;
}

/// One model's memory, from nothing to the end of its runs.
void measure_memory(const void* data, size_t size, penlight_tensor* inputs, size_t count) {
  static HeldBlocks held;
  for (HeldBlock& block : held.blocks) block = {nullptr, 1};  // so that its pages are there before the model
  const penlight_allocator allocator = {note_block, note_release, &held};
  const penlight_program_options options = make_options(false, &allocator);
  anonymous_kilobytes();  // so that the pages of its text are there
  const long before = anonymous_kilobytes();
  penlight_program* program = nullptr;
  penlight_session* session = nullptr;
  PENLIGHT_CHECK(penlight_program_load(data, size, &options, &program, nullptr) == PENLIGHT_OK);
  penlight_session_options settings = {};
  settings.struct_size = sizeof(settings);
  settings.low_memory = 1;  // a second copy of weights is no other memory, and the caller's choice
  PENLIGHT_CHECK(penlight_session_create(program, 0, &settings, &session, nullptr) == PENLIGHT_OK);
  PENLIGHT_CHECK(penlight_session_prepare(session, inputs, count, nullptr) == PENLIGHT_OK);
  const size_t arena = static_cast<size_t>(penlight_session_arena_bytes(session));
  const HeldBlock block = held.find(arena + penlight::kArenaAlignment);
  if (block.memory != nullptr) memset(block.memory, kPaint, block.size);
  g_forbidden = true;
  for (int i = 0; i < 3; ++i) PENLIGHT_CHECK(penlight_session_run(session, inputs, count, nullptr, 0, nullptr) == PENLIGHT_OK);
  g_forbidden = false;
  const long after = anonymous_kilobytes();
  size_t used = block.size;
  while (used > 0 && block.memory[used - 1] == kPaint) --used;
  printf("arena_declared_bytes %zu\narena_used_bytes %zu\n", arena, used);
  printf("other_memory_kilobytes %ld\n", after - before - static_cast<long>(block.size / 1024));
  penlight_session_free(session);
  penlight_program_free(program);
}

}  // namespace

int main(int argc, char** argv) {
  PENLIGHT_CHECK(argc == 2 || argc == 3);
  const int file = open(argv[1], O_RDONLY);
  struct stat about = {};
  PENLIGHT_CHECK(file >= 0 && fstat(file, &about) == 0);
  const auto size = static_cast<size_t>(about.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  PENLIGHT_CHECK(data != MAP_FAILED);
  printf("file_bytes %zu\n", size);
  const penlight_program_options options = make_options(false, nullptr);
  penlight_program* program = nullptr;
  PENLIGHT_CHECK(penlight_program_load(data, size, &options, &program, nullptr) == PENLIGHT_OK);
  penlight_tensor inputs[kExerciseOperands] = {};
  const size_t count = penlight_program_input_count(program, 0);
  PENLIGHT_CHECK(count <= kExerciseOperands && make_inputs(program, 0, argc == 3 ? strtol(argv[2], nullptr, 10) : 1, inputs));
  measure_memory(data, size, inputs, count);  // before the heap has pages that were used and released
  printf("load_unread_bytes %zu\n", load_without_weights(program, data, size));
  printf("load_microseconds %.1f\n", time_load(data, size, false, 200));
  printf("load_checked_microseconds %.1f\n", time_load(data, size, true, 5));
  printf("prepare_microseconds %.1f\n", time_prepare(program, inputs, count, 50));
  penlight_program_free(program);
  puts("ok");
  return 0;
}
