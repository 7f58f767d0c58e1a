# SPDX-License-Identifier: Apache-2.0
"""Programs that are fixed to one size of a dimension that was declared dynamic."""

from gallery import fails

import penlight as pl
import penlight.nn.functional as F
from penlight import nn
from penlight_export import export

X = pl.arange(8).float().reshape(4, 2)
BATCH = {"x": {0: "batch"}}


@fails("PL-E1102")
def loop_over_a_dynamic_size():
    def model(x):
        total = x[0]
        for row in range(1, x.shape[0]):
            total = total + x[row]  # here
        return total

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def loop_over_len():
    def model(x):
        return pl.stack([x[i] * i for i in range(len(x))])  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1101")
def loop_over_rows():
    def model(x):
        return pl.stack([row.sum() for row in x])  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def unpacking_a_dynamic_dimension():
    def model(x):
        first, *_others = x.unbind(0)  # here
        return first

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def size_in_a_float():
    def model(x):
        return x * float(x.shape[0])  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def size_through_int():
    def model(x):
        return x.reshape(int(x.shape[0]) * 2)  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def size_in_true_division():
    def model(x):
        return x / (x.shape[0] ** 0.5)  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def branch_on_a_size():
    def model(x):
        return x * 2 if x.shape[0] > 4 else x + 1  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1101")
def size_written_down():
    def model(x):
        return x.reshape(4, 2, 1)  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1101")
def constant_of_the_example_size():
    def model(x):
        return x + pl.ones(4, 2)  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1101")
def state_of_the_example_size():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("state", pl.zeros(4, 2))

        def forward(self, x):
            return x + self.state  # here

    export(Model(), X, dynamic=BATCH)


@fails("PL-E1102")
def dimensions_that_must_be_equal():
    def model(a, b):
        return a + b  # here

    export(model, (X, X), dynamic={"a": {0: "n"}, "b": {0: "m"}})


@fails("PL-E1102")
def inner_dimensions_that_must_be_equal():
    def model(a, b):
        return a.mT @ b  # here

    export(model, (X, X), dynamic={"a": {0: "n"}, "b": {0: "m"}})


@fails("PL-E1102")
def structure_depends_on_a_size():
    def model(x):
        return [x, x * 2] if x.shape[0] == 4 else [x]  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def dictionary_depends_on_a_size():
    def model(x):
        return {f"of {int(x.shape[0])}": x * 2}

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def chunks_of_a_dynamic_size():
    def model(x):
        return pl.cat([c * 2 for c in x.split(2, 0)])  # here

    export(model, X, dynamic=BATCH)


@fails("PL-E1102")
def pooling_to_a_size_that_does_not_divide():
    def model(x):
        return F.adaptive_avg_pool1d(x, 3)  # here

    export(model, pl.ones(1, 2, 6), dynamic={"x": {2: "time"}})
