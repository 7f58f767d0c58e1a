# SPDX-License-Identifier: Apache-2.0
"""Gradient modes as managers, switches and decorators; anomalies; backward and grad for chosen inputs."""

import numpy as np
import pytest

import penlight as pl
from penlight.errors import AnomalyError, ArgumentError, GradientError, VersionError


def leaf(*values):
    return pl.tensor(list(values), requires_grad=True)


def test_inference_mode_is_stronger_than_enable_grad():
    x = leaf(1.0)
    with pl.inference_mode():
        assert pl.is_inference_mode_enabled() and not (x * 1).requires_grad
        with pl.enable_grad(), pl.set_grad_enabled(True):
            assert not (x * 1).requires_grad and not pl.is_grad_enabled()
        with pl.inference_mode(False):
            assert (x * 1).requires_grad
        made = x * 2
    assert not pl.is_inference_mode_enabled() and pl.is_grad_enabled()
    (made * x).backward()  # unlike PyTorch's, the tensor may take part in training
    assert x.grad.tolist() == [2.0]


DECORATORS = {
    "inference_mode": lambda: pl.inference_mode,
    "inference_mode()": pl.inference_mode,
    "no_grad": lambda: pl.no_grad,
    "no_grad()": pl.no_grad,
    "set_grad_enabled": lambda: pl.set_grad_enabled(False),
}


@pytest.mark.parametrize("name", DECORATORS)
def test_decorators_without_a_tape(name):
    @DECORATORS[name]()
    def plain(x, depth):
        return x * 1 if depth == 0 else plain(x, depth - 1)

    assert not plain(leaf(1.0), 2).requires_grad and pl.is_grad_enabled()


def test_enable_grad_decorates_too():
    tape = pl.enable_grad(lambda x: x * 1)
    with pl.no_grad():
        assert tape(leaf(1.0)).requires_grad and not pl.is_grad_enabled()


def test_a_generator_has_the_mode_only_while_it_runs():
    @pl.no_grad()
    def steps(x):
        sent = yield (x * 1).requires_grad
        yield sent
        return "end"

    running = steps(leaf(1.0))
    assert next(running) is False and pl.is_grad_enabled()
    assert running.send(5) == 5
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert stop.value.value == "end" and pl.is_grad_enabled()


def test_set_grad_enabled_is_a_switch():
    try:
        pl.set_grad_enabled(False)
        assert not pl.is_grad_enabled()
    finally:
        pl.set_grad_enabled(True)
    assert pl.is_grad_enabled()


def test_an_anomaly_names_operator_and_line():
    x = leaf(0.0, 1.0)
    with pl.autograd.detect_anomaly():
        y = x.sqrt() * 0.0
        with pytest.raises(AnomalyError, match=r"sqrt: its backward gave NaN for input 0 \(2,\) from finite .*test_modes.py:\d+"):
            y.sum().backward()
    assert not pl.autograd.anomaly.is_anomaly_enabled()
    (x.sqrt() * 0.0).sum().backward()
    assert np.isnan(x.grad.numpy()[0])


def test_an_anomaly_in_the_second_derivative_and_a_forward_outside():
    x = leaf(0.0)
    y = x**1.5  # its second derivative at 0 is infinite, times 0
    with pl.autograd.set_detect_anomaly(True):
        (g,) = pl.autograd.grad(y, x, create_graph=True)
        with pytest.raises(AnomalyError, match="NaN"):
            (g * 0.0).backward()
    z = x.sqrt() * 0.0
    with pl.autograd.detect_anomaly(), pytest.raises(AnomalyError, match="within detect_anomaly too"):
        z.backward()


def test_other_errors_of_a_backward_get_the_line_too():
    x = leaf(1.0)
    with pl.autograd.detect_anomaly(check_nan=False):
        z = x * 1
        y = z * z
        z.add_(1.0)
        with pytest.raises(VersionError, match=r"forward call of mul is at .*test_modes.py:\d+"):
            y.backward()
        (leaf(0.0).sqrt() * 0.0).backward()


def test_set_detect_anomaly_is_a_switch():
    pl.autograd.set_detect_anomaly(True)
    try:
        with pytest.raises(AnomalyError):
            (leaf(0.0).sqrt() * 0.0).backward()
    finally:
        pl.autograd.set_detect_anomaly(False)
    (leaf(0.0).sqrt() * 0.0).backward()


def test_backward_for_chosen_inputs():
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    z = y * y
    z.backward(inputs=[w, y], retain_graph=True)
    assert w.grad.tolist() == [24.0] and y.grad.tolist() == [12.0] and x.grad is None
    pl.autograd.backward([z], inputs=w)
    assert w.grad.tolist() == [48.0]


def test_grad_runs_the_way_to_its_inputs_only():
    x, w = leaf(2.0), leaf(3.0)
    seen = []
    far = w * 2
    far.register_hook(seen.append)
    w.register_hook(seen.append)
    y = x * far
    (g,) = pl.autograd.grad(y, x, retain_graph=True)
    assert g.tolist() == [6.0] and not seen
    g = pl.autograd.grad(y, [far, w])
    assert [t.tolist() for t in g] == [[2.0], [4.0]] and len(seen) == 2
    assert w.grad is None


def test_materialized_gradients():
    x, w = leaf(2.0, 1.0), leaf(3.0)
    g = pl.autograd.grad((x * x).sum(), [x, w], materialize_grads=True)
    assert [t.tolist() for t in g] == [[4.0, 2.0], [0.0]]
    with pytest.raises(ArgumentError, match="materialize_grads"):
        pl.autograd.grad(x.sum(), x, allow_unused=False, materialize_grads=True)
    with pytest.raises(GradientError, match=r"backward: input 0 .* does not require"):
        x.sum().backward(inputs=pl.ones(2))
    with pytest.raises(GradientError, match="retain_grad"):
        pl.ones(1).retain_grad()


def test_a_second_derivative_that_is_missing_is_no_silent_zero():
    x = pl.tensor([[2.0, 1.0], [0.5, 3.0]], dtype=pl.float64, requires_grad=True)
    (g,) = pl.autograd.grad(pl.linalg.eigvals(x).real.sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), np.eye(2), atol=1e-12)
    with pytest.raises(GradientError, match=r"eig.backward: has no gradient: it would need"):
        pl.autograd.grad(g.sum(), x)
