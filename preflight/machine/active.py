"""One training at a time in a run's folder: a lock that the kernel takes back when the process that holds it ends. Standard library only."""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from preflight.findings import Finding
from preflight.machine.run_folder import RunFolder

LOCK = ".training.lock"  # beside the outputs
TRIES, PAUSE = 10, 0.1  # another look at the lock holds it for a moment

_held: dict[Path, IO[str]] = {}  # by this process, for as long as it lives


@dataclass(frozen=True, kw_only=True)
class Training:
    """The process that trains in a run's folder."""

    pid: int  # 0 where it is not known
    since: str

    def __str__(self) -> str:
        return f"process {self.pid}, since {self.since}" if self.pid else "a process that is not named"

    @property
    def stop(self) -> str:
        """How to end it, in words. `kill 0` would end whatever types it."""
        return f"stop it: kill {self.pid}" if self.pid else "stop it"


def hold(folder: Path) -> Training | None:
    """Have this process be the one that trains in the run's folder until it ends; None, or who does so already. Raises OSError.

    A POSIX lock: unlike one of flock, no child that outlives its parent goes on holding it.
    """
    path = (folder / LOCK).absolute()
    if path in _held:
        return None
    file = path.open("a+", encoding="utf-8")
    for _ in range(TRIES):
        if _lock(file, fcntl.LOCK_EX):
            break
        time.sleep(PAUSE)
    else:
        with file:
            return _read(file)
    file.truncate(0)
    json.dump(asdict(Training(pid=os.getpid(), since=f"{datetime.now():%Y-%m-%d %H:%M}")), file)
    file.flush()
    _held[path] = file
    return None


def find_training(run: RunFolder) -> Training | None:
    """Who trains in the run's folder, or None. Writes nothing."""
    path = (run.folder / LOCK).absolute()
    if path in _held:
        return None  # closing a second handle would give this process's own lock away
    try:
        with path.open(encoding="utf-8") as file:
            return None if _lock(file, fcntl.LOCK_SH) else _read(file)
    except OSError:  # no training was ever here, or the disk knows no locks
        return None


def check_active(run: RunFolder) -> list[Finding]:
    """`run.active` where a training is at work in the run's folder."""
    training = find_training(run)
    if training is None:
        return []
    message = f"training is already running here ({training}), and a second one would overwrite what it saves"
    fix = f"wait until it has ended, or {training.stop}; the same command then resumes from its latest checkpoint. Another run beside it: --name NAME"
    return [Finding(code="run.active", level="error", where=str(run.folder), message=message, fix=fix)]


def _lock(file: IO[str], kind: int) -> bool:
    """Whether the file is locked now. Raises OSError where the disk knows no locks."""
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _read(file: IO[str]) -> Training:
    file.seek(0)
    try:
        return Training(**json.load(file))
    except (ValueError, TypeError):  # it is just being written
        return Training(pid=0, since="")
