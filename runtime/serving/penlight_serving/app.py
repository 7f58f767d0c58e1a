# SPDX-License-Identifier: Apache-2.0
"""The server as one ASGI application: inference on the raw path, Starlette for the rest."""

from __future__ import annotations

from penlight_serving.body import Receive, Scope, Send
from penlight_serving.infer import Infer, is_infer
from penlight_serving.lifecycle import Lifecycle
from penlight_serving.metrics import Metrics
from penlight_serving.models import Models
from penlight_serving.options import Options
from penlight_serving.routes import Routes


class App:
    """An ASGI application over loaded models.

    Under a server other than `penlight_serving.serve` it works as well, but the limits on connections, on the time for headers
    and bodies, and the drain on SIGTERM are then that server's.
    """

    def __init__(self, models: Models, options: Options) -> None:
        self.models, self.options = models, options
        self.lifecycle = Lifecycle()
        metrics = Metrics()
        self.infer = Infer(models, options, metrics)
        self._routes = Routes(models, self.lifecycle, metrics).application()
        metrics.gauge("penlight_ready", "1 while ready, 0 once it drains.", lambda: float(not self.lifecycle.draining))
        metrics.gauge("penlight_models", "Models served.", lambda: float(len(models)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_infer(scope["path"]):
            await self.infer(scope, receive, send)
        else:
            await self._routes(scope, receive, send)


def create_app(models: Models, options: Options | None = None) -> App:
    """Returns the ASGI application that serves the models of `load_models`."""
    return App(models, options or Options())
