# SPDX-License-Identifier: Apache-2.0
"""Captured steps on the stand-in device: bit-equal to eager steps, and clear errors for what no graph can hold."""

import numpy as np
import pytest
from fake_cuda import OutOfMemoryError

import penlight as pl
import penlight.nn.functional as F
from penlight import nn
from penlight.errors import ArgumentError, CaptureError, DeviceError


class Descent:
    """Plain gradient descent by whole-array operations, which needs no kernels."""

    def __init__(self, model, lr=0.1):
        self.model, self.lr = model, lr

    def zero_grad(self):
        self.model.zero_grad()

    def step(self):
        for parameter in self.model.parameters():
            parameter._data -= parameter.grad._data * parameter.dtype.numpy.type(self.lr)
            parameter.bump_version()


def network(norm=True):
    pl.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), *([nn.BatchNorm2d(3)] if norm else []), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)]
    return nn.Sequential(*layers).to("cuda")


def batches(count, sizes=(4,)):
    rng = np.random.default_rng(0)
    for k in range(count):
        size = sizes[k % len(sizes)]
        yield pl.tensor(rng.normal(size=(size, 1, 6, 6)).astype(np.float32)), pl.tensor(rng.integers(0, 5, size))


def train(count=6, wrap=lambda step: step, sizes=(4,), norm=True):
    """The losses of a training run and the weights after it."""
    model = network(norm)
    optimizer = Descent(model)

    @wrap
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss, {"seen": x.shape[0]}

    losses = []
    for x, y in batches(count, sizes):
        loss, more = step(x.to("cuda"), y.to("cuda"))
        assert more == {"seen": x.shape[0]}
        losses.append(loss.detach().cpu().numpy().tobytes())
    return losses, {name: value.cpu().numpy().tobytes() for name, value in model.state_dict().items()}, step


def test_a_captured_step_is_the_eager_step_bit_for_bit(fake_cuda):
    expected = train()
    launches = fake_cuda.machine.launches
    actual = train(wrap=pl.cuda.capture)
    assert actual[:2] == expected[:2]
    assert fake_cuda.machine.launches - launches == 4  # the first two calls warm up
    assert actual[2].graph_count == 1 and actual[2].__name__ == "step"


def test_every_set_of_shapes_has_its_graph(fake_cuda):
    sizes = (4, 4, 4, 2, 2, 2, 4, 2)
    expected = train(16, sizes=sizes)
    actual = train(16, pl.cuda.capture(warmup=1), sizes)
    assert actual[:2] == expected[:2] and actual[2].graph_count == 2
    actual[2].reset()
    assert actual[2].graph_count == 0


def test_launches_copy_neither_values_nor_wait(fake_cuda):
    model = network()
    x, y = (t.to("cuda") for t in next(batches(1)))

    @pl.cuda.capture
    def step(x, y):
        model.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(3):
        step(x, y)
    machine = fake_cuda.machine
    before = len(machine.copies), machine.synchronisations, machine.reserved
    for _ in range(3):
        step(x, y)
    assert (len(machine.copies), machine.synchronisations, machine.reserved) == before


def test_tensors_of_the_host_are_copied_to_where_the_graph_reads(fake_cuda):
    step = pl.cuda.capture(lambda x, table: (x * table["w"]).sum(), warmup=1)
    for value in (1.0, 2.0, 3.0, 4.0):
        assert step(pl.full((2, 2), value), {"w": pl.full((2, 2), value, device="cuda")}).item() == 4 * value**2


def test_new_tensors_are_made_on_the_device(fake_cuda):
    step = pl.cuda.capture(lambda x: x + pl.arange(3, device="cuda") + pl.ones(3, device="cuda") * 2 + pl.zeros_like(x), warmup=1)
    for k in range(3):
        assert step(pl.full((3,), float(k), device="cuda")).tolist() == [k + 2.0, k + 3.0, k + 4.0]


def test_results_are_not_overwritten_by_the_next_launch(fake_cuda):
    step = pl.cuda.capture(lambda x: x + 1, warmup=1)
    results = [step(pl.full((3,), float(k), device="cuda")) for k in range(4)]
    assert [r.cpu().numpy().tolist() for r in results] == [[k + 1.0] * 3 for k in range(4)]


def test_channels_last_arguments_stay_so(fake_cuda):
    seen = []
    x = pl.arange(2 * 3 * 2 * 2).float().reshape(2, 3, 2, 2).contiguous(memory_format=pl.channels_last)
    step = pl.cuda.capture(lambda x: (seen.append(x.is_contiguous(memory_format=pl.channels_last)), x * 2)[1], warmup=1)
    for _ in range(3):
        for given in (x, x.to("cuda")):
            np.testing.assert_array_equal(step(given).cpu().numpy(), x.numpy() * 2)
    assert set(seen) == {True}


def test_gradients_after_a_launch_are_those_of_its_shapes(fake_cuda):
    w = nn.Parameter(pl.ones(3, device="cuda"))

    @pl.cuda.capture(warmup=1)
    def step(x):
        w.grad = None
        (x * w).sum().backward()

    pl.cuda.capture(step)
    for size in (1, 1, 2, 2, 1, 2):
        w.grad = None
        step(pl.full((size, 3), float(size), device="cuda"))
        assert w.grad.cpu().numpy().tolist() == [float(size**2)] * 3


def test_gradients_add_up_over_launches(fake_cuda):
    w = nn.Parameter(pl.ones(2, device="cuda"))
    step = pl.cuda.capture(lambda x: (x * w).sum().backward())
    for k in range(1, 6):
        step(pl.ones(2, device="cuda"))
        assert w.grad.cpu().numpy().tolist() == [k] * 2
    w.grad = None
    with pytest.raises(CaptureError, match=r"adds to gradients, .*call zero_grad\(\) inside of the step"):
        step(pl.ones(2, device="cuda"))


def test_gradients_that_were_none_must_be_none_again(fake_cuda):
    w = nn.Parameter(pl.ones(2, device="cuda"))
    step = pl.cuda.capture(lambda x: (x * w).sum().backward(), warmup=1)
    for k in range(4):
        w.grad = None
        step(pl.full((2,), float(k), device="cuda"))
        assert w.grad.cpu().numpy().tolist() == [k] * 2
    with pytest.raises(CaptureError, match=r"gradients were None .*call zero_grad\(\) inside of the step, or before each call"):
        step(pl.ones(2, device="cuda"))


def refused(step, match, *arguments):
    x = pl.ones(3, device="cuda")
    captured = pl.cuda.capture(step, warmup=1)
    captured(x, *arguments)
    with pytest.raises(CaptureError, match=match) as caught:
        captured(x, *arguments)
    assert caught.value.code == "PL-E1601"
    assert float((x + 1).sum()) == 6  # the device works on
    return captured


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (lambda x: x.sum().item(), r"\.item\(\)"),
        (lambda x: x.tolist(), r"\.tolist\(\)"),
        (lambda x: x if x.sum() > 1 else -x, r"bool\(\)"),
        (lambda x: float(x.sum()), r"float\(\)"),
        (lambda x: repr(x), "a copy to the host"),
        (lambda x: x.cpu(), "a copy to cpu"),
        (lambda x: x + pl.tensor([1.0, 2.0, 3.0]).to("cuda"), "a copy to cuda:0"),
        (lambda x: x * pl.rand(3).to("cuda"), "a random function"),
        (lambda x: x[x > 0.5], "sizes that depend on values"),
    ],
)
def test_what_needs_the_host_is_refused_with_its_line(fake_cuda, read, what):
    refused(read, rf"test_capture\.py:\d+: .*{what}")


def test_new_memory_for_a_leaf_is_refused_and_undone(fake_cuda):
    w = nn.Parameter(pl.ones(3, device="cuda"))
    before = []

    def step(x):
        before[:] = [w._data]
        w.data = w.data * 2 + x

    refused(step, "gives new memory to a leaf of shape .3,.*copy_")
    assert w._data is before[0] and w.cpu().detach().numpy().tolist() == [3.0] * 3


def test_a_failed_capture_leaves_weights_and_gradients(fake_cuda):
    w = nn.Parameter(pl.ones(3, device="cuda"))
    held = []

    def step(x):
        w.grad = None
        (x * w).sum().backward()
        held.append(w.grad)
        w._data -= w.grad._data
        return w.grad.sum().item()

    refused(step, "reads a value of the device")
    assert w.grad is held[0] and w.grad.cpu().numpy().tolist() == [1.0] * 3
    assert w.detach().cpu().numpy().tolist() == [0.0] * 3


def test_an_error_of_the_step_itself_stays_what_it_is(fake_cuda):
    calls = []

    def step(x):
        calls.append(x)
        if len(calls) > 1:
            raise KeyError("mine")

    captured = pl.cuda.capture(step, warmup=1)
    captured(pl.ones(2))
    with pytest.raises(KeyError, match="mine"):
        captured(pl.ones(2))


def test_arguments_that_do_not_fit(fake_cuda):
    step = pl.cuda.capture(lambda x, *_: x)
    with pytest.raises(CaptureError, match=r"shape \(2,\) requires a gradient"):
        step(pl.ones(2, device="cuda", requires_grad=True))
    with pytest.raises(CaptureError, match="compared by hash"):
        step(pl.ones(2), np.zeros(2))
    for options in ({"warmup": 0}, {"max_graphs": 0}):
        with pytest.raises(ArgumentError, match="expected warmup >= 1 and max_graphs >= 1"):
            pl.cuda.capture(step, **options)


def test_too_many_shapes_run_as_they_are_and_say_so_once(fake_cuda):
    step = pl.cuda.capture(lambda x: x * 2, warmup=1, max_graphs=2)
    for size in (1, 2):
        step(pl.ones(size))
    with pytest.warns(UserWarning, match="more than 2 sets of shapes"):
        assert step(pl.ones(3)).tolist() == [2.0] * 3
    assert step(pl.ones(4)).tolist() == [2.0] * 4


def test_a_captured_function_within_a_captured_step_is_a_part_of_it(fake_cuda):
    inner = pl.cuda.capture(lambda x: x * 2, warmup=1)
    outer = pl.cuda.capture(lambda x: inner(x) + 1, warmup=1)
    for k in range(4):
        assert outer(pl.full((1,), float(k))).item() == 2 * k + 1


def test_casts_that_a_region_around_the_step_keeps_are_made_anew(fake_cuda):
    w = nn.Parameter(pl.ones(2, 2, device="cuda"))
    step = pl.cuda.capture(lambda x: F.linear(x, w), warmup=1)
    with pl.autocast("cuda", dtype=pl.bfloat16):
        for k in range(4):
            with pl.no_grad():
                w.fill_(float(k))
            assert step(pl.ones(1, 2)).float().tolist() == [[2.0 * k] * 2]


def test_a_region_of_autocast_has_graphs_of_its_own(fake_cuda):
    x = pl.randn(4, 4).to("cuda")
    step = pl.cuda.capture(lambda x: x @ x, warmup=1)
    for _ in range(3):
        kinds = [step(x).dtype]
        for dtype in (pl.float16,):
            with pl.autocast("cuda", dtype=dtype):
                kinds.append(step(x).dtype)
        assert kinds == [pl.float32, pl.float16]
    assert step.graph_count == 2


def test_compile_is_capture_where_there_is_a_device(fake_cuda, monkeypatch):
    step = pl.compile(lambda x: x + 1, mode="graph")
    assert isinstance(step, pl.cuda.CapturedStep)
    assert isinstance(pl.compile(mode="reduce-overhead")(lambda x: x), pl.cuda.CapturedStep)
    with pytest.raises(ArgumentError, match='the one mode is "graph"'):
        pl.compile(lambda x: x)


def test_compile_without_a_device_says_that_it_does_nothing():
    if pl.cuda.is_available():
        pytest.skip("there is a device")
    with pytest.warns(UserWarning, match="runs as it is, since graphs need a CUDA device"):
        step = pl.compile(lambda x: x + 1, mode="graph")
    assert step(pl.ones(1)).item() == 2
    with pytest.raises(DeviceError, match="cuda"):
        pl.cuda.capture(lambda x: x)(pl.ones(1))


def test_memory_of_a_graph_comes_from_its_own_pool(fake_cuda):
    default = fake_cuda.get_default_memory_pool()
    step = pl.cuda.capture(lambda x: (x * 2 + 1).sum(), warmup=1)
    x = pl.ones(1000, device="cuda")
    step(x)
    used = default.used_bytes()
    for _ in range(3):
        step(x)
    assert default.used_bytes() == used
    assert OutOfMemoryError is fake_cuda.cuda.memory.OutOfMemoryError
