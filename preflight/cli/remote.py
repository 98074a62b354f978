"""`make colab`: judges here, asks once, has the run made on a machine of Colab, brings it home and says what it cost."""

import argparse
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.cli.console import EXIT_ERROR, EXIT_INTERRUPTED, guarded, printable, progress_bar, refuse, show, show_findings
from preflight.files import CONFIGS, exclusive_lock

if TYPE_CHECKING:  # imported inside the functions, where `guarded` says which package is not installed
    from collections.abc import Mapping, Sequence

    from preflight.config.settings import Settings
    from preflight.plan.compare import GpuOption
    from preflight.remote.colab import Colab
    from preflight.remote.follow import Progressed
    from preflight.remote.journey import Journey
    from preflight.remote.state import Rate, RunFile
    from preflight.result import Report

DESCRIPTION = """One run on a machine of Colab, from this laptop, through Google's `colab` command.

Judges config and rows here, asks once, takes a machine, sends the committed code and the packed rows, trains there, brings each finished
checkpoint home as it appears, then the evaluation and the adapter, and stops the machine. Whatever breaks: the same command goes on."""
SAID_EVERY = 300.0  # seconds between two lines of progress


def main(argv: list[str] | None = None) -> int:
    """Make the run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m preflight.remote", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("config", type=Path, nargs="?", metavar="CONFIG", default=CONFIGS / "mistral_qlora.yaml", help="an Axolotl YAML, committed")
    add("--data", metavar="SOURCE", default="", help="a folder of rows, a zip of them, or the https address of one, which the machine fetches")
    add(
        "--gpu", action="append", metavar="NAME", choices=("T4", "L4", "G4", "A100", "H100"), help="in order of preference; default: colab_setup.yaml"
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change one value for this run")
    add("--workspace", type=Path, metavar="DIR", help="where everything is kept (default: workspace/ in the checkout)")
    add("--yes", action="store_true", help="don't ask")
    add("--fresh", action="store_true", help="set aside what an earlier run of this config brought home, and begin anew")
    args = parser.parse_args(argv)
    return guarded("remote", partial(_remote, args), interrupted="Interrupted before a machine was taken.")


def _remote(args: argparse.Namespace) -> int:
    from preflight.machine.workspace import find_workspace
    from preflight.remote.colab import RemoteError, TroubleError, find_colab

    folder = find_workspace(args.workspace).root / "remote" / args.config.stem
    try:
        colab = find_colab()
        with exclusive_lock(folder / ".lock", wait=False) as free:
            if not free:
                raise RemoteError(f"another command is at this run ({folder})", "wait for it, or end it with Ctrl-C")
            return _run(args, colab, folder)
    except (RemoteError, TroubleError, OSError) as error:
        return _refuse(error)


def _refuse(error: Exception) -> int:
    """Say what went wrong and how to mend it; the exit code."""
    fix = getattr(error, "fix", "")
    return refuse(f"remote: {error}" + (f"\n  fix: {fix}" if fix else ""))


def _run(args: argparse.Namespace, colab: "Colab", folder: Path) -> int:
    from preflight.remote.journey import begun, still_running
    from preflight.remote.sending import committed, inside, set_aside, unsent
    from preflight.remote.state import RunFile

    usage, run = colab.usage(), begun(folder)
    for other in still_running(colab, run):
        whose = "which this laptop has no name for" if other.name == "?" else f"stop it with: colab stop -s {other.name}"
        show(
            printable(f"Still running: {other.endpoint} ({other.hardware}), {whose}. The account's machines take {usage.per_hour:.2f} units an hour.")
        )
    gpus = tuple(args.gpu or _preferred())
    if run is None:
        commit, report = committed(args.config), _judge(args)
        if unsent():
            show("Edits of the code that are not committed are not sent.")
        if not report.ok:
            show_findings([finding for finding in report.findings if finding.level == "error"])
            return EXIT_ERROR
        estimate = _price(report, gpus, folder, usage.balance)
        if not args.yes and not _agreed("Take a machine and train?"):
            return EXIT_INTERRUPTED
        set_aside(folder, fresh=args.fresh)
        rows = "kit-in/rows.zip" if args.data and not args.data.startswith("https://") else args.data
        sets = [word for text in args.overrides for word in ("--set", text)]
        words = (inside(args.config), *sets, *(("--data", rows) if rows else ()))
        run = RunFile(config=inside(args.config), commit=commit, arguments=words, estimate=estimate)
    else:
        show(f"Going on with the run of commit {run.commit[:12]}.")
    return _travel(_journey(args, colab, folder, run, gpus), run)


def _travel(journey: "Journey", run: "RunFile") -> int:
    """The run, and the machine given back whatever happens: only the user may leave it running."""
    from preflight.remote.colab import RemoteError
    from preflight.remote.journey import arrive, travel
    from preflight.remote.state import read_run

    code, bill, leave = EXIT_ERROR, "", False
    try:
        code = travel(journey, run).code or 0
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        question = "\nStop the machine? If not, it runs on and costs, and the same command goes on with it."
        leave = sys.stdin.isatty() and not _agreed(question)
    except RemoteError as error:
        code = _refuse(error)
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if not leave:
                bill = arrive(journey, read_run(journey.folder) or run)
        finally:
            signal.signal(signal.SIGINT, before)
    if leave:
        return code
    shutil.rmtree(journey.folder / "incoming", ignore_errors=True)
    _show_end(journey.home, code, bill)
    return code


def _show_end(home: Path, code: int, bill: str) -> None:
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


def _preferred() -> list[str]:
    from preflight.config.settings import read_settings

    settings, _ = read_settings()
    return settings.remote.gpus if settings else ["A100"]


def _judge(args: argparse.Namespace) -> "Report":
    """Everything that needs no GPU: config, rows, and the price on each GPU."""
    from preflight.config.layers import UsageError, parse_override
    from preflight.data.stage import DataSource
    from preflight.pipeline import preflight
    from preflight.remote.colab import RemoteError
    from preflight.request import Request

    try:
        overrides = tuple(parse_override(text) for text in args.overrides)
    except UsageError as error:
        raise RemoteError(str(error)) from None
    with progress_bar() as progress:
        return preflight(
            Request(
                config=args.config, overrides=overrides, compare=True, plan_only=True, source=DataSource.named(args.data), workspace=args.workspace
            ),
            progress,
        )


def _price(report: "Report", gpus: tuple[str, ...], folder: Path, balance: float) -> str:
    """Show what the run takes on each GPU that may come; the estimate, as a sentence."""
    from preflight.remote.state import read_rates

    settings, plan = report.settings, report.plan
    lines = prices(plan.options, settings, gpus, read_rates(folder.parent).known) if settings and plan else []
    show("Estimated, in order of preference:\n  " + "\n  ".join(lines or ["hours and units of this config on a GPU are not known"]))
    show(f"The account has {balance:.2f} units.")
    return f"Estimated before: {lines[0]}." if lines else ""


def prices(options: "Sequence[GpuOption]", settings: "Settings", gpus: "Sequence[str]", rates: "Mapping[str, Rate]") -> list[str]:
    """Hours, units and money on each GPU, in order of preference, by the rate that this account has seen before that of the table."""
    from preflight.cli.facts import duration
    from preflight.remote.journey import GPUS

    usd, lines = settings.subscription.usd_per_month / settings.subscription.compute_units_per_month, list[str]()
    for option in (option for gpu in gpus for option in options if option.tier.name.startswith(GPUS[gpu])):
        if option.cost is None:
            continue
        read = rates.get(option.tier.name)
        rate = read.per_hour if read else settings.compute.compute_units_per_hour.get(option.tier.name)
        money = "rate not known"
        if rate:
            units = option.cost.hours.times(rate)
            source = f"rate read {read.read}" if read else "rate of colab_setup.yaml"
            money = f"{units.low:.1f} to {units.high:.1f} units, ${units.low * usd:.2f} to {units.high * usd:.2f} ({source})"
        lines.append(f"{option.tier.title}: {duration(option.cost.hours)}, {money}")
    return lines


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        show(f"remote: {question.strip()} Nobody is here to ask: --yes says so", error=True)
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _journey(args: argparse.Namespace, colab: "Colab", folder: Path, run: "RunFile", gpus: tuple[str, ...]) -> "Journey":
    from preflight.config.base_model import TOKEN
    from preflight.remote.journey import Journey
    from preflight.remote.sending import archived, packed

    local = args.data and not args.data.startswith("https://")
    with progress_bar() as progress:
        rows = packed(Path(args.data), folder, progress) if local else None
    return Journey(
        colab=colab,
        folder=folder,
        code=archived(folder, run.commit),
        rows=rows,
        gpus=gpus,
        token=os.environ.get(TOKEN, ""),
        say=lambda text: show(printable(text)),
        follow=_Teller(),
        every=float(os.environ.get("PREFLIGHT_REMOTE_EVERY", "30")),
    )


class _Teller:
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
