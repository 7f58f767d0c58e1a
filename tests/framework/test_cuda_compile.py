# SPDX-License-Identifier: Apache-2.0
"""Every CUDA kernel compiles for every architecture and element type, without spills, with the arguments we bind."""

import cuda_compilers
import pytest

from penlight.backends.cuda import source

ARCHITECTURES = ("sm_80", "sm_90", "sm_90a", "sm_100")
RUN = ("sm_80", "sm_100")  # what every run compiles for


def compiled(family, arch, chosen, folder):
    result = cuda_compilers.compile_family(family, arch, folder, chosen)
    if result is None:
        pytest.skip("no CUDA compiler: neither NVRTC (penlight[cuda13]) nor nvcc on PATH")
    return result


@pytest.mark.parametrize(
    ("family", "arch"), [(f, a) for f in source.families() for a in RUN if f not in cuda_compilers.MORE_REGISTERS or a == RUN[0]]
)
def test_each_kernel_compiles(family, arch, tmp_path):
    chosen = cuda_compilers.some_of(family)
    cuda_compilers.check(family, compiled(family, arch, chosen, tmp_path), chosen)


@pytest.mark.slow
@pytest.mark.parametrize("family", source.families())
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_instance_compiles(family, arch, tmp_path):
    chosen = list(source.instances(family))
    cuda_compilers.check(family, compiled(family, arch, chosen, tmp_path), chosen)


def test_every_global_function_is_found():
    for family in source.families():
        assert source.text(family).count("__global__") == len(source.kernels(family)), family


def test_source_rejects_an_argument_it_cannot_pack():
    with pytest.raises(ValueError, match="double eps: a kernel argument is a pointer or one of size_t"):
        source._parameter("double eps")
