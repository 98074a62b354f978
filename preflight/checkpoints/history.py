"""What a run has been through, session by session, beside its checkpoints: its losses, the machines, the time they took, how it ended.
Standard library only: the mirror takes it to Drive."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from preflight.files import MALFORMED, write_atomic
from preflight.findings import to_plain
from preflight.machine.run_folder import HISTORY

Ended = Literal["", "finished", "stopped early", "diverged"]  # '' where it goes on, or was stopped
ENDED = ("", "finished", "stopped early", "diverged")


@dataclass(frozen=True, kw_only=True)
class Session:
    """One training process of a run, from its launch on."""

    machine: str  # as the record of seconds names it
    begun: str  # the time of day, UTC
    seconds: float  # to the last log, save or end that was seen: a killed one took some more
    first_step: int
    last_step: int


@dataclass(frozen=True, kw_only=True)
class History:
    """A run so far."""

    name: str
    step: int
    max_steps: int
    ended: Ended = ""
    sessions: tuple[Session, ...] = ()
    log: Sequence[Mapping[str, Any]] = field(default_factory=tuple)  # the trainer's own, from step 0 on


def read_history(outputs: Path) -> History | None:
    """What `write_history` wrote, or None where nothing can be read."""
    try:
        values = json.loads((outputs / HISTORY).read_text(encoding="utf-8"))
        sessions = tuple(Session(**one) for one in values.pop("sessions"))
        history = History(sessions=sessions, **values)
        numbers = [*(one.seconds for one in sessions), history.step, history.max_steps]
        fine = all(math.isfinite(number) for number in numbers) and all(isinstance(entry["step"], int) for entry in history.log)
        return history if fine and history.ended in ENDED and isinstance(history.name, str) else None
    except (OSError, *MALFORMED):
        return None


def write_history(outputs: Path, history: History) -> None:
    """Put it in the place of the earlier one. Raises OSError."""
    write_atomic(outputs / HISTORY, json.dumps(to_plain(asdict(history)), indent=1))
