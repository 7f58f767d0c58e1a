# SPDX-License-Identifier: Apache-2.0
"""Recipes: worked examples that `penlight train` runs. One file each, to be read and copied."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from penlight_cli.errors import UsageProblem
from penlight_cli.output import did_you_mean

if TYPE_CHECKING:
    from penlight_cli.recipes.recipe import Recipe

# Each module holds an object `recipe`.
MODULES = {"digits-cnn": "digits_cnn", "mnist-cnn": "mnist_cnn", "char-gpt": "char_gpt"}


def check_recipe_name(name: str) -> None:
    """Raises UsageProblem, with the nearest name, if there is no such recipe."""
    if name not in MODULES:
        raise UsageProblem(f"no recipe is called {name!r}{did_you_mean(name, MODULES)}; there are {', '.join(MODULES)}")


def load_recipe(name: str) -> Recipe:
    """Imports a recipe by its name.

    Raises:
        UsageProblem: there is none of that name.
    """
    check_recipe_name(name)
    return importlib.import_module(f"penlight_cli.recipes.{MODULES[name]}").recipe
