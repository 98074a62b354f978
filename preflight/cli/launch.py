"""Run the command that a preflight decided on: `python -m preflight.cli.launch REPORT`, the file that `--report` wrote."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from preflight.checkpoints.mirror import left_behind
from preflight.cli.console import EXIT_ERROR, guarded, show
from preflight.files import quoted
from preflight.launch.command import HERE
from preflight.machine.orphans import end_with_parent


@dataclass(frozen=True, kw_only=True)
class Launchable:
    """The command that trains, as a report holds it; false where there is nothing to launch."""

    argv: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    where: str = ""  # the machines that have to run commands, where that is not this one alone
    config_path: Path = Path()  # the resolved YAML

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
    )


def main(argv: list[str] | None = None) -> int:
    """Train; return the exit code of the launcher, 0 where nothing is left to train."""
    parser = argparse.ArgumentParser(prog="python -m preflight.cli.launch", description="Runs the command that a preflight decided on.")
    parser.add_argument("report", type=Path, metavar="REPORT", help="what `python -m preflight --report REPORT` wrote")
    return guarded("launch", partial(_launch, parser.parse_args(argv).report))


def _launch(path: Path) -> int:
    launchable = read_report(path)
    if not launchable:
        return 0
    if launchable.where:
        show(f"launch: this run takes several machines: type the commands of the report on {launchable.where}", error=True)
        return EXIT_ERROR
    end_with_parent("train.sh")
    with subprocess.Popen(launchable.argv, env=os.environ | launchable.environment) as launcher:
        for number in (signal.SIGTERM, signal.SIGHUP):  # Ctrl-C reaches the launcher from the terminal itself
            signal.signal(number, lambda *_: launcher.terminate())
        try:
            code = launcher.wait()
        except KeyboardInterrupt:  # training saves and ends; a second Ctrl-C leaves it to that
            code = launcher.wait()
    outputs = launchable.config_path.parent / "outputs"
    if code == 0 and (missing := left_behind(outputs)):
        show(f"launch: training has ended, and {missing}. When it can be written again: python -m preflight.mirror {quoted(outputs)}", error=True)
        return EXIT_ERROR
    return code


if __name__ == "__main__":
    sys.exit(main())
