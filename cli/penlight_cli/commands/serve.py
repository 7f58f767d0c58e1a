# SPDX-License-Identifier: Apache-2.0
"""`penlight serve`: models over HTTP until a signal."""

from pathlib import Path
from typing import Annotated, Any

import typer

from penlight_cli import output
from penlight_cli.output import Result


def serve(
    models: Annotated[list[Path], typer.Argument(help=".onnx or .pen files, or folders of them.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    threads: Annotated[int, typer.Option(min=0, help="Threads of one model run; 0: all processors.")] = 0,
    max_body_mib: Annotated[int, typer.Option(min=1, help="Largest request body.")] = 64,
    drain_seconds: Annotated[float, typer.Option(min=0, help="How long to keep accepting after SIGTERM.")] = 5.0,
) -> Result:
    """A .onnx file runs on onnxruntime, a .pen file on the edge runtime; the name of the file is the name of the model.
    SIGTERM (exit code 143) and Ctrl-C (130) finish the requests in hand first. With --json, one object is printed when ready.

    Example: penlight serve run/model.pen --port 8080

    Then: curl http://127.0.0.1:8080/v2/models/model
    """
    import penlight_serving

    pending = max(512, max_body_mib) << 20
    limits = {"max_body_bytes": max_body_mib << 20, "max_pending_bytes": pending}
    number = penlight_serving.serve(models, host, port, on_ready=_announce, threads=threads, drain_seconds=drain_seconds, **limits)
    raise typer.Exit(128 + int(number or 0) if number else 0)


def _announce(server: Any) -> None:
    data = {"url": server.url, "host": server.host, "port": server.port, "models": list(server.models)}
    lines = [f"Serving {', '.join(server.models)} at {server.url} (Ctrl-C stops)"]
    lines += [f"  {server.url}/v2/models/{name}" for name in server.models]
    output.print_result("serve", Result(data, "\n".join(lines)))
