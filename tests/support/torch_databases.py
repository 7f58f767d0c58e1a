# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own test tables (ModuleInfo, OptimizerInfo, OpInfo) as oracles; importing skips the tests where torch is absent."""

import sys
import types
import unittest
import warnings

import pytest

pytest.importorskip("torch")

if "expecttest" not in sys.modules:
    try:
        import expecttest  # noqa: F401  is it there?
    except ImportError:  # torch's test helpers want its base class and nothing more
        _stand_in = types.ModuleType("expecttest")
        _stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]  # of a module made here
        sys.modules["expecttest"] = _stand_in

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db as module_db
    from torch.testing._internal.common_optimizers import optim_db as optim_db
