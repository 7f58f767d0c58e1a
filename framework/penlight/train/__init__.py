# SPDX-License-Identifier: Apache-2.0
"""Training: the loop, its callbacks and logs, and checkpoints."""

from penlight.train.callbacks import BestCheckpoint as BestCheckpoint
from penlight.train.callbacks import Callback as Callback
from penlight.train.callbacks import EarlyStopping as EarlyStopping
from penlight.train.checkpoint import Checkpoint as Checkpoint
from penlight.train.checkpoint import has_checkpoint as has_checkpoint
from penlight.train.checkpoint import load_checkpoint as load_checkpoint
from penlight.train.checkpoint import save_checkpoint as save_checkpoint
from penlight.train.evaluation import classify as classify
from penlight.train.evaluation import evaluate as evaluate
from penlight.train.logs import CsvLog as CsvLog
from penlight.train.logs import JsonlLog as JsonlLog
from penlight.train.logs import TensorBoardLog as TensorBoardLog
from penlight.train.loop import Record as Record
from penlight.train.loop import Trainer as Trainer
from penlight.train.progress import ProgressBar as ProgressBar
from penlight.train.tensorboard import SummaryWriter as SummaryWriter
