# SPDX-License-Identifier: Apache-2.0
"""The targets "cortex-m3" ... : the model and its runtime for a microcontroller, with a board that QEMU has."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from penlight_mobile import c_target
from penlight_mobile.model import Model

PROGRAM = "model.elf"

_TEMPLATES = Path(__file__).parent / "templates/cortex_m"
_C_FLAGS = ("-std=c99", "-Os", "-ffunction-sections", "-fdata-sections")
CXX_FLAGS = (
    *("-std=c++17", "-Os", "-DPENLIGHT_SMALL=1", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-math-errno"),
    *("-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-ffp-contract=off"),
    "-fwhole-program",  # of which penlight.h is all that is seen
)
_LINK_FLAGS = ("-T", "link.ld", "-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections")


@dataclass(frozen=True)
class Core:
    """A processor: its name, what the compiler wants, and QEMU's board with it, whose memories begin where all have them."""

    name: str
    flags: tuple[str, ...]
    board: str
    memory: str = "4M"  # of each: the board's for code, and the one for data

    def files(self, model: Model) -> dict[str, bytes]:
        """The folder's files by name.

        Raises:
            MissingKernelError: the runtime's sources lack a kernel that the model needs.
        """
        filled = {
            **c_target.words(model),
            "core": self.name,
            "machine_flags": " ".join(self.flags),
            "board": self.board,
            "memory": self.memory,
            "c_flags": " ".join(_C_FLAGS),
            "cxx_flags": " ".join(CXX_FLAGS),
            "link_flags": " ".join(_LINK_FLAGS),
        }
        templates = {path.name: string.Template(path.read_text(encoding="utf-8")) for path in _TEMPLATES.glob("*")}
        return {
            **{name: template.substitute(filled).encode() for name, template in templates.items()},
            **c_target.runtime_files(model),
            **c_target.model_files(model),
        }


def next_step(folder: Path) -> str:
    """What to do with the folder."""
    return f"make -C {folder} run"


CORES = {
    "cortex-m3": Core("Cortex-M3", ("-mcpu=cortex-m3", "-mthumb"), "mps2-an385"),
    "cortex-m4": Core("Cortex-M4", ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), "mps2-an386"),
    "cortex-m7": Core("Cortex-M7", ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"), "mps2-an500"),
    "cortex-m55": Core("Cortex-M55", ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"), "mps3-an547", "512K"),
}
