# SPDX-License-Identifier: Apache-2.0
"""Every CUDA kernel compiles for every architecture and element type, without spills, with the arguments we bind."""

import re
import shutil

import cuda_compilers
import pytest

from penlight.backends.cuda import source

ARCHITECTURES = ("sm_80", "sm_90", "sm_90a", "sm_100")
RUN = ("sm_80", "sm_100")  # what every run compiles for
# 256 threads of 64 registers each still leave a quarter of an SM's 65,536 registers to each of four blocks.
MAX_REGISTERS = 64
# Tiles of products stay in registers, two to four blocks of 128 threads to an SM; each instance takes a second to compile.
MORE_REGISTERS = {"attention": 168, "attention_gradient": 255, "convolution": 168, "depthwise": 80}
PTX_TYPES = {"pointer": "u64", "size_t": "u64", "int64": "u64", "int": "u32", "float": "f32"}
PTX_TYPES |= {name: f"u8[{struct.itemsize}]" for name, struct in source.STRUCTS.items()}


def some_of(family):
    """What every run compiles: each kernel in float32 (or its first type), with the first expression of its list."""
    return [(kernel.variants()[0], kernel.dtypes[0]) for kernel in source.kernels(family).values()]


def compiled(family, arch, chosen, folder):
    result = cuda_compilers.compile_family(family, arch, folder, chosen)
    if result is None:
        pytest.skip("no CUDA compiler: neither NVRTC (penlight[cuda13]) nor nvcc on PATH")
    return result


def check_resources(log, instances, registers):
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert len(spills) >= instances
    assert {number for line in spills for number in line} == {"0"}, log
    assert max(int(count) for count in re.findall(r"Used (\d+) registers", log)) <= registers, log


def check(family, result, chosen):
    check_resources(result.resources, len(chosen), MORE_REGISTERS.get(family, MAX_REGISTERS))
    for kernel, dtype in chosen:
        expected = tuple(PTX_TYPES[parameter.kind] for parameter in kernel.parameters)
        actual = tuple(re.sub("^[sb]", "u", kind) for kind in result.parameters[kernel.expression(dtype)])
        assert actual == expected, kernel


@pytest.mark.parametrize(
    ("family", "arch"), [(f, a) for f in source.families() for a in RUN if f not in MORE_REGISTERS or a == RUN[0]]
)
def test_each_kernel_compiles(family, arch, tmp_path):
    chosen = some_of(family)
    check(family, compiled(family, arch, chosen, tmp_path), chosen)


@pytest.mark.slow
@pytest.mark.parametrize("family", source.families())
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_instance_compiles(family, arch, tmp_path):
    chosen = list(source.instances(family))
    check(family, compiled(family, arch, chosen, tmp_path), chosen)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
@pytest.mark.parametrize("family", source.families())
def test_nvcc_agrees(family, tmp_path):
    chosen = some_of(family)
    check(family, cuda_compilers.compile_with_nvcc(shutil.which("nvcc"), family, "sm_90", tmp_path, chosen), chosen)


def test_every_global_function_is_found():
    for family in source.families():
        assert source.text(family).count("__global__") == len(source.kernels(family)), family


def test_source_rejects_an_argument_it_cannot_pack():
    with pytest.raises(ValueError, match="double eps: a kernel argument is a pointer or one of size_t"):
        source._parameter("double eps")
