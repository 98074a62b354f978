"""`make colab`: judges here, asks once, has the run made on a machine of Colab, brings it home and says what it cost."""

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.cli.console import EXIT_INTERRUPTED, guarded, printable, show
from preflight.cli.remote_begin import begin, goes_on
from preflight.cli.remote_show import Teller, show_running
from preflight.cli.remote_travel import give_up, machine_of, refuse_with_fix, to_the_end
from preflight.files import CONFIGS, exclusive_lock

if TYPE_CHECKING:  # imported inside the functions, where `guarded` says which package is not installed
    from preflight.remote.colab import Colab
    from preflight.remote.needs import Journey
    from preflight.remote.state import RunFile

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
    add("--fresh", action="store_true", help="stop the machine of a run of this config that was begun, set aside what came home, and begin anew")
    args = parser.parse_args(argv)
    return guarded("remote", partial(_remote, args), interrupted="Interrupted before a machine was taken.")


def _remote(args: argparse.Namespace) -> int:
    from preflight.machine.workspace import find_workspace
    from preflight.remote.colab import RemoteError, TroubleError, find_colab

    folder = find_workspace(args.workspace).remote / args.config.stem
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
        if machine_of(folder):
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

    usage, run, rates = colab.usage(), begun(folder), _rates(folder)
    show_running(colab, run, rates)
    gpus = tuple(args.gpu or _preferred())
    journey = partial(_journey, colab, folder, gpus, rates, every)
    if run and args.fresh and not give_up(journey(run), run, asks=not args.yes):
        return EXIT_INTERRUPTED
    held = run = begun(folder)
    if run:
        run = goes_on(args, colab, folder, run)
    if run is None:
        began = begin(args, folder, gpus, usage.balance, held)
        if isinstance(began, int):
            return began
        run = began
    return to_the_end(journey(run), run)


def _preferred() -> list[str]:
    from preflight.config.settings import read_settings

    settings, _ = read_settings()
    return settings.remote.gpus if settings else ["A100"]


def _rates(folder: Path) -> dict[str, float]:
    """Units an hour of each tier: as this account has seen them, else of the table."""
    from preflight.config.settings import of_account, read_settings

    settings, _ = read_settings()
    return of_account(settings, folder.parent).compute.compute_units_per_hour if settings else {}


def _journey(colab: "Colab", folder: Path, gpus: tuple[str, ...], rates: dict[str, float], every: float, run: "RunFile") -> "Journey":
    from preflight.config.base_model import TOKEN
    from preflight.remote.needs import Journey
    from preflight.remote.sending import archived
    from preflight.remote.state import ROWS

    return Journey(
        colab=colab,
        folder=folder,
        code=archived(folder, run.commit),
        rows=folder / ROWS if run.rows_sha256 else None,
        gpus=gpus,
        token=os.environ.get(TOKEN, ""),
        rates=rates,
        say=lambda text: show(printable(text)),
        follow=Teller(),
        every=every,
    )
