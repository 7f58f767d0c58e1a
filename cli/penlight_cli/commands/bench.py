# SPDX-License-Identifier: Apache-2.0
"""`penlight bench`: how long a model takes on each engine."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from penlight_cli.errors import UsageProblem
from penlight_cli.failure import sentence
from penlight_cli.files import written, written_line
from penlight_cli.output import Result, log, progress, table
from penlight_cli.threads import set_threads


def bench(
    model: Annotated[Path, typer.Argument(help="A .onnx or .pen file, or the folder of a training run for all three engines.")],
    batch: Annotated[int, typer.Option(min=1, help="Size of a dynamic first dimension.")] = 1,
    shape: Annotated[list[str], typer.Option(metavar="NAME:1x3x224x224", help="Shape of an input; may be repeated.")] = [],  # noqa: B006  Typer's way
    threads: Annotated[str, typer.Option(help="Threads, such as 1 or 1,2,4; eager mode keeps the first.")] = "1",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which the engines take turns.")] = 20,
    calls: Annotated[int, typer.Option(min=1, help="Calls of an engine in each round.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the input numbers.")] = 0,
    profile: Annotated[Path | None, typer.Option(metavar="OUT.json", help="Also time every node of the file, one thread.")] = None,
) -> Result:
    """A .onnx file runs on onnxruntime and, converted, on the edge runtime; the folder of a training run also in eager mode.
    The first round warms up and is not counted.

    Example: penlight bench run/model.onnx --batch 8 --threads 1,2

    Example: penlight bench run/model.pen --profile times.json
    """
    _check_profile(model, profile)
    counts = _thread_counts(threads)
    set_threads(counts[0])
    from penlight_cli.engines import open_model
    from penlight_cli.timing import measure, parse_shape, percentiles, random_inputs

    shapes, rows = dict(parse_shape(text) for text in shape), []
    with _models(model) as paths, progress(len(counts) * (rounds + 1), "bench") as bar:
        for count in counts:
            engines = {engine.name: engine for engine in (open_model(path, count) for path in paths)}
            inputs = random_inputs(next(iter(engines.values())).inputs, batch, shapes, seed)
            times = measure(engines, inputs, rounds, calls, bar.advance)
            for name, seconds in times.items():
                rows.append({"engine": name, "threads": count, **percentiles(seconds), "arena_bytes": engines[name].arena_bytes})
    sizes = {name: list(array.shape) for name, array in inputs.items()}
    facts: dict[str, Any] = {"model": str(model), "inputs": sizes, "calls": rounds * calls, "rows": rows}
    text = _text(model, sizes, rounds * calls, rows)
    if profile is not None:
        facts["written"] = _write_profile(model, inputs, profile, rounds)
        text += "\n" + written_line(facts["written"], f"penlight inspect {model} --html model.html --profile {profile}")
    return Result(facts, text)


def _check_profile(model: Path, profile: Path | None) -> None:
    if profile is not None and (profile.suffix != ".json" or model.suffix not in {".onnx", ".pen"}):
        raise UsageProblem(f"--profile {profile}: expected a name that ends in .json, and an .onnx or .pen file as the model")


def _write_profile(model: Path, inputs: dict[str, Any], path: Path, rounds: int) -> dict[str, Any]:
    from penlight.serialize import atomic_write
    from penlight_export.profiling import profile_model

    facts = profile_model(model, inputs, rounds).to_json()
    atomic_write(path, json.dumps({**facts, "model": str(model)}, indent=1).encode())
    return written(path)


def _thread_counts(text: str) -> list[int]:
    if not all(part.isdigit() and int(part) for part in text.split(",")):
        raise UsageProblem(f"--threads {text}: expected numbers such as 1 or 1,2,4")
    return [int(part) for part in text.split(",")]


@contextlib.contextmanager
def _models(model: Path) -> Iterator[list[Path]]:
    """The model as every engine wants it; a missing .pen is converted into a temporary folder."""
    if model.is_dir():
        yield [model, *[path for path in (model / "model.onnx", model / "model.pen") if path.exists()]]
        return
    with tempfile.TemporaryDirectory() as folder:
        pen = Path(folder) / "model.pen"
        if model.suffix == ".onnx" and model.exists() and _converted(model, pen):
            yield [model, pen]
        else:
            yield [model]


def _converted(model: Path, pen: Path) -> bool:
    import penlight_export

    try:
        penlight_export.convert(model, pen, verify=False)
    except penlight_export.ExportError as error:
        log(f"the edge runtime is left out: {sentence(error)}")
        return False
    return True


def _text(model: Path, sizes: dict[str, Any], calls: int, rows: list[dict[str, Any]]) -> str:
    names = ("p50_us", "p90_us", "p99_us", "mean_us")
    lines = [[row["engine"], row["threads"], *[f"{row[name]:.1f}" for name in names]] for row in rows]
    shown = ", ".join(f"{name} {'x'.join(map(str, size))}" for name, size in sizes.items())
    return f"{model}: {shown}, {calls} calls each\n" + table(
        ["Engine", "Threads", "p50 us", "p90 us", "p99 us", "mean us"], lines, ""
    )
