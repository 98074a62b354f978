"""Training that has come to nothing is stopped: weights that are no numbers never become numbers again."""

import math
from typing import Any

from transformers import TrainerCallback

PATIENCE = 2  # logged losses in a row. One alone may be a step that overflowed in fp16, which the optimizer leaves out


class Divergence(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Stops a run whose loss is no number any more, and saves nothing of it. Axolotl's `loss_watchdog_threshold` lets it pass: NaN is
    above nothing."""

    def __init__(self) -> None:
        self.lost = 0
        self.last_word = ""  # of the process that speaks for all

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any) -> None:
        """The trainer has put the mean loss since the last log into `logs`; a save of this step, if there is one, comes after."""
        if not logs or "loss" not in logs:
            return
        self.lost = 0 if math.isfinite(float(logs["loss"])) else self.lost + 1
        if not self.lost:
            return
        control.should_save = False
        control.should_training_stop = self.lost >= PATIENCE
        if control.should_training_stop and state.is_world_process_zero:
            self.last_word = (
                f"stopped at step {state.global_step} of {state.max_steps}: the loss is {logs['loss']}, and no further step would mend that. "
                "The adapter that was just saved is worth nothing; checkpoints are from before. A smaller learning_rate is the usual cure: "
                "preflight with --set learning_rate=..."
            )
