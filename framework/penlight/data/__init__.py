# SPDX-License-Identifier: Apache-2.0
"""Data: readers, data sets and the loader that feeds training."""

from penlight.data.arrays import check_finite as check_finite
from penlight.data.arrays import read_csv as read_csv
from penlight.data.arrays import read_idx as read_idx
from penlight.data.arrays import read_npz as read_npz
from penlight.data.arrays import read_text as read_text
from penlight.data.collate import default_collate as default_collate
from penlight.data.collate import default_convert as default_convert
from penlight.data.dataset import ChainDataset as ChainDataset
from penlight.data.dataset import ConcatDataset as ConcatDataset
from penlight.data.dataset import Dataset as Dataset
from penlight.data.dataset import IterableDataset as IterableDataset
from penlight.data.dataset import StackDataset as StackDataset
from penlight.data.dataset import Subset as Subset
from penlight.data.dataset import TensorDataset as TensorDataset
from penlight.data.dataset import random_split as random_split
from penlight.data.digits import Digits as Digits
from penlight.data.digits import load_digits as load_digits
from penlight.data.fetch import WorkerInfo as WorkerInfo
from penlight.data.fetch import get_worker_info as get_worker_info
from penlight.data.fetch import item_generator as item_generator
from penlight.data.images import ImageFolder as ImageFolder
from penlight.data.images import read_image as read_image
from penlight.data.loader import DataLoader as DataLoader
from penlight.data.sampler import BatchSampler as BatchSampler
from penlight.data.sampler import RandomSampler as RandomSampler
from penlight.data.sampler import Sampler as Sampler
from penlight.data.sampler import SequentialSampler as SequentialSampler
from penlight.data.sampler import SubsetRandomSampler as SubsetRandomSampler
from penlight.data.sampler import WeightedRandomSampler as WeightedRandomSampler
