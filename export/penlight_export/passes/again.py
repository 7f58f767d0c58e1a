# SPDX-License-Identifier: Apache-2.0
"""A pass that has more to do behind another one."""

from __future__ import annotations

from penlight_export.graph import Model
from penlight_export.passes.base import Pass


class Again(Pass):
    """A pass once more, where another one has put an operator."""

    def __init__(self, inner: Pass, operator: str) -> None:
        self.inner, self.name, self.operators = inner, inner.name, frozenset({operator})

    def requires(self, model: Model) -> None:
        """What the inner pass needs."""
        self.inner.requires(model)

    def run(self, model: Model) -> int:
        """Returns the inner pass's changes."""
        return self.inner.run(model)

    def ensures(self, model: Model) -> None:
        """What the inner pass promises."""
        self.inner.ensures(model)
