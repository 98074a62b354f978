"""`make colab`: judges here, asks once, has the run made on a machine of Colab, brings it home and says what it cost."""

import argparse
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.cli.console import EXIT_ERROR, EXIT_INTERRUPTED, guarded, printable, progress_bar, show, show_findings
from preflight.cli.remote_show import Teller, prices, show_running
from preflight.cli.remote_travel import agreed, machine_of, refuse_with_fix, to_the_end
from preflight.files import CONFIGS, exclusive_lock

if TYPE_CHECKING:  # imported inside the functions, where `guarded` says which package is not installed
    from preflight.remote.colab import Colab
    from preflight.remote.needs import Journey
    from preflight.remote.state import RunFile
    from preflight.result import Report

DESCRIPTION = """One run on a machine of Colab, from this laptop, through Google's `colab` command.

Judges config and rows here, asks once, takes a machine, sends the committed code and the packed rows, trains there, brings each finished
checkpoint home as it appears, then the evaluation and the adapter, and stops the machine. Whatever breaks: the same command goes on."""


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
    add("--stop", metavar="ENDPOINT", default="", help="stop this machine of the account, which `colab sessions` lists, and do nothing else")
    add("--fresh", action="store_true", help="set aside what an earlier run of this config brought home, and begin anew")
    args = parser.parse_args(argv)
    return guarded("remote", partial(_remote, args), interrupted="Interrupted before a machine was taken.")


def _remote(args: argparse.Namespace) -> int:
    from preflight.machine.workspace import find_workspace
    from preflight.remote.colab import RemoteError, TroubleError, find_colab

    folder = find_workspace(args.workspace).root / "remote" / args.config.stem
    try:
        colab, every = find_colab(), _every()
        if args.stop:
            return _stop(colab, folder.parent, args.stop)
        with exclusive_lock(folder / ".lock", wait=False) as free:
            if not free:
                raise RemoteError(f"another command is at this run ({folder})", "wait for it, or end it with Ctrl-C")
            return _run(args, colab, folder, every)
    except KeyboardInterrupt:
        if not machine_of(folder):
            raise
        show(f"\nInterrupted. {machine_of(folder)}", error=True)
        return EXIT_INTERRUPTED
    except (RemoteError, TroubleError, OSError) as error:
        code = refuse_with_fix(error)
        if not isinstance(error, OSError) and machine_of(folder):
            show(machine_of(folder), error=True)
        return code


def _every() -> float:
    """Seconds from one look to the next. Raises RemoteError."""
    from preflight.remote.colab import RemoteError
    from preflight.remote.needs import EVERY

    given = os.environ.get("PREFLIGHT_REMOTE_EVERY", "")
    try:
        every = float(given or EVERY)
    except ValueError:
        every = 0.0
    if not 0 < every <= 3600:
        fix = "give seconds from one look at the machine to the next, at most 3600, or unset it: then they are 30"
        raise RemoteError(f"PREFLIGHT_REMOTE_EVERY is {given[:40]!r}, which is no such number", fix)
    return every


def _stop(colab: "Colab", scratch: Path, endpoint: str) -> int:
    """End one machine, whoever made it, and see that it is gone."""
    from preflight.remote.colab import UNNAMED, RemoteError
    from preflight.remote.machines import PAGE, stop

    found = [one for one in colab.sessions() if endpoint in (one.endpoint, one.name) and endpoint != UNNAMED]
    if not found:
        raise RemoteError(f"no machine {endpoint} runs", "`colab sessions` lists those that do")
    if not stop(colab, scratch, "" if found[0].name == UNNAMED else found[0].name, found[0].endpoint):
        raise RemoteError(f"the machine {found[0].endpoint} still runs", f"stop it {PAGE}")
    show(printable(f"{found[0].endpoint} ({found[0].hardware}) is stopped."))
    return 0


def _run(args: argparse.Namespace, colab: "Colab", folder: Path, every: float) -> int:
    from preflight.remote.journey import begun
    from preflight.remote.sending import committed, inside, set_aside, unsent
    from preflight.remote.state import RunFile

    usage, run, rates = colab.usage(), begun(folder), _rates(folder)
    show_running(colab, run, rates)
    gpus = tuple(args.gpu or _preferred())
    if run is None:
        commit, report = committed(args.config), _judge(args)
        if unsent():
            show("Edits of the code that are not committed are not sent.")
        if not report.ok:
            show_findings([finding for finding in report.findings if finding.level == "error"])
            return EXIT_ERROR
        estimate = _price(report, gpus, folder, usage.balance)
        if not args.yes and not agreed("Take a machine and train?"):
            return EXIT_INTERRUPTED
        set_aside(folder, fresh=args.fresh)
        rows = "kit-in/rows.zip" if args.data and not args.data.startswith("https://") else args.data
        sets = [word for text in args.overrides for word in ("--set", text)]
        words = (inside(args.config), *sets, *(("--data", rows) if rows else ()))
        run = RunFile(config=inside(args.config), commit=commit, arguments=words, estimate=estimate)
    else:
        show(f"Going on with the run of commit {run.commit[:12]}.")
        run = _own(colab, run, folder)
    return to_the_end(_journey(args, colab, folder, run, gpus, rates, every), run)


def _own(colab: "Colab", run: "RunFile", folder: Path) -> "RunFile":
    """Ask of each machine without a name that came when this run asked for one: the user's own is no reason to wait."""
    from preflight.remote.machines import unnamed_since
    from preflight.remote.state import write_run

    for one in unnamed_since(run, colab.sessions()) if sys.stdin.isatty() else ():
        if agreed(printable(f"Is {one.endpoint} ({one.hardware}) a notebook of yours, so that another machine may be taken beside it?")):
            run = replace(run, unnamed=(*run.unnamed, one.endpoint))
            write_run(folder, run)
    return run


def _preferred() -> list[str]:
    from preflight.config.settings import read_settings

    settings, _ = read_settings()
    return settings.remote.gpus if settings else ["A100"]


def _rates(folder: Path) -> dict[str, float]:
    """Units an hour of each tier: as this account has seen them, else of the table."""
    from preflight.config.settings import read_settings
    from preflight.remote.state import read_rates

    settings, _ = read_settings()
    return {
        **(settings.compute.compute_units_per_hour if settings else {}),
        **{name: rate.per_hour for name, rate in read_rates(folder.parent).known.items()},
    }


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


def _journey(
    args: argparse.Namespace, colab: "Colab", folder: Path, run: "RunFile", gpus: tuple[str, ...], rates: dict[str, float], every: float
) -> "Journey":
    from preflight.config.base_model import TOKEN
    from preflight.remote.needs import Journey
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
        rates=rates,
        say=lambda text: show(printable(text)),
        follow=Teller(),
        every=every,
    )
