# SPDX-License-Identifier: Apache-2.0
"""`penlight run`: a file in, the model's answer out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from penlight_cli.errors import OutputNotFinite, UsageProblem
from penlight_cli.files import written, written_line
from penlight_cli.output import Result, table


def run(
    model: Annotated[Path, typer.Argument(help="A .onnx or .pen file, or the folder of a training run.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="FILE or NAME=FILE: .npy, .npz or a picture.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the outputs as .npz, .npy or .json.")] = None,
    cast: Annotated[bool, typer.Option("--cast", help="Convert inputs to the dtype that the model declares.")] = False,
    allow_nan: Annotated[bool, typer.Option("--allow-nan", help="Let NaN and infinity through.")] = False,
    scale: Annotated[float, typer.Option(help="Factor on the 0..255 of a picture's values.")] = 1 / 255,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    method: Annotated[str | None, typer.Option(help="Which method of a .pen file with several; the first by default.")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same bits on every machine (.pen files).")] = False,
) -> Result:
    """A picture becomes (1, C, H, W), grey or RGB and resized as the model declares; a sample without its batch dimension gets one.

    Example: penlight run run/model.pen digit.png --scale 0.00392 --json
    """
    from penlight_cli.arrays import Reading, read_inputs, save_outputs
    from penlight_cli.engines import open_model

    if output and output.suffix not in {".npz", ".npy", ".json"}:
        raise UsageProblem(f"output {output}: expected a name that ends in .npz, .npy or .json")
    engine = open_model(model, threads, method, deterministic)
    arrays = read_inputs(inputs, engine.inputs, Reading(cast, allow_nan, scale))
    answers = engine.run(arrays)
    if not allow_nan:
        _check_finite(answers)
    data: dict[str, Any] = {
        "model": str(model),
        "engine": engine.name,
        "outputs": {name: describe(a) for name, a in answers.items()},
    }
    text = table(
        ["Output", "Type", "Min", "Max", "Mean", "Top classes"], [_row(name, facts) for name, facts in data["outputs"].items()], ""
    )
    if output:
        save_outputs(output, answers)
        data["written"] = written(output)
        text += "\n" + written_line(data["written"])
    return Result(data, text)


def _check_finite(answers: Mapping[str, Any]) -> None:
    import numpy as np

    for name, array in answers.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise OutputNotFinite(f"output {name!r} holds NaN or infinity; --allow-nan prints it all the same")


def describe(array: Any) -> dict[str, Any]:
    """Facts about an output; small ones with their values, (N, classes) with the first row's best three."""
    facts: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    is_text = array.dtype.kind == "O"
    if is_text:
        facts["dtype"] = "string"
    elif array.size:
        facts.update(min=float(array.min()), max=float(array.max()), mean=float(array.mean()))
    if array.size <= 1000:
        facts["values"] = array.tolist()
    if not is_text and array.ndim == 2 and array.shape[1] > 1 and array.shape[0]:
        facts["argmax"] = array.argmax(axis=1).tolist()
        facts["top"] = [[int(i), float(array[0, i])] for i in array[0].argsort()[::-1][:3]]
    return facts


def _row(name: str, facts: dict[str, Any]) -> list[str]:
    import numpy as np

    best = ", ".join(f"{index} ({value:.4g})" for index, value in facts.get("top", []))
    if facts["dtype"] == "string":
        best = ", ".join(map(repr, np.array(facts.get("values", [])).reshape(-1)[:3].tolist()))
    numbers = [f"{facts[key]:.6g}" if key in facts else "-" for key in ("min", "max", "mean")]
    return [name, f"{facts['dtype']}[{', '.join(map(str, facts['shape']))}]", *numbers, best]
