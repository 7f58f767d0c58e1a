# SPDX-License-Identifier: Apache-2.0
"""Numbers and types that PyTorch has at the top of its namespace."""

from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi

newaxis = None  # as an index it adds a dimension
Size = tuple  # shapes are plain tuples
