# SPDX-License-Identifier: Apache-2.0
"""Programs that use what ONNX, or the operator set that was asked for, does not have."""

from typing import ClassVar

from gallery import fails

import penlight as pl
from penlight import nn
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator
from penlight_export import export

X = pl.arange(9).float().reshape(3, 3) + pl.eye(3)


@fails("PL-E2005")
def operator_without_onnx_form():
    def model(x):
        return pl.linalg.svd(x)[1]  # here

    export(model, X)


@fails("PL-E2005")
def several_operators_without_onnx_form():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Head()

        def forward(self, x):
            values, vectors = pl.linalg.eigh(x @ x.mT)  # here
            return self.head(values, vectors)

    class Head(nn.Module):
        def forward(self, values, vectors):
            return pl.nextafter(values, values + 1), pl.linalg.qr(vectors)[0]  # there

    export(Model(), X)


@fails("PL-E2006")
def input_of_complex_numbers():
    export(lambda x: x * 2, pl.ones(3, dtype=pl.complex64))


@fails("PL-E2006")
def complex_result():
    export(lambda x: pl.fft.fft(x), X)


@fails("PL-E2005")
def operator_on_complex_numbers():
    def model(x):
        return pl.fft.fft(x).exp().real  # here

    export(model, X)


class Swish(Operator):
    """x * sigmoid(x), by the operator of that name, which ONNX has from operator set 24 on."""

    name: ClassVar[str] = "gallery_swish"
    onnx: ClassVar[str] = "Swish"

    def infer(self, x):
        return x

    def forward(self, xp, x):
        return x / (1 + xp.exp(-x))


class Cube(Operator):
    """x ** 3, of a user who wrote no lowering."""

    name: ClassVar[str] = "gallery_cube"

    def infer(self, x):
        return x

    def forward(self, xp, x):
        return x**3


@fails("PL-E2005")
def operator_of_the_user_without_a_lowering():
    def model(x):
        return apply(Cube(), x)  # here

    export(model, X)


@fails("PL-E1103")
def function_that_computes_in_numpy():
    class Clip(pl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return pl.tensor(x.numpy().clip(0, 1))  # here

        @staticmethod
        def backward(ctx, grad):
            return grad

    export(lambda x: Clip.apply(x), X)


@fails("PL-E2005")
def operator_set_too_old():
    def model(x):
        return apply(Swish(), x)  # here

    export(model, X, opset=21)


@fails("PL-E2007")
def operator_set_out_of_range():
    export(lambda x: x * 2, X, opset=16)


@fails("PL-E2007")
def operator_set_of_the_future():
    export(lambda x: x * 2, X, opset=25)
