"""The two processes of a run on several: each writes its part of a checkpoint, the second one late."""

import os
import signal
import time
from types import SimpleNamespace

from accelerate import PartialState

from preflight.training.plugin.checkpoints import Mirror


def run(outputs, port):
    """Both, as forks of this process, which has imported what they need; whether each came to its end."""
    children = []
    for rank in range(2):
        if (child := os.fork()) == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            try:
                save(outputs)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    return [os.waitpid(child, 0)[1] == 0 for child in children]


def save(outputs):
    signal.alarm(300)  # the other may have died
    PartialState._reset_state()  # another test's
    here = PartialState(cpu=True)
    assert here.num_processes == 2
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
