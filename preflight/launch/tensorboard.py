"""TensorBoard in the background: started once for a folder, found again, stopped."""

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

STARTS = 30  # seconds; it answers within 5 on a Colab machine's two cores
CLOCK = 60  # seconds by which a process's start and its own record of it may differ


@dataclass(frozen=True, kw_only=True)
class Board:
    """A TensorBoard that runs."""

    port: int
    pid: int
    logdir: Path
    started: bool = False  # by this call

    @property
    def cell(self) -> str:
        """What shows it in a notebook's cell. Not the magic: it compares all arguments, finds others, and tries to bind the same port."""
        return f"from tensorboard import notebook; notebook.display(port={self.port}, height=800)"


def find(logdir: Path) -> Board | None:
    """The TensorBoard that shows this folder, whoever started it."""
    return next((Board(port=info.port, pid=info.pid, logdir=logdir) for info, _ in _running(logdir)), None)


def _running(logdir: Path) -> Iterator[tuple[Any, psutil.Process]]:
    """(TensorBoard's record, its process) of each that shows this folder. A record that a killed one has left is deleted: TensorBoard itself
    would take it for one that runs."""
    from tensorboard import manager

    for info in manager.get_all():
        if not info.logdir or Path(info.logdir).resolve() != logdir.resolve():
            continue
        if process := _process(info):
            yield info, process
            continue
        (Path(tempfile.gettempdir()) / ".tensorboard-info" / f"pid-{info.pid}.info").unlink(missing_ok=True)  # as its manager names it


def start(logdir: Path) -> tuple[Board | None, str]:
    """The TensorBoard of this folder, started on a free port if there is none; or None and why not."""
    if found := find(logdir):
        return found, ""
    try:
        from tensorboard import manager
    except ImportError:
        return None, "tensorboard is not installed"
    beside = Path(sys.executable).with_name("tensorboard")
    if beside.exists():  # this environment's, whatever is on the PATH
        os.environ.setdefault("TENSORBOARD_BINARY", str(beside))
    begun = manager.start(["--logdir", str(logdir), "--reload_interval", "15"], timeout=timedelta(seconds=STARTS))
    match begun:
        case manager.StartLaunched():
            return Board(port=begun.info.port, pid=begun.info.pid, logdir=logdir, started=True), ""
        case manager.StartReused():
            return Board(port=begun.info.port, pid=begun.info.pid, logdir=logdir), ""
        case manager.StartFailed():
            return None, (begun.stderr or begun.stdout or f"it ended with {begun.exit_code}").strip()[-300:]
        case manager.StartExecFailed():
            return None, f"it can't be run: {os.strerror(begun.os_error.errno or 0)}"
    return None, f"it did not answer within {STARTS} s"


def show(board: Board) -> None:
    """Show it in the cell's output."""
    from tensorboard import notebook

    notebook.display(port=board.port, height=800)


def stop(logdir: Path) -> bool:
    """End the TensorBoard of this folder; whether there was one."""
    for _, process in _running(logdir):
        try:
            process.terminate()  # which looks once more whether it is the same process
        except psutil.Error:
            return False
        return True
    return False


def _process(info: Any) -> psutil.Process | None:
    """The process that a record of TensorBoard's names, if it is that TensorBoard: its number may be another's by now."""
    try:
        process = psutil.Process(info.pid)
        same = process.create_time() <= info.start_time + CLOCK and _is_tensorboard(process.cmdline(), info.logdir)
    except psutil.Error:
        return None
    return process if same else None


def _is_tensorboard(command: Sequence[str], logdir: str) -> bool:
    """Whether a command line is TensorBoard's on this folder: its script, with or without a Python before it, or its module."""
    script = any(Path(part).name in ("tensorboard", "tensorboard.exe") for part in command[:2])
    module = any(flag == "-m" and name.partition(".")[0] == "tensorboard" for flag, name in itertools.pairwise(command[:4]))
    values = [part.removeprefix("--logdir=") for part in command]
    return (script or module) and any(value == logdir or (value.startswith("~/") and str(Path(value).expanduser()) == logdir) for value in values)
