"""The command line of `python -m preflight.runs`: every run of the workspace and of Drive in one table, and which one is better."""

import argparse
import json
from functools import partial
from pathlib import Path

from preflight.cli.console import EXIT_ERROR, guarded, printable, show, show_findings


def main(argv: list[str] | None = None) -> int:
    """Show the runs; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.runs",
        description="Every run of the workspace and of Drive: what differs between them, what each reached and cost, and whether one is better by more than chance.",
    )
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="the workspace that was given to preflight")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return guarded("runs", partial(_run, parser.parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    from preflight.cli.run_table import lines
    from preflight.config.settings import read_settings
    from preflight.machine.workspace import find_workspace
    from preflight.outcomes.table import gather

    settings, findings = read_settings()
    if settings is None:
        show_findings(findings)
        return EXIT_ERROR
    workspace = find_workspace(args.workspace)
    runs = gather(workspace, settings)
    if args.json:
        show(json.dumps(runs.as_json(settings), indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())
    else:
        for line in lines(runs, settings, workspace):
            show(printable(line))
    return 0
