# SPDX-License-Identifier: Apache-2.0
"""`penlight package`: a folder that builds on the device without Penlight."""

from pathlib import Path
from typing import Annotated

import typer

from penlight_cli.files import existing_file
from penlight_cli.output import Result


def package(
    model: Annotated[Path, typer.Argument(help="A .pen file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    target: Annotated[
        str,
        typer.Option(
            help="What to package for: c, web, linux-arm64, linux-armv7, linux-riscv64, linux-x86, cortex-m3, cortex-m4, "
            "cortex-m7, cortex-m55."
        ),
    ] = "c",
) -> Result:
    """Writes a folder that runs the model without Penlight, with only the kernels that the model needs.

    c: the single-file runtime, the model, a main.c and a CMakeLists.txt; any compiler builds it. web: the runtime as WebAssembly,
    a JavaScript module, and one page that holds everything; compiled here by Zig (pip install 'penlight[cross]').
    linux-...: as c, with a script that cross-compiles it. cortex-...: for a microcontroller without an operating system, with a
    Makefile and a board that QEMU has. All check themselves against the golden outputs in the file.

    Example: penlight package run/model.pen --target c -o digits_c/
    """
    existing_file(model, "model")
    import penlight_mobile

    result = penlight_mobile.package(model, target=target, output=output)
    files = [str(name) for name in result.files]
    data = {"path": str(output), "files": files, "size_bytes": result.size_bytes, "next_step": result.next_step}
    lines = [f"Wrote {output}: {len(files)} files, {result.size_bytes:,} bytes", *[f"  {name}" for name in files]]
    return Result(data, "\n".join([*lines, f"Next: {result.next_step}"]))
