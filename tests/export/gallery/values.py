# SPDX-License-Identifier: Apache-2.0
"""Programs that read the value of a tensor, which a graph does not know."""

import numpy as np
from gallery import fails

import penlight as pl
from penlight import nn
from penlight_export import export

X = pl.arange(6).float().reshape(2, 3)


@fails("PL-E1103")
def if_on_a_tensor():
    def model(x):
        if x.sum() > 0:  # here
            return x
        return -x

    export(model, X)


@fails("PL-E1103")
def while_on_a_tensor():
    def model(x):
        while x.max() < 100:  # here
            x = x * 2
        return x

    export(model, X)


@fails("PL-E1103")
def assert_on_a_tensor():
    def model(x):
        assert (x >= 0).all()  # here
        return x.sqrt()

    export(model, X)


@fails("PL-E1103")
def and_of_tensors():
    def model(x):
        return pl.where((x > 0) and (x < 1), x, 0.0)  # here

    export(model, pl.ones(1))


@fails("PL-E1103")
def branch_inside_a_layer():
    class Gate(nn.Module):
        def forward(self, x):
            return x if x.mean() > 0 else x * 0  # here

    export(nn.Sequential(nn.Linear(3, 3), nn.Sequential(Gate())), X)


@fails("PL-E1103")
def item_of_a_tensor():
    def model(x):
        return x / x.max().item()  # here

    export(model, X)


@fails("PL-E1103")
def int_of_a_tensor():
    def model(x, count):
        return x[:, : int(count)]  # here

    export(model, (X, pl.tensor(2)))


@fails("PL-E1103")
def float_of_a_tensor():
    def model(x):
        return x * float(x[0, 0])  # here

    export(model, X)


@fails("PL-E1103")
def tensor_as_an_index():
    def model(x, row):
        names = ["first", "second"]
        return {names[row]: x}  # here

    export(model, (X, pl.tensor(1)))


@fails("PL-E1103")
def range_over_a_tensor():
    def model(x, steps):
        for _ in range(steps):  # here
            x = x * 2
        return x

    export(model, (X, pl.tensor(3)))


@fails("PL-E1103")
def list_of_a_tensor():
    def model(x):
        return pl.tensor([v * 2 for v in x.tolist()])  # here

    export(model, pl.ones(3))


@fails("PL-E1103")
def numpy_inside_forward():
    def model(x):
        return pl.tensor(np.tanh(x.numpy()))  # here

    export(model, X)


@fails("PL-E1103")
def numpy_function_on_a_tensor():
    def model(x):
        return x + pl.tensor(np.linalg.norm(x))  # here

    export(model, X)


@fails("PL-E1103")
def values_in_a_set():
    def model(x):
        return x if x.sum() in (0, 1) else -x  # here

    export(model, X)


@fails("PL-E1103")
def tensor_in_a_format():
    def model(x):
        return {f"mean {x.mean():.1f}": x}  # here

    export(model, X)


@fails("PL-E1103")
def minimum_of_python():
    def model(x):
        return max(x[0, 0], x[0, 1])  # here

    export(model, X)


@fails("PL-E1104")
def mask_as_an_index():
    def model(x):
        return x[x > 1]  # here

    export(model, X)


@fails("PL-E1104")
def places_of_what_is_not_zero():
    def model(x):
        return x.nonzero()  # here

    export(model, X)


@fails("PL-E1104")
def masked_select_has_any_size():
    def model(x):
        return pl.masked_select(x, x > 1)  # here

    export(model, X)


@fails("PL-E1104")
def unique_has_any_size():
    def model(x):
        return pl.unique(x)  # here

    export(model, X)


@fails("PL-E1104")
def counts_of_values():
    def model(x):
        return pl.bincount(x)  # here

    export(model, pl.tensor([0, 1, 1]))


@fails("PL-E1104")
def repeats_of_a_tensor():
    def model(x, repeats):
        return pl.repeat_interleave(x, repeats, 0)  # here

    export(model, (X, pl.tensor([1, 2])))
