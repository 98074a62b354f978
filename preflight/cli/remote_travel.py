"""A run on Colab from its first step to the machine's end, as a person at the terminal lives through it."""

import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.cli.console import EXIT_ERROR, EXIT_INTERRUPTED, printable, refuse, show
from preflight.cli.remote_show import show_end, show_running

if TYPE_CHECKING:
    from preflight.remote.needs import Journey
    from preflight.remote.state import RunFile


def to_the_end(journey: "Journey", run: "RunFile") -> int:
    """The run, and the machine given back whatever happens: only the user may leave it running."""
    from preflight.remote.colab import RemoteError
    from preflight.remote.journey import arrive, travel

    code, bill, leave = EXIT_ERROR, "", False
    first: RemoteError | None = None
    still_on: RemoteError | None = None
    try:
        code = travel(journey, run).code or 0
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        leave = bool(machine_of(journey.folder)) and _leaves()
    except RemoteError as error:
        first = error
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if not leave:
                bill = arrive(journey, _latest(journey.folder) or run)
        except RemoteError as error:
            still_on = error
        finally:
            signal.signal(signal.SIGINT, before)
    if leave:
        show(machine_of(journey.folder))
        return code
    shutil.rmtree(journey.folder / "incoming", ignore_errors=True)
    if first:
        refuse_with_fix(first)
    show_end(journey.home, code, bill)
    _show_others(journey)
    if still_on and str(still_on) != str(first):
        refuse_with_fix(still_on)
    return EXIT_ERROR if still_on else code


def give_up(journey: "Journey", run: "RunFile", *, asks: bool) -> bool:
    """End a run that was begun, its machine included; whether that is wanted. Raises RemoteError, OSError."""
    from preflight.remote.journey import arrive
    from preflight.remote.state import write_run

    if run.session and asks and not agreed(f"A machine of the run that was begun may be on ({run.session}). Stop it, and begin anew?"):
        show(machine_of(journey.folder))
        return False
    if bill := arrive(journey, run):
        show(bill)
    write_run(journey.folder, replace(run, session="", endpoint="", code=EXIT_INTERRUPTED))
    return True


def _show_others(journey: "Journey") -> None:
    """Machines that run now that this run's is stopped."""
    from preflight.remote.colab import RemoteError, TroubleError

    try:
        show_running(journey.colab, _latest(journey.folder), journey.rates)
    except (RemoteError, TroubleError) as error:
        show(printable(f"Whether other machines run is not known ({error}): `colab sessions` lists them."), error=True)


def _leaves() -> bool:
    """Whether the user, who has pressed Ctrl-C, leaves the machine running. Anything but a clear no stops it: it costs."""
    if not sys.stdin.isatty():
        return False
    try:
        return input("\nStop the machine? If not, it runs on and costs, and the same command goes on with it. [Y/n] ").strip().lower() in ("n", "no")
    except (EOFError, KeyboardInterrupt):
        return False


def _latest(folder: Path) -> "RunFile | None":
    """The run as it stands; None where its file can't be read, which must not keep a machine on."""
    from preflight.remote.state import read_run

    try:
        return read_run(folder)
    except OSError:
        return None


def machine_of(folder: Path) -> str:
    """What is to be said of the run's machine where the command ends without having stopped it; '' where none was asked for."""
    run = _latest(folder)
    if run is None or not run.session:
        return ""
    stop = f"colab stop -s {run.session}"
    return printable(f"The machine {run.session} was not stopped, and may run and cost. The same command goes on with it; or end it: {stop}")


def agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        show(f"remote: {question.strip()} Nobody is here to ask: --yes says so", error=True)
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def refuse_with_fix(error: Exception) -> int:
    """Say what went wrong and how to mend it; the exit code."""
    fix = getattr(error, "fix", "")
    return refuse(f"remote: {error}" + (f"\n  fix: {fix}" if fix else ""))
