"""The command line: arguments, exit code, the only print."""

import argparse
import os
import platform
import re
import sys
import traceback

EXIT_ERROR, EXIT_USAGE, EXIT_FAULT, EXIT_INTERRUPTED = 1, 2, 3, 130

DESCRIPTION = """Says what would go wrong with a training run, and writes the YAML and the command that start it.

Looks at the machine (Colab, GPU, disk, packages), reads an Axolotl YAML, sets in it what this GPU needs, stages the
rows, finds the checkpoint to go on from. Nothing is trained."""

EPILOG = """examples:
  python -m preflight                                          the Mistral-7B run, on the GPU that is here
  python -m preflight axolotl_configs/smoke.yaml               a tiny run on any CPU
  python -m preflight --set learning_rate=0.0001 --set num_epochs=2
  python -m preflight --gpu l4                                 what would change on an L4
  python -m preflight --gpu all --data my_rows                 hours, units and money on every GPU
  python -m preflight --scale ddp --gpus-per-node 2            the same run on two GPUs
  python -m preflight --show-example                           what the trainer sees of a row, and what it is graded on
  python -m preflight --data my_rows.zip                       rows from elsewhere: what scripts/package_data.sh made

exit code: 0 no error (warnings allowed), 1 errors found, 2 wrong usage, 3 a fault of the kit, 130 interrupted"""


def main(argv: list[str] | None = None) -> int:
    """Run preflight; return the exit code."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        print("interrupted: nothing is half-written; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "preflight":
            raise
        print(
            f"preflight: the Python package {error.name} is not installed. Install everything: scripts/setup.sh, then use .venv/bin/python",
            file=sys.stderr,
        )
        return EXIT_USAGE
    except Exception:
        import tempfile

        with tempfile.NamedTemporaryFile("w", prefix="preflight-crash-", suffix=".log", delete=False, encoding="utf-8") as log:
            traceback.print_exc(file=log)
        print(f"preflight: a fault of the kit, please report it with {log.name}", file=sys.stderr)
        return EXIT_FAULT


def _run(argv: list[str] | None) -> int:
    from pathlib import Path

    from preflight import config, gpu, pipeline, report, scale

    names = [tier.name for tier in gpu.TIERS]
    parser = argparse.ArgumentParser(
        prog="python -m preflight", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config",
        type=Path,
        nargs="?",
        metavar="CONFIG",
        default=pipeline.Request.config,
        help="an Axolotl YAML (default: axolotl_configs/mistral_qlora.yaml)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change one value, as YAML; may be given again; datasets.0.path=rows.jsonl reaches inside",
    )
    parser.add_argument(
        "--gpu", metavar="NAME", help=f"plan for a GPU that is not here; implies --plan-only. One of: {', '.join(names)}; or all, to compare them"
    )
    parser.add_argument(
        "--workspace", type=Path, metavar="DIR", help="where everything is written (default: /content on Colab, workspace/ in the checkout elsewhere)"
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="a folder, a zip, or the https address of one (default: the paths in the YAML; for /content/data the Drive folder in axolotl_configs/colab_setup.yaml)",
    )
    parser.add_argument(
        "--sha256", metavar="HEX", default="", help="the sum that the zip at the address must have (default: the address with .sha256)"
    )
    parser.add_argument(
        "--show-example",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="LINE",
        help="show a training row as the trainer sees it (default: the first)",
    )
    parser.add_argument("--scale", metavar="NAME", help=f"train on several GPUs with this engine: {', '.join(scale.ENGINES)}")
    parser.add_argument("--nodes", type=int, metavar="N", help="machines that train together (with --scale; default 1)")
    parser.add_argument("--gpus-per-node", type=int, metavar="G", help="GPUs of each machine (with --scale; default: those that are here)")
    parser.add_argument("--head", metavar="HOST", help="where the other machines find the first one (with --nodes; default: this machine's name)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output, everything else on standard error")
    parser.add_argument("--plan-only", action="store_true", help="stage and write nothing")
    args = parser.parse_args(argv)

    if args.gpu and args.gpu not in (*names, "all"):
        parser.error(f"--gpu {args.gpu}: no such tier; one of {', '.join(names)}; or all")
    source, address = pipeline.data_source(args.data or "")
    if source and not (source.is_dir() or (source.suffix == ".zip" and source.is_file())):
        parser.error(f"--data {args.data}: no such folder or zip")
    if args.sha256 and not address:
        parser.error("--sha256: it goes with --data https://...; a zip on disk is checked against the file .sha256 beside it")
    if args.sha256 and not re.fullmatch("[0-9a-fA-F]{64}", args.sha256):
        parser.error(f"--sha256 {args.sha256}: 64 hexadecimal digits, as sha256sum prints them")
    if args.show_example < 0:
        parser.error(f"--show-example {args.show_example}: lines are counted from 1")
    if args.scale is None and (args.nodes or args.gpus_per_node or args.head):
        parser.error("--nodes, --gpus-per-node and --head go with --scale NAME")
    if args.scale and args.scale not in scale.ENGINES:
        parser.error(f"--scale {args.scale}: no such engine; one of {', '.join(scale.ENGINES)}")
    if args.scale and args.gpu == "all":
        parser.error("--scale goes with one GPU's name, not with --gpu all")
    for name, count in (("--nodes", args.nodes), ("--gpus-per-node", args.gpus_per_node)):
        if count is not None and count < 1:
            parser.error(f"{name} {count}: at least 1")
    try:
        overrides = tuple(config.parse_override(text) for text in args.overrides)
    except config.UsageError as error:
        parser.error(str(error))

    request = pipeline.Request(
        config=args.config,
        overrides=overrides,
        tier=next((tier for tier in gpu.TIERS if tier.name == args.gpu), None),
        compare=args.gpu == "all",
        scale=scale.Scale(engine=args.scale, nodes=args.nodes or 1, gpus_per_node=args.gpus_per_node or 0, head=args.head or platform.node())
        if args.scale
        else None,
        workspace=args.workspace,
        data=source,
        address=address,
        sha256=args.sha256,
        plan_only=args.plan_only or bool(args.gpu),
        show_example=args.show_example,
    )
    with _Progress() as progress:
        result = pipeline.preflight(request, progress)
    if args.json:
        print(report.render_json(result))
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(report.render_text(result, os.path.relpath(args.config), _width(), colour=colour), end="")
    if any(finding.code == "internal.crash" for finding in result.findings):
        return EXIT_FAULT
    return 0 if result.ok else EXIT_ERROR


def _width() -> int:
    import shutil

    return min(shutil.get_terminal_size((110, 24)).columns, 130)


class _Progress:
    """A bar on standard error for work that takes longer than a blink; nothing where that is not a terminal."""

    def __enter__(self) -> "_Progress":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task("", total=None, visible=False)
        self.bar.start()
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        self.bar.update(self.task, description=what, completed=done, total=total, visible=True)

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


if __name__ == "__main__":
    raise SystemExit(main())
