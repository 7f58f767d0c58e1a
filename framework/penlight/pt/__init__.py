# SPDX-License-Identifier: Apache-2.0
"""`.pt` files of PyTorch, read and written without it: `archive` (zip), `unpickle`, `storage`, `pickling`, `save`."""

from penlight.pt.read import load_pt as load_pt
from penlight.pt.write import save_pt as save_pt
