# SPDX-License-Identifier: Apache-2.0
"""`detect_anomaly`: stops a backward at the first NaN and names the operator and the line of its forward call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from penlight.autograd import packing
from penlight.backends.backend import backend_of
from penlight.errors import AnomalyError
from penlight.source import user_line
from penlight.tape import Node, mode
from penlight.tensor import Tensor


class set_detect_anomaly:
    """Looks for anomalies, or no longer, as `mode` says; as a context manager only within it.

    Args:
        mode: whether to look.
        check_nan: raises where a gradient has NaN; with False, errors of the backward alone are told with their line.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = (is_anomaly_enabled(), is_anomaly_check_nan_enabled())
        _set(mode, check_nan)

    def __enter__(self) -> None:
        """The search is on since it was made."""

    def __exit__(self, *_: Any) -> None:
        _set(*self._before)


class detect_anomaly(set_detect_anomaly):
    """Within it, forward calls keep the line they were made on, and a backward raises at the first NaN in a gradient.

    It slows training down, so use it to find an error, and not otherwise.

    Raises:
        AnomalyError: in the backward, naming the operator, the input and the line of the forward call.

    Example:
        >>> with pl.autograd.detect_anomaly():
        ...     model(x).sum().backward()
    """

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def is_anomaly_enabled() -> bool:
    """Whether this thread looks for anomalies."""
    return mode.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether a NaN in a gradient then raises."""
    return _options.check_nan


class _Options(threading.local):
    """Per thread whether a NaN raises."""

    check_nan = True


_options = _Options()


def _set(is_on: bool, check_nan: bool) -> None:
    mode.anomaly, _options.check_nan = bool(is_on), bool(check_nan)
    if is_on:
        packing.register("anomaly", _keep_origin)
    else:
        packing.unregister("anomaly")


def _keep_origin(node: Node) -> None:
    node.origin = user_line()


def check(node: Node, grads: Sequence[Any], results: Sequence[Any]) -> None:
    """Looks at the gradients that a node gave for its inputs.

    Raises:
        AnomalyError: one has NaN.
    """
    if not _options.check_nan:
        return
    for position, result in enumerate(results):
        array = result._data if isinstance(result, Tensor) else result
        if array is None or node.edges[position] is None or array.dtype.kind not in "fcV":
            continue
        if bool(backend_of(array).xp.isnan(array).any()):
            raise AnomalyError(
                f"{node.name}: its backward gave NaN for input {position} {tuple(array.shape)}{_came_in(grads)}; "
                f"the forward call is at {place(node)}"
            )


def _came_in(grads: Sequence[Any]) -> str:
    arrays = [g._data if isinstance(g, Tensor) else g for g in grads if g is not None]
    finite = all(bool(backend_of(a).xp.isfinite(a).all()) for a in arrays)
    return " from finite gradients of its outputs" if finite else " from gradients of its outputs that are not finite themselves"


def place(node: Node) -> str:
    """Where the forward call of a node was made."""
    return node.origin or "a line that is unknown: no anomalies were looked for then; run the forward within detect_anomaly too"


def explain(node: Node, error: BaseException) -> None:
    """Adds to an error of a backward where the forward call was made."""
    if node.origin is not None and error.args and isinstance(error.args[0], str) and node.origin not in error.args[0]:
        error.args = (f"{error.args[0]} (the forward call of {node.name} is at {node.origin})", *error.args[1:])
