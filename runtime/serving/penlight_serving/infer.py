# SPDX-License-Identifier: Apache-2.0
"""`POST /v2/models/{name}[/versions/{version}]/infer` as a raw ASGI application: the one path where microseconds count."""

from __future__ import annotations

import time

from penlight_serving.answer import error_body, error_headers, public_error
from penlight_serving.body import Body, ByteBudget, ClientGoneError, Receive, Scope, Send
from penlight_serving.errors import MethodNotAllowedError
from penlight_serving.infer_request import read_request
from penlight_serving.infer_response import Headers, write_response
from penlight_serving.metrics import Metrics
from penlight_serving.model import ServedModel
from penlight_serving.models import Models
from penlight_serving.options import Options
from penlight_serving.pool import RunPool


class Infer:
    """Answers inference requests. A quick model runs on the event loop, any other in the pool."""

    def __init__(self, models: Models, options: Options, metrics: Metrics) -> None:
        self._models, self._options, self._metrics = models, options, metrics
        self._budget = ByteBudget(options.max_pending_bytes)
        self.pool = RunPool(options.run_concurrency, options.queue_size)
        self.in_flight = 0
        metrics.gauge("penlight_requests_in_flight", "Inference requests being read, run or answered.", lambda: self.in_flight)
        metrics.gauge("penlight_queue_waiting", "Requests that wait for a thread.", lambda: self.pool.waiting)
        metrics.gauge("penlight_body_bytes", "Bytes of request bodies in hand.", lambda: self._budget.taken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter_ns()
        self.in_flight += 1
        model: ServedModel | None = None
        run_ns: int | None = None
        try:
            model = self._model(scope)
            with Body(scope, self._options.max_body_bytes, self._budget) as body:
                run_ns, headers, content = await self._infer(model, body, receive, started)
                status = 200
                await _send(send, status, headers, content)
        except ClientGoneError:
            return
        except Exception as caught:
            error = public_error(caught)
            status, content = error.status, error_body(error)
            await _send(send, status, error_headers(error, content), content)
        finally:
            self.in_flight -= 1
        spent = time.perf_counter_ns() - started
        self._metrics.count(model.name if model else "", status, spent, run_ns)
        if model is not None and status != 200:
            model.statistics.fail += 1
            model.statistics.fail_ns += spent

    def _model(self, scope: Scope) -> ServedModel:
        parts = scope["path"].split("/")  # "", v2, models, NAME, [versions, VERSION,] infer
        model = self._models.get(parts[3], parts[5] if len(parts) == 7 else None)
        if scope["method"] != "POST":
            raise MethodNotAllowedError("infer is called with POST", "POST")
        return model

    async def _infer(self, model: ServedModel, body: Body, receive: Receive, started: int) -> tuple[int, Headers, bytes]:
        content = await body.read(receive)
        arrived = time.perf_counter_ns()
        request = read_request(model, content, body.header_length, self._options)
        read = time.perf_counter_ns()
        if model.pace.is_inline(request.input_bytes):
            arrays, run_started, run_ns = model.run(request.inputs, request.outputs)
        else:
            arrays, run_started, run_ns = await self.pool.run(lambda: model.run(request.inputs, request.outputs))
        model.pace.record(run_ns, request.input_bytes)
        encoding = time.perf_counter_ns()
        headers, answer = write_response(model, request, arrays)
        ended = time.perf_counter_ns()
        statistics = model.statistics
        statistics.success += 1
        statistics.success_ns += ended - started
        statistics.input_ns += read - arrived
        statistics.queue_ns += run_started - read
        statistics.infer_ns += run_ns
        statistics.output_ns += ended - encoding
        statistics.last_inference_ms = int(time.time() * 1000)
        return run_ns, headers, answer


def is_infer(path: str) -> bool:
    """Returns whether a path is that of an inference request, with or without a version."""
    if not (path.startswith("/v2/models/") and path.endswith("/infer")):
        return False
    parts = path.split("/")
    return len(parts) == 5 or (len(parts) == 7 and parts[4] == "versions")


async def _send(send: Send, status: int, headers: Headers, content: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
