# SPDX-License-Identifier: Apache-2.0
"""Everything of the protocol but inference: health, metadata, statistics, the repository's index, and the metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penlight_serving.answer import error_body, error_headers, public_error
from penlight_serving.body import Body, ByteBudget, ClientGoneError
from penlight_serving.errors import (
    MethodNotAllowedError,
    PathNotFoundError,
    RequestError,
    ServingError,
    UnsupportedFeatureError,
)
from penlight_serving.lifecycle import Lifecycle
from penlight_serving.metrics import Metrics
from penlight_serving.model import ServedModel
from penlight_serving.models import Models

# Only what exists: clients switch features on by this list.
EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics"]
_SMALL_BODY = 64 * 1024
_Handler = Callable[[Request], Awaitable[Response]]


class Routes:
    """The handlers, over the models of one server."""

    def __init__(self, models: Models, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._models, self._lifecycle, self._metrics = models, lifecycle, metrics
        self._budget = ByteBudget(64 * _SMALL_BODY)

    def application(self) -> Starlette:
        """Returns the ASGI application."""
        get: dict[str, _Handler] = {
            "/v2": self.server,
            "/v2/": self.server,
            "/v2/health/live": self.live,
            "/v2/health/ready": self.ready,
            "/v2/models/stats": self.all_statistics,
            "/metrics": self.metrics,
        }
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            get |= {model: self.model, f"{model}/ready": self.model_ready}
            get |= {f"{model}/config": self.config, f"{model}/stats": self.statistics}
        routes = [Route(path, handler, methods=["GET"]) for path, handler in get.items()]
        routes.append(Route("/v2/repository/index", self.index, methods=["POST"]))
        routes.append(Route("/v2/repository/models/{name}/{action:path}", self.control, methods=["POST"]))
        handlers: dict[Any, Any] = {HTTPException: _http_error, ServingError: _answer, Exception: _answer}
        application = Starlette(routes=routes, exception_handlers=handlers)
        application.router.redirect_slashes = False
        return application

    async def server(self, _: Request) -> Response:
        return _json({"name": "penlight", "version": _version(), "extensions": EXTENSIONS})

    async def live(self, _: Request) -> Response:
        return _json({"live": True})

    async def ready(self, _: Request) -> Response:
        self._lifecycle.check_ready()
        return _json({"ready": True})

    async def model(self, request: Request) -> Response:
        return _json(self._model(request).metadata())

    async def model_ready(self, request: Request) -> Response:
        model = self._model(request)
        self._lifecycle.check_ready()
        return _json({"name": model.name, "ready": True})

    async def config(self, request: Request) -> Response:
        return _json(self._model(request).config())

    async def statistics(self, request: Request) -> Response:
        return _json(_model_stats([self._model(request)]))

    async def all_statistics(self, _: Request) -> Response:
        return _json(_model_stats(list(self._models)))

    async def index(self, request: Request) -> Response:
        with Body(request.scope, _SMALL_BODY, self._budget) as body:
            content = await body.read(request.receive)
        try:
            asked = orjson.loads(content) if content.strip() else {}
        except orjson.JSONDecodeError:
            asked = None
        if not isinstance(asked, dict) or not isinstance(asked.get("ready", False), bool):
            raise RequestError('the body must be empty or a JSON object such as {"ready": true}')
        return _json([{"name": model.name, "version": model.version, "state": "READY", "reason": ""} for model in self._models])

    async def control(self, request: Request) -> Response:
        raise UnsupportedFeatureError("models cannot be loaded or unloaded over HTTP; restart the server with other paths")

    async def metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _model(self, request: Request) -> ServedModel:
        return self._models.get(request.path_params["name"], request.path_params.get("version"))


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _model_stats(models: list[ServedModel]) -> dict[str, Any]:
    return {"model_stats": [model.statistics.to_json(model.name, model.version) for model in models]}


def _version() -> str:
    try:
        return version("penlight")
    except PackageNotFoundError:  # run from the source tree
        return "0+unknown"


async def _http_error(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    if status == 405:
        allow = (getattr(error, "headers", None) or {}).get("Allow", "GET")
        return await _answer(request, MethodNotAllowedError(f"this path is called with {allow}", allow))
    return await _answer(request, PathNotFoundError("nothing is at this path; GET /v2 describes the server"))


async def _answer(_: Request, error: Exception) -> Response:
    if isinstance(error, ClientGoneError):
        return Response(status_code=400)  # written to nobody
    public = public_error(error)
    body = error_body(public)
    response = Response(body, status_code=public.status)
    response.raw_headers = error_headers(public, body)
    return response
