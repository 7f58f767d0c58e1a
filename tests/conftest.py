# SPDX-License-Identifier: Apache-2.0
"""What every test shares: one thread per numeric library, so that runs repeat and parallel jobs do not fight."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is imported
