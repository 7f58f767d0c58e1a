# SPDX-License-Identifier: Apache-2.0
"""L-BFGS (Liu and Nocedal 1989): steps along an approximation of the Newton direction, for smooth full-batch problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from penlight.autograd import enable_grad
from penlight.backends.backend import backend_of
from penlight.optim.line_search import strong_wolfe
from penlight.optim.optimizer import Optimizer, check_positive
from penlight.optim.stepwise import number
from penlight.tensor import Tensor, from_array


class LBFGS(Optimizer):
    """L-BFGS with one group of parameters; `step` needs a closure that computes loss and gradients anew.

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size, the first one tried by the line search.
        max_iter: iterations per step.
        max_eval: evaluations per step, 5/4 of max_iter by default.
        tolerance_grad: stop when no gradient is above.
        tolerance_change: stop when neither parameters nor loss move by more.
        history_size: how many past steps are kept.
        line_search_fn: "strong_wolfe" or None.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        check_positive("LBFGS", lr=number(lr))
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS: line_search_fn must be 'strong_wolfe' or None, got {line_search_fn!r}")
        settings = {"lr": number(lr), "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval}
        settings |= {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size}
        super().__init__(params, {**settings, "line_search_fn": line_search_fn})
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS: expected one group of parameters; it treats all of them as one vector")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Does up to max_iter iterations; returns the first loss."""
        if closure is None:
            raise TypeError("LBFGS.step needs a closure that computes the loss, calls backward() and returns the loss")
        group = self.param_groups[0]
        state = self.state.setdefault(self._all()[0], {"func_evals": 0, "n_iter": 0})
        first = self._evaluate(closure)
        loss, g = float(first), self._gradient()
        evaluations = 1
        state["func_evals"] += 1
        if abs(g).max() <= group["tolerance_grad"]:
            return first
        iteration = 0
        while iteration < group["max_iter"]:
            iteration += 1
            state["n_iter"] += 1
            d = self._direction(state, g, group["history_size"])
            rate = number(group["lr"])
            t = min(1.0, 1.0 / float(abs(g).sum())) * rate if state["n_iter"] == 1 else rate
            before, state["prev_loss"] = loss, loss
            state["d"], state["t"], state["prev_flat_grad"] = from_array(d), t, from_array(g.copy())
            slope = float(g @ d)
            if slope > -group["tolerance_change"]:
                break
            calls = 0
            if group["line_search_fn"] is None:
                self._add(t, d)
                if iteration != group["max_iter"]:
                    loss, g, calls = float(self._evaluate(closure)), self._gradient(), 1
            else:
                loss, g, t, calls = self._search(closure, t, d, loss, g, slope)
                state["t"] = t
            evaluations += calls
            state["func_evals"] += calls
            if evaluations >= group["max_eval"] or abs(g).max() <= group["tolerance_grad"]:
                break
            if abs(d * t).max() <= group["tolerance_change"] or abs(loss - before) < group["tolerance_change"]:
                break
        return first

    def _direction(self, state: dict[str, Any], g: Any, history_size: int) -> Any:
        """Minus the approximate inverse Hessian times the gradient, by the two-loop recursion."""
        if state["n_iter"] == 1:
            state |= {"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1}
            return -g
        state.setdefault("al", [None] * history_size)  # scratch of PyTorch's recursion, which expects it in the state
        y = g - state["prev_flat_grad"]._data
        s = state["d"]._data * number(state["t"])
        ys = float(y @ s)
        if ys > 1e-10:
            for name, value in (("old_dirs", from_array(y)), ("old_stps", from_array(s)), ("ro", from_array(np.array(1 / ys)))):
                state[name] = [*state[name], value][-history_size:]
            state["H_diag"] = from_array(np.array(ys / float(y @ y)))
        q, factors = -g, []
        pairs = list(zip(arrays_of(state["old_dirs"]), arrays_of(state["old_stps"]), map(number, state["ro"]), strict=True))
        for y, s, ro in reversed(pairs):
            factors.append(float(s @ q) * ro)
            q -= y * factors[-1]
        q *= number(state["H_diag"])
        for (y, s, ro), factor in zip(pairs, reversed(factors), strict=True):
            q += s * (factor - float(y @ q) * ro)
        return q

    def _search(self, closure: Callable[[], Any], t: float, d: Any, loss: float, g: Any, slope: float) -> Any:
        start = [parameter._data.copy() for parameter in self._all()]

        def evaluate(step: float) -> tuple[float, Any]:
            self._add(step, d)
            value, gradient = float(self._evaluate(closure)), self._gradient()
            for parameter, data in zip(self._all(), start, strict=True):
                parameter._data[...] = data
            return value, gradient

        loss, g, t, calls = strong_wolfe(evaluate, t, d, loss, g, slope)
        self._add(t, d)
        return loss, g, t, calls

    def _evaluate(self, closure: Callable[[], Any]) -> Any:
        with enable_grad():
            return closure()

    def _gradient(self) -> Any:
        xp = backend_of(self._all()[0]._data).xp
        parts = [xp.zeros(p._data.size, p._data.dtype) if p.grad is None else p.grad._data.reshape(-1) for p in self._all()]
        return xp.concatenate(parts)

    def _add(self, t: float, d: Any) -> None:
        offset = 0
        for parameter in self._all():
            size = parameter._data.size
            parameter._data += (d[offset : offset + size] * t).reshape(parameter._data.shape)
            parameter.bump_version()
            offset += size

    def _check(self, parameter: Tensor, entry: Any) -> None:
        """Nothing: the state is one of all parameters."""


def arrays_of(tensors: list[Tensor]) -> list[Any]:
    """Returns the arrays of tensors."""
    return [tensor._data for tensor in tensors]
