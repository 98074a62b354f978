"""What a run on a rented machine has to know after the laptop was off: one small file, written whole."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from preflight.files import MALFORMED, write_atomic

RUN, HOME = "journey.json", "home"
ROWS = "rows.zip"  # in the run's folder here, and in the machine's folder for what is sent
PREFIX = "sql-codegen-"  # of the sessions that are the kit's


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """One run, over all its machines. Holds no secret."""

    config: str  # relative to the checkout
    commit: str
    arguments: tuple[str, ...] = ()  # of preflight on the machine
    session: str = ""  # the machine's name; written before it is asked for, so that a kill in between leaves none unknown
    endpoint: str = ""  # as `colab sessions` shows it
    unnamed: tuple[str, ...] = ()  # endpoints without a name that ran already when this machine was asked for
    gpu: str = ""  # the tier of what came
    since: float = 0.0  # of this machine, seconds since 1970
    machines: int = 0  # taken so far
    balance: float | None = None  # units before the first machine
    rate: float = 0.0  # units an hour, as read
    code: int | None = None  # how scripts/train.sh ended, once all of it is at home
    estimate: str = ""
    data: str = ""  # where the rows came from: a path here, or an address
    rows_sha256: str = ""  # of the packed rows, kept beside this file; '' where none are sent
    started: bool = False  # training, on any machine


def read_run(folder: Path) -> RunFile | None:
    """The run that was begun here, or None. A file that is damaged raises OSError: a machine may hide behind it."""
    try:
        text = (folder / RUN).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        values: dict[str, Any] = json.loads(text)
        known = {one.name for one in fields(RunFile)}
        kept: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known}
        return RunFile(**kept)
    except MALFORMED:
        raise OSError(f"{folder / RUN} is damaged; see `colab sessions` for machines that run, then delete it") from None


def write_run(folder: Path, run: RunFile) -> None:
    """Raises OSError."""
    write_atomic(folder / RUN, json.dumps(asdict(run), indent=1))
