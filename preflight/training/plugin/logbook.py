"""The run's history, written while it trains: losses, sessions, and how it ended."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from preflight.checkpoints.history import Ended, History, Session, read_history, write_history
from preflight.training.plugin.divergence import Divergence
from preflight.training.plugin.stopwatch import launched

LOG = logging.getLogger(__name__)
EVERY = 30  # seconds from one writing to the next where nothing is saved: what a kill leaves out of the session's time


class Logbook(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Writes the history beside the checkpoints, at each save and at most every EVERY seconds between."""

    def __init__(self, outputs: Path, depends: Mapping[str, Any], divergence: Divergence) -> None:
        self.outputs, self.depends, self.divergence = outputs, depends, divergence
        self.earlier: tuple[Session, ...] = ()
        self.session: Session | None = None
        self.written = self.begun = 0.0
        self.state: Any = None
        self.stopping = False  # before an evaluation: what then stops the run is something else
        self.stopped_early = False  # by an evaluation: `early_stopping_patience`

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """A session begins, after those that are written down."""
        before = read_history(self.outputs)
        self.earlier = before.sessions if before else ()
        self.begun, self.state = launched(), state
        machine, begun = str(self.depends.get("machine", "")), f"{datetime.fromtimestamp(self.begun, UTC):%Y-%m-%d %H:%M}"
        self.session = Session(machine=machine, begun=begun, seconds=0, first_step=state.global_step, last_step=state.global_step)
        self._write()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The last step stops training too, and so does a loss that is no number."""
        self.stopping = control.should_training_stop

    def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The trainer's own early stopping has counted this evaluation."""
        self.stopped_early = control.should_training_stop and not self.stopping

    def on_log(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The trainer has put what it logs into its state."""
        if time.time() - self.written >= EVERY:
            self._write()

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Before the mirror is woken, which takes the history along."""
        self._write()

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """What follows is the final adapter."""
        self._write()

    def finish(self) -> None:
        """Training has come to its end, one way or another."""
        if self.session:
            done = self.state.global_step >= self.state.max_steps
            self._write("diverged" if self.divergence.last_word else "finished" if done else "stopped early" if self.stopped_early else "")

    def _write(self, ended: Ended = "") -> None:
        state = self.state
        if self.session is None or not state.is_world_process_zero:
            return
        self.written = time.time()
        session = replace(self.session, seconds=round(self.written - self.begun, 1), last_step=state.global_step)
        history = History(
            name=self.outputs.parent.name,
            step=state.global_step,
            max_steps=state.max_steps,
            ended=ended,
            sessions=(*self.earlier, session),
            log=state.log_history,
        )
        try:
            write_history(self.outputs, history)
        except OSError as error:
            LOG.warning("the history of this run can't be written: %s", error)
