# SPDX-License-Identifier: Apache-2.0
"""How many threads the arithmetic of training may use."""

from __future__ import annotations

import os

BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def set_threads(count: int = 0) -> None:
    """Sets the threads of NumPy's BLAS and of the compiled kernels; call it before NumPy is loaded, which reads this once.

    With 0, BLAS gets one: its threads spin while they wait, and for the sizes of the recipes that costs more than it gains
    (ten times more on a busy machine). The compiled kernels' threads sleep, and may use every processor.
    """
    if count:
        os.environ.update({name: str(count) for name in (*BLAS, "OMP_NUM_THREADS")})
    for name in BLAS:
        os.environ.setdefault(name, "1")
