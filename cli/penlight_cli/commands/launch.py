# SPDX-License-Identifier: Apache-2.0
"""`penlight launch`: one verb or one script of yours, in several processes that train together."""

import os
import sys
from typing import Annotated

import typer

from penlight_cli import output
from penlight_cli.errors import InputMissing, UsageProblem
from penlight_cli.output import Result, did_you_mean

VERBS = ("train",)  # the verbs whose work can be shared


def launch(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A .py script, or 'train'.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGUMENTS", help="What the target is given.")] = None,
    ranks: Annotated[int, typer.Option("--ranks", "-n", min=1, help="Processes.")] = 2,
    hosts: Annotated[str, typer.Option(help="Machines of the job, as mpiexec takes them: a,b:4. This one by default.")] = "",
) -> Result:
    """Needs the extra mpi: pip install 'penlight[mpi]'. Options after TARGET are the target's own.

    Each rank takes its part of every batch and gradients are averaged. When a rank fails or dies, all end, the message
    names it, and its exit code is passed on. With --json before TARGET, what the ranks print goes to stderr.

    Example: penlight launch -n 2 train digits-cnn --out digits/

    Example: penlight launch -n 4 script.py --epochs 3
    """
    for name, field in {"json_": "json", "quiet": "quiet", "no_color": "no_color", "debug": "debug"}.items():
        setattr(output.settings, field, context.params[name])  # main also saw those that are the target's
    command = _command(target, list(arguments or ()))
    from penlight.distributed.launcher import launch as launch_ranks

    launch_ranks(ranks, command, options=["-hosts", hosts] if hosts else (), stdout=sys.stderr if output.settings.json else None)
    return Result({"target": target, "ranks": ranks})


def _command(target: str, arguments: list[str]) -> list[str]:
    if target in VERBS:
        return ["-m", "penlight_cli", target, *arguments]
    if target.endswith(".py"):
        if not os.path.isfile(target):
            raise InputMissing(f"launch {target}: there is no such script; check the path")
        return [target, *arguments]
    raise UsageProblem(f"launch: expected a .py script or {', '.join(VERBS)}, came {target!r}{did_you_mean(target, VERBS)}")


launch.context_settings = {"allow_interspersed_args": False}  # type: ignore[attr-defined]  # main.py reads it
