# SPDX-License-Identifier: Apache-2.0
"""Trains with two batches per step in each rank, stops in the middle of a step and goes on; writes the weights."""

import json
import signal
import sys
from pathlib import Path

from accumulate_case import make_trainer

from penlight import distributed
from penlight.errors import Interrupted
from penlight.train import classify

folder = Path(sys.argv[1])
distributed.init_process_group()
calls = 0


def stopping(model, batch):
    global calls
    calls += 1
    if calls == 4 and distributed.get_rank() == 1:
        signal.raise_signal(signal.SIGTERM)
    return classify(model, batch)


whole = make_trainer(None)
whole.fit()
try:
    make_trainer(folder, loss=stopping).fit()
except Interrupted:
    pass
else:
    raise AssertionError("the signal was lost")
resumed = make_trainer(folder)
resumed.fit(resume=True)
assert resumed.model.module.weight.tolist() == whole.model.module.weight.tolist()
(folder / f"weights{distributed.get_rank()}.json").write_text(json.dumps(resumed.model.module.weight.tolist()))
distributed.barrier()
