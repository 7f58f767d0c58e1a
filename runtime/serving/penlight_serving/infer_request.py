# SPDX-License-Identifier: Apache-2.0
"""Reading an inference request: JSON, the binary tensor extension, and every rule about both.

Protocol: https://github.com/kserve/open-inference-protocol; the binary extension: Triton's `extension_binary_data`.
Deliberately absent: shared memory, sequences, classification. They are refused rather than ignored.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from penlight_serving.errors import (
    BinaryError,
    BodyTooLargeError,
    RequestError,
    TensorError,
    TensorNameError,
    UnsupportedFeatureError,
)
from penlight_serving.model import ServedModel
from penlight_serving.options import Options
from penlight_serving.tensors import DATATYPES, TensorInfo
from penlight_serving.values import from_bytes, from_json

_REFUSED = ("shared_memory_region", "sequence_id", "classification")
_MAX_DIM = 2**31 - 1


@dataclass
class InferRequest:
    """A request that fits the model.

    Attributes:
        id: The caller's mark, echoed in the answer.
        inputs: Arrays of the model's dtypes, possibly views of the body and then read-only.
        input_bytes: Their size.
        outputs: Names of the outputs to compute, in the order of the answer.
        binary: For each of those, whether its values go as bytes after the JSON.
    """

    id: str | None
    inputs: dict[str, np.ndarray]
    input_bytes: int
    outputs: list[str]
    binary: list[bool]


def read_request(model: ServedModel, body: bytes, header_length: int | None, options: Options) -> InferRequest:
    """Returns the request in a body.

    Args:
        model: The model it is for.
        body: The whole body.
        header_length: `Inference-Header-Content-Length`: the bytes of JSON before the binary part. None: all is JSON. 0: the
            body is the one input itself.
        options: For the limits.

    Raises:
        RequestError: Or one of its kinds, for anything that is not as it must be.
    """
    if header_length == 0:
        return _raw_request(model, memoryview(body))
    head, binary = _split(body, header_length, options)
    if not isinstance(head, dict):
        raise RequestError('the request must be a JSON object with "inputs"')
    parameters = _parameters(head, "the request")
    inputs = _inputs(model, head.get("inputs"), binary, options)
    outputs, is_binary = _outputs(model, head.get("outputs"), _flag(parameters, "binary_data_output", False))
    mark = head.get("id")
    if mark is not None and not isinstance(mark, str):
        raise RequestError('"id" must be a text')
    return InferRequest(mark, inputs, sum(array.nbytes for array in inputs.values()), outputs, is_binary)


def _split(body: bytes, header_length: int | None, options: Options) -> tuple[Any, memoryview]:
    end = len(body) if header_length is None else header_length
    if end > len(body):
        raise BinaryError(f"Inference-Header-Content-Length is {end}, the body has only {len(body)} bytes")
    if end > options.max_json_bytes:
        raise BodyTooLargeError(
            f"the JSON part has {end} bytes, more than {options.max_json_bytes}; send the values as binary data"
        )
    view = memoryview(body)
    try:
        return orjson.loads(view[:end]), view[end:]
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the request is not JSON: {error.msg} at byte {error.pos}") from None


def _raw_request(model: ServedModel, raw: memoryview) -> InferRequest:
    """The whole body is the input: for a model with one input, whose first size may be the caller's choice and is then 1."""
    if len(model.inputs) != 1:
        raise BinaryError(
            f"a body without JSON needs a model with one input, {model.name} has {len(model.inputs)}; describe them in JSON"
        )
    info = next(iter(model.inputs.values()))
    shape = [1 if axis == 0 and size < 0 else size for axis, size in enumerate(info.shape)]
    if min(shape, default=0) < 0:
        raise BinaryError(f'input "{info.name}" is {info}, whose sizes a body without JSON cannot tell; describe it in JSON')
    array = from_bytes(info.name, info.datatype, shape, raw)
    return InferRequest(None, {info.name: array}, array.nbytes, model.output_names, [True] * len(model.output_names))


def _inputs(model: ServedModel, entries: Any, binary: memoryview, options: Options) -> dict[str, np.ndarray]:
    if not isinstance(entries, list) or not entries:
        raise RequestError('"inputs" must be a list of at least one input with name, shape, datatype and data')
    arrays: dict[str, np.ndarray] = {}
    offset = 0
    for entry in entries:
        info = _declared(model, entry, model.inputs, arrays, "input")
        shape = _shape(info, entry, options)
        size = _binary_size(info, entry)
        if size is None:
            arrays[info.name] = from_json(info.name, info.datatype, shape, entry.get("data"))
        else:
            if size > len(binary) - offset:
                raise BinaryError(
                    f'input "{info.name}": binary_data_size is {size}, the body has only {len(binary) - offset} bytes left'
                )
            arrays[info.name] = from_bytes(info.name, info.datatype, shape, binary[offset : offset + size])
            offset += size
    if offset != len(binary):
        raise BinaryError(
            f"{len(binary) - offset} bytes follow the last binary input; the binary_data_size must add up to the rest of the body"
        )
    missing = [name for name in model.inputs if name not in arrays]
    if missing:
        raise TensorNameError(
            f"missing input {', '.join(_quoted(name) for name in missing)}: model {model.name} needs {_listed(model.inputs)}"
        )
    return arrays


def _declared(model: ServedModel, entry: Any, known: dict[str, TensorInfo], taken: Any, kind: str) -> TensorInfo:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise RequestError(f'each {kind} must be an object with a text "name"')
    name = entry["name"]
    info = known.get(name)
    if info is None:
        close = difflib.get_close_matches(name[:128], known, 1)
        hint = f"did you mean {_quoted(close[0])}?" if close else f"it has {_listed(known)}"
        raise TensorNameError(f"model {model.name} has no {kind} {_quoted(name)}; {hint}")
    if name in taken:
        raise TensorNameError(f"{kind} {_quoted(name)} is given twice")
    return info


def _shape(info: TensorInfo, entry: dict[str, Any], options: Options) -> list[int]:
    shape, datatype = entry.get("shape"), entry.get("datatype")
    if not isinstance(shape, list):
        raise TensorError(f'input "{info.name}": "shape" must be a list of whole numbers')
    fits = len(shape) == len(info.shape)
    size_bytes = info.datatype.dtype.itemsize
    for axis, size in enumerate(shape):
        if type(size) is not int or not 0 <= size <= _MAX_DIM:
            raise TensorError(f'input "{info.name}": "shape" must be a list of whole numbers from 0 to {_MAX_DIM}')
        fits = fits and info.shape[axis] in (size, -1)
        size_bytes *= size or 1  # a size of 0 beside a huge one has no data, and could still make the model allocate huge outputs
    if datatype != info.datatype.name:
        known = isinstance(datatype, str) and datatype in DATATYPES
        came = f"{datatype}{shape}" if known else "a datatype that the protocol does not have"
        raise TensorError(f'input "{info.name}": expected {info}, got {came}; convert the values before sending them')
    if not fits:
        raise TensorError(f'input "{info.name}": expected {info}, got {datatype}{shape}')
    if size_bytes > options.max_body_bytes:
        raise TensorError(f'input "{info.name}": shape {shape} is larger than any body this server takes')
    return shape


def _binary_size(info: TensorInfo, entry: dict[str, Any]) -> int | None:
    parameters = _parameters(entry, f'input "{info.name}"')
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in entry:
            raise RequestError(f'input "{info.name}" has neither "data" nor a parameter "binary_data_size"')
        return None
    if type(size) is not int or size < 0:
        raise BinaryError(f'input "{info.name}": binary_data_size must be a whole number')
    if "data" in entry:
        raise RequestError(f'input "{info.name}" has both "data" and "binary_data_size"; send one')
    return size


def _outputs(model: ServedModel, entries: Any, default: bool) -> tuple[list[str], list[bool]]:
    if entries is None or entries == []:
        return model.output_names, [default] * len(model.output_names)
    if not isinstance(entries, list):
        raise RequestError('"outputs" must be a list of objects with a "name"')
    wanted: dict[str, bool] = {}
    for entry in entries:
        info = _declared(model, entry, model.outputs, wanted, "output")
        parameters = _parameters(entry, f'output "{info.name}"')
        wanted[info.name] = _flag(parameters, "binary_data", default)
    return list(wanted), list(wanted.values())


def _parameters(entry: dict[str, Any], owner: str) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise RequestError(f'{owner}: "parameters" must be an object')
    for name in _REFUSED:
        if parameters.get(name):
            raise UnsupportedFeatureError(f"{owner}: the parameter {name} is not supported by this server; leave it out")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f'the parameter "{name}" must be true or false')
    return value


def _quoted(name: str) -> str:
    """Returns a name in quotes, short and printable: it may come from the request and go to a terminal."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name[:64])
    return f'"{text}"'


def _listed(known: dict[str, TensorInfo]) -> str:
    shown = ", ".join(f"{_quoted(name)} {info}" for name, info in list(known.items())[:16])
    return shown + (", ..." if len(known) > 16 else "")
