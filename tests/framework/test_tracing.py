# SPDX-License-Identifier: Apache-2.0
"""Traces: what they record, that sizes stay symbolic, and what they refuse, with file and line."""

import inspect

import pytest

import penlight as pl
from penlight import nn
from penlight.errors import ArgumentError, DynamicShapeError, LeakError, TraceError
from penlight.nn import functional as F
from penlight.source import place_text
from penlight.tape import mode
from penlight.tracing import trace

BATCH = {"x": {0: "batch"}}


def texts(shape):
    return [getattr(size, "text", size) for size in shape]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4 * 4 * 4, 10)

    def forward(self, x):
        x = F.max_pool2d(self.features(x), 2)
        return self.head(x.flatten(1))


def test_a_small_network():
    model = Block().eval()
    graph = trace(model, pl.randn(2, 1, 8, 8), BATCH)
    assert [n.operator.name for n in graph.nodes] == ["conv2d", "batch_norm", "relu", "max_pool2d", "reshape", "linear"]
    assert [n.module_path for n in graph.nodes] == ["features.0", "features.1", "features.2", "", "", "head"]
    assert [v.name for v in graph.inputs] == ["x"] and texts(graph.inputs[0].spec.shape) == ["batch", 1, 8, 8]
    assert texts(graph.outputs[0].spec.shape) == ["batch", 10] and texts(graph.nodes[4].operator.shape) == ["batch", 64]
    conv, norm = graph.nodes[0], graph.nodes[1]
    assert [v.qualified_name for v in conv.inputs[1:]] == ["features.0.weight", "features.0.bias"]
    assert norm.inputs[3].qualified_name == "features.1.running_mean"
    assert conv.inputs[1].constant.shape == (4, 1, 3, 3) and graph.symbols == {"batch": 2}
    line = inspect.getsourcelines(Block.forward)[1] + 1
    assert conv.source.endswith(f"test_tracing.py:{line}")
    names = [v.name for n in graph.nodes for v in n.outputs]
    assert len(set(names)) == len(names)


def test_a_trace_leaves_nothing_behind():
    x = pl.randn(2, 3, requires_grad=True)
    y = x * 2
    trace(lambda x: x + y.detach()[0], x, BATCH)
    assert mode.tracer is None and pl.is_grad_enabled()
    assert x._traced is None and y._traced is None and x.shape == (2, 3) and type((x * 2).shape[0]) is int
    with pytest.raises(ZeroDivisionError):
        trace(lambda x: 1 // 0, x)
    assert mode.tracer is None


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        (lambda x: x.reshape(x.shape[0] * x.shape[1], -1), (4, 6, 5), ["batch*time", 5]),
        (lambda x: x.reshape(-1, 5), (4, 6, 5), ["batch*time", 5]),
        (lambda x: x.reshape(x.shape[0], -1), (4, 6, 5), ["batch", "5*time"]),
        (lambda x: x.flatten(), (4, 6, 5), ["5*batch*time"]),
        (lambda x: pl.cat([x, x, x[:, :1]], 1), (4, 6, 5), ["batch", "2*time + 1", 5]),
        (lambda x: x[:, 1:], (4, 6, 5), ["batch", "time - 1", 5]),
        (lambda x: x[:, : x.shape[1] // 2], (4, 6, 5), ["batch", "time//2", 5]),
        (lambda x: x.unsqueeze(0).expand(3, -1, -1, -1), (4, 6, 5), [3, "batch", "time", 5]),
        (lambda x: F.pad(x, (0, 0, 2, x.shape[1])), (4, 6, 5), ["batch", "2*time + 2", 5]),
        (lambda x: x.mT @ x, (4, 6, 5), ["batch", 5, 5]),
        (lambda x: x @ x.mT, (4, 6, 5), ["batch", "time", "time"]),
        (lambda x: pl.arange(x.shape[1]).float() * x.sum(-1), (4, 6, 5), ["batch", "time"]),
        (lambda x: pl.zeros(x.shape[0], 2) + x.mean((1, 2)).unsqueeze(1), (4, 6, 5), ["batch", 2]),
        (lambda x: x.sum(1) / x.shape[1], (4, 6, 5), ["batch", 5]),
        (lambda x: F.conv1d(x.mT, pl.ones(2, 5, 3), stride=2), (4, 7, 5), ["batch", 2, "(time - 3)//2 + 1"]),
        (lambda x: pl.tril(pl.ones(x.shape[1], x.shape[1])) @ x, (4, 6, 5), ["batch", "time", 5]),
        (lambda x: x.split(2, 2)[1], (4, 6, 5), ["batch", "time", 2]),
        (lambda x: x.repeat(1, 2, 1), (4, 6, 5), ["batch", "2*time", 5]),
        (lambda x: x.transpose(0, 1)[-1], (4, 6, 5), ["batch", 5]),
    ],
)
def test_sizes_stay_symbolic(function, shape, expected):
    graph = trace(function, pl.randn(*shape), {"x": {0: "batch", 1: "time"}})
    assert texts(graph.outputs[0].spec.shape) == expected


def wrong_branch(x):
    return x * 2 if x.sum() > 0 else x


def wrong_item(x):
    return x * x.max().item()


def wrong_size(x):
    return x + pl.ones(int(x.shape[0]), 3)


def wrong_factor(x):
    return x * float(x.shape[0])


def wrong_loop(x):
    for _ in range(x.shape[0]):
        x = x + 1
    return x


def wrong_iteration(x):
    return sum(row for row in x)


def wrong_mask(x):
    return x[x > 0]


def wrong_dropout(x):
    return F.dropout(x)


def wrong_noise(x):
    return x + pl.randn(3)


def wrong_leak(x):
    return x + pl.from_numpy(x.data._data * 2)


def wrong_view_write(x):
    y = x * 1.0
    y[0].mul_(2.0)
    return y


def wrong_branch_on_size(x):
    return x * 2 if x.shape[0] == 2 else x + 1


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (wrong_branch, TraceError, "cannot branch"),
        (wrong_item, TraceError, r"\.item\(\)"),
        (wrong_size, DynamicShapeError, "batch"),
        (wrong_factor, DynamicShapeError, "size of dimension 'batch'"),
        (wrong_loop, DynamicShapeError, "operators at one size"),
        (wrong_iteration, TraceError, "loop over a tensor"),
        (wrong_mask, TraceError, "bool tensor"),
        (wrong_dropout, TraceError, r"model.eval\(\)"),
        (wrong_noise, TraceError, "random"),
        (wrong_leak, LeakError, "a constant has shape|became fixed"),
        (wrong_view_write, TraceError, "has a view"),
        (wrong_branch_on_size, DynamicShapeError, "mul at one size, add"),
    ],
)
def test_dishonest_programs_are_refused_with_their_line(function, error, message):
    with pytest.raises(error, match=message) as raised:
        trace(function, pl.randn(2, 3), BATCH)
    first = inspect.getsourcelines(function)[1]
    last = first + len(inspect.getsourcelines(function)[0])
    assert any(f"test_tracing.py:{line}:" in str(raised.value) for line in range(first, last)), str(raised.value)


def test_a_leaked_value_is_found_without_dynamic_dimensions():
    with pytest.raises(TraceError, match="became fixed"):
        trace(wrong_leak, pl.randn(2, 3))


def test_state_may_not_change():
    model = nn.BatchNorm1d(3)
    with pytest.raises(TraceError, match="running statistics"):
        trace(model.train(), pl.randn(4, 3), BATCH)

    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", pl.zeros(1))

        def forward(self, x):
            self.count.add_(1)
            return x + self.count

    with pytest.raises(TraceError, match="'count'"):
        trace(Counter(), pl.randn(2, 3), BATCH)


def test_writes_into_new_tensors_become_operators():
    def fill(x):
        y = pl.zeros(x.shape[0], 3)
        y[:, 1] = x[:, 0]
        y += 1
        return y

    graph = trace(fill, pl.randn(2, 3), BATCH)
    assert [n.operator.name for n in graph.nodes] == ["full", "slice", "slice_write", "add"]
    assert texts(graph.outputs[0].spec.shape) == ["batch", 3]


def test_structured_inputs_and_outputs():
    def several(a, b):
        return {"sum": a + b, "both": [a, (b * 2,)]}

    graph = trace(several, {"a": pl.ones(2), "b": pl.ones(2)}, {"a": {0: "n"}, "b": {0: "n"}})
    assert graph.output_tree == {"sum": 0, "both": [1, (2,)]} and [v.name for v in graph.inputs] == ["a", "b"]
    assert trace(several, (pl.ones(2), pl.ones(2)), names=["p", "q"]).inputs[1].name == "q"


def test_wrong_arguments():
    x = pl.randn(2, 3)
    with pytest.raises(ArgumentError, match="the inputs are 'x'"):
        trace(lambda x: x, x, {"y": {0: "batch"}})
    with pytest.raises(ArgumentError, match="names dimension 2"):
        trace(lambda x: x, x, {"x": {2: "batch"}})
    with pytest.raises(ArgumentError, match="must agree"):
        trace(lambda a, b: a, (x, pl.randn(5, 3)), {"a": {0: "n"}, "b": {0: "n"}})
    with pytest.raises(TraceError, match="must consist of tensors"):
        trace(lambda x: 3, x)
    with pytest.raises(TraceError, match="must be a tensor"):
        trace(lambda x, n: x, (x, 3))


def test_an_upper_bound_of_a_dimension_is_respected():
    table = nn.Embedding(8, 4)
    graph = trace(lambda x: table(pl.arange(x.shape[1])) + x, pl.randn(2, 8, 4), {"x": {0: "batch", 1: "time"}})
    assert texts(graph.outputs[0].spec.shape) == ["batch", "time", 4]


def test_a_program_that_runs_at_one_size_only_says_so():
    with pytest.raises(TraceError, match="fails at every other size"):
        trace(lambda x: x + pl.ones(5, 3), pl.randn(5, 3), BATCH)


def test_lines_of_the_framework_are_named_without_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_text(pl.nn.linear.__file__, 3) == "penlight/nn/linear.py:3"
    assert place_text(str(tmp_path / "mine" / "model.py"), 4) == "mine/model.py:4"
