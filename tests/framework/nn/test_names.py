# SPDX-License-Identifier: Apache-2.0
"""Every public name of torch.nn, its functions, optimizers and data tools is here, or is in the table of what is left out."""

import inspect
import types

import pytest

import penlight as pl
import penlight.optim.lr_scheduler

torch = pytest.importorskip("torch")

NOT_PUBLIC = "an import or a constant of PyTorch's module, not documented"
DEPRECATED = "deprecated in PyTorch; the newer name is here"
QUANTIZED = "quantization has an issue of its own"
BASES = "a base class of PyTorch's own layers"
LAZY = "lazy layers here make their parameters at the first call"
PIPES = "DataPipes are deprecated in PyTorch"
HALF_FORMATS = "products of float8 and grouped matrices are for GPUs"

LEFT_OUT: dict[str, dict[str, str]] = {
    "nn.functional": {
        **dict.fromkeys(("assert_int_or_pair", "boolean_dispatch", "native_channel_shuffle"), NOT_PUBLIC),
        **dict.fromkeys(("handle_torch_function", "has_torch_function"), NOT_PUBLIC),
        **dict.fromkeys(("has_torch_function_unary", "has_torch_function_variadic"), NOT_PUBLIC),
        **dict.fromkeys(("grouped_mm", "scaled_grouped_mm", "scaled_mm", "ScalingType", "SwizzleType"), HALF_FORMATS),
    },
    "nn": {
        **dict.fromkeys(("RNNBase", "RNNCellBase"), BASES),
        **dict.fromkeys(("UninitializedBuffer", "UninitializedParameter"), LAZY),
        **dict.fromkeys(("Container", "NLLLoss2d"), DEPRECATED),
        "DataParallel": "several devices in one process; DistributedDataParallel does it with one process each",
        "LinearCrossEntropyOptions": "names an implementation of PyTorch's fused loss; F.linear_cross_entropy needs no choice",
        "factory_kwargs": NOT_PUBLIC,
    },
    "nn.init": dict.fromkeys(
        ("constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform", "normal", "orthogonal", "sparse", "uniform",
         "xavier_normal", "xavier_uniform"), DEPRECATED,
    ),
    "nn.utils": {
        **dict.fromkeys(("clip_grad_norm", "remove_spectral_norm", "remove_weight_norm"), DEPRECATED),
        **dict.fromkeys(("spectral_norm", "weight_norm"), DEPRECATED),
        **dict.fromkeys(
            ("convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"), "module.to(memory_format=...) does it"
        ),
        "skip_init": "for models that do not fit into memory twice; building is fast here",
    },
    "nn.utils.rnn": {"PackedSequence_": NOT_PUBLIC, "bind": NOT_PUBLIC, "copy_method_params": NOT_PUBLIC},
    "nn.utils.parametrize": {
        **dict.fromkeys(("OpaqueBase", "get_swap_module_params_on_conversion", "is_opaque_reference_type"), NOT_PUBLIC),
        **dict.fromkeys(("is_traceable_wrapper_subclass", "type_before_parametrizations"), NOT_PUBLIC),
        "transfer_parametrizations_and_params": "for PyTorch's quantization",
    },
    "nn.utils.parametrizations": {},
    "nn.Module": {
        **dict.fromkeys(("ipu", "mtia", "xpu"), "a device that Penlight does not have"),
        **dict.fromkeys(("T_destination", "call_super_init", "dump_patches"), NOT_PUBLIC),
        "compile": "there is no compiler; models are exported",
        "register_backward_hook": DEPRECATED,
        "register_full_backward_pre_hook": "register a hook on the output in a forward hook",
        "share_memory": "data workers get copies; training in several processes has DistributedDataParallel",
    },
    "optim": {
        "SparseAdam": "there are no sparse tensors",
        "swap_in_optimizer_params_and_state": "for PyTorch's functional_call of a compiled step",
    },
    "optim.Optimizer": {
        **dict.fromkeys(("OptimizerPostHook", "OptimizerPreHook", "profile_hook_step"), NOT_PUBLIC),
        **dict.fromkeys(
            ("register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_state_dict_post_hook",
             "register_state_dict_pre_hook", "register_step_post_hook", "register_step_pre_hook"),
            "an optimizer's step is one native call that nothing hooks into; wrap step() or use a Trainer's callbacks",
        ),
    },
    "optim.lr_scheduler": {"EPOCH_DEPRECATION_WARNING": NOT_PUBLIC},
    "utils.data": {
        **dict.fromkeys(("DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe", "functional_datapipe"), PIPES),
        **dict.fromkeys(("argument_validation", "guaranteed_datapipes_determinism", "non_deterministic"), PIPES),
        **dict.fromkeys(("runtime_validation", "runtime_validation_disabled"), PIPES),
        "DistributedSampler": "it is penlight.distributed.DistributedSampler",
    },
}  # fmt: skip

OURS = {"utils.data": pl.data}


def find(root, path: str):
    for part in path.split("."):
        root = getattr(root, part)
    return root


def is_public(path: str, name: str, value: object) -> bool:
    if name.startswith("_") or isinstance(value, types.ModuleType) or value is torch.Tensor:
        return False
    if isinstance(value, (str, bool, float, dict)) and not path.endswith("Module"):
        return False  # notes for the documentation, TYPE_CHECKING, inf
    home = getattr(value, "__module__", None) or ""
    return isinstance(value, types.BuiltinFunctionType) or inspect.isclass(value) is False or home.startswith("torch")


# What other modules lend: typing.Callable, functools.partial, warnings ...
LENT = {"Callable", "Iterable", "Enum", "auto", "contextmanager", "deepcopy", "partial", "wraps", "ref", "inf"}
LENT |= {"Any", "Literal", "Optional", "Self", "TypedDict", "Union", "cast", "override"}
LENT |= {f"BroadcastingList{n}" for n in (1, 2, 3)} | {"GRID_SAMPLE_INTERPOLATION_MODES", "GRID_SAMPLE_PADDING_MODES"}


@pytest.mark.parametrize("path", LEFT_OUT)
def test_names_are_there_or_left_out_with_a_reason(path):
    theirs = find(torch, path)
    ours = OURS.get(path) or find(pl, path)
    names = {name for name in dir(theirs) if is_public(path, name, getattr(theirs, name))} - LENT
    missing = {name for name in names if not hasattr(ours, name)}
    assert missing == set(LEFT_OUT[path]) & names
    assert not [name for name in LEFT_OUT[path] if hasattr(ours, name)], "it is there now: take it off the table"
    assert all(len(reason) > 10 for reason in LEFT_OUT[path].values())
