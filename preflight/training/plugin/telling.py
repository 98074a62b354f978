"""What a person is told while training runs: where it stands, and what happened."""

import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from preflight.checkpoints.mirror import read_settings
from preflight.checkpoints.progress import Moment, Said, begin, tell

EVERY = 1  # seconds from one moment that is told to the next
RECENT = 20  # steps that the pace is of


class Teller(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Tells whoever shows the run. On the first process alone; a run that preflight did not set up is told to nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tells = int(os.environ.get("RANK", "0")) == 0 and read_settings(folder) is not None
        self.moment = Moment()
        self.first = 0  # the step that this session began at
        self.begun = self.told = 0.0
        self.ends: deque[float] = deque(maxlen=RECENT)
        self.batches = 0
        if self.tells:
            begin(folder)
            logging.getLogger("preflight").addHandler(_Told(folder))

    def phase(self, phase: str) -> None:
        """What is done from now on."""
        self._tell(replace(self.moment, phase=phase), now=True)

    def say(self, text: str) -> None:
        """Something happened."""
        if self.tells:
            tell(self.folder, Said(text=text))

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The checkpoint that a run goes on from is loaded by now."""
        self.first, self.begun = state.global_step, time.perf_counter()
        if self.first:
            self.say(f"goes on from step {self.first:,}")
        self._tell(Moment(step=state.global_step, steps=state.max_steps), now=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """A step is trained; the GPU may lag behind, by as much at each."""
        now = time.perf_counter()
        self.ends.append(now)
        gaps = [later - earlier for earlier, later in pairwise(self.ends)]
        left = (now - self.begun) / (state.global_step - self.first) * (state.max_steps - state.global_step)
        moment = replace(self.moment, phase="", step=state.global_step, pace=statistics.median(gaps) if gaps else 0.0, left=left if gaps else None)
        self._tell(moment, now=state.global_step >= state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **rest: Any) -> None:
        """The mean loss since the last log."""
        if logs and "loss" in logs:
            self._tell(replace(self.moment, loss=float(logs["loss"])), now=True)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """A batch of an evaluation."""
        self.batches += 1
        loader: Any = rest.get("eval_dataloader")
        total = f" of {len(loader):,}" if hasattr(loader, "__len__") else ""
        self._tell(replace(self.moment, phase=f"evaluating, batch {self.batches:,}{total}"))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **rest: Any) -> None:
        """The validation loss, and whether it is the best."""
        self.batches = 0
        self._tell(replace(self.moment, phase=""), now=True)
        if not metrics or "eval_loss" not in metrics:
            return
        loss, step = float(metrics["eval_loss"]), state.global_step
        earlier = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry and entry["step"] < step]
        lowest = ", the lowest so far" if earlier and loss < min(earlier) else f"; the lowest was {min(earlier):.4g}" if earlier else ""
        self.say(f"step {step:,}: validation loss {loss:.4g}{lowest}")

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Its manifest is written by now, and the mirror is awake."""
        self.say(f"step {state.global_step:,}: checkpoint-{state.global_step} is saved")

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """What follows is the final adapter."""
        self._tell(replace(self.moment, left=None, pace=0.0, phase="saving the adapter"), now=True)

    def _tell(self, moment: Moment, *, now: bool = False) -> None:
        self.moment = moment
        if self.tells and (now or time.monotonic() - self.told >= EVERY):
            self.told = time.monotonic()
            tell(self.folder, moment)


class _Told(logging.Handler):
    """The kit's own warnings: they are meant for who watches, not for the log alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__(level=logging.WARNING)
        self.folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        """Of any level above a warning, an error."""
        tell(self.folder, Said(text=record.getMessage(), level="error" if record.levelno >= logging.ERROR else "warning"))
