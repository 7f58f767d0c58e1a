# SPDX-License-Identifier: Apache-2.0
"""char-gpt: a small GPT that learns a text character by character, and then writes on the edge runtime."""

from pathlib import Path
from typing import Any

import numpy as np

import penlight as pl
from penlight import nn
from penlight.data import Dataset, item_generator, read_text
from penlight.errors import DataError
from penlight.models import CharGPT
from penlight_cli.errors import CheckFailed, UsageProblem
from penlight_cli.recipes.recipe import Config, Data, Settings

CONTEXT = 64  # characters that the model sees at once


class Windows(Dataset):
    """Pieces of a text with, as target, the same piece one character later; training shifts them at random."""

    def __init__(self, ids: np.ndarray, shift: bool) -> None:
        self.ids, self.shift = ids, shift

    def __len__(self) -> int:
        return (len(self.ids) - 1) // CONTEXT - self.shift

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * CONTEXT + (int(item_generator().integers(CONTEXT)) if self.shift else 0)
        return self.ids[start : start + CONTEXT], self.ids[start + 1 : start + CONTEXT + 1]


class CharGPTRecipe:
    """Any plain text; the last tenth is held out."""

    name = "char-gpt"
    description = "a character-level GPT on a text file of yours"
    needs_data = "a plain text file of 10,000 characters or more"
    settings = Settings(epochs=1, batch_size=16, lr=3e-3, weight_decay=0.1, warmup=0.1)
    input_names = ("ids",)
    output_names = ("logits",)
    dynamic = {"ids": {0: "batch", 1: "time"}}

    def load(self, path: Path | None) -> Data:
        if path is None:
            raise UsageProblem(f"char-gpt needs --data: {self.needs_data}")
        text = read_text(path)
        if len(text) < 10_000:
            raise DataError(f"data {path}: expected {self.needs_data}; came {len(text):,} characters")
        alphabet, ids = np.unique(np.array(list(text)), return_inverse=True)
        ids, cut = ids.astype(np.int64), len(text) * 9 // 10
        return Data(Windows(ids[:cut], True), Windows(ids[cut:], False), {"alphabet": "".join(alphabet)})

    def build_model(self, config: Config) -> nn.Module:
        return CharGPT(len(config["alphabet"]), context=CONTEXT, size=128, layers=4, heads=4)

    def example_inputs(self, config: Config) -> dict[str, pl.Tensor]:
        return {"ids": pl.tensor(np.arange(2 * 16).reshape(2, 16) % len(config["alphabet"]))}

    def after_training(self, engines: dict[str, Any], config: Config, seed: int) -> str:
        """The same seed must give the same text on the edge runtime as in eager mode."""
        texts = {name: generate(engine, config["alphabet"], seed=seed) for name, engine in engines.items()}
        if len(set(texts.values())) != 1:
            raise CheckFailed(f"char-gpt: the engines {', '.join(texts)} wrote different texts with seed {seed}", {"texts": texts})
        return texts["edge"]


def generate(engine: Any, alphabet: str, *, prompt: str = "\n", length: int = 300, seed: int = 0, temperature: float = 0.8) -> str:
    """Writes `length` characters after `prompt` with an engine's `run`; a temperature of 0 always takes the likeliest."""
    generator = np.random.default_rng(seed)
    ids = [max(alphabet.find(character), 0) for character in prompt]
    for _ in range(length):
        window = np.array([ids[-CONTEXT:]], np.int64)
        logits = engine.run({"ids": window})["logits"][0, -1].astype(np.float64)
        weights = np.exp((logits - logits.max()) / max(temperature, 1e-6))
        # The inverse of the cumulative distribution takes one draw per character, whatever the engine.
        drawn = int(np.searchsorted(np.cumsum(weights), generator.random() * weights.sum(), side="right"))
        ids.append(min(drawn, len(alphabet) - 1))
    return prompt + "".join(alphabet[i] for i in ids[len(prompt) :])


recipe = CharGPTRecipe()
