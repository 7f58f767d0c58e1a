# SPDX-License-Identifier: Apache-2.0
"""Training: the loop and its checkpoints."""

from penlight.train.checkpoint import Checkpoint as Checkpoint
from penlight.train.checkpoint import has_checkpoint as has_checkpoint
from penlight.train.checkpoint import load_checkpoint as load_checkpoint
from penlight.train.checkpoint import save_checkpoint as save_checkpoint
from penlight.train.loop import Record as Record
from penlight.train.loop import Trainer as Trainer
from penlight.train.loop import classify as classify
from penlight.train.loop import evaluate as evaluate
