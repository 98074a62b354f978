"""One run as its files tell it, in the workspace or on Drive, complete or not."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from preflight.checkpoints import manifest, mirror
from preflight.checkpoints.copies import checkpoints_in, step_of
from preflight.checkpoints.history import Session, read_history
from preflight.files import MALFORMED
from preflight.machine.active import find_training
from preflight.machine.run_folder import EVENTS, HISTORY, RECORDS, WEIGHTS, RunFolder
from preflight.training.evaluation.losses import TestLoss, read_test_loss
from preflight.training.evaluation.result import FILE, Result, parse_result

MOST_LOGGED = 100_000  # entries of a log that are read
Kept = Literal["", "on Drive", "from Colab"]  # where a run lies that is not in the workspace's folder of runs


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is known of a run; what is not is None or empty."""

    name: str
    folder: Path
    state: str
    kept: Kept = ""
    step: int = 0  # that a resumed run would go on from, or that it ended at
    max_steps: int = 0
    experiment: Mapping[str, Any] = field(default_factory=dict)  # its fingerprint
    log: Sequence[Mapping[str, Any]] = ()
    sessions: tuple[Session, ...] | None = None  # None where an earlier kit kept none
    result: Result | None = None
    test_loss: TestLoss | None = None
    to: str = ""  # its folder for results
    notes: tuple[str, ...] = ()

    @property
    def eval_losses(self) -> list[tuple[int, float]]:
        """(step, loss) of each evaluation."""
        return curve(self.log, "eval_loss")

    @property
    def best_loss(self) -> tuple[int, float] | None:
        """(step, loss) of the lowest."""
        return min(self.eval_losses, key=lambda one: one[1], default=None)


def curve(log: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """(step, value) of a key of the log, where it is a number."""
    found = []
    for entry in log:
        try:
            value = float(entry[key])
            found += [(int(entry["step"]), value)] if math.isfinite(value) else []
        except MALFORMED:
            continue
    return found


def read_local(run: RunFolder) -> Outcome | None:
    """The run in a folder of the workspace; None where none is there: only rows that other runs share, or something else."""
    if not run.config.is_file() and not run.outputs.is_dir():
        return None
    settings = mirror.read_settings(run.folder)
    experiment = settings.experiment if settings else {}
    training = find_training(run) is not None
    return _read(run.folder.name, run.folder, run.outputs, experiment, to=settings.to if settings else "", training=training)


def read_mirrored(folder: Path, kept: Kept = "on Drive") -> Outcome | None:
    """The run whose results lie in a folder of Drive, or came home from a machine of `make colab`; or None. Raises OSError."""
    history = read_history(folder)
    if not history and manifest.read(folder) is None and not checkpoints_in(folder):
        return None
    return _read(history.name if history else folder.name, folder, folder, {}, to=str(folder), kept=kept)


def find_mirrored(models: Path, depth: int = 2) -> list[Outcome]:
    """Every run whose results lie in the folder for them, or `depth` folders below. Raises OSError."""
    if not models.is_dir():
        return []
    found = [one] if (one := read_mirrored(models)) else []
    if depth:
        for folder in sorted(models.iterdir()):
            if folder.is_dir() and not folder.is_symlink() and step_of(folder) < 0 and folder.name != EVENTS and not folder.name.startswith("."):
                found += find_mirrored(folder, depth - 1)
    return found


def find_homes(remote: Path) -> list[Outcome]:
    """Every run that came home from a machine of `make colab`, those that were set aside too. Raises OSError."""
    return [one for home in sorted(remote.glob("*/home*")) if (one := read_mirrored(home, "from Colab"))]


def _read(name: str, folder: Path, outputs: Path, experiment: Mapping[str, Any], *, to: str, training: bool = False, kept: Kept = "") -> Outcome:
    notes = list[str]()
    try:
        checkpoints = [(path, held) for path in checkpoints_in(outputs) if (held := manifest.read(path))]
        final = manifest.read(outputs)
    except OSError as error:
        return Outcome(name=name, folder=folder, state="unreadable", kept=kept, to=to, notes=(f"{outputs}: {error.strerror or error}",))
    history, newest = read_history(outputs), checkpoints[0] if checkpoints else None
    if history is None and (outputs / HISTORY).exists():
        notes.append(f"{HISTORY} can't be read: hours are not known")
    state_file = _trainer_state(newest[0]) if newest else {}
    saved = newest[1].step if newest else 0
    log = history.log if history and history.step >= saved else state_file.get("log_history") or ()
    done = final is not None and final.step >= final.max_steps > 0
    ended = history.ended if history else ""
    step = final.step if final and done else saved
    held = final or (newest[1] if newest else None)
    most = max([history.max_steps if history else 0, held.max_steps if held else 0])
    result, test_loss = parse_result(folder / FILE), read_test_loss(folder)
    sha256 = final.files.get(WEIGHTS, (0, ""))[1] if final else ""
    if result is None and (folder / FILE).exists():
        notes.append(f"{FILE} can't be read: evaluate it again")
    elif result and result.adapter_sha256 != sha256:
        result = None
        notes.append("its evaluation is of an earlier adapter: evaluate it again")
    begun = bool(
        history or final or any(outputs.glob("checkpoint-*")) or (outputs / RECORDS).exists() or any((outputs / EVENTS).glob("**/*tfevents*"))
    )
    return Outcome(
        name=name,
        folder=folder,
        state=_state(ended, step, most, history.step if history else step, training=training, done=done, begun=begun),
        kept=kept,
        step=step,
        max_steps=most,
        experiment=experiment or (held.experiment if held else {}),
        log=[entry for entry in log if isinstance(entry, Mapping)][:MOST_LOGGED] if isinstance(log, Sequence) else (),
        sessions=history.sessions if history else None,
        result=result,
        test_loss=test_loss if test_loss and test_loss.adapter_sha256 == sha256 else None,
        to=to,
        notes=tuple(notes),
    )


def _state(ended: str, step: int, most: int, trained: int, *, training: bool, done: bool, begun: bool) -> str:
    if training:
        return f"running, step {max(step, trained)} of {most}" if most else "running"
    if ended == "diverged":
        return f"diverged at step {trained} of {most}"
    if done:
        return f"stopped early, at step {step} of {most}" if ended == "stopped early" else "finished"
    return f"stopped at step {step} of {most}" if most else "stopped before a checkpoint" if begun else "not begun"


def _trainer_state(checkpoint: Path) -> Mapping[str, Any]:
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        return state if isinstance(state, Mapping) else {}
    except (OSError, *MALFORMED):
        return {}
