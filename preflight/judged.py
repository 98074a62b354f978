"""The findings of a preflight as they come in; a step that crashes becomes one of them."""

import os
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from preflight.findings import Finding

P = ParamSpec("P")
T = TypeVar("T")


class Judged:
    """The findings so far; a step that crashes becomes one of them, so that the others still run."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, findings: Sequence[Finding]) -> None:
        self.findings += findings

    def check(self, check: Callable[P, list[Finding]], *args: P.args, **kwargs: P.kwargs) -> list[Finding]:
        """Add what the check finds, and return it."""
        found = self.attempt([], check, *args, **kwargs)
        self.add(found)
        return found

    def attempt(self, default: T, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return step(*args, **kwargs)
        except Exception:  # a fault of the kit: everything expected is a finding already
            log = Path(tempfile.gettempdir()) / f"preflight-crash-{os.getpid()}.log"
            with log.open("a", encoding="utf-8") as file:
                file.write(traceback.format_exc())
            self.findings.append(
                Finding(
                    code="internal.crash",
                    level="error",
                    where=f"{step.__module__}.{step.__qualname__}",
                    message="a fault of the kit; this part was not looked at",
                    fix=f"report it with {log}",
                )
            )
            return default
