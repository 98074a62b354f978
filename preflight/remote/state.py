"""What a run on a rented machine has to know after the laptop was off: one small file, written whole, and the rates that were read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

from preflight.files import MALFORMED, write_atomic

RUN, RATES, HOME = "journey.json", "rates.json", "home"
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


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Units an hour of a tier, as `colab usage` showed it for this account."""

    per_hour: float
    read: str  # the day


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What was read, by tier."""

    known: Mapping[str, Rate] = field(default_factory=dict)


def read_rates(folder: Path) -> Rates:
    """The rates that runs have read; none where the file is not there or damaged: the table's are used then."""
    try:
        values = json.loads((folder / RATES).read_text(encoding="utf-8"))
        return Rates(known={str(tier): Rate(per_hour=float(one["per_hour"]), read=str(one["read"])) for tier, one in values.items()})
    except (OSError, *MALFORMED):
        return Rates()


def keep_rate(folder: Path, tier: str, per_hour: float) -> None:
    """Keep what was read today. Raises OSError."""
    known = {**read_rates(folder).known, tier: Rate(per_hour=per_hour, read=date.today().isoformat())}
    write_atomic(folder / RATES, json.dumps({name: asdict(rate) for name, rate in sorted(known.items())}, indent=1))
