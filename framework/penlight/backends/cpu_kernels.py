# SPDX-License-Identifier: Apache-2.0
"""The compiled CPU kernels: operators on contiguous float32 arrays through `penlight._native`.

Every kernel declines with NotImplemented what it does not take (another dtype, an empty or a tiny array); then the operator's NumPy
reference runs. Results have the same bits for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from penlight import _native
from penlight.backends.product_kernels import empty, product_kernels
from penlight.backends.recurrent_kernels import recurrent_kernels

SMALLEST = 1024  # elements; below this NumPy's call is as fast
THREADED = 1 << 15  # elements of a sum or more are worth several threads

Kernel = Callable[..., Any]


def kernels() -> dict[str, Kernel]:
    """Operator name -> kernel, and `<name>.backward` -> kernel of its gradient; see `Backend.kernels`."""
    found: dict[str, Kernel] = {name: _unary(function) for name, function in _UNARY.items()}
    found |= {
        "add": _add,
        "relu.backward": _relu_backward,
        "gelu": _gelu,
        "gelu.backward": _gelu_backward,
        "leaky_relu": _leaky_relu,
        "clamp": _clamp,
        "clamp.backward": _clamp_backward,
        "softmax": _softmax(logarithm=False),
        "softmax.backward": _softmax_backward(logarithm=False),
        "log_softmax": _softmax(logarithm=True),
        "log_softmax.backward": _softmax_backward(logarithm=True),
        "cross_entropy": _cross_entropy,
        "cross_entropy.backward": _cross_entropy_backward,
        "attention": _attention,
        "attention.backward": _attention_backward,
        "layer_norm": _layer_norm,
        "layer_norm.backward": _layer_norm_backward,
        "batch_norm_training": _batch_norm_training,
        "batch_norm_training.backward": _batch_norm_training_backward,
        "conv2d": _conv2d,
        "conv2d_input_grad": _conv2d_input_grad,
        "conv2d_weight_grad": _conv2d_weight_grad,
        "max_pool2d": _max_pool2d,
        "max_pool2d.backward": _max_pool2d_backward,
        "max_pool2d_index": _max_pool2d_index,
        "max_pool2d_grad": _max_pool2d_grad,
        "adamw": _adamw,
        "sgd": _sgd,
    }
    return found | product_kernels() | recurrent_kernels()


def _takes(*arrays: Any) -> bool:
    """Whether all arrays are float32 in rows; what the tape did not keep is no array and is declined."""
    for a in arrays:  # noqa: SIM110  all(...) would make a generator for each call of a kernel
        if type(a) is not np.ndarray or a.dtype != _FLOAT32 or not a.flags.c_contiguous:
            return False
    return True


_FLOAT32 = np.dtype(np.float32)  # to compare with the type itself takes five times as long


def _optional(*arrays: Any) -> bool:
    return all(a is None or _takes(a) for a in arrays)


def _empty_like(x: Any) -> Any:
    return empty(x.shape)


def _unary(function: Callable[..., None]) -> Kernel:
    def kernel(operator: Any, x: Any) -> Any:
        if x.size < SMALLEST or not _takes(x):
            return NotImplemented
        result = _empty_like(x)
        function(x, result)
        return result

    return kernel


_UNARY = {
    "relu": _native.relu,
    "silu": _native.silu,
    "sigmoid": _native.sigmoid,
    "tanh": _native.tanh,
    "exp": _native.exp,
    "erf": _native.erf,
}


def _add(operator: Any, a: Any, b: Any) -> Any:
    if a.size < THREADED or a.shape != b.shape or not _takes(a, b):
        return NotImplemented
    result = _empty_like(a)
    _native.add(a, b, result)
    return result


def _leaky_relu(operator: Any, x: Any) -> Any:
    if x.size < SMALLEST or not _takes(x):
        return NotImplemented
    result = _empty_like(x)
    _native.leaky_relu(x, result, operator.slope)
    return result


def _bounds(operator: Any) -> tuple[float, float]:
    return -np.inf if operator.low is None else operator.low, np.inf if operator.high is None else operator.high


def _clamp(operator: Any, x: Any) -> Any:
    if x.size < SMALLEST or not _takes(x):
        return NotImplemented
    result = _empty_like(x)
    _native.clip(x, result, *_bounds(operator))
    return result


def _clamp_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any) -> Any:
    if grad.size < SMALLEST or not _takes(grad, x):
        return NotImplemented
    result = _empty_like(grad)
    _native.clip_grad(grad, x, *_bounds(operator), result)
    return (result,)


def _relu_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any) -> Any:
    if grad.size < SMALLEST or not _takes(grad, output):
        return NotImplemented
    result = _empty_like(grad)
    _native.relu_grad(grad, output, result)
    return (result,)


def _gelu(operator: Any, x: Any) -> Any:
    if not x.size or not _takes(x):  # NumPy needs two dozen calls, however small the array
        return NotImplemented
    result = _empty_like(x)
    (_native.gelu_tanh if operator.approximate == "tanh" else _native.gelu)(x, result)
    return result


def _gelu_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any) -> Any:
    if not grad.size or not _takes(grad, x):
        return NotImplemented
    result = _empty_like(grad)
    _native.gelu_grad(grad, x, operator.approximate == "tanh", result)
    return (result,)


def _softmax(logarithm: bool) -> Kernel:
    def kernel(operator: Any, x: Any) -> Any:
        if not x.size or not _takes(x) or operator.dim % max(x.ndim, 1) != x.ndim - 1:
            return NotImplemented
        result = _empty_like(x)
        _native.softmax(x, x.shape[-1], logarithm, result)
        return result

    return kernel


def _softmax_backward(logarithm: bool) -> Kernel:
    def kernel(operator: Any, needs: Any, grad: Any, output: Any, x: Any) -> Any:
        if not grad.size or not _takes(grad, output) or operator.dim % max(grad.ndim, 1) != grad.ndim - 1:
            return NotImplemented
        result = _empty_like(grad)
        _native.softmax_grad(grad, output, grad.shape[-1], logarithm, result)
        return (result,)

    return kernel


def _takes_classes(logits: Any, target: Any, ignore_index: int) -> bool:
    if not logits.size or not _takes(logits) or target.dtype != np.int64 or not target.flags.c_contiguous:
        return False
    found = _native.class_range(target, ignore_index)
    return found is not None and found[1] >= 0 and found[2] < logits.shape[1]


def _cross_entropy(operator: Any, x: Any, target: Any) -> Any:
    if x.ndim != 2 or target.shape != x.shape[:1] or not _takes_classes(x, target, operator.ignore_index):
        return NotImplemented
    loss, logp = np.empty(x.shape[0], np.float32), _empty_like(x)
    _native.cross_entropy(x, target, operator.ignore_index, operator.label_smoothing, loss, logp)
    return loss, logp


def _cross_entropy_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, target: Any) -> Any:
    if grad[1] is not None or grad[0] is None or not _takes_classes(output[1], target, operator.ignore_index):
        return NotImplemented
    result, losses = _empty_like(output[1]), np.ascontiguousarray(grad[0])
    if not _takes(losses):
        return NotImplemented
    _native.cross_entropy_grad(losses, output[1], target, operator.ignore_index, operator.label_smoothing, result)
    return result, None


def _takes_attention(q: Any, k: Any, v: Any, mask: Any) -> bool:
    """Without a mask and with the same leading sizes; of any strides."""
    arrays = (q, k, v)
    if mask is not None or any(type(a) is not np.ndarray or a.dtype != np.float32 or not a.size for a in arrays):
        return False
    return q.shape[:-2] == k.shape[:-2] == v.shape[:-2]


def _attention(operator: Any, q: Any, k: Any, v: Any, mask: Any) -> Any:
    if not _takes_attention(q, k, v, mask) or q.ndim < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        return NotImplemented
    y, weights = np.empty((*q.shape[:-1], v.shape[-1]), np.float32), np.empty((*q.shape[:-1], k.shape[-2]), np.float32)
    _native.attention(*map(_heads, (q, k, v)), operator.scale, operator.is_causal, y, weights)
    return y, weights


def _heads(x: Any) -> Any:
    """(B, H, rows, size)"""
    return x if x.ndim == 4 else x.reshape(1, -1, *x.shape[-2:])


def _attention_backward(operator: Any, needs: Any, grad: Any, output: Any, q: Any, k: Any, v: Any, mask: Any) -> Any:
    if grad[0] is None or grad[1] is not None or not _takes_attention(q, k, v, mask) or not _takes(output[1]):
        return NotImplemented
    if grad[0].dtype != np.float32 or not grad[0].size:
        return NotImplemented
    gq, gk, gv = (np.empty(a.shape, np.float32) for a in (q, k, v))
    _native.attention_grad(*map(_heads, (grad[0], q, k, v)), output[1], operator.scale, operator.is_causal, gq, gk, gv)
    return gq if needs[0] else None, gk if needs[1] else None, gv if needs[2] else None, None


def _layer_norm(operator: Any, x: Any, weight: Any, bias: Any) -> Any:
    tail = x.shape[x.ndim - operator.dims :]
    if not x.size or not _takes(x) or not _optional(weight, bias) or any(p is not None and p.shape != tail for p in (weight, bias)):
        return NotImplemented
    rows = (*x.shape[: x.ndim - operator.dims], *(1,) * operator.dims)
    result, rstd, mean = _empty_like(x), np.empty(rows, np.float32), np.empty(rows, np.float32)
    _native.layer_norm(x, weight, bias, operator.eps, result, rstd, mean)
    return result, rstd, mean


def _layer_norm_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, weight: Any, bias: Any) -> Any:
    if grad[0] is None or grad[1] is not None or grad[2] is not None or not x.size:
        return NotImplemented
    if not _takes(grad[0], x, output[1], output[2]) or not _optional(weight):
        return NotImplemented
    gx = _empty_like(x)
    tail = x.shape[x.ndim - operator.dims :]
    parameters = needs[1] or needs[2]
    gw, gb = (np.empty(tail, np.float32), np.empty(tail, np.float32)) if parameters else (None, None)
    _native.layer_norm_grad(grad[0], weight, x, output[1], output[2], gx, gw, gb)
    return gx if needs[0] else None, gw if needs[1] else None, gb if needs[2] else None


_SHORTEST_PLANE = 16  # of a channel; shorter runs are faster as columns in NumPy


def _batch_norm_training(operator: Any, x: Any, weight: Any, bias: Any) -> Any:
    channels = x.shape[1:2]
    if x.ndim < 3 or not x.size or x.size < _SHORTEST_PLANE * x.shape[0] * x.shape[1] or not _takes(x):
        return NotImplemented
    if not _optional(weight, bias) or any(p is not None and p.shape != channels for p in (weight, bias)):
        return NotImplemented
    result, mean, variance = _empty_like(x), np.empty(channels, np.float32), np.empty(channels, np.float32)
    _native.batch_norm(x, weight, bias, operator.eps, result, mean, variance)
    return result, mean, variance


def _batch_norm_training_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, weight: Any, bias: Any) -> Any:
    if grad[0] is None or grad[1] is not None or grad[2] is not None or x.ndim < 3:
        return NotImplemented
    if not x.size or x.size < _SHORTEST_PLANE * x.shape[0] * x.shape[1] or not _takes(grad[0], x) or not _optional(weight):
        return NotImplemented
    gx, gw, gb = _empty_like(x), np.empty(x.shape[1], np.float32), np.empty(x.shape[1], np.float32)
    _native.batch_norm_grad(grad[0], x, weight, output[1], output[2], operator.eps, gx, gw, gb)
    return gx if needs[0] else None, gw if needs[1] else None, gb if needs[2] else None


def _convolution(operator: Any) -> tuple[Any, ...]:
    return operator.stride, operator.padding, operator.dilation, operator.groups


def _fits(x: tuple[int, ...], weight: tuple[int, ...], groups: int) -> bool:
    return len(x) == len(weight) == 4 and x[1] == weight[1] * groups and not weight[0] % groups and 0 not in (*x, *weight)


def _conv2d(operator: Any, x: Any, weight: Any, bias: Any) -> Any:
    x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
    if not _takes(x, weight) or not _optional(bias) or not _fits(x.shape, weight.shape, operator.groups):
        return NotImplemented
    out = operator.output_size(x.shape[2:], weight.shape[2:])
    if min(out) < 1 or (bias is not None and bias.shape != weight.shape[:1]):
        return NotImplemented  # the reference says what is wrong
    result = np.empty((x.shape[0], weight.shape[0], *out), np.float32)
    _native.conv2d(x, weight, bias, result, *_convolution(operator))
    return result


def _conv2d_input_grad(operator: Any, grad: Any, weight: Any) -> Any:
    grad, weight = np.ascontiguousarray(grad), np.ascontiguousarray(weight)
    shape = (grad.shape[0], weight.shape[1] * operator.groups, *operator.size)
    if not _takes(grad, weight) or not grad.size or not _fits(shape, weight.shape, operator.groups):
        return NotImplemented
    if grad.shape[1:] != (weight.shape[0], *operator.output_size(operator.size, weight.shape[2:])):
        return NotImplemented
    result = np.empty(shape, np.float32)
    _native.conv2d_input_grad(grad, weight, result, *_convolution(operator))
    return result


def _conv2d_weight_grad(operator: Any, x: Any, grad: Any) -> Any:
    x, grad = np.ascontiguousarray(x), np.ascontiguousarray(grad)
    shape = (grad.shape[1], x.shape[1] // operator.groups, *operator.kernel)
    if not _takes(x, grad) or not grad.size or not _fits(x.shape, shape, operator.groups):
        return NotImplemented
    if grad.shape[0] != x.shape[0] or grad.shape[2:] != operator.output_size(x.shape[2:], operator.kernel):
        return NotImplemented
    result = np.empty(shape, np.float32)
    _native.conv2d_weight_grad(x, grad, result, *_convolution(operator))
    return result


def _window(operator: Any) -> tuple[Any, ...]:
    return operator.kernel_size, operator.stride, operator.padding, operator.dilation


def _max_pool2d(operator: Any, x: Any) -> Any:
    if x.ndim != 4 or not x.size or not _takes(x):
        return NotImplemented
    out = operator.output_size(x.shape[2:])
    if min(out) < 1:
        return NotImplemented
    result = np.empty((*x.shape[:2], *out), np.float32)
    _native.max_pool2d(x, result, *_window(operator))
    return result


def _max_pool2d_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any) -> Any:
    grad = np.ascontiguousarray(grad)
    if x.ndim != 4 or not x.size or not _takes(x, grad):
        return NotImplemented
    result = _empty_like(x)
    _native.max_pool2d_backward(grad, x, result, *_window(operator))
    return (result,)


def _max_pool2d_index(operator: Any, x: Any) -> Any:
    if x.ndim != 4 or not x.size or not _takes(x):
        return NotImplemented
    out = operator.output_size(x.shape[2:])
    if min(out) < 1:
        return NotImplemented
    winners = np.empty((*x.shape[:2], *out), np.int64)
    _native.max_pool2d_index(x, winners, *_window(operator))
    return winners


def _max_pool2d_grad(operator: Any, grad: Any, winners: Any) -> Any:
    grad = np.ascontiguousarray(grad)
    if grad.ndim != 4 or not grad.size or not _takes(grad) or winners.shape != grad.shape or not winners.flags.c_contiguous:
        return NotImplemented
    result = np.empty((*grad.shape[:2], *operator.size), np.float32)
    _native.max_pool2d_grad(grad, winners, result, *_window(operator))
    return result


def _adamw(parameters: list[Any], gradients: list[Any], exp_avgs: list[Any], exp_avg_sqs: list[Any], **settings: Any) -> Any:
    if _native.adamw(parameters, gradients, exp_avgs, exp_avg_sqs, **settings):
        return None
    rows = [np.ascontiguousarray(g) for g in gradients]
    return None if _native.adamw(parameters, rows, exp_avgs, exp_avg_sqs, **settings) else NotImplemented


def _sgd(parameters: list[Any], gradients: list[Any], momentum_buffers: list[Any] | None, **settings: Any) -> Any:
    if _native.sgd(parameters, gradients, momentum_buffers, **settings):
        return None
    rows = [np.ascontiguousarray(g) for g in gradients]
    return None if _native.sgd(parameters, rows, momentum_buffers, **settings) else NotImplemented
