"""The command line of preflight: arguments, report, exit code."""

import argparse
import os
import platform
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from preflight.cli.console import EXIT_ERROR, EXIT_FAULT, guarded, progress_bar, show
from preflight.cli.options import SET, add_run_options, parsed_overrides

if TYPE_CHECKING:  # imported inside the functions, where `guarded` says which package is not installed
    from preflight.request import Request

DESCRIPTION = """Says what would go wrong with a training run, and writes the YAML and the command that start it.

Looks at the machine (Colab, GPU, disk, packages), reads an Axolotl YAML, sets in it what this GPU needs, stages the
rows, finds the checkpoint to resume from. Nothing is trained."""

EPILOG = """examples:
  python -m preflight                                          the Mistral-7B run, on the GPU that is here
  python -m preflight axolotl_configs/smoke.yaml               a tiny run on any CPU
  python -m preflight --set learning_rate=0.0001 --set num_epochs=2
  python -m preflight --gpu l4                                 what would change on an L4
  python -m preflight --gpu all --data my_rows                 hours, units and money on every GPU
  python -m preflight --scale ddp --gpus-per-node 2            the same run on two GPUs
  python -m preflight --show-example                           what the trainer sees of a row, and what it is graded on
  python -m preflight --data my_rows.zip                       rows from elsewhere: what scripts/package_data.sh made

exit code: 0 no error (warnings allowed), 1 errors found, 2 wrong usage, 3 internal error, 130 interrupted"""


def main(argv: list[str] | None = None) -> int:
    """Run preflight; return the exit code."""
    return guarded("preflight", partial(_run, argv))


def _run(argv: list[str] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    request = _request(parser, args)

    from preflight.cli.text import render_json, render_text
    from preflight.pipeline import preflight

    with progress_bar() as progress:
        report = preflight(request, progress)
    unwritten = _write_report(args.report, render_json(report)) if args.report else ""
    if args.json:
        show(render_json(report))
    else:
        width = min(shutil.get_terminal_size((110, 24)).columns, 130)
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        show(render_text(report, os.path.relpath(args.config), width, colour=colour).removesuffix("\n"))
    if unwritten:
        show(f"preflight: --report {args.report}: {unwritten}", error=True)
    if any(finding.code == "internal.crash" for finding in report.findings):
        return EXIT_FAULT
    return 0 if report.ok and not unwritten else EXIT_ERROR


def _write_report(path: Path, document: str) -> str:
    """Write the document to a file; why that failed, or ''."""
    from preflight.files import write_atomic

    try:
        write_atomic(path, f"{document}\n")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _parser() -> argparse.ArgumentParser:
    from preflight.config.scale import ENGINES
    from preflight.config.tiers import TIERS
    from preflight.config.validators import Ask, default_ask
    from preflight.request import Request

    tiers = [tier.name for tier in TIERS]
    parser = argparse.ArgumentParser(
        prog="python -m preflight", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    default = "an Axolotl YAML (default: axolotl_configs/mistral_qlora.yaml)"
    add("config", type=Path, nargs="?", metavar="CONFIG", default=Request.config, help=default)
    add_run_options(parser, SET)
    plan = f"plan for a GPU that is not here; implies --plan-only. One of: {', '.join(tiers)}; or all, to compare them"
    add("--gpu", metavar="NAME", choices=(*tiers, "all"), help=plan)
    where = "where everything is written (default: /content on Colab, workspace/ in the checkout elsewhere)"
    add("--workspace", type=Path, metavar="DIR", help=where)
    rows = "a folder, a zip, or the https address of one (default: the paths in the YAML; for /content/data the Drive folder in axolotl_configs/colab_setup.yaml)"
    add("--data", metavar="SOURCE", default="", help=rows)
    checksum = "the checksum that the zip at the address must have (default: the one at the address with .sha256)"
    add("--sha256", metavar="HEX", type=_sha256, help=checksum)
    row = "show a training row as the trainer sees it (default: the first)"
    add("--show-example", type=_from_one, nargs="?", const=1, default=0, metavar="LINE", help=row)
    add("--scale", metavar="NAME", choices=tuple(ENGINES), help=f"train on several GPUs with this engine: {', '.join(ENGINES)}")
    add("--nodes", type=_from_one, metavar="N", help="machines that train together (with --scale; default 1)")
    add("--gpus-per-node", type=_from_one, metavar="G", help="GPUs of each machine (with --scale; default: those that are here)")
    add("--head", metavar="HOST", help="where the other machines find the first one (with --nodes; default: this machine's name)")
    add("--json", action="store_true", help="print one JSON document on standard output, everything else on standard error")
    add("--report", type=Path, metavar="FILE", help="also write that document to a file, beside the report on standard output")
    add("--plan-only", action="store_true", help="stage and write nothing")
    asked = "whether Axolotl's own validators judge the config, which takes 10 s unless they have before (default: PREFLIGHT_VALIDATORS, or auto: unless it is a plan)"
    add("--validators", choices=get_args(Ask), default=default_ask(), help=asked)
    return parser


def _may_hold_rows(path: Path) -> bool:
    """Whether --data names a folder or a zip. Of a disk that fails or hangs the data stage says more."""
    from preflight.machine.answering import answering

    try:
        return answering(Path.is_dir, path)(path) or (path.suffix == ".zip" and answering(Path.is_file, path)(path))
    except OSError:
        return True


def _request(parser: argparse.ArgumentParser, args: argparse.Namespace) -> "Request":
    """What the arguments ask for; ends with one sentence and exit code 2 where they don't go together."""
    from preflight.config.scale import Scale
    from preflight.config.secrets import masked_text
    from preflight.config.tiers import TIERS
    from preflight.data.stage import DataSource
    from preflight.request import Request

    source = DataSource.named(args.data, sha256=args.sha256 or "", show_example=args.show_example)
    if source.path and not _may_hold_rows(source.path):
        parser.error(f"--data {masked_text(args.data)}: no such folder or zip")
    if args.sha256 and not source.address:
        parser.error("--sha256: it goes with --data https://...; a zip on disk is checked against the file .sha256 beside it")
    if args.scale is None and (args.nodes or args.gpus_per_node or args.head):
        parser.error("--nodes, --gpus-per-node and --head go with --scale NAME")
    if args.scale and args.gpu == "all":
        parser.error("--scale goes with one GPU's name, not with --gpu all")
    nodes, gpus, head = args.nodes or 1, args.gpus_per_node or 0, args.head or platform.node()
    return Request(
        config=args.config,
        overrides=parsed_overrides(parser, args.overrides),
        name=args.name or "",
        tier=next((tier for tier in TIERS if tier.name == args.gpu), None),
        compare=args.gpu == "all",
        scale=Scale(engine=args.scale, nodes=nodes, gpus_per_node=gpus, head=head) if args.scale else None,
        workspace=args.workspace,
        source=source,
        plan_only=args.plan_only or bool(args.gpu),
        validators=args.validators,
    )


def _from_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1")
    return int(text)


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text}: 64 hexadecimal digits, as sha256sum prints them")
    return text
