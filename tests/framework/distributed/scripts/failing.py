# SPDX-License-Identifier: Apache-2.0
"""Rank 1 ends in the way that the command line asks for while rank 0 waits for it."""

import os
import signal
import sys
import time

from penlight import distributed as dist

how = sys.argv[1]
if how == "before":  # not even in the group yet
    if os.environ["PMI_RANK"] == "1":
        sys.exit("no data here")
    time.sleep(600)
dist.init_process_group("mpi")
dist.barrier()
if how == "arguments":
    print(f"rank {dist.get_rank()} of {dist.get_world_size()}: {sys.argv[1:]} {__name__} {os.environ['OMP_NUM_THREADS']}")
    sys.exit()
if how == "lines":
    for number in range(2000):
        print("rank", dist.get_rank(), "line", number, "x" * (number % 60), "end")
    sys.exit()
if dist.get_rank() == 1:
    print("dying", file=sys.stderr, flush=True)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "vanished":
        os._exit(0)
    if how == "exit":
        sys.exit(7)
    raise ValueError("the disk of rank 1\nis gone")
dist.barrier()
time.sleep(600)
