"""The command line of the evaluation: `python -m preflight.evaluation CONFIG`, after training."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from preflight import checkpoints, config, launch
from preflight.evaluation import answers, result
from preflight.rows import shape_of
from preflight.setup import read_setup
from preflight.workspace import find_workspace
from preflight.yaml_file import read_yaml

EXIT_INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Print what a finished run reached; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.evaluation",
        description="What a finished run reached: eval loss before and after, and test questions answered by base and adapter. Run it in training's environment.",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the YAML that was given to preflight")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="the workspace that was given to preflight")
    parser.add_argument("--questions", type=int, default=50, metavar="N", help="how many test rows to ask (default 50)")
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)  # torch and torchao warn about extensions that no part of this needs
    try:
        return _evaluate(args)
    except KeyboardInterrupt:
        print("interrupted: the run itself is untouched", file=sys.stderr)
        return EXIT_INTERRUPTED


def _evaluate(args: argparse.Namespace) -> int:
    workspace = find_workspace(args.workspace)
    run = workspace.run(args.config.stem)
    file, findings = read_yaml(run.config)
    settings, more = read_setup()
    whole = checkpoints.newest_whole(checkpoints.inspect_checkpoints(run.outputs))
    if file is None or settings is None or whole is None:
        for finding in (*findings, *more):
            print(f"{finding.where}: {finding.message}; {finding.fix}", file=sys.stderr)
        print(f"{run.folder} holds no trained run. Train it: make train CONFIG={os.path.relpath(args.config)}", file=sys.stderr)
        return 1
    if not checkpoints.is_finished(run.outputs):
        print(
            f"The run stopped at step {whole.step} of {whole.max_steps}. To go on: make train CONFIG={os.path.relpath(args.config)}", file=sys.stderr
        )
        return 1

    measured = result.read_result(run)
    if measured is None or measured.questions > args.questions:
        asked = None
        entry = config.lookup(file.values, "datasets.0") or {}
        test = Path(str(entry.get("path"))).with_name(str(settings["data"]["test_file"]))
        shape = shape_of(entry)
        questions = answers.read_questions(test, shape, args.questions) if shape and test.is_file() else []
        if questions:
            with Progress(console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(f"asking base and adapter {len(questions)} questions of {test.name}", total=2 * len(questions))
                asked = answers.ask(file.values, run.outputs, questions, lambda done, total: bar.update(task, completed=done, total=total))
        state = json.loads((whole.path / "trainer_state.json").read_text(encoding="utf-8"))
        measured = result.summarise(asked, state, run.outputs)
        launch.write_whole(run.folder / result.FILE, result.as_text(measured))
    _show(measured, run.outputs, args.config)
    return 0


def _show(measured: result.Result, outputs: Path, config: Path) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    table = Table("", "base", "adapter", "", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    before, after = measured.eval_loss_before, measured.eval_loss_after
    if before is not None and after is not None:
        table.add_row("eval loss", f"{before:.3f}", f"{after:.3f}", f"{after / before:.0%} of the base's")
    if measured.questions:
        table.add_row(
            "exact answers",
            f"{measured.base_exact} of {measured.questions}",
            f"{measured.adapter_exact} of {measured.questions}",
            "test rows, never trained on",
        )
    console.print(table)
    if measured.example:
        console.print()
        for name, text in measured.example.items():
            console.print(f"{name:<10}{' '.join(text.split())}")
    near = os.path.relpath(outputs)
    near = str(outputs) if near.startswith("..") else near
    console.print(f"\nadapter       {near}")
    console.print(f"TensorBoard   {_beside('tensorboard')} --logdir {near}")
    console.print(f"again         make train CONFIG={os.path.relpath(config)}: goes on after a stop, does nothing to a finished run")


def _beside(command: str) -> str:
    path = Path(sys.executable).with_name(command)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    raise SystemExit(main())
