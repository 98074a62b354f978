"""What a person is shown of a run on Colab: what it would take, where it stands, which machines run, how it ended."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.cli.console import EXIT_INTERRUPTED, printable, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from preflight.config.settings import Settings
    from preflight.plan.compare import GpuOption
    from preflight.remote.colab import Colab
    from preflight.remote.follow import Progressed
    from preflight.remote.state import RunFile

SAID_EVERY = 300.0  # seconds between two lines of progress


def prices(options: "Sequence[GpuOption]", settings: "Settings", gpus: "Sequence[str]") -> list[str]:
    """Hours, units and money on each GPU, in order of preference; whether the rate is this account's, or the table's."""
    from preflight.cli.facts import duration, span
    from preflight.remote.machines import GPUS

    lines = list[str]()
    for option in (option for gpu in gpus for option in options if option.tier.name.startswith(GPUS[gpu])):
        cost, day = option.cost, settings.compute.measured.get(option.tier.name)
        if cost is None:
            continue
        money = "rate not known"
        if cost.compute_units and cost.usd:
            money = f"{span(cost.compute_units, 1)} units, ${span(cost.usd, 2)} ({f'rate read {day}' if day else 'rate of colab_setup.yaml'})"
        lines.append(f"{option.tier.title}: {duration(cost.hours)}, {money}")
    return lines


def show_running(colab: "Colab", run: "RunFile | None", rates: "Mapping[str, float]") -> None:
    """The kit's machines that run beside this run's, and those without a name: what each may take and how to stop it. Raises RemoteError,
    TroubleError."""
    from preflight.remote.machines import ending, hourly, still_running

    others = still_running(colab, run)
    for one in others:
        show(printable(f"Still running: {one.endpoint} ({one.hardware}), {hourly(one.hardware, rates)}; {ending(one)}"))
    if others:
        usage = colab.usage()
        show(f"The account's machines, {usage.machines} in all, take {usage.per_hour:.2f} units an hour.")


def show_end(home: Path, code: int, bill: str) -> None:
    log = home / "log"
    if log.is_file():
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        show(printable("\n".join(lines[-12:])))
    if code == 0:
        show(f"At home: {home}")
    elif code != EXIT_INTERRUPTED:
        show(
            f"remote: the run ended with exit code {code}; what came home is in {home}. The same command goes on from the newest checkpoint",
            error=True,
        )
    if bill:
        show(bill)


class Teller:
    """Says where training stands in a few lines: when something other than the step changes, and every few minutes."""

    def __init__(self) -> None:
        self.said: tuple[object, ...] = ()
        self.at = 0.0

    def __call__(self, now: "Progressed", units: float) -> None:
        key = (replace(now, step=0, loss="", pace="", left="", last=now.last if not now.steps else ""),)
        if not str(now) or (key == self.said and time.monotonic() - self.at < SAID_EVERY):
            return
        self.said, self.at = key, time.monotonic()
        show(printable(f"{now}{f', {units:.2f} units so far' if units else ''}"))
