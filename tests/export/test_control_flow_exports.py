# SPDX-License-Identifier: Apache-2.0
"""pl.cond, pl.while_loop and pl.scan: the module, onnxruntime and the edge runtime agree, also on inputs that take another way."""

import numpy as np
import onnx
import pytest

import penlight as pl
import penlight_runtime
from penlight import nn
from penlight.errors import ControlFlowError, TraceError
from penlight.tracing import trace
from penlight_export import export
from penlight_export.engines import OnnxEngine
from penlight_export.replay import Replay

RNG = np.random.default_rng(5)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def check(module, example, *others, dynamic=None, **options):
    """Exports with one input, and compares the engines on further inputs. Returns the operators of the ONNX file."""
    exported = export(module, (pl.tensor(example),), dynamic=dynamic, names=["x"], **options)
    assert exported.report.ok and exported.refusal is None
    engines = penlight_runtime.Program(exported.program).session(), OnnxEngine(exported.onnx_model.SerializeToString())
    for x in others:
        expected = module(pl.tensor(x)).detach().numpy()
        for engine in engines:
            got = next(iter(engine.run({"x": x}).values()))
            assert got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
    return [node.op_type for node in exported.onnx_model.graph.node]


class Gate(nn.Module):
    """Two layers, of which the sign of the input's sum chooses one."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        shifted = x + 1
        return pl.cond(x.sum() > 0, lambda x: self.up(shifted).relu(), lambda x: self.down(x) - shifted[:, :3], (x,)) * 2


def test_both_branches():
    x = np.abs(f32(2, 4))
    model = Gate().eval()
    assert check(model, x, -x, x[:1], -np.abs(f32(5, 4)), dynamic={"x": {0: "batch"}}).count("If") == 1
    assert check(model, x, -x, passes=()).count("If") == 1


def test_the_weights_of_branches_are_initializers_of_the_main_graph():
    exported = export(Gate().eval(), (pl.tensor(f32(2, 4)),))
    names = {tensor.name for tensor in exported.onnx_model.graph.initializer}
    assert {"up.weight", "down.weight", "up.bias", "down.bias"} <= names
    (branch,) = [n for n in exported.onnx_model.graph.node if n.op_type == "If"]
    assert not any(attribute.g.initializer for attribute in branch.attribute)
    sources = [p.value for a in branch.attribute for n in a.g.node for p in n.metadata_props if p.key == "penlight.source"]
    assert sources and all("test_control_flow_exports.py:" in source for source in sources)


def test_branches_of_different_sizes():
    def model(x):
        part = pl.cond(x[0] > 0, lambda: x[1:], lambda: x * 2)
        return pl.cat([part, part.sum(0, keepdim=True)]).reshape(-1, 1).expand(-1, 2) * pl.ones(part.shape[0] + 1, 1)

    x = np.array([1, 2, 3], np.float32)
    check(model, x, -x, f32(6), -np.abs(f32(1)), dynamic={"x": {0: "n"}})


def test_nested_branches_and_a_constant_result():
    def model(x):
        inner = lambda: pl.cond(x.max() > 2, lambda: x, lambda: pl.zeros(3))  # noqa: E731  # shows that any callable will do
        return pl.cond(x.sum() > 0, inner, lambda: -x)

    check(model, np.array([1, 2, 3], np.float32), *(np.array(v, np.float32) for v in ([1, 1, 1], [-1, -2, -3])))


def test_collatz():
    def model(x):
        def step(n, i):
            return pl.where(n % 2 == 0, n // 2, 3 * n + 1), i + 1

        return pl.while_loop(lambda n, i: n > 1, step, (x, 0))[1]

    operators = check(model, np.array(6), *(np.array(n) for n in (1, 2, 27, 97)))
    assert operators.count("Loop") == 1


def test_newton_until_converged():
    def model(x):
        def step(root, _):
            better = (root + x / root) / 2
            return better, (better - root).abs().max()

        return pl.while_loop(lambda root, change: change > 1e-4, step, (x, 1.0))[0]

    check(model, np.array([2, 9], np.float32), *(np.abs(f32(n)) * 100 + 0.1 for n in (1, 4, 7)), dynamic={"x": {0: "n"}})


def test_a_loop_may_not_run_at_all():
    check(
        lambda x: pl.while_loop(lambda x: x.sum() < 4, lambda x: x * 2 + 1, (x,))[0],
        np.ones(2, np.float32),
        np.full(2, 9, np.float32),
    )


def test_a_tensor_that_grows():
    def model(x):
        def step(text, count):
            return pl.cat([text, text[-1:] * 2]), count + 1

        text, _ = pl.while_loop(lambda text, count: (text.sum() < 100) & (text.shape[0] < 12), step, (x, 0))
        return text.reshape(-1, 1).sum(1) / pl.ones(text.shape[0])

    check(model, np.array([1, 2], np.float32), *(np.abs(f32(n)) + 0.5 for n in (1, 3, 5)), dynamic={"x": {0: "length"}})


class Recurrent(nn.Module):
    """A GRU cell over the first dimension."""

    def __init__(self, reverse=False):
        super().__init__()
        self.cell, self.reverse = nn.GRUCell(3, 4), reverse

    def forward(self, x):
        def step(h, x):
            h = self.cell(x, h)
            return h, h.mean(1)

        last, means = pl.scan(step, pl.zeros(x.shape[1], 4), x, reverse=self.reverse)
        return last.sum(1) + means


@pytest.mark.parametrize("reverse", [False, True])
def test_a_recurrent_cell_over_time(reverse):
    pl.manual_seed(3)
    others = (f32(1, 1, 3), f32(7, 3, 3), f32(2, 5, 3))
    operators = check(Recurrent(reverse).eval(), f32(4, 2, 3), *others, dynamic={"x": {0: "time", 1: "batch"}})
    assert operators.count("Scan") == 1


def test_branches_inside_of_a_scan():
    def model(x):
        def step(total, row):
            total = pl.cond(row.sum() > 0, lambda t: t + row, lambda t: t * 0.5 - row * x.mean(), (total,))
            return total, {"sum": total.sum(), "row": row}

        _, out = pl.scan(step, pl.zeros(3), x)
        return out["row"] + out["sum"][:, None]

    check(model, f32(4, 3), f32(1, 3), f32(9, 3), dynamic={"x": {0: "time"}})


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_without_slices(reverse):
    model = lambda x: pl.scan(lambda c, _: (c * 2, c.sum(0)), x, length=x.shape[0] + 1, reverse=reverse)[1]  # noqa: E731  # as above
    operators = check(model, f32(2, 3), f32(4, 3), dynamic={"x": {0: "n"}})
    assert operators.count("Loop") == 1


class Decoder(nn.Module):
    """Greedy decoding: the likeliest next token until the end token, at most `limit` tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(11, 8), nn.GRUCell(8, 8), nn.Linear(8, 11)

    def forward(self, x):
        def step(tokens, position, h, _):
            h = self.mix(self.embed(tokens.gather(1, position.reshape(1, 1).expand(tokens.shape[0], 1))[:, 0]), h)
            token = self.head(h).argmax(1)
            tokens[:, position + 1] = token
            return tokens, position + 1, h, (token == 0).all()

        tokens = pl.cat([x[:, None], pl.zeros(x.shape[0], 9, dtype=pl.int64)], 1)
        first = (tokens, 0, pl.zeros(x.shape[0], 8), False)
        return pl.while_loop(lambda tokens, position, h, end: (position < 9) & ~end, step, first)[0]


def test_greedy_decoding():
    pl.manual_seed(2)
    model = Decoder().eval()
    check(model, np.array([3, 5]), np.array([1]), np.arange(7), dynamic={"x": {0: "batch"}})
    assert len(set(model(pl.tensor([3])).tolist()[0])) > 2


def test_layers_are_compared_through_control_flow():
    """The replay that finds the first layer that differs runs bodies as well."""
    model, x = Recurrent().eval(), f32(4, 2, 3)
    graph = trace(model, (pl.tensor(x),), names=["x"])
    found = Replay(graph, {"last": graph.outputs[0]}).values(["last"], {"x": x})
    np.testing.assert_allclose(found["last"], model(pl.tensor(x)).detach().numpy(), rtol=1e-6)


def test_the_file_is_valid_onnx_and_names_are_unique():
    exported = export(Recurrent().eval(), (pl.tensor(f32(4, 2, 3)),), dynamic={"x": {0: "time"}})
    onnx.checker.check_model(exported.onnx_model, full_check=True)
    inner = [n for node in exported.onnx_model.graph.node for a in node.attribute for n in a.g.node]
    names = [name for node in [*exported.onnx_model.graph.node, *inner] for name in node.output]
    assert inner and len(names) == len(set(names))


def refused(function, error=TraceError):
    with pytest.raises(error) as caught:
        trace(function, (pl.tensor([1.0, 2.0]),), names=["x"])
    return str(caught.value)


def test_branches_must_agree():
    def down(x):
        return x.sum()

    message = refused(lambda x: pl.cond(x.sum() > 0, lambda x: x, down, (x,)), ControlFlowError)
    assert "test_control_flow_exports.py:" in message and "down (" in message
    assert "penlight.float32 (2,)" in message and "penlight.float32 ()" in message
    assert "{'a': *}" in refused(lambda x: pl.cond(x.sum() > 0, lambda: {"a": x}, lambda: (x, x)), ControlFlowError)
    assert "float64" in refused(lambda x: pl.cond(x.sum() > 0, lambda: x, lambda: x.double()), ControlFlowError)


def test_what_a_scan_carries_keeps_its_sizes():
    message = refused(lambda x: pl.scan(lambda c, x: (pl.cat([c, c]), x), pl.zeros(1), x), ControlFlowError)
    assert "takes the sizes (1,) and returns (2,)" in message


def test_values_inside_cannot_be_used_outside():
    def leak(x):
        kept = []
        pl.cond(x.sum() > 0, lambda: kept.append(x * 2) or x, lambda: x)
        return kept[0]

    assert "is used outside of it; return it" in refused(leak)


def test_tensors_around_cannot_be_written():
    def write(x):
        y = x * 2
        return pl.cond(x.sum() > 0, lambda: y.add_(1), lambda: y)

    assert "changes a tensor from outside" in refused(write)


def test_python_branches_point_to_cond():
    assert "pl.cond" in refused(lambda x: x if x.sum() > 0 else -x)
    assert "pl.while_loop" in refused(lambda x: next(x for _ in iter(lambda: bool(x.sum() > 0), False)))
    inside = refused(lambda x: pl.cond(x.sum() > 0, lambda: x if x.max() > 1 else -x, lambda: x))
    assert "pl.cond" in inside
