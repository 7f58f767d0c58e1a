# The core's source files, named one by one.
set(PENLIGHT_CORE_SOURCES
  allocator.cpp
  api.cpp
  bind.cpp
  crc32c.cpp
  flatbuffer.cpp
  kernel_support.cpp
  message.cpp
  planner.cpp
  prepare.cpp
  program.cpp
  run.cpp
  self_test.cpp
  structure.cpp
  thread_pool.cpp
  verify.cpp)
