# SPDX-License-Identifier: Apache-2.0
"""Every CUDA kernel compiles for every architecture and element type, without spills, with the arguments we bind."""

import re
import shutil

import cuda_compilers
import pytest

from penlight.backends.cuda import source

ARCHITECTURES = ("sm_80", "sm_90", "sm_90a", "sm_100")
# 256 threads of 64 registers each still leave a quarter of an SM's 65,536 registers to each of four blocks.
MAX_REGISTERS = 64
PTX_TYPES = {"pointer": "u64", "size_t": "u64", "int64": "u64", "int": "u32", "float": "f32"}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    cache = {}

    def get(family, arch):
        if (family, arch) not in cache:
            cache[family, arch] = cuda_compilers.compile_family(family, arch, tmp_path_factory.mktemp("cuda"))
        if cache[family, arch] is None:
            pytest.skip("no CUDA compiler: neither NVRTC (penlight[cuda13]) nor nvcc on PATH")
        return cache[family, arch]

    return get


def check_resources(log, instances):
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert len(spills) >= instances
    assert {number for line in spills for number in line} == {"0"}, log
    assert max(int(count) for count in re.findall(r"Used (\d+) registers", log)) <= MAX_REGISTERS, log


@pytest.mark.parametrize("family", source.families())
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_compiles_without_spills(compiled, family, arch):
    check_resources(compiled(family, arch).resources, len(source.kernels(family)) * len(source.ELEMENTS))


@pytest.mark.parametrize("family", source.families())
def test_arguments_are_those_of_the_symbols(compiled, family):
    parameters = compiled(family, "sm_80").parameters
    for kernel in source.kernels(family).values():
        expected = tuple(PTX_TYPES[parameter.kind] for parameter in kernel.parameters)
        for dtype in source.ELEMENTS:
            assert tuple(re.sub("^[sb]", "u", kind) for kind in parameters[kernel.expression(dtype)]) == expected, kernel


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
@pytest.mark.parametrize("family", source.families())
def test_nvcc_agrees(family, tmp_path):
    result = cuda_compilers.compile_with_nvcc(shutil.which("nvcc"), family, "sm_90", tmp_path)
    check_resources(result.resources, len(source.kernels(family)) * len(source.ELEMENTS))
    assert len(result.parameters) == len(source.kernels(family)) * len(source.ELEMENTS)


def test_every_global_function_is_found():
    for family in source.families():
        assert source.text(family).count("__global__") == len(source.kernels(family)), family


def test_source_rejects_an_argument_it_cannot_pack():
    with pytest.raises(ValueError, match="double eps: a kernel argument is a pointer or one of size_t"):
        source._parameter("double eps")
