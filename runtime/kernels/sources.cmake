# Every source of the kernels, relative to this folder.
set(PENLIGHT_KERNEL_SOURCES
  binary.cpp
  cast.cpp
  clip.cpp
  compare.cpp
  kernels.cpp
  reshape.cpp
  unary.cpp
  vector_math.cpp
)
