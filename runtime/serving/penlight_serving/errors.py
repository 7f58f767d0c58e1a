# SPDX-License-Identifier: Apache-2.0
"""Every error the server answers with or stops on: one class, one code, one HTTP status.

The class docstring explains the error; `penlight explain PL-E4102` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator


class ServingError(Exception):
    """The model server met an error that has no more precise code."""

    code = "PL-E4001"
    exit_code = 1  # of the command line, when it stops the server from starting
    status = 500  # of the HTTP answer
    headers: tuple[tuple[bytes, bytes], ...] = ()


class RequestError(ServingError, ValueError):
    """The body of an inference request is not what the Open Inference Protocol describes.

    It must be one JSON object with a list `inputs`, each input with `name`, `shape`, `datatype` and `data` (or a
    `binary_data_size` parameter when the values follow the JSON as bytes).
    """

    code = "PL-E4101"
    exit_code = 3
    status = 400


class TensorError(RequestError):
    """A tensor of the request has a datatype, a shape or values that the model does not take."""

    code = "PL-E4102"


class BinaryError(RequestError):
    """The binary part of a request does not fit its description.

    `Inference-Header-Content-Length` must be the length of the JSON part, and the `binary_data_size` of the inputs, in order,
    must add up to exactly the rest of the body.
    """

    code = "PL-E4103"


class TensorNameError(RequestError):
    """A request names an input or output that the model lacks, names one twice, or leaves an input out."""

    code = "PL-E4104"


class ModelRefusedError(RequestError):
    """The model ran and refused the values, for example an index outside of a table.

    Types and shapes were right. The server's log has the engine's own message.
    """

    code = "PL-E4105"


class UnsupportedFeatureError(RequestError):
    """The request uses a protocol feature that this server does not have, such as shared memory or sequences."""

    code = "PL-E4106"


class ModelNotFoundError(ServingError, LookupError):
    """No model of this name and version is loaded; `POST /v2/repository/index` lists those that are."""

    code = "PL-E4201"
    exit_code = 3
    status = 404


class PathNotFoundError(ServingError, LookupError):
    """The server has nothing at this path; `GET /v2` describes the server."""

    code = "PL-E4202"
    status = 404


class MethodNotAllowedError(ServingError):
    """The path exists, but not for this HTTP method; the `Allow` header of the answer says which to use."""

    code = "PL-E4203"
    status = 405

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.headers = ((b"allow", allow.encode("ascii")),)


class BodyTooLargeError(ServingError):
    """A request body is larger than the server takes.

    The limit covers the whole body (`max_body_bytes`) and, more tightly, its JSON part (`max_json_bytes`), which takes about
    ten times its size in memory while it is read: large tensors belong into the binary part.
    """

    code = "PL-E4301"
    exit_code = 3
    status = 413


class ContentEncodingError(ServingError):
    """A request body is compressed; the server reads plain bodies only, so that a small body cannot become a huge one."""

    code = "PL-E4302"
    status = 415


class RequestTimeoutError(ServingError):
    """A client took too long to send its headers or its body; the connection was closed."""

    code = "PL-E4303"
    status = 408


class HeadersTooLargeError(ServingError):
    """The headers of a request are longer than 64 KiB."""

    code = "PL-E4304"
    status = 431


class BusyError(ServingError):
    """The server has as many requests, connections or bytes in hand as it allows; try again after `Retry-After` seconds."""

    code = "PL-E4401"
    status = 503
    headers = ((b"retry-after", b"1"),)


class DrainingError(ServingError):
    """The server is about to stop: it is no longer ready, answers what still arrives, and closes its connections."""

    code = "PL-E4402"
    status = 503
    headers = ((b"retry-after", b"5"),)


class InternalError(ServingError):
    """The server failed in a way that is its own fault; the answer carries a reference, and the log the details beside it."""

    code = "PL-E4501"


class PortInUseError(ServingError, OSError):
    """Another process listens on this address and port. Stop it, or choose another port; port 0 takes any free one."""

    code = "PL-E4601"
    exit_code = 4


class AddressError(ServingError, OSError):
    """The server cannot listen on this address: it is not one of this machine's, or the port needs more rights."""

    code = "PL-E4602"
    exit_code = 2


class ModelInvalidError(ServingError, ValueError):
    """A model file is missing, damaged, or holds something that cannot be served, such as sequence or map inputs."""

    code = "PL-E4603"
    exit_code = 3


class RepositoryError(ServingError, ValueError):
    """The given paths hold no model, two models of one name, or a name outside of `[A-Za-z0-9._-]{1,128}`.

    A repository is a `.onnx` file, a `.pen` file, a folder of such files, or a folder of `<name>/<version>/model.onnx|model.pen`
    where the highest version number is served.
    """

    code = "PL-E4604"
    exit_code = 3


class OptionError(ServingError, ValueError):
    """An option of the server has a value out of its range."""

    code = "PL-E4605"
    exit_code = 2


class EngineMissingError(ServingError, ImportError):
    """The package that runs this kind of model file cannot be imported."""

    code = "PL-E4606"
    exit_code = 4


def error_classes() -> Iterator[type[ServingError]]:
    """Yields every error class, the base first."""
    pending: list[type[ServingError]] = [ServingError]
    while pending:
        found = pending.pop(0)
        yield found
        pending.extend(found.__subclasses__())
