"""TensorBoard in the background: started once for a folder, found again, stopped."""

import os
import signal
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

STARTS = 30  # seconds; it answers within 5 on a Colab machine's two cores


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
    from tensorboard import manager

    running = (info for info in manager.get_all() if info.logdir and Path(info.logdir).resolve() == logdir.resolve() and _lives(info.pid))
    info = next(running, None)
    return Board(port=info.port, pid=info.pid, logdir=logdir) if info else None


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
    found = find(logdir)
    if found:
        os.kill(found.pid, signal.SIGTERM)
    return bool(found)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
