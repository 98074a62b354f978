"""Training that has come to nothing is stopped: weights that are no numbers never become numbers again."""

import math
from typing import Any

from transformers import TrainerCallback

PATIENCE = 2  # logged losses in a row. One alone may be a step that overflowed in fp16, which the optimizer leaves out


class Divergence(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Stops a run whose loss is no number any more, and saves nothing of it. Axolotl's `loss_watchdog_threshold` lets it pass: NaN is
    above nothing."""

    def __init__(self) -> None:
        self.lost = 0  # logged losses in a row that are no numbers
        self.last_word = ""  # what came of the run, where it came to nothing

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any) -> None:
        """The trainer has put the mean loss since the last log into `logs`; a save of this step, if there is one, comes after."""
        if not logs or "loss" not in logs:
            return
        if math.isfinite(float(logs["loss"])):
            self.lost, self.last_word = 0, ""
            return
        self.lost += 1
        control.should_save = False
        control.should_training_stop = control.should_training_stop or self.lost >= PATIENCE
        self.last_word = (
            f"ended at step {state.global_step} of {state.max_steps}: the loss is {logs['loss']}, and no further step would fix that. "
            "Checkpoints are from before; the adapter that was just saved is no result. A smaller learning_rate is the usual cure: preflight with --set learning_rate=..."
        )
