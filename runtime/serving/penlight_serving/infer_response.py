# SPDX-License-Identifier: Apache-2.0
"""Writing the answer to an inference request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from penlight_serving.infer_request import InferRequest
from penlight_serving.model import ServedModel
from penlight_serving.values import to_bytes, to_json

Headers = list[tuple[bytes, bytes]]


def write_response(model: ServedModel, request: InferRequest, arrays: Sequence[np.ndarray]) -> tuple[Headers, bytes]:
    """Returns the headers and the body that carry the outputs, in the order and the form that the request asks for."""
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, binary, array in zip(request.outputs, request.binary, arrays, strict=True):
        output: dict[str, Any] = {"name": name, "datatype": model.outputs[name].datatype.name, "shape": array.shape}
        if binary:
            blobs.append(to_bytes(array))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"], non_finite = to_json(array)
            if non_finite:
                output["parameters"] = {"non_finite_as_null": True}
        outputs.append(output)
    head: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        head["id"] = request.id
    head["outputs"] = outputs
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    if not blobs:
        return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))], text
    body = b"".join([text, *blobs])
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"inference-header-content-length", b"%d" % len(text)),
        (b"content-length", b"%d" % len(body)),
    ]
    return headers, body
