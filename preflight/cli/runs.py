"""The command line of `python -m preflight.runs`: every run of the workspace and of Drive in one table, and which one is better."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.cli.console import EXIT_ERROR, guarded, printable, show, show_findings

if TYPE_CHECKING:
    from preflight.config.settings import Settings
    from preflight.machine.workspace import Workspace
    from preflight.outcomes.table import Runs


def main(argv: list[str] | None = None) -> int:
    """Show the runs; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.runs",
        description="Every run of the workspace and of Drive: what differs between them, what each reached and cost, and whether one is better by more than chance.",
    )
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="the workspace that was given to preflight")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--page", action="store_true", help="also write the pages: runs/index.html of the workspace, and one for each run")
    return guarded("runs", partial(_run, parser.parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    from preflight.cli.run_table import lines
    from preflight.config.settings import of_account, read_settings
    from preflight.machine.workspace import find_workspace
    from preflight.outcomes.suggestions import suggest
    from preflight.outcomes.table import gather

    settings, findings = read_settings()
    if settings is None:
        show_findings(findings)
        return EXIT_ERROR
    workspace = find_workspace(args.workspace)
    settings = of_account(settings, workspace.remote)
    runs = gather(workspace, settings)
    if args.json:
        document = runs.as_json(settings)
        for described, one in zip(document["runs"], runs.outcomes, strict=True):
            described["suggestions"] = [asdict(suggestion) for suggestion in suggest(one, runs, settings)]
        show(json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())
    else:
        for line in lines(runs, settings, workspace):
            show(printable(line))
    if args.page and runs.outcomes:
        index, problem = pages(runs, workspace, settings)
        show(printable(f"no page: {problem}" if problem else f"pages: {index}"), error=bool(args.json or problem))
        return EXIT_ERROR if problem else 0
    return 0


def pages(runs: "Runs", workspace: "Workspace", settings: "Settings", names: Sequence[str] = ()) -> tuple[Path, str]:
    """(the index, why it could not be written)."""
    from preflight.outcomes.pages import INDEX, write_pages

    try:
        return write_pages(runs, workspace, settings, names), ""
    except ImportError as error:
        return workspace.runs / INDEX, f"the Python package {error.name} is not installed: scripts/setup.sh"
    except OSError as error:
        return workspace.runs / INDEX, f"{error.filename or workspace.runs}: {error.strerror or error}"
