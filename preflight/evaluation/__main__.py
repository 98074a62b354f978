"""The command line of the evaluation: `python -m preflight.evaluation CONFIG`, after training."""

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from preflight import checkpoints, config, launch, packages
from preflight.evaluation import answers, losses, result
from preflight.rows import shape_of
from preflight.setup import read_setup
from preflight.workspace import CHECKOUT, Run, find_workspace
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
    parser.add_argument("--test-loss", action="store_true", help="the loss on validation and test rows instead, by Axolotl's own evaluation")
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

    if args.test_loss:
        return _test_loss(config.Config(file=file, values=file.values), run, str(settings["data"]["test_file"]))
    measured = result.read_result(run)
    if measured is None or measured.questions > args.questions:
        asked = None
        entry = config.lookup(file.values, "datasets.0") or {}
        test = _test_rows(file.values, str(settings["data"]["test_file"]))
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


def _test_rows(values: Mapping[str, Any], name: str) -> Path:
    """The test rows, which lie beside the training rows."""
    return Path(str(config.lookup(values, "datasets.0.path"))).with_name(name)


def _test_loss(resolved: config.Config, run: Run, name: str) -> int:
    test = _test_rows(resolved.values, name)
    environment = packages.inspect_environment()
    if not test.is_file() or environment.accelerate is None:
        problem = (
            "there is no training environment: scripts/setup.sh" if test.is_file() else f"{test} is not there, so nothing was held back to test on"
        )
        print(f"no loss on test rows: {problem}", file=sys.stderr)
        return 1
    path = run.folder / losses.FOLDER / "config.yaml"
    launch.write_whole(path, yaml.safe_dump(losses.evaluation_values(resolved.values, run, test), sort_keys=False))
    command = launch.accelerate_command(environment, path, needs_gpu=resolved.needs_gpu, module="axolotl.cli.evaluate")
    variables = launch.variables_for(resolved, local_rows=True)
    print(f"Axolotl evaluates {test.name} and the validation rows: {shlex.join(command)}", flush=True)
    log = run.folder / losses.FOLDER / "evaluation.log"
    with log.open("w", encoding="utf-8") as file, Console(stderr=True).status("evaluating"):
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(CHECKOUT)} | variables, stdout=file, stderr=subprocess.STDOUT, check=False)
    try:
        validation, tested = losses.read_losses(run)
    except (OSError, ValueError):
        print(f"Axolotl's evaluation ended with exit code {done.returncode} and no loss; its output is in {log}", file=sys.stderr)
        return 1
    print(f"\nloss          validation rows {validation:.3f}, test rows {tested:.3f}, never trained on and never chosen by")
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
