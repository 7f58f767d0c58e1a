# SPDX-License-Identifier: Apache-2.0
"""The part of nvidia-cudnn-frontend's Python interface that we use, computed by the reference operators on the CPU."""

import ctypes
import enum
import types

import ml_dtypes
import numpy as np

from penlight.ops.conv import Conv2d, Conv2dInputGrad, Conv2dWeightGrad
from penlight.ops.flash_attention import FlashAttention

data_type = enum.Enum("data_type", "FLOAT HALF BFLOAT16")
heur_mode = enum.Enum("heur_mode", "A B FALLBACK")
numerical_note = enum.Enum("numerical_note", "NONDETERMINISTIC TENSOR_CORE")
diagonal_alignment = enum.Enum("diagonal_alignment", "TOP_LEFT BOTTOM_RIGHT")
NUMPY = {data_type.FLOAT: np.float32, data_type.HALF: np.float16, data_type.BFLOAT16: ml_dtypes.bfloat16}


class cudnnGraphNotSupportedError(Exception):
    """As the frontend's."""


class Log:
    """What was called, for tests to look at."""

    built, executed, streams, refused = [], [], [], set()


def reset():
    for entries in (Log.built, Log.executed, Log.streams, Log.refused):
        entries.clear()


class Tensor:
    def __init__(self, dim=None, stride=None, kind=None):
        self.dim, self.stride, self.kind, self.uid, self.is_output = dim, stride, kind, None, False

    def set_uid(self, uid):
        self.uid = uid
        return self

    def set_output(self, is_output):
        self.is_output = is_output
        return self

    def set_dim(self, dim):
        assert all(type(d) is int for d in dim)
        self.dim = dim
        return self

    def set_stride(self, stride):
        assert all(type(s) is int for s in stride)
        self.stride = stride
        return self

    def set_data_type(self, kind):
        self.kind = kind
        return self

    def array(self, pointers):
        kind = np.dtype(NUMPY[self.kind])
        extent = sum((d - 1) * s for d, s in zip(self.dim, self.stride, strict=True)) + 1
        memory = (ctypes.c_char * (extent * kind.itemsize)).from_address(pointers[self.uid])
        flat = np.frombuffer(memory, np.uint8).view(kind)
        return np.lib.stride_tricks.as_strided(flat, self.dim, [s * kind.itemsize for s in self.stride])


class pygraph:
    def __init__(self, *, intermediate_data_type, compute_data_type, handle):
        assert intermediate_data_type is compute_data_type is data_type.FLOAT and handle == 1
        self.steps = []

    def tensor(self, *, dim, stride, data_type):
        return Tensor(dim, stride, data_type)

    def _add(self, name, compute, inputs, outputs=1):
        if name in Log.refused:
            raise cudnnGraphNotSupportedError(name)
        made = [Tensor() for _ in range(outputs)]
        self.steps.append((name, compute, inputs, made))
        return made

    def conv_fprop(self, *, image, weight, padding, stride, dilation):
        groups = image.dim[1] // weight.dim[1]
        operator = Conv2d(tuple(stride), tuple(padding), tuple(dilation), groups)
        return self._add("conv_fprop", lambda x, w: (operator.forward(np, x, w, None),), [image, weight])[0]

    def conv_dgrad(self, *, loss, filter, padding, stride, dilation):
        def compute(grad, weight):
            size = tuple(made[0].dim[2:])
            groups = made[0].dim[1] // filter.dim[1]
            return (Conv2dInputGrad(tuple(stride), tuple(padding), tuple(dilation), groups, size).forward(np, grad, weight),)

        made = self._add("conv_dgrad", compute, [loss, filter])
        return made[0]

    def conv_wgrad(self, *, image, loss, padding, stride, dilation):
        def compute(x, grad):
            groups, kernel = x.shape[1] // made[0].dim[1], tuple(made[0].dim[2:])
            return (Conv2dWeightGrad(tuple(stride), tuple(padding), tuple(dilation), groups, kernel).forward(np, x, grad),)

        made = self._add("conv_wgrad", compute, [image, loss])
        return made[0]

    def sdpa(self, *, q, k, v, generate_stats, attn_scale, diagonal_alignment=None, diagonal_band_right_bound=None):
        assert generate_stats
        operator = FlashAttention(attn_scale, diagonal_band_right_bound == 0)

        def compute(q, k, v):
            k, v = (np.repeat(a, q.shape[1] // a.shape[1], axis=1) for a in (k, v))
            output, sums = operator.forward(np, q, k, v, None)
            return output, sums[..., None]

        return self._add("sdpa", compute, [q, k, v], 2)

    def sdpa_backward(
        self,
        *,
        q,
        k,
        v,
        o,
        dO,
        stats,
        attn_scale,
        use_deterministic_algorithm,
        diagonal_alignment=None,
        diagonal_band_right_bound=None,
    ):
        assert use_deterministic_algorithm
        operator = FlashAttention(attn_scale, diagonal_band_right_bound == 0)

        def compute(q, k, v, o, g, stats):
            shape = k.shape
            k, v = (np.repeat(a, q.shape[1] // a.shape[1], axis=1) for a in (k, v))
            gq, gk, gv, _ = operator.backward(np, (True, True, True, False), (g, None), (o, stats[..., 0]), q, k, v, None)
            return gq, *(a.reshape(shape[0], shape[1], -1, *shape[2:]).sum(2) for a in (gk, gv))

        return self._add("sdpa_backward", compute, [q, k, v, o, dO, stats], 3)

    def validate(self):
        for _, _, inputs, outputs in self.steps:
            assert all(t.uid is not None for t in (*inputs, *outputs)) and all(t.is_output for t in outputs)

    def build_operation_graph(self):
        pass

    def create_execution_plans(self, modes):
        assert modes == [heur_mode.A, heur_mode.FALLBACK]

    def deselect_numeric_notes(self, notes):
        assert notes == [numerical_note.NONDETERMINISTIC]

    def check_support(self):
        pass

    def build_plans(self):
        Log.built.append([step[0] for step in self.steps])

    def get_workspace_size(self):
        return 3 << 20

    def execute(self, pointers, workspace, handle):
        assert handle == 1 and type(workspace) is int and all(type(p) is int and p % 16 == 0 for p in pointers.values())
        for name, compute, inputs, outputs in self.steps:
            Log.executed.append(name)
            results = compute(*(t.array(pointers).astype(np.float32) for t in inputs))
            for tensor, result in zip(outputs, results, strict=True):
                target = tensor.array(pointers)
                target[...] = result.astype(target.dtype)


def module():
    """The stand-in for the module `cudnn`."""
    reset()
    found = types.ModuleType("cudnn")
    for name in ("data_type", "heur_mode", "numerical_note", "diagonal_alignment", "cudnnGraphNotSupportedError", "pygraph"):
        setattr(found, name, globals()[name])
    found.create_handle = lambda: 1
    found.set_stream = lambda handle, stream: Log.streams.append(stream)
    return found
