"""A manifest for each finished checkpoint, which then goes to the mirror."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback

from preflight.checkpoints import manifest
from preflight.machine import active
from preflight.machine.run_folder import RunFolder

LOG = logging.getLogger(__name__)


def hold_run(folder: Path) -> None:
    """Have this process, if it is the first of its launch, be the only one that trains in the run's folder. Ends it where another does."""
    if int(os.environ.get("RANK", "0")) or not folder.is_dir():
        return
    try:
        other = active.hold(folder)
    except OSError as error:  # a disk that knows no locks
        LOG.warning("%s can't be locked: %s", folder, error)
        return
    if other:
        raise SystemExit(f"training is already running in {folder} ({other}); nothing of it was touched. Wait until it has ended, or {other.stop}")


class Mirror(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Writes the manifest of each checkpoint when it is finished, and wakes the process that copies it."""

    def __init__(self, outputs: Path, experiment: Mapping[str, Any]) -> None:
        self.outputs, self.experiment = outputs, experiment
        self.process: subprocess.Popen[bytes] | None = None
        self.state: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Start the mirror, with what an earlier session left for it; an earlier final adapter is none any more. The best checkpoint lies
        where this machine has it: the trainer's state holds its path on the machine that saved it, and where nothing lies there, the
        trainer ends with the last adapter in the place of the best."""
        best = self.outputs / f"checkpoint-{state.best_global_step}"
        if state.best_global_step and best.is_dir():
            state.best_model_checkpoint = str(best)
        if not state.is_world_process_zero:
            return
        hold_run(self.outputs.parent)
        self.state = state
        (self.outputs / manifest.NAME).unlink(missing_ok=True)
        self.process = self._start()

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The checkpoint of this step is complete once every process has written its part: say what is in it."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            self._describe(self.outputs / f"checkpoint-{state.global_step}", subfolders=True)

    def finish(self, *, worth: bool = True, early: bool = False) -> None:
        """Describe the final adapter, if it is worth keeping, and wait until all is mirrored, or the mirror gives up. A run that was stopped
        `early` ends where it is."""
        if self.process is None:
            return
        if worth and (early or self.state.global_step >= self.state.max_steps):
            self._describe(self.outputs, subfolders=False, early=early)
            self._write_card()
        self._revive()
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()
        if self.process.returncode < 0:
            LOG.warning("mirror: killed by signal %d; the next preflight brings what it left", -self.process.returncode)

    def _start(self) -> "subprocess.Popen[bytes]":
        """The mirror's process. Its pipe has no buffer: what one that died did not take would be written again when the pipe is closed."""
        command = [sys.executable, "-m", "preflight.mirror", str(self.outputs), "--watch"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)

    def _revive(self) -> None:
        """Start the mirror again where it was killed, out of memory for one; where it ended by itself, it had its reason."""
        if self.process and (self.process.poll() or 0) < 0:
            LOG.warning("mirror: killed by signal %d; started again", -self.process.returncode)
            if self.process.stdin:
                self.process.stdin.close()
            self.process = self._start()

    def _write_card(self) -> None:
        """The card, which goes along with the adapter. Whatever keeps it from being written, the adapter is what counts."""
        try:
            from preflight.training.card import write_card  # and with it what judges answers, which training does without

            write_card(RunFolder(folder=self.outputs.parent))
        except Exception as error:
            LOG.warning("the model card can't be written: %s", error)

    def _describe(self, folder: Path, *, subfolders: bool, early: bool = False) -> None:
        state = self.state
        try:
            found = manifest.describe(
                folder,
                subfolders=subfolders,
                step=state.global_step,
                max_steps=state.global_step if early else state.max_steps,
                best_step=state.best_global_step or 0,
                experiment=self.experiment,
            )
            manifest.write(folder, found)
            self._revive()
            if self.process and self.process.stdin:
                self.process.stdin.write(b"\n")
        except OSError as error:  # a mirror that died, a disk that is full: training continues, and the next preflight tries again
            LOG.warning("mirror: %s can't be handed on: %s", folder.name, error)


class LastStep(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """A run that goes on from its last step trains no further one. The trainer looks for the end only after a step (transformers 5.16.1, 2026-11):
    it would train one too many where `max_steps` ends within an epoch."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The checkpoint is loaded by now; what follows is the final adapter."""
        if state.global_step >= state.max_steps:
            self.trainer._run_epoch = lambda **_: None
            control.should_training_stop = True
