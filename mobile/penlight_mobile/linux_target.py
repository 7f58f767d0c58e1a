# SPDX-License-Identifier: Apache-2.0
"""The targets "linux-arm64" ... : the folder of "c" with a script that cross-compiles it."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from penlight_mobile import c_target
from penlight_mobile.model import Model

_TEMPLATE = Path(__file__).parent / "templates/linux/build.sh"


@dataclass(frozen=True)
class Platform:
    """A processor that runs Linux: Zig's name of it, the prefix of GNU's cross compilers, and flags that it wants."""

    name: str
    triple: str
    prefix: str
    flags: tuple[str, ...] = ()

    def files(self, model: Model) -> dict[str, bytes]:
        """The folder's files by name.

        Raises:
            MissingKernelError: the runtime's sources lack a kernel that the model needs.
        """
        words = {"platform": self.name, "triple": self.triple, "prefix": self.prefix}
        flags = {name: " ".join((*group, *self.flags)) for name, group in c_target.FLAGS.items()}
        script = string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(words, **flags)
        return {**c_target.files(model), "build.sh": script.encode()}


def next_step(folder: Path) -> str:
    """What to do with the folder."""
    return f"sh {folder}/build.sh"


PLATFORMS = {
    "linux-arm64": Platform("64-bit Arm", "aarch64-linux-musl", "aarch64-linux-gnu"),
    "linux-armv7": Platform("32-bit Arm", "arm-linux-musleabihf", "arm-linux-gnueabihf"),
    "linux-riscv64": Platform("64-bit RISC-V", "riscv64-linux-musl", "riscv64-linux-gnu"),
    # SSE2, which every x86 since 2004 has: the older unit computes in 80 bits, so that results would depend on the optimizer.
    "linux-x86": Platform("32-bit x86", "x86-linux-musl", "i686-linux-gnu", ("-msse2", "-mfpmath=sse")),
}
