"""What every command line and cell shares: exit codes, the crash log, the progress bar, how a finding is shown."""

import io
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from preflight.files import Progress
from preflight.findings import Finding, grouped, is_full, log_crash

EXIT_ERROR, EXIT_USAGE, EXIT_FAULT, EXIT_INTERRUPTED = 1, 2, 3, 130
INTERRUPTED = "Interrupted. No partial files were left; run the same command again to continue."
# control characters but tab and newline, those that change the direction in which text is read, and the bytes of a name that is not UTF-8
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def guarded(program: str, command: Callable[[], int], interrupted: str = INTERRUPTED) -> int:
    """The exit code of a command, whatever happens in it; no traceback reaches the user."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 shows what it can't as \u...
            stream.reconfigure(errors="backslashreplace")
    try:
        return command()
    except KeyboardInterrupt:
        print(f"\r{interrupted}" if sys.stderr.isatty() else interrupted, file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader went away, as `| head` does
        _drop_what_is_stuck()
        return EXIT_ERROR
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "preflight":
            raise
        install = "Install everything: scripts/setup.sh, then use .venv/bin/python"
        print(f"{program}: the Python package {error.name} is not installed. {install}", file=sys.stderr)
        return EXIT_USAGE
    except Exception as error:
        if is_full(error):  # of what is printed, or of a file that was asked for
            _drop_what_is_stuck()
            print(f"{program}: {error.strerror}", file=sys.stderr)
            return EXIT_ERROR
        print(f"{program}: internal error, please report it with {log_crash(error)}", file=sys.stderr)
        return EXIT_FAULT


def _drop_what_is_stuck() -> None:
    """What is buffered and can't be printed is not tried again while Python ends, which would then exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on standard error for work that takes longer than a blink; nothing where that is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total, visible=True)


class Ticker:
    """A line that changes, and lines above it that stay. Where nothing can be written over (a file, a pipe), the line that changes is written
    every so often."""

    def __init__(self, *, live: bool, every: float = 30) -> None:
        self.live, self.every = live, every
        self.shown, self.at = "", 0.0

    def now(self, text: str, *, soon: bool = False) -> None:
        """Show how things stand; `soon`: something has changed that a reader waits for."""
        width = shutil.get_terminal_size().columns - 1
        text = printable(text)
        if self.live:
            text = text[:width]
            sys.stdout.write("\r" + text.ljust(len(self.shown)))
            sys.stdout.flush()
        elif text == self.shown or not (soon or time.monotonic() - self.at >= self.every):
            return
        else:
            show(text)
        self.shown, self.at = text, time.monotonic()

    def stay(self, text: str) -> None:
        """Show what happened."""
        self.clear()
        show(printable(text))

    def clear(self) -> None:
        """Take away the line that changes."""
        if self.live and self.shown:
            sys.stdout.write("\r" + " " * len(self.shown) + "\r")
            self.shown = ""


def progress_line(what: str, done: int, total: int) -> None:
    """A Progress of one line, for programs that run where nothing is installed."""
    if sys.stderr.isatty():
        share = f"{done / total:.0%}" if total else f"{done:,}"
        print(f"\r\033[K{what} {share}" + ("\r\033[K" if total and done >= total else ""), end="", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text without what a terminal would obey: names and rows come from outside, and an escape sequence in one could rewrite the
    screen, the window's title or the clipboard."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def show_findings(findings: Sequence[Finding], file: TextIO | None = None) -> None:
    """Each finding as lines of plain text, those that differ in their places alone once."""
    for finding in grouped(findings):
        where = f"  {finding.where}" if finding.where else ""
        fix = f"\n  fix: {finding.fix}" if finding.fix else ""
        print(printable(f"{finding.level} {finding.code}{where}\n  {finding.message}{fix}"), file=file)


def refuse(message: str) -> int:
    """Say why something is not done; the exit code."""
    show(printable(message), error=True)
    return EXIT_ERROR


def show(text: str, *, error: bool = False) -> None:
    print(text, file=sys.stderr if error else sys.stdout, flush=True)
