# SPDX-License-Identifier: Apache-2.0
"""`penlight train`: a recipe on your data, to a checkpoint, curves and verified models."""

from pathlib import Path
from typing import Annotated, Any

import typer

from penlight_cli.errors import UsageProblem
from penlight_cli.files import new_folder, written, written_line
from penlight_cli.output import Result, log
from penlight_cli.recipes import check_recipe_name
from penlight_cli.threads import set_threads

PRECISIONS = ("fp32", "bf16", "fp16")  # as penlight.train has them, which is too slow to import for --help


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="digits-cnn, mnist-cnn or char-gpt.")],
    data: Annotated[Path | None, typer.Option(help="What the recipe reads: a folder of idx files, a text file.")] = None,
    out: Annotated[Path, typer.Option("--output", "--out", "-o", help="The folder of the run.")] = Path("run"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples per step.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Highest learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0, help="Weight decay of AdamW.")] = None,
    max_grad_norm: Annotated[float | None, typer.Option(min=0, help="Gradients are scaled to this norm at most; 0: not.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16 (mixed precision).")] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="Batches whose gradients make one step.")] = None,
    patience: Annotated[int | None, typer.Option(min=0, help="Stop after so many epochs without a better validation loss.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and order; 0 by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder, bit for bit.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew in a folder that holds a run.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads of the arithmetic; 0 chooses.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read data.")] = 0,
    log_dir: Annotated[Path | None, typer.Option(help="Every step's numbers: TensorBoard, metrics.csv and .jsonl.")] = None,
) -> Result:
    """Ctrl-C finishes the step, writes a checkpoint and exits with 130; the same command with --resume goes on.

    Example: penlight train digits-cnn --out digits/

    Example: penlight train char-gpt --data shakespeare.txt --epochs 3 --out gpt/

    Example: penlight train mnist-cnn --data mnist/ --precision bf16 --accumulate 2 --log-dir logs/
    """
    check_recipe_name(recipe)
    set_threads(threads)
    if precision not in (None, *PRECISIONS):
        raise UsageProblem(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
    options: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "weight_decay": weight_decay, "seed": seed}
    options |= {"max_grad_norm": max_grad_norm, "precision": precision, "accumulate": accumulate, "patience": patience}
    if (out / "run.json").exists() and not resume and not overwrite:
        raise UsageProblem(f"--out {out}: the folder holds a run already; add --resume to go on, --overwrite to start anew")
    from penlight_cli.training import export_model, join_ranks, new_run, resumed_run, save_exports, train_run

    is_first = join_ranks()
    if resume and (out / "run.json").exists():
        run, loaded = resumed_run(recipe, out, data=data, **options)
    else:
        options["seed"] = seed or 0
        run, loaded = new_run(recipe, new_folder(out), data=data, **options)
    trained = train_run(run, loaded, resume=resume, workers=workers, log_dir=log_dir)
    if not is_first:
        raise typer.Exit()
    log("exporting: eager mode, onnxruntime and the edge runtime must agree")
    exported = export_model(run, trained.model, data=loaded)
    files = [written(path) for path in save_exports(run, exported)]
    sample = _after_training(run, trained)
    facts: dict[str, Any] = {"recipe": recipe, "path": str(out), "history": trained.history, "files": files, "sample": sample}
    facts["stopped"] = trained.stopped
    lines = [exported.report.to_text(), summary(trained.history[-1]), *filter(None, [sample]), *map(written_line, files)]
    lines.append(f"Next: penlight inspect {out / 'model.pen'}; penlight serve {out / 'model.pen'}")
    return Result({**facts, "report": exported.report.to_json()}, "\n".join(lines))


def summary(last: dict[str, Any]) -> str:
    """The figures of the last epoch in a line."""
    figures = f"validation loss {last['validation_loss']:.4f}, validation accuracy {last['validation_accuracy']:.2%}"
    return f"{figures} after {last['epoch']} epochs"


def _after_training(run: Any, trained: Any) -> str:
    from penlight_cli.engines import EagerEngine, EdgeEngine

    engines = {"eager": EagerEngine(trained.model, run), "edge": EdgeEngine(run.folder / "model.pen")}
    return run.recipe.after_training(engines, run.config, run.seed)
