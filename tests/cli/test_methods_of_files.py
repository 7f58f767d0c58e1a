# SPDX-License-Identifier: Apache-2.0
"""Files with several methods, and with tensors that are kept from run to run, on the command line and behind the server."""

import numpy as np
import pytest
from cli_runner import in_process

import penlight as pl
from penlight import nn
from penlight_export import Method, export, export_methods


class Counter(nn.Module):
    """Counts its calls."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", pl.tensor(0.0), export_state=True)

    def forward(self, x):
        self.calls += 1
        return x + self.calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    x = pl.ones(2, 3)
    methods = {"double": Method(lambda x: x * 2, (x,)), "total": Method(lambda x: x.sum(1), (x,), output_names=["sum"])}
    export_methods(methods).save(folder / "two.pen")
    export(Counter(), (x,)).save(folder / "counter.pen")
    np.save(folder / "x.npy", np.full((2, 3), 4, np.float32))
    return folder


def test_inspect_and_run_take_a_method(folder, capsys):
    facts = in_process(capsys, "inspect", folder / "two.pen", "--json").json
    assert facts["method"] == "double" and facts["methods"] == ["double", "total"]
    assert in_process(capsys, "inspect", folder / "two.pen", "--method", "total", "--json").json["outputs"][0]["name"] == "sum"
    for options, name, value in ((["--method", "total"], "sum", 12), ([], "output", 8)):
        answer = in_process(capsys, "run", folder / "two.pen", folder / "x.npy", *options, "--json").json
        assert answer["outputs"][name]["max"] == value


def test_a_method_that_is_not_there(folder, capsys):
    in_process(capsys, "inspect", folder / "two.pen", "--method", "three").failed_cleanly(2, "three", "double, total")
    in_process(capsys, "run", folder / "two.pen", folder / "x.npy", "--method", "three").failed_cleanly(2, "three", "double, total")
    in_process(capsys, "run", folder / "x.onnx", folder / "x.npy", "--method", "three").failed_cleanly(2, "only .pen files")


def test_inspect_shows_states(folder, capsys):
    assert in_process(capsys, "inspect", folder / "counter.pen", "--json").json["states"][0]["name"] == "calls"


@pytest.mark.parametrize("name", ["two", "counter"])
def test_the_server_refuses_them(folder, capsys, name):
    in_process(capsys, "serve", folder / f"{name}.pen", "--port", "0").failed_cleanly(3, "a server answers each request alone")
