# SPDX-License-Identifier: Apache-2.0
"""Alpha dropout on a device draws there: nothing is copied from the host, and a step with it can be captured."""

import numpy as np

import penlight as pl
from penlight.backends import cuda
from penlight.nn import functional as F
from penlight.ops.rectifier import SELU_ALPHA, SELU_SCALE


def test_alpha_dropout_draws_on_the_device(fake_cuda):
    asked = []

    def drawn(state, shape, dtype, p):
        asked.append((shape, p, state.device.id))
        rows = (fake_cuda.arange(shape[0]) % 2).astype(dtype).reshape(-1, *(1,) * (len(shape) - 1))
        return fake_cuda.full(shape, 1 / (1 - p), dtype) * rows

    cuda.backend().kernels["dropout_mask"] = drawn
    x = pl.full((4, 3, 2), 2.0, device="cuda:1")
    F.alpha_dropout(x, 0.25, True)  # the generator's state comes from the host once
    copies = len(fake_cuda.machine.copies)
    dropped, whole = F.alpha_dropout(x, 0.25, True), F.feature_alpha_dropout(x, 0.25, True)
    assert len(fake_cuda.machine.copies) == copies
    assert asked == [((4, 3, 2), 0.25, 1)] * 2 + [((4, 3, 1), 0.25, 1)]
    limit = -SELU_ALPHA * SELU_SCALE
    scale = ((1 - 0.25) * (1 + 0.25 * limit**2)) ** -0.5
    values = [scale * (v - 0.25 * limit) for v in (limit, 2.0)]
    for result in (dropped, whole):
        expected = np.broadcast_to(np.array(values * 2)[:, None, None], (4, 3, 2))
        np.testing.assert_allclose(result.cpu().numpy(), expected, rtol=1e-6)


def test_a_captured_step_draws_anew(fake_cuda):
    state = fake_cuda.zeros((), np.float32)

    def drawn(_, shape, dtype, p):
        state[...] = 1 - state
        return fake_cuda.full(shape, 2.0, dtype) * state.astype(dtype)

    cuda.backend().kernels["dropout_mask"] = drawn
    step = pl.cuda.capture(lambda x: F.alpha_dropout(x, 0.5, True), warmup=1)
    seen = [step(pl.ones(2, device="cuda")).tolist() for _ in range(4)]
    assert seen[0] == seen[2] != seen[1] == seen[3]
