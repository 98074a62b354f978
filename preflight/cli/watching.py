"""A training process, watched: its output goes to a log, and what the kit's plugin says of it to the screen."""

import contextlib
import os
import re
import select
import shlex
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from preflight.checkpoints.progress import Following, Moment, clock
from preflight.cli.console import Ticker
from preflight.machine.run_folder import LOG

LOOK = 0.5  # seconds from one look to the next
KEPT = 1 << 16  # bytes of the log that a failure is read from
SHOWN = 30  # lines of it that are shown
BAR = re.compile(r"(?P<what>[^\r\n|%]{0,60}?):? *(?P<share>\d+)%\|")  # as tqdm writes it
OF_THE_LAUNCHER = ("CalledProcessError", "ChildFailedError")  # accelerate's and torchrun's own traceback, below that of training
TRACEBACK = "Traceback (most recent call last):"


class Log:
    """The file that the output goes to, and its end. A disk that is full ends the file, not the training."""

    def __init__(self, path: Path, argv: tuple[str, ...]) -> None:
        self.path, self.last = path, b""
        after = "\n" if path.is_file() else ""  # an earlier session may have ended within a line
        self.write(f"{after}== {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {shlex.join(argv)}\n".encode())
        self.last = b""

    def write(self, output: bytes) -> None:
        self.last = (self.last + output)[-KEPT:]
        with contextlib.suppress(OSError), self.path.open("ab") as file:
            file.write(output)


class Watched:
    """The launcher, its log, and how training stands."""

    def __init__(self, launcher: "subprocess.Popen[bytes]", folder: Path, ticker: Ticker) -> None:
        self.launcher, self.ticker, self.stopping = launcher, ticker, False
        self.log = Log(folder / LOG, tuple(map(str, launcher.args)))  # type: ignore[arg-type]  # a list or tuple of words, as it was started
        self.following = Following(folder)
        self.moment = Moment(phase="starting Axolotl")
        self.since = time.monotonic()  # the phase

    def to_the_end(self) -> int:
        """Show it until it has ended; its exit code."""
        self.ticker.now(self._line(), soon=True)
        while self.launcher.poll() is None:
            self._take(LOOK)
            self._tell()
        while self._take(0):
            pass
        self._tell()
        self.following.close()
        return self.launcher.returncode

    def stop(self) -> None:
        """Say at the next look that it was asked to stop. For a signal's handler, which may write nothing itself."""
        self.stopping = True

    def _take(self, seconds: float) -> bool:
        """Wait for output so long; whether there was any."""
        pipe = self.launcher.stdout
        assert pipe is not None
        if not select.select([pipe], [], [], seconds)[0]:
            return False
        if output := os.read(pipe.fileno(), KEPT):
            self.log.write(output)
        elif seconds:  # it has closed its output and has not ended yet
            time.sleep(seconds)
        return bool(output)

    def _tell(self) -> None:
        soon = False
        if self.stopping:
            self.stopping = False
            self.ticker.stay("training: stopping. What was saved is kept")
        for said in self.following.news():
            if not isinstance(said, Moment):
                self.ticker.stay(f"{said.level}: {said.text}" if said.level else said.text)
                continue
            if _kind(said) != _kind(self.moment):
                self.since, soon = time.monotonic(), bool(said.phase)
            self.moment = said
        self.ticker.now(self._line(), soon=soon)

    def _line(self) -> str:
        if self.moment.steps and not self.moment.phase:
            return str(self.moment)
        spent = time.monotonic() - self.since
        bars = list(BAR.finditer(self.log.last[-2000:].decode(errors="replace"))) if not self.moment.steps else []
        under_way = f": {bars[-1]['what'].strip()} {bars[-1]['share']}%".replace(":  ", ": ") if bars else ""
        return f"{self.moment}{under_way}" + (f", {clock(spent)}" if spent >= 1 else "")


def _kind(moment: Moment) -> str:
    return moment.phase.partition(",")[0]


def failure(log: bytes, code: int, where: str) -> str:
    """Why training failed, from the end of its log: the last lines without bars, and without the launcher's own traceback below them."""
    text = log.decode(errors="replace")
    killed = "SIGKILL" in text or code == -9
    parts = text.split(TRACEBACK)
    while len(parts) > 1 and any(name in parts[-1] for name in OF_THE_LAUNCHER):
        parts.pop()
    lines = list(_plain(TRACEBACK.join(parts)))[-SHOWN:]
    end = [f"training: the end of {where}:", *(f"  {line}" for line in lines)] if lines else []
    why = "training: the system killed it (SIGKILL), as it does where memory runs out" if killed else f"training: failed with exit code {code}"
    return "\n".join([*end, f"{why}; its whole log: {where}"])


def _plain(text: str) -> Iterator[str]:
    """The lines, each as the screen would show it in the end."""
    for line in text.splitlines():
        shown = line.rstrip("\r").rpartition("\r")[2].rstrip()
        if shown and not BAR.match(shown):
            yield shown
