"""Finding: what every check returns; Diagnostics: where a preflight collects them."""

import errno
import math
import os
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeGuard, TypeVar

Level = Literal["ok", "info", "warning", "error"]
MOUNT_AGAIN = "mount the disk again (on Colab: cell 2 of the notebook), then run preflight again"
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fact about the machine, the config or the data, and how to fix it."""

    code: str  # kebab-case `area.what`; stable, documented in docs/findings.md
    level: Level
    message: str  # the fact, with the value seen
    where: str = ""  # "file:line $.json.path", a device, or empty
    fix: str = ""  # a command or an edit that can be copied


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """The findings for people: those that differ in their places alone are one, at the first of them, with how many more there are."""
    alike: dict[Finding, list[str]] = {}
    for finding in findings:
        alike.setdefault(replace(finding, where=""), []).append(finding.where)
    found = []
    for finding, places in alike.items():
        more = "" if len(places) == 1 else f" and {len(places) - 1:,} more" if len(set(places)) > 1 else f" ({len(places):,} times)"
        found.append(replace(finding, where=f"{places[0]}{more}".strip()))
    return found


class Diagnostics:
    """The findings so far. A step that crashes becomes one of them, so that the others still run."""

    def __init__(self, *, writes: bool = True) -> None:
        self.findings: list[Finding] = []
        self.writes = writes  # False for a plan, which changes nothing on this machine

    @property
    def ok(self) -> bool:
        """True if no finding is an error."""
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def may_write(self) -> bool:
        """Whether a stage may change anything: rows staged, checkpoints fetched, the YAML written. The one place that decides it."""
        return self.writes and self.ok

    def add(self, *findings: Finding) -> None:
        """Add what no earlier step has found: two that meet the same fault say it once."""
        self.findings += [finding for finding in findings if finding not in self.findings]

    def check(self, check: Callable[P, Sequence[Finding]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Add what the check finds."""
        self.add(*self.attempt((), check, *args, **kwargs))

    def take(self, default: T, step: Callable[P, tuple[T, list[Finding]]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Add what the step finds, and return what it made."""
        made, found = self.attempt((default, []), step, *args, **kwargs)
        self.add(*found)
        return made

    def attempt(self, default: T, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the step returns, or `default` where it crashes."""
        try:
            return step(*args, **kwargs)
        except TimeoutError as error:  # of machine/answering.py
            self.add(no_answer(error))
            return default
        except Exception as error:  # a fault of the kit: everything expected is a finding already
            where = f"{step.__module__}.{step.__qualname__}"
            message = "internal error; this check was skipped"
            self.add(Finding(code="internal.crash", level="error", where=where, message=message, fix=f"report it with {log_crash(error)}"))
            return default


def log_crash(error: Exception) -> str:
    """What to report an error with: the file that its traceback was written to; where no disk takes one, the error and where it came from."""
    try:
        log = Path(tempfile.gettempdir()) / f"preflight-crash-{os.getpid()}.log"
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
    return str(log)


def is_full(error: Exception) -> TypeGuard[OSError]:
    """Whether an error says that a disk has no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def no_answer(error: TimeoutError) -> Finding:
    """`drive.no-answer`: a disk that hangs, and was not waited for."""
    where = str(error.filename or "")
    fix = f"{MOUNT_AGAIN}; where that hangs as well, restart the runtime"
    return Finding(code="drive.no-answer", level="error", where=where, message=f"{error.strerror}; what lies there was not judged", fix=fix)


def disk_trouble(error: OSError, folder: Path, what: str, size: int) -> Finding:
    """What an OSError while `what` was written below `folder` means: a full disk, or one that can't be read or written."""
    where, reason = str(error.filename or folder), error.strerror or str(error)
    if is_full(error):
        message = f"no room for {size:,} bytes of {what}: {reason}"
        fix = f"free {size / 2**20:,.0f} MiB on the disk of {folder.parent}, or choose another: --workspace DIR"
        return Finding(code="workspace.full", level="error", where=where, message=message, fix=fix)
    message = f"the {what} can't be brought to {folder}: {reason}"
    fix = "check the disk and the permissions, then run preflight again"
    return Finding(code="data.unreadable", level="error", where=where, message=message, fix=fix)


def to_plain(value: Any) -> Any:
    """The value as JSON can hold it, at every depth: tuples as lists, paths, dates and all else as text."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)
