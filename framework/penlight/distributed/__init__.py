# SPDX-License-Identifier: Apache-2.0
"""Training in several processes: MPI on CPUs (extra `mpi`), NCCL on GPUs; start them with `penlight launch -n 2 ...`."""

from penlight.distributed.checkpoint import load_checkpoint as load_checkpoint
from penlight.distributed.checkpoint import save_checkpoint as save_checkpoint
from penlight.distributed.collectives import ReduceOp as ReduceOp
from penlight.distributed.collectives import all_gather as all_gather
from penlight.distributed.collectives import all_reduce as all_reduce
from penlight.distributed.collectives import barrier as barrier
from penlight.distributed.collectives import broadcast as broadcast
from penlight.distributed.collectives import largest_over_ranks as largest_over_ranks
from penlight.distributed.collectives import reduce_scatter as reduce_scatter
from penlight.distributed.data_parallel import DistributedDataParallel as DistributedDataParallel
from penlight.distributed.data_parallel import unwrapped as unwrapped
from penlight.distributed.group import destroy_process_group as destroy_process_group
from penlight.distributed.group import get_rank as get_rank
from penlight.distributed.group import get_world_size as get_world_size
from penlight.distributed.group import init_process_group as init_process_group
from penlight.distributed.group import is_available as is_available
from penlight.distributed.group import is_initialized as is_initialized
from penlight.distributed.group import is_launched as is_launched
from penlight.distributed.sampler import DistributedSampler as DistributedSampler
from penlight.distributed.sync_batch_norm import SyncBatchNorm as SyncBatchNorm
