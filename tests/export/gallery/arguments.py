# SPDX-License-Identifier: Apache-2.0
"""Calls of `export` with arguments that cannot be, and results that are no tensors."""

from pathlib import Path

from gallery import fails

import penlight as pl
from penlight import nn
from penlight_export import export

X = pl.arange(6).float().reshape(2, 3)


def double(x):
    return x * 2


@fails("PL-E1110")
def unknown_input_in_dynamic():
    export(double, X, dynamic={"y": {0: "batch"}})


@fails("PL-E1110")
def dimension_that_is_not_there():
    export(double, X, dynamic={"x": {2: "batch"}})


@fails("PL-E1110")
def dimension_without_a_name():
    export(double, X, dynamic={"x": {0: True}})


@fails("PL-E1110")
def dynamic_as_a_list():
    export(double, X, dynamic={"x": [0]})


@fails("PL-E1110")
def one_name_two_sizes():
    export(lambda a, b: a.sum() + b.sum(), (X, pl.ones(5, 3)), dynamic={"a": {0: "n"}, "b": {0: "n"}})


@fails("PL-E1110")
def example_outside_of_the_range():
    export(double, X, dynamic={"x": {0: pl.Dim("batch", min=4, max=8)}})


@fails("PL-E1110")
def range_upside_down():
    export(double, X, dynamic={"x": {0: pl.Dim("batch", min=8, max=4)}})


@fails("PL-E1110")
def derived_dimension_that_does_not_fit():
    export(lambda a, b: a.sum() + b.sum(), (X, pl.ones(5, 3)), dynamic={"a": {0: "batch"}, "b": {0: "2*batch"}})


@fails("PL-E1110")
def derived_dimension_without_its_name():
    export(double, X, dynamic={"x": {0: "2*batch"}})


@fails("PL-E1110")
def one_name_two_ranges():
    dynamic = {"a": {0: pl.Dim("n", max=8)}, "b": {0: pl.Dim("n", max=9)}}
    export(lambda a, b: a + b, (X, X), dynamic=dynamic)


@fails("PL-E1109")
def keys_that_are_no_text():
    export(lambda x: {0: x * 2}, X)


@fails("PL-E1110")
def example_that_is_an_array():
    export(double, X.numpy())


@fails("PL-E1110")
def example_that_is_a_number():
    export(lambda x, factor: x * factor, (X, 2.0))


@fails("PL-E1110")
def too_few_inputs():
    export(lambda a, b: a + b, X)


@fails("PL-E1110")
def too_many_inputs():
    export(double, (X, X))


@fails("PL-E1110")
def keyword_that_is_not_there():
    export(double, {"z": X})


@fails("PL-E2007")
def no_inputs():
    export(lambda: pl.ones(3), ())


@fails("PL-E1110")
def names_twice():
    export(lambda a, b: a + b, (X, X), names=["x", "x"])


@fails("PL-E1110")
def too_many_names():
    export(double, X, names=["x", "y"])


@fails("PL-E2007")
def output_name_of_an_input():
    export(double, X, output_names=["x"])


@fails("PL-E2007")
def too_few_output_names():
    export(lambda x: (x, x + 1), X, output_names=["y"])


@fails("PL-E1110")
def module_class_instead_of_a_module():
    export(nn.Linear, X)


@fails("PL-E1110")
def not_a_module():
    export({"weight": X}, X)


@fails("PL-E1110")
def module_without_forward():
    class Empty(nn.Module):
        pass

    export(Empty(), X)


@fails("PL-E1109")
def result_that_is_a_number():
    export(lambda x: (x * 2, 3), X)


@fails("PL-E1109")
def result_that_is_an_array():
    export(lambda x: pl.ones(3).numpy(), X)


@fails("PL-E1109")
def result_that_is_nothing():
    def model(x):
        x * 2

    export(model, X)


@fails("PL-E2007")
def two_results_of_one_name():
    export(lambda x: {"a.b": x, "a": {"b": x * 2}}, X)


@fails("PL-E2007")
def wrong_file_extension():
    export(double, X).save("model.pt")


@fails("PL-E1201")
def folder_that_is_not_there():
    export(double, X).save(Path("no-such-folder") / "model.onnx")
