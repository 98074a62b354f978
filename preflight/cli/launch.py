"""Run the command that a preflight decided on: `python -m preflight.cli.launch REPORT`, the file that `--report` wrote."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from preflight.checkpoints.mirror import left_behind
from preflight.checkpoints.progress import clock
from preflight.cli.console import EXIT_ERROR, Ticker, guarded, printable, show
from preflight.cli.watching import Watched, failure
from preflight.files import quoted
from preflight.launch.command import HERE
from preflight.machine.environment import near
from preflight.machine.orphans import end_with_parent
from preflight.machine.run_folder import LOG

EXIT_NOT_KEPT = 4  # training has ended well, and not all that it saved is in its place


@dataclass(frozen=True, kw_only=True)
class Launchable:
    """The command that trains, as a report holds it; false where there is nothing to launch."""

    argv: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    where: str = ""  # the machines that have to run commands, where that is not this one alone
    config_path: Path = Path()  # the resolved YAML
    report: Path = Path()  # that says so

    def __bool__(self) -> bool:
        return bool(self.argv)


def read_report(path: Path) -> Launchable:
    """What a report says to launch. Raises OSError, ValueError."""
    report = json.loads(path.read_text(encoding="utf-8"))
    elsewhere = [where for where, _ in report["commands"] if where != HERE]
    return Launchable(
        argv=tuple(report["command"]),
        environment=report["environment"],
        where=elsewhere[-1] if elsewhere else "",
        config_path=Path(report["config_path"]),
        report=path,
    )


def main(argv: list[str] | None = None) -> int:
    """Train; return the exit code of the launcher, 0 where nothing is left to train."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.cli.launch",
        description="Runs the command that a preflight decided on, and shows how training goes: step, loss, pace, time left, checkpoints.",
        epilog=f"What Axolotl and its launcher print is kept in {LOG} in the run's folder; where training fails, its end is shown.",
    )
    parser.add_argument("report", type=Path, metavar="REPORT", help="what `python -m preflight --report REPORT` wrote")
    parser.add_argument("--verbose", action="store_true", help="show all that Axolotl prints, and keep no log of it")
    parser.add_argument("--live", action="store_true", help="write the line of progress over itself where this is no terminal: a notebook's cell")
    args = parser.parse_args(argv)
    return guarded("launch", partial(_launch, args.report, verbose=args.verbose, live=args.live or sys.stdout.isatty()))


def _launch(path: Path, *, verbose: bool, live: bool) -> int:
    launchable = read_report(path)
    if not launchable:
        return 0
    if launchable.where:
        show(f"launch: this run takes several machines: type the commands of the report on {launchable.where}", error=True)
        return EXIT_ERROR
    end_with_parent("train.sh", "ipykernel", "colab_kernel")
    outputs = launchable.config_path.parent / "outputs"
    began = time.monotonic()
    code = _train(launchable) if verbose else _followed(launchable, live=live)
    if code:
        return code
    show(f"training: ended after {clock(time.monotonic() - began)}")
    if missing := left_behind(outputs):
        show(f"launch: training has ended, and {missing}. When it can be written again: python -m preflight.mirror {quoted(outputs)}", error=True)
        return EXIT_NOT_KEPT
    return 0


def _train(launchable: Launchable) -> int:
    """Its own output, as it comes."""
    with subprocess.Popen(launchable.argv, env=os.environ | launchable.environment) as launcher:
        hand_on_signals(launcher)
        return launcher.wait()


def _followed(launchable: Launchable, *, live: bool) -> int:
    """The kit's own lines, and the rest into a file."""
    folder = launchable.config_path.parent
    show(f"training: all that Axolotl prints goes to {near(folder / LOG)}")
    ticker = Ticker(live=live)
    with subprocess.Popen(launchable.argv, env=os.environ | launchable.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as launcher:
        watched = Watched(launcher, folder, ticker)
        hand_on_signals(launcher, watched.stop)
        code = watched.to_the_end()
    ticker.clear()
    if code:
        show(printable(failure(watched.log.last, code, near(folder / LOG))), error=True)
    return code


def hand_on_signals(launcher: "subprocess.Popen[bytes]", on_interrupt: Callable[[], None] = lambda: None) -> None:
    """What ends this process ends the launcher. Ctrl-C reaches it from the terminal itself, and training saves and ends: here it is no more than
    noted; a second one leaves training to that. An exception may be raised where Python drops it (the message was missing once in a whole suite, 2026-11-27)."""

    def note(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        on_interrupt()

    signal.signal(signal.SIGINT, note)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: launcher.terminate())


if __name__ == "__main__":
    sys.exit(main())
