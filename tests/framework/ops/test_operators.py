# SPDX-License-Identifier: Apache-2.0
"""One table-driven test over every operator and its samples: forward, infer, gradient, second derivative, gaps."""

import math

import numpy as np
import pytest

import penlight as pl
from penlight.ops.dispatch import apply, run_backward, saved_outputs
from penlight.ops.operator import AVAILABLE, CUSTOM, Gap, NotDifferentiable, NotExported, NotSampled, Spec, parse_onnx
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight.tensor import from_array

OPERATORS = operators()
CALLS = [
    pytest.param(cls, call, id=f"{name}-{call}")
    for name, cls in OPERATORS.items()
    if not isinstance(cls.samples, NotSampled)
    for call in cls.samples
]
DIFFERENTIABLE = [
    c
    for c in CALLS
    if not isinstance(c.values[0].gradient, NotDifferentiable) and any(i and i.dtype == "float" for i in c.values[1].inputs)
]
TWICE = [c for c in DIFFERENTIABLE if not isinstance(c.values[0].second_derivative, NotDifferentiable)]

# Independent formulas, in float64, of what the reference computes in its own way.
FORMULAS = {
    "add": lambda f, a, b: a + b,
    "sub": lambda f, a, b: a - b,
    "mul": lambda f, a, b: a * b,
    "div": lambda f, a, b: a / b,
    "pow": lambda f, a, b: np.exp(b * np.log(a)),
    "pow_scalar": lambda f, x: x ** f["exponent"],
    "erf": lambda f, x: np.vectorize(math.erf, otypes=[float])(x),
    "rsqrt": lambda f, x: x**-0.5,
    "sigmoid": lambda f, x: 1 / (1 + np.exp(-x)),
    "silu": lambda f, x: x / (1 + np.exp(-x)),
    "relu": lambda f, x: x * (x > 0),
    "leaky_relu": lambda f, x: np.where(x > 0, x, f["slope"] * x),
    "elu": lambda f, x: np.where(x > 0, x, f["alpha"] * (np.exp(x) - 1)),
    "softplus": lambda f, x: np.log(1 + np.exp(f["beta"] * x)) / f["beta"],
    "hardswish": lambda f, x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6,
    "hardsigmoid": lambda f, x: np.minimum(np.maximum(x + 3, 0), 6) / 6,
    "gelu": lambda f, x: _gelu(x, f["approximate"]),
    "softmax": lambda f, x: np.exp(x) / np.exp(x).sum(f["dim"], keepdims=True),
    "log_softmax": lambda f, x: np.log(np.exp(x) / np.exp(x).sum(f["dim"], keepdims=True)),
    "matmul": lambda f, a, b: np.einsum("...ik,...kj->...ij", a, b),
    "linear": lambda f, x, w, b: np.einsum("...k,jk->...j", x, w) + (0 if b is None else b),
    "layer_norm": lambda f, *a: _layer_norm(f, *a),
    "batch_norm": lambda f, *a: _batch_norm(f["eps"], *a),
    "batch_norm_training": lambda f, x, w, b: _batch_norm(f["eps"], x, w, b, *_batch_statistics(x)),
    "conv2d": lambda f, *a: _conv2d(f, *a),
    "attention": lambda f, *a: _attention(f, *a),
    "cross_entropy": lambda f, *a: _cross_entropy(f, *a),
    "mean": lambda f, x: x.sum(f["dims"], keepdims=f["keepdim"]) / max(np.prod([x.shape[d] for d in f["dims"]]), 0),
    "gather": lambda f, x, i: np.take_along_axis(x, i, f["dim"]),
    "one_hot": lambda f, x: np.eye(f["num_classes"])[x],
}


def _gelu(x, approximate):
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


def _layer_norm(f, x, w, b):
    axes = tuple(range(x.ndim - f["dims"], x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + f["eps"])
    return y * (1 if w is None else w) + (0 if b is None else b)


def _batch_statistics(x):
    axes = (0, *range(2, x.ndim))
    return x.mean(axes), x.var(axes)


def _batch_norm(eps, x, w, b, mean, var):
    def channel(v):
        return v.reshape(-1, *(1,) * (x.ndim - 2))

    y = (x - channel(mean)) / np.sqrt(channel(var) + eps)
    return y * (1 if w is None else channel(w)) + (0 if b is None else channel(b))


def _conv2d(f, x, w, b):
    (sh, sw), (ph, pw), (dh, dw), groups = f["stride"], f["padding"], f["dilation"], f["groups"]
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    out = [(x.shape[2] - dh * (w.shape[2] - 1) - 1) // sh + 1, (x.shape[3] - dw * (w.shape[3] - 1) - 1) // sw + 1]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    per = w.shape[0] // groups
    for o in range(w.shape[0]):
        part = x[:, o // per * w.shape[1] : (o // per + 1) * w.shape[1]]
        for i in range(out[0]):
            for j in range(out[1]):
                window = part[:, :, i * sh : i * sh + dh * w.shape[2] : dh, j * sw : j * sw + dw * w.shape[3] : dw]
                y[:, o, i, j] = (window * w[o]).sum((1, 2, 3))
    return y + (0 if b is None else b[:, None, None])


def _attention(f, q, k, v, mask):
    scores = np.einsum("...ik,...jk->...ij", q, k) * f["scale"]
    if f["is_causal"]:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    weights = np.exp(scores)
    total = weights.sum(-1, keepdims=True)
    return np.einsum("...ij,...jk->...ik", weights / np.where(total == 0, 1, total), v)


def _cross_entropy(f, x, target):
    logp = np.log(np.exp(x) / np.exp(x).sum(1, keepdims=True))
    wanted = np.eye(x.shape[1])[target] * (1 - f["label_smoothing"]) + f["label_smoothing"] / x.shape[1]
    return -(wanted * logp).sum(1) * (target != f["ignore_index"])


def instance(cls, call):
    return cls(**call.fields)


def tensors(arrays, grad=False):
    made = [None if a is None else from_array(np.asarray(a)) for a in arrays]
    for t in made:
        if grad and t is not None and t.dtype.is_floating_point:
            t.requires_grad_()
    return made


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def floats(values):
    return [v for v in values if v is not None and v.dtype.is_floating_point]


@pytest.mark.parametrize(("cls", "call"), CALLS)
def test_forward(cls, call):
    operator = instance(cls, call)
    single = build(call, "float32")
    double = [a.astype(np.float64) if a is not None and a.dtype == np.float32 else a for a in single]
    results = as_tuple(apply(operator, *tensors(single)))
    exact = as_tuple(operator.forward(np, *double))
    for result, reference in zip(results, exact, strict=True):
        # 30 machine epsilons: sums over at most 100 elements, and erf by a rational form of error 4e-7
        np.testing.assert_allclose(result._data, reference, rtol=4e-6, atol=4e-6)
    if cls.name in FORMULAS:
        with np.errstate(all="ignore"):
            expected = FORMULAS[cls.name](operator.field_values(), *double)
        np.testing.assert_allclose(exact[0], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("cls", "call"), CALLS)
def test_infer_agrees_with_forward(cls, call):
    operator = instance(cls, call)
    for dtype in ("float32", "float64"):
        inputs = tensors(build(call, dtype))
        specs = as_tuple(operator.infer(*(None if t is None else Spec(tuple(t.shape), t.dtype) for t in inputs)))
        results = as_tuple(apply(operator, *inputs))
        assert len(results) == cls.outputs
        assert [(tuple(s.shape), s.dtype) for s in specs] == [(tuple(r.shape), r.dtype) for r in results]


def projected(operator, arrays, weights):
    """The outputs times fixed weights, summed: a number whose gradient touches every output."""
    outputs = floats(as_tuple(apply(operator, *tensors(arrays))))
    return sum(float((o._data * w).sum()) for o, w in zip(outputs, weights, strict=True))


def seeds(outputs, weights):
    return [from_array(np.asarray(w, dtype=o._data.dtype)) for o, w in zip(outputs, weights, strict=True)]


def directional(function, arrays, directions, step=1e-5):
    moved = [[a if d is None else a + s * d for a, d in zip(arrays, directions, strict=True)] for s in (step, -step)]
    return (function(moved[0]) - function(moved[1])) / (2 * step)


def random_directions(arrays, rng):
    return [rng.standard_normal(a.shape) if a is not None and a.dtype == np.float64 else None for a in arrays]


@pytest.mark.parametrize(("cls", "call"), DIFFERENTIABLE)
def test_gradient_against_finite_differences(cls, call):
    operator, arrays, rng = instance(cls, call), build(call, "float64"), np.random.default_rng(1)
    inputs = tensors(arrays, grad=True)
    outputs = floats(as_tuple(apply(operator, *inputs)))
    weights = [rng.standard_normal(o.shape) for o in outputs]
    leaves = floats(inputs)
    grads = pl.autograd.grad(outputs, leaves, seeds(outputs, weights), allow_unused=True, create_graph=True)
    for t, g in zip(leaves, grads, strict=True):
        assert g is None or (g.shape == t.shape and g.dtype is t.dtype)
    for _ in range(2):
        directions = random_directions(arrays, rng)
        numeric = directional(lambda moved: projected(operator, moved, weights), arrays, directions)
        moved = [d for d in directions if d is not None]
        exact = sum(float((g._data * d).sum()) for g, d in zip(grads, moved, strict=True) if g is not None)
        coarse = any(o.dtype is pl.float32 for o in outputs)  # a cast: the difference has 7 digits at best
        assert exact == (pytest.approx(numeric, rel=0.1, abs=0.05) if coarse else pytest.approx(numeric, rel=1e-6, abs=1e-7))


@pytest.mark.parametrize(("cls", "call"), [c for c in DIFFERENTIABLE if c.values[0].backward is not None])
def test_backward_on_arrays_equals_vjp(cls, call):
    operator, arrays, rng = instance(cls, call), build(call, "float64"), np.random.default_rng(2)
    inputs = tensors(arrays, grad=True)
    outputs = as_tuple(apply(operator, *inputs))
    node = outputs[0]._node
    grads = [from_array(np.asarray(rng.standard_normal(outputs[0].shape))), *(None for _ in outputs[1:])]
    fast = run_backward(node, [None if g is None else g._data for g in grads])
    with pl.no_grad():
        if cls.outputs == 1:
            saved = saved_outputs(node)
            slow = operator.vjp(grads[0], None if saved is None else saved[0], *node.inputs)
        else:
            slow = operator.vjp(tuple(grads), saved_outputs(node), *node.inputs)
    for t, a, b in zip(inputs, fast, slow, strict=True):
        if t is not None and t.requires_grad:
            assert a.shape == b.shape == t.shape
            np.testing.assert_allclose(a, b._data, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("cls", "call"), TWICE)
def test_second_derivative(cls, call):
    operator, arrays, rng = instance(cls, call), build(call, "float64"), np.random.default_rng(3)
    inputs = tensors(arrays, grad=True)
    outputs = floats(as_tuple(apply(operator, *inputs)))
    weights = [rng.standard_normal(o.shape) for o in outputs]
    leaves = floats(inputs)
    probes = [rng.standard_normal(t.shape) for t in leaves]

    def slope(current):
        """The first gradient times fixed probes, as a tensor."""
        made = floats(as_tuple(apply(operator, *current)))
        found = pl.autograd.grad(made, floats(current), seeds(made, weights), create_graph=True, allow_unused=True)
        parts = [(g * from_array(np.asarray(p))).sum() for g, p in zip(found, probes, strict=True) if g is not None]
        return sum(parts[1:], parts[0]) if parts else None

    total = slope(inputs)
    if total is None or not total.requires_grad:  # linear: the first gradient is constant
        seconds = [None] * len(leaves)
    else:
        seconds = pl.autograd.grad(total, leaves, allow_unused=True)
    directions = random_directions(arrays, rng)
    numeric = directional(lambda moved: float(slope(tensors(moved, grad=True)) or 0.0), arrays, directions)
    moved = [d for d in directions if d is not None]
    exact = sum(float((s._data * d).sum()) for s, d in zip(seconds, moved, strict=True) if s is not None)
    assert exact == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("cls", OPERATORS.values(), ids=OPERATORS)
def test_gaps_are_named(cls):
    for part in ("gradient", "second_derivative", "onnx", "edge", "samples"):
        value = getattr(cls, part)
        assert not isinstance(value, Gap) or len(value.reason) > 10, f"{cls.name}: {part} lacks a reason"
    assert cls.__doc__, f"{cls.name}: a docstring is missing"
    assert isinstance(cls.samples, NotSampled) or len(cls.samples) > 0, f"{cls.name}: samples are missing"
    assert cls.gradient == AVAILABLE or isinstance(cls.gradient, NotDifferentiable)
    assert cls.gradient != AVAILABLE or "vjp" in _defined(cls), f"{cls.name}: vjp is missing, and gradient names no reason"
    assert {"infer", "forward"} <= _defined(cls), f"{cls.name}: infer or forward is missing"
    if cls.onnx != CUSTOM and not isinstance(cls.onnx, NotExported):
        _, attributes = parse_onnx(cls.onnx)
        assert set(attributes.values()) <= set(cls.field_names)


def _defined(cls):
    return {name for base in cls.__mro__[: cls.__mro__.index(pl.ops.operator.Operator)] for name in vars(base)}


@pytest.mark.parametrize("cls", [c for c in OPERATORS.values() if not isinstance(c.samples, NotSampled)], ids=lambda c: c.name)
def test_samples_cover_an_empty_or_second_shape(cls):
    shapes = {tuple(i.shape if i else None for i in call.inputs) for call in cls.samples}
    assert len(cls.samples) == 1 or len(shapes) > 1 or len({str(c.fields) for c in cls.samples}) > 1


def test_results_of_empty_inputs_are_empty_or_neutral():
    empty = pl.zeros(0, 3)
    assert pl.sum(empty).item() == 0 and pl.prod(empty).item() == 1
    assert math.isnan(pl.mean(empty).item())
    assert pl.softmax(empty, 1).shape == (0, 3)
    assert pl.matmul(pl.zeros(2, 0), pl.zeros(0, 3)).tolist() == [[0.0] * 3] * 2


def test_interning_tells_equal_arguments_of_different_types_apart():
    cls = OPERATORS["pow_scalar"]
    assert cls(2.0) is cls(2.0)
    assert type(cls(2).exponent) is int and type(cls(2.0).exponent) is float
    assert math.copysign(1, OPERATORS["clamp"](-0.0, 1.0).low) == -1 and math.copysign(1, OPERATORS["clamp"](0.0, 1.0).low) == 1
