"""What training says of itself while it runs: lines of JSON beside the resolved YAML. The plugin and the mirror write them, and whoever shows
the run reads them. Standard library only: the mirror runs on it."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO, Literal

from preflight.files import MALFORMED, write_atomic
from preflight.machine.run_folder import PROGRESS

Level = Literal["", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where training stands. No step before the first one is trained."""

    phase: str = ""  # what is done, where that is not training
    step: int = 0
    steps: int = 0  # of the whole run
    loss: float | None = None  # the last that was logged
    pace: float = 0.0  # seconds a step, of late
    left: float | None = None  # seconds to the last step, evaluations and saves included

    def __str__(self) -> str:
        if not self.steps:
            return self.phase
        loss = "" if self.loss is None else f"loss {self.loss:.4g}"
        pace = "" if not self.pace else f"{self.pace:.2g} s a step" if self.pace < 10 else f"{self.pace:.0f} s a step"
        left = "" if self.left is None else f"{clock(self.left)} left"
        at = f"step {self.step:,} of {self.steps:,} ({self.step / self.steps:.0%})"
        return ", ".join(part for part in (at, loss, pace, left, self.phase) if part)


@dataclass(frozen=True, kw_only=True)
class Said:
    """Something that happened, in words."""

    text: str
    level: Level = ""


def clock(seconds: float) -> str:
    """A time as a clock shows it: 4:05, 2:31:00."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def begin(folder: Path) -> None:
    """A session of its own: what an earlier one said is gone. A disk that refuses is passed over, here and below: training goes on."""
    with contextlib.suppress(OSError):
        write_atomic(folder / PROGRESS, "")


def tell(folder: Path, what: Moment | Said) -> None:
    """Add a line to the file. One write, so that lines of two processes do not mix."""
    line = json.dumps({"time": round(time.time(), 1), "kind": type(what).__name__, **asdict(what)}) + "\n"
    with contextlib.suppress(OSError), (folder / PROGRESS).open("ab", buffering=0) as file:
        file.write(line.encode())


def _read(line: bytes) -> Moment | Said | None:
    try:
        values = json.loads(line)
        kind: type[Moment] | type[Said] = {"Moment": Moment, "Said": Said}[values["kind"]]
        return kind(**{field.name: values[field.name] for field in fields(kind)})
    except MALFORMED:
        return None


class Following:
    """What is said in a run's folder from now on. What stands there already is of an earlier session, until a new one begins."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / PROGRESS
        self.earlier = self._number()
        self.file: BinaryIO | None = None
        self.rest = b""

    def news(self) -> Iterator[Moment | Said]:
        """Each thing that was said since the last call. A line that can't be read is passed over."""
        if self.file is None and self._number() not in (0, self.earlier):
            with contextlib.suppress(OSError):
                self.file = self.path.open("rb")
        if self.file is None:
            return
        *lines, self.rest = (self.rest + self.file.read()).split(b"\n")
        for line in lines:
            if said := _read(line):
                yield said

    def close(self) -> None:
        if self.file:
            self.file.close()

    def _number(self) -> int:
        """The file's number on its disk, which is another where a session has begun; 0 where there is none."""
        try:
            return self.path.stat().st_ino
        except OSError:
            return 0
