# SPDX-License-Identifier: Apache-2.0
"""Programs that are no function of their inputs: they change state, draw random numbers, or leak traced tensors."""

from gallery import fails

import penlight as pl
import penlight.nn.functional as F
from penlight import nn
from penlight_export import export

X = pl.arange(6).float().reshape(2, 3)


@fails("PL-E1105")
def input_that_is_changed():
    def model(x):
        x.mul_(2)  # here
        return x + 1

    export(model, X)


@fails("PL-E1105")
def item_of_an_input_that_is_set():
    def model(x):
        x[0] = 0.0  # here
        return x

    export(model, X)


@fails("PL-E1105")
def counter_in_a_buffer():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", pl.zeros(1))

        def forward(self, x):
            self.calls += 1  # here
            return x + self.calls

    export(Counter(), X)


@fails("PL-E1105")
def buffer_that_is_replaced():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("last", pl.zeros(2, 3))

        def forward(self, x):
            y = x + self.last
            self.last = x  # here
            return y

    export(Last(), X)


@fails("PL-E1105")
def parameter_that_is_changed():
    class Clamped(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(pl.ones(3))

        def forward(self, x):
            self.scale.data.clamp_(0, 1)
            self.scale.mul_(0.5)  # here
            return x * self.scale

    export(Clamped(), X)


@fails("PL-E1105")
def statistics_of_a_batch_norm():
    def model(x):
        mean, variance = pl.zeros(3), pl.ones(3)
        return F.batch_norm(x, mean, variance, training=True)  # here

    export(model, X)


@fails("PL-E1105")
def write_into_a_view():
    def model(x):
        y = x * 1.0
        y[0].mul_(2.0)  # here
        return y

    export(model, X)


@fails("PL-E1106")
def dropout_that_is_always_on():
    def model(x):
        return F.dropout(x, 0.5)  # here

    export(model, X)


@fails("PL-E1106")
def layer_kept_in_training_mode():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            self.drop.train()
            return self.drop(x)  # here

    export(Noisy(), X)


@fails("PL-E1106")
def noise_that_is_drawn():
    def model(x):
        return x + pl.randn(2, 3)  # here

    export(model, X)


@fails("PL-E1107")
def numpy_random_numbers():
    import numpy as np

    rng = np.random.default_rng(0)

    def model(x):
        return x + pl.tensor(rng.standard_normal(3).astype(np.float32))  # here

    export(model, X)


@fails("PL-E1107")
def tensor_of_another_trace():
    kept = []

    def model(x):
        kept.append(x * 2)  # there
        return kept[0] + x  # here

    export(model, X)


@fails("PL-E1107")
def state_between_calls():
    class Average(nn.Module):
        def __init__(self):
            super().__init__()
            self.history = None

        def forward(self, x):
            self.history = x if self.history is None else self.history + x  # here
            return self.history

    export(Average(), X)


@fails("PL-E1107")
def value_hidden_in_data():
    def model(x):
        return x + pl.from_numpy(x._data * 2)  # here

    export(model, X)


@fails("PL-E1108")
def gradient_inside_forward():
    def model(x):
        x.requires_grad_()
        (slope,) = pl.autograd.grad((x * x).sum(), [x])  # here
        return slope

    export(model, X)


@fails("PL-E1108")
def backward_inside_forward():
    def model(x):
        w = pl.ones(3, requires_grad=True)
        (x * w).sum().backward()  # here
        return x * w.grad

    export(model, X)


@fails("PL-E1107")
def hook_that_remembers():
    layer = nn.Linear(3, 3)
    seen = []
    layer.register_forward_hook(lambda module, args, output: seen.append(output) or output + len(seen))  # here
    export(layer, X)


@fails("PL-E1101")
def trace_inside_a_trace():
    def model(x):
        export(lambda y: y * 2, X)
        return x

    export(model, X)
