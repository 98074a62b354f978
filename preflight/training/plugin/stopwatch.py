"""What the parts of a run take, recorded for the next preflight's estimate."""

import logging
import statistics
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from transformers import TrainerCallback

from preflight.checkpoints.records import Record, write_record

WARMING = 3  # steps that compile kernels and fill caches
LOG = logging.getLogger(__name__)


class Stopwatch(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Records the seconds that the parts of this run take, for the next preflight's estimate. It never waits for the GPU."""

    def __init__(self, outputs: Path, depends: Mapping[str, Any]) -> None:
        self.outputs, self.depends = outputs, depends
        self.steps: list[float] = []
        self.batches: list[float] = []
        self.saves: list[float] = []  # each with the step that follows it
        self.start = self.last = self.ended = 0.0
        self.end: float | None = None
        self.state: Any = None
        self.counted = 0  # batches of the evaluation under way
        self.plain = self.saved = False  # nothing but a step since `last`; a save since then

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """All that came before a step: the launcher, imports, the model, the rows."""
        self.start = time.time() - launched()
        self.last = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The GPU may lag behind, by as much at each step."""
        now = time.perf_counter()
        if self.plain:
            self.steps.append(now - self.last)
        elif self.saved:
            self.saves.append(now - self.last)
        self.last, self.plain, self.saved = now, True, False

    def on_prediction_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """A batch of an evaluation."""
        self.counted += 1

    def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Whatever an evaluation takes is shared out among its batches."""
        now = time.perf_counter()
        if self.counted:
            self.batches.append((now - self.last) / self.counted)
        self.counted, self.last, self.plain = 0, now, False

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Other callbacks still have work with it, which counts as well: the next step tells how much."""
        self.plain, self.saved = False, True
        self._record(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """A run may end without a save."""
        self.ended, self.state = time.perf_counter(), state
        self._record(state)

    def finish(self) -> None:
        """All that comes after a step is done. The next mirror takes this last word to Drive."""
        if self.ended:
            self.end = time.perf_counter() - self.ended
            self._record(self.state)

    def _record(self, state: Any) -> None:
        steps = self.steps[WARMING:]
        if not state.is_world_process_zero or not steps or not self.depends:
            return
        step = statistics.mean(steps)
        record = Record(
            depends=self.depends,
            date=f"{datetime.now():%Y-%m-%d}",
            steps=len(steps),
            step=step,
            evaluation_batch=statistics.mean(self.batches) if self.batches else None,
            save=max(0.0, statistics.mean(self.saves) - step) if self.saves else None,
            start=self.start,
            end=self.end,
        )
        try:
            write_record(self.outputs, record)
        except OSError as error:
            LOG.warning("the pace of this run can't be recorded: %s", error)


def launched() -> float:
    """When the command of this run was started, in seconds since the epoch: a launcher takes seconds of its own."""
    process = psutil.Process()
    parent = process.parent()
    by_launcher = parent is not None and any(name in part for part in parent.cmdline() for name in ("accelerate", "torchrun"))
    return float(parent.create_time() if parent is not None and by_launcher else process.create_time())
