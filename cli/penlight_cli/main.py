# SPDX-License-Identifier: Apache-2.0
"""The `penlight` command: finds the verb, loads its module only then, and keeps the output contract."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from penlight_cli import output
from penlight_cli.errors import Interrupted, UsageProblem
from penlight_cli.failure import failure_of

# Every verb with the line that `penlight --help` shows; penlight_cli/commands/<verb>.py holds a function of the same name.
VERBS = {
    "quickstart": "Show the whole way in a minute, on real data.",
    "train": "Train a recipe; write checkpoints, curves and models.",
    "launch": "Train in several processes, with a verb or a script.",
    "export": "Export a trained checkpoint to .onnx or .pen.",
    "convert": "Convert any .onnx file to .pen.",
    "inspect": "Show operators, shapes, parameters, MACs and memory.",
    "view": "Open a model's graph in Netron.",
    "run": "Run a model on a .npy, .npz or picture file.",
    "verify": "Compare two models number by number.",
    "bench": "Time a model on eager, onnxruntime and the edge runtime.",
    "serve": "Serve models over HTTP (Open Inference Protocol v2).",
    "package": "Package a model with the runtime's source.",
    "operators": "List the operators: ONNX form, edge, dtypes.",
    "doctor": "Tell what is installed and what this machine can do.",
    "explain": "Explain an error code, or list them all.",
}

_COMMON = {
    "json_": typer.Option(False, "--json", help="Print one JSON object on stdout, also on failure."),
    "quiet": typer.Option(False, "--quiet", "-q", help="No progress and no logs on stderr."),
    "no_color": typer.Option(False, "--no-color", help="No colours and no bars."),
    "debug": typer.Option(False, "--debug", help="Show the traceback of an error."),
}


class LazyGroup(TyperGroup):
    """Knows the verbs by name and imports a command's module only when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stub with the summary, which is all that help and completion of verbs need."""
        return _as_command(cmd_name, lambda: None, VERBS[cmd_name]) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in VERBS:
            raise UsageProblem(f"no such command {name!r}{output.did_you_mean(name, VERBS)}; 'penlight --help' lists them")
        return name, load_command(name), args[1:]


def load_command(verb: str) -> Any:
    """Imports a verb's module and returns its command, with the options that every command has."""
    function = getattr(importlib.import_module(f"penlight_cli.commands.{verb}"), verb)
    return _as_command(verb, _with_common_options(function), f"{VERBS[verb]}\n\n{inspect.getdoc(function)}")


def _as_command(name: str, function: Callable[..., Any], text: str) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, help=text, context_settings=getattr(function, "context_settings", None))(function)
    command = typer.main.get_command(app)
    for parameter in command.params:
        # PENLIGHT_<VERB>_<OPTION> works for each; saying so on every line would hide the help.
        setattr(parameter, "show_envvar", False)  # noqa: B010  # arguments have no such field
    return command


def _with_common_options(function: Callable[..., output.Result]) -> Callable[..., output.Result]:
    @functools.wraps(function)
    def command(**arguments: Any) -> output.Result:
        try:
            return function(**{name: value for name, value in arguments.items() if name not in _COMMON})
        except KeyboardInterrupt as error:  # Typer would turn it into an exit code without a word
            raise Interrupted("interrupted before the end; what was written before is whole") from error

    keyword = inspect.Parameter.KEYWORD_ONLY
    own = inspect.signature(function, eval_str=True)
    common = [inspect.Parameter(name, keyword, default=option, annotation=bool) for name, option in _COMMON.items()]
    parameters = [parameter.replace(kind=keyword) for parameter in own.parameters.values()]
    command.__signature__ = own.replace(parameters=[*parameters, *common])  # type: ignore[attr-defined]  # inspect reads it
    command.__annotations__ = {p.name: p.annotation for p in [*parameters, *common]}
    del command.__wrapped__  # inspect would look through it
    return command


app = typer.Typer(
    cls=LazyGroup,
    add_completion=True,
    rich_markup_mode=None,  # Rich costs 150 ms, and its boxes break when piped
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "PENLIGHT"},
    help="Penlight: train, export, run on the edge, package, serve. Start with: penlight quickstart",
)


@app.callback(invoke_without_command=True)
def root(ctx: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from penlight_cli.versions import version_of

        print(f"penlight {version_of('penlight')}")
        raise typer.Exit()
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; prints, but raises nothing."""
    options = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    verb = next((argument for argument in options if argument in VERBS), "penlight")
    flags = [argument for argument in options if argument in {"--json", "--quiet", "-q", "--debug", "--no-color"}]
    output.settings.json, output.settings.debug = "--json" in flags, "--debug" in flags
    output.settings.quiet, output.settings.no_color = "--quiet" in flags or "-q" in flags, "--no-color" in flags
    try:
        return _run_and_print(verb, arguments)
    except BrokenPipeError:  # the reader of our output has seen enough, as in `penlight inspect | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run_and_print(verb: str, arguments: Sequence[str]) -> int:
    try:
        result = typer.main.get_command(app)(list(arguments), prog_name="penlight", standalone_mode=False)
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        return _report_failure(verb, error)
    if isinstance(result, output.Result):
        output.print_result(verb, result)
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _report_failure(verb: str, error: BaseException) -> int:
    if output.settings.debug:
        import traceback

        traceback.print_exception(error)
    failure = failure_of(error)
    output.print_failure(verb, failure)
    return failure.exit_code


def run() -> None:
    """The console entry point."""
    sys.exit(main(sys.argv[1:]))
