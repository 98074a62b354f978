"""What is judged, priced, packed and asked before a run on Colab begins; and what of an earlier start goes on."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.cli.console import EXIT_ERROR, EXIT_INTERRUPTED, printable, progress_bar, show, show_findings
from preflight.cli.remote_show import prices
from preflight.cli.remote_travel import agreed, machine_of

if TYPE_CHECKING:
    from preflight.remote.colab import Colab
    from preflight.remote.state import RunFile
    from preflight.result import Report


def begin(args: argparse.Namespace, folder: Path, gpus: tuple[str, ...], balance: float, held: "RunFile | None") -> "RunFile | int":
    """A new run, on the machine that was taken for it already where there is one; the exit code where none begins. Raises RemoteError, OSError."""
    from preflight.data.stage import DataSource
    from preflight.remote.sending import committed, inside, pack_rows, refuse_other_rows, set_aside, unsent
    from preflight.remote.state import ROWS, RunFile, write_run

    commit, report = committed(args.config), _judge(args)
    if unsent():
        show("Edits of the code that are not committed are not sent.")
    if not report.ok:
        show_findings([finding for finding in report.findings if finding.level == "error"])
        return _not_begun(folder, EXIT_ERROR)
    source, digest = DataSource.named(args.data), ""
    if source.path:
        with progress_bar() as progress:
            digest = pack_rows(source.path, folder / ROWS, progress)
        if not args.fresh:
            refuse_other_rows(folder, digest)
    estimate = _price(report, gpus, balance)
    if not args.yes and not agreed("Take a machine and train?"):
        return _not_begun(folder, EXIT_INTERRUPTED)
    set_aside(folder, fresh=args.fresh)
    rows = f"kit-in/{ROWS}" if source.path else source.address
    words = (inside(args.config), *_sets(args), *(("--data", rows) if rows else ()))
    run = replace(
        held or RunFile(config="", commit=""),
        config=inside(args.config),
        commit=commit,
        arguments=words,
        estimate=estimate,
        data=str(source.path or source.address),
        rows_sha256=digest,
    )
    write_run(folder, run)
    return run


def _not_begun(folder: Path, code: int) -> int:
    if said := machine_of(folder):
        show(said, error=True)
    return code


def _sets(args: argparse.Namespace) -> list[str]:
    return [word for text in args.overrides for word in ("--set", text)]


def goes_on(args: argparse.Namespace, colab: "Colab", folder: Path, run: "RunFile") -> "RunFile | None":
    """The run that was begun, as it goes on; None where its rows were changed before anything was trained on them. Raises RemoteError, OSError."""
    from preflight.remote.colab import RemoteError
    from preflight.remote.sending import changed_rows, refuse_lost_rows
    from preflight.remote.state import ROWS

    show(f"Going on with the run of commit {run.commit[:12]}.")
    begun = [word for pair in zip(run.arguments, run.arguments[1:], strict=False) if pair[0] == "--set" for word in pair]
    if args.overrides and _sets(args) != begun:
        was = " ".join(begun) or "no --set"
        raise RemoteError(f"the run that was begun here has other values: {was}", "without --set the same command goes on; --fresh begins anew")
    with progress_bar() as progress:
        changed = changed_rows(args.data, run, folder, progress)
    if changed and not run.started:
        show(printable(f"The rows of {changed} are not those that were judged, and nothing was trained yet: they are judged and sent anew."))
        args.data, args.overrides = changed, begun[1::2]
        return None
    refuse_lost_rows(run, folder)
    if changed:
        kept = f"it goes on with those that it began with, kept in {folder / ROWS}"
        show(
            printable(
                f"The rows of {changed} have changed since this run began: {kept}. A run is of one set of rows; --fresh begins anew with these."
            )
        )
    return _own(colab, run, folder)


def _own(colab: "Colab", run: "RunFile", folder: Path) -> "RunFile":
    """Ask of each machine without a name that came when this run asked for one: the user's own is no reason to wait."""
    from preflight.remote.machines import unnamed_since
    from preflight.remote.state import write_run

    for one in unnamed_since(run, colab.sessions()) if sys.stdin.isatty() else ():
        if agreed(printable(f"Is {one.endpoint} ({one.hardware}) a notebook of yours, so that another machine may be taken beside it?")):
            run = replace(run, unnamed=(*run.unnamed, one.endpoint), since=0.0)
            write_run(folder, run)
    return run


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


def _price(report: "Report", gpus: tuple[str, ...], balance: float) -> str:
    """Show what the run takes on each GPU that may come; the estimate, as a sentence."""
    settings, plan = report.settings, report.plan
    lines = prices(plan.options, settings, gpus) if settings and plan else []
    show("Estimated, in order of preference:\n  " + "\n  ".join(lines or ["hours and units of this config on a GPU are not known"]))
    show(f"The account has {balance:.2f} units.")
    return f"Estimated before: {lines[0]}." if lines else ""
