# SPDX-License-Identifier: Apache-2.0
"""Parametrizations of weights: by norm and direction, of a spectral norm of 1, orthogonal."""

from __future__ import annotations

from typing import Any

import numpy as np

import penlight.nn.init as init
from penlight.autograd import no_grad
from penlight.backends.backend import visiting
from penlight.nn.module import Module
from penlight.nn.utils.parametrize import register_parametrization
from penlight.ops.distance import normalize, vector_length
from penlight.ops.matmul import matmul
from penlight.tensor import Tensor, from_numpy


class _WeightNorm(Module):
    """g * v / |v|, with the norm over all dimensions but `dim`."""

    def __init__(self, dim: int | None = 0):
        self.dim = dim

    def _length(self, v: Tensor) -> Tensor:
        dims = tuple(d for d in range(v.ndim) if self.dim is None or d != self.dim % v.ndim)
        return vector_length(v, 2, dims, keepdim=self.dim is not None)

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / self._length(v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (g, v) of a weight."""
        return self._length(weight), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Splits a weight into norm (`original0`) and direction (`original1`) (Salimans and Kingma 2016); returns the module.

    Args:
        module: a layer. name: of its weight.
        dim: one norm per index of this dimension; None is one for all.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(module: Any, state: Any, prefix: str, *details: Any) -> None:
        """Takes the names of PyTorch's older `nn.utils.weight_norm` as well."""
        for old, new in (("g", "original0"), ("v", "original1")):
            if f"{prefix}{name}_{old}" in state:
                state[f"{prefix}parametrizations.{name}.{new}"] = state.pop(f"{prefix}{name}_{old}")

    module.register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    """weight / largest singular value, the latter by power iterations in training mode."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12):
        if n_power_iterations < 1:
            raise ValueError(f"spectral_norm: n_power_iterations must be 1 or more, got {n_power_iterations}")
        self.n_power_iterations, self.eps = n_power_iterations, eps
        self.dim = dim % weight.ndim
        if weight.ndim > 1:
            matrix = self._matrix(weight.detach())
            for name, size in (("_u", matrix.shape[0]), ("_v", matrix.shape[1])):
                start = init.normal_(init.empty(size)).to(weight.dtype).to(weight.device)
                self.register_buffer(name, normalize(start, dim=0, eps=eps))
            with no_grad():
                self._iterate(matrix, 15)
        self._u: Tensor
        self._v: Tensor

    def _matrix(self, weight: Tensor) -> Tensor:
        order = (self.dim, *(d for d in range(weight.ndim) if d != self.dim))
        return weight.permute(order).flatten(1) if weight.ndim > 1 else weight

    def _iterate(self, matrix: Tensor, count: int) -> None:
        for _ in range(count):
            with visiting(self._u._data):
                self._u._data[...] = normalize(matmul(matrix, self._v), dim=0, eps=self.eps)._data
                self._v._data[...] = normalize(matmul(matrix.transpose(0, 1), self._u), dim=0, eps=self.eps)._data

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            with no_grad():
                self._iterate(matrix.detach(), self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # the next iteration writes into the buffers
        return weight / (u * matmul(matrix, v)).sum()

    def right_inverse(self, value: Tensor) -> Tensor:
        """Returns the value itself."""
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divides a weight by its largest singular value (Miyato et al. 2018); returns the module.

    Args:
        module: a layer. name: of its weight.
        n_power_iterations: per call in training mode.
        eps: smallest norm that is divided by.
        dim: the output dimension; 1 for transposed convolutions, else 0.
    """
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    function = _SpectralNorm(getattr(module, name), n_power_iterations, dim, eps)
    return register_parametrization(module, name, function)


class _Orthogonal(Module):
    """exp of a skew-symmetric matrix times the first weight (Lezcano-Casado and Martinez-Rubio 2019)."""

    def __init__(self, base: Tensor):
        self.register_buffer("base", base)
        self.base: Tensor

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape
        wide = rows < columns
        matrix = (x.transpose(0, 1) if wide else x).tril(-1)  # (n, k), k <= n
        n, k = matrix.shape
        square = matrix if n == k else matrix.pad((0, n - k))
        q = matmul(_exponential(square - square.transpose(0, 1)), self.base)
        return q.transpose(0, 1) if wide else q


def _exponential(a: Tensor) -> Tensor:
    """exp(a) by scaling, a Taylor polynomial, and squaring."""
    size = float(abs(a._data).sum(-1).max()) if a._data.size else 0.0
    halvings = max(0, int(np.ceil(np.log2(max(size, 1e-300)))) + 3)
    a = a * 0.5**halvings
    term = result = from_numpy(np.eye(a.shape[0], dtype=a._data.dtype)).to(a.device)
    for k in range(1, 13):
        term = matmul(term, a) * (1.0 / k)
        result = result + term
    for _ in range(halvings):
        result = matmul(result, result)
    return result


def orthogonal(module: Module, name: str = "weight") -> Module:
    """Keeps a matrix orthogonal: of orthonormal rows if it is wide, columns if it is tall; returns the module.

    It starts as the orthogonal matrix closest to the weight. PyTorch's `orthogonal` has further maps and starts.

    Raises:
        ValueError: the weight is not a matrix.
    """
    weight: Any = getattr(module, name)
    if weight.ndim != 2:
        raise ValueError(f"orthogonal: expected a matrix, {name} is {tuple(weight.shape)}")
    array = weight.detach().numpy()
    tall = array.T if array.shape[0] < array.shape[1] else array
    u, _, vt = np.linalg.svd(tall, full_matrices=False)
    base = from_numpy(np.ascontiguousarray(u @ vt, array.dtype))
    weight._data[...] = 0  # exp(0) = 1: the first value is the base
    return register_parametrization(module, name, _Orthogonal(base), unsafe=True)
