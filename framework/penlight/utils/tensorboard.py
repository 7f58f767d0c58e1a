# SPDX-License-Identifier: Apache-2.0
"""PyTorch's place of the writer of TensorBoard logs."""

from penlight.train.tensorboard import SummaryWriter as SummaryWriter
