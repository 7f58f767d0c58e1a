# SPDX-License-Identifier: Apache-2.0
"""Trains the models of the training benchmark for a few steps and prints the SHA-256 of their weights: a process of its own.

python same_bits_models.py MODEL...
"""

import hashlib
import sys
from pathlib import Path

import penlight as pl
import penlight.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))


def main() -> None:
    import train_models

    for name in sys.argv[1:]:
        pl.manual_seed(0)
        model, (x, y) = train_models.build(pl, name), train_models.batch(pl, name)
        optimizer = pl.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            logits = model(x)
            F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1)).backward()
            optimizer.step()
        digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.state_dict().values()))
        print(name, digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main()
