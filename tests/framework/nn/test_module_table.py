# SPDX-License-Identifier: Apache-2.0
"""Every layer of PyTorch's ModuleInfo table: the same constructor arguments, weights and inputs give the same results.

Compared in float64, in training and in evaluation mode: names of the state_dict, outputs, gradients of the inputs and of
the parameters. `MISSES` holds what is not there, with the reason; a miss that starts to pass fails the test.
"""

import warnings

import numpy as np
import pytest
from torch_modules import INFOS, flat, translate

import penlight as pl

torch = pytest.importorskip("torch")
from torch.utils import _pytree  # noqa: E402  importable only where torch is

MISSES: dict[str, str] = {}
MINIMUM = 105
# Both sides sum in float64, in different orders; what passes through exp, pow and long products loses a few more digits.
TOLERANCE = {"rtol": 1e-7, "atol": 1e-9}


def compare(label, theirs, ours):
    assert (theirs is None) == (ours is None), label
    if theirs is not None:
        assert tuple(theirs.shape) == tuple(ours.shape), label
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), err_msg=label, equal_nan=True, **TOLERANCE)


def arguments(call):
    """(args, kwargs), and the tensors in them that require a gradient, each once."""
    leaves = [x for x in _pytree.tree_leaves((call.args, call.kwargs)) if isinstance(x, torch.Tensor) and x.requires_grad]
    return call.args, call.kwargs, list({id(leaf): leaf for leaf in leaves}.values())


def gradients(grad, outputs, inputs, seeds):
    wanted = [(output, seed) for output, seed in zip(outputs, seeds, strict=True) if output.requires_grad]
    if not wanted or not inputs:
        return []
    return grad([output for output, _ in wanted], inputs, [seed for _, seed in wanted], allow_unused=True)


def check(name, module_input, training):
    built, called = module_input.constructor_input, module_input.forward_input
    theirs = INFOS[name].module_cls(*built.args, **built.kwargs).to(torch.float64).train(training)
    args, kwargs = _pytree.tree_map(translate, (built.args, built.kwargs))
    ours = getattr(pl.nn, name)(*args, **kwargs).to(pl.float64).train(training)
    if called is None:
        return
    their_args, their_kwargs, their_inputs = arguments(called)
    twins = {id(leaf): translate(leaf) for leaf in their_inputs}  # a tensor that is passed twice stays one tensor
    our_args, our_kwargs = _pytree.tree_map(lambda x: twins[id(x)] if id(x) in twins else translate(x), (their_args, their_kwargs))
    our_inputs = [twins[id(leaf)] for leaf in their_inputs]
    if name.startswith("Lazy"):  # the first call makes the parameters
        theirs(*their_args, **their_kwargs), ours(*our_args, **our_kwargs)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    torch.manual_seed(0)
    expected = flat(theirs(*their_args, **their_kwargs), torch.Tensor)
    actual = flat(ours(*our_args, **our_kwargs), pl.Tensor)
    assert len(expected) == len(actual)
    for position, (a, b) in enumerate(zip(expected, actual, strict=True)):
        compare(f"output {position}", a, b)
    for key, value in theirs.state_dict().items():
        compare(f"state {key}", value, ours.state_dict()[key])
    seeds = [torch.randn_like(a) if a.is_floating_point() else None for a in expected]
    their_leaves = [*their_inputs, *theirs.parameters()]
    their_grads = gradients(torch.autograd.grad, expected, their_leaves, seeds)
    our_seeds = [seed if seed is None else translate(seed) for seed in seeds]
    our_grads = gradients(pl.autograd.grad, actual, [*our_inputs, *ours.parameters()], our_seeds)
    names = [f"input {i}" for i in range(len(their_inputs))] + [key for key, _ in theirs.named_parameters()]
    for key, a, b in zip(names, their_grads, our_grads, strict=len(their_grads) == len(our_grads)):
        compare(f"gradient of {key}", a, b)
    assert len(their_grads) == len(our_grads)


def run(name, limit=None):
    info = INFOS[name]
    for training in (True, False) if info.train_and_eval_differ else (True,):
        torch.manual_seed(1)
        inputs = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
        step = max(1, len(inputs) // limit) if limit else 1
        for number in range(0, len(inputs), step):
            try:
                check(name, inputs[number], training)
            except Exception as error:
                raise AssertionError(f"input {number} ({inputs[number].desc}), training={training}: {error}") from error


def compare_layer(name, limit=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of deprecated arguments and nested tensors
        if name in MISSES:
            with pytest.raises((AssertionError, AttributeError)):
                run(name)
        else:
            run(name, limit)


@pytest.mark.parametrize("name", list(INFOS))
def test_layer_equals_torch(name):
    compare_layer(name, limit=20)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(INFOS))
def test_layer_equals_torch_on_every_input(name):
    compare_layer(name)


def test_enough_layers():
    assert set(MISSES) <= set(INFOS)
    assert len(INFOS) - len(MISSES) >= MINIMUM
