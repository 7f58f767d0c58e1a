#!/bin/sh
# Builds ./model for $platform. Compilers of your own: CC=$prefix-gcc CXX=$prefix-g++ ./build.sh
# SPDX-License-Identifier: Apache-2.0
set -e
cd "$$(dirname "$$0")"
if [ -z "$$CC" ]; then
  # Zig brings the C library along, so that the program is static and runs on every Linux: pip install ziglang
  zig=zig
  command -v zig >/dev/null 2>&1 || zig="python3 -m ziglang"
  CC="$$zig cc -target $triple"
  CXX="$$zig c++ -target $triple"
fi
$$CXX $cxx_flags -c penlight.cpp -o penlight.o
$$CC $c_flags -static main.c model.c penlight.o $link_flags -o model
