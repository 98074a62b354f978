"""One process of a run on several: `torchrun --nproc_per_node=2 tests/support/two_ranks.py OUTPUTS`. Each writes its part of a checkpoint, the last one late."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

from accelerate import PartialState

from preflight.training.plugin.checkpoints import Mirror

if __name__ == "__main__":
    outputs = Path(sys.argv[1])
    here = PartialState(cpu=True)
    state = SimpleNamespace(is_world_process_zero=here.is_main_process, global_step=10, max_steps=20, best_global_step=None)
    callback = Mirror(outputs, {})
    callback.on_train_begin(None, state, None)
    part = outputs / "checkpoint-10/global_step10" / f"rank_{here.process_index}.pt"
    part.parent.mkdir(parents=True, exist_ok=True)
    time.sleep(2 * here.process_index)
    part.write_text("optimizer")
    callback.on_save(None, state, None)
    callback.finish()
    here.destroy_process_group()
