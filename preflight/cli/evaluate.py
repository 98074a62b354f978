"""The command line of the evaluation: `python -m preflight.evaluation CONFIG`, after training."""

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from preflight.checkpoints import mirror
from preflight.checkpoints.verify import Checkpoint
from preflight.cli.against import judge_file
from preflight.cli.choose import SHARE, choose_adapter, validation_questions
from preflight.cli.console import EXIT_ERROR, guarded, printable, progress_bar, show
from preflight.cli.executed import show_figures
from preflight.cli.options import add_run_options, parsed_overrides
from preflight.cli.run_table import comparison_lines, suggestion_lines
from preflight.cli.runs import pages
from preflight.cli.trained import find_trained
from preflight.config.layers import Config, lookup
from preflight.files import CHECKOUT, write_atomic
from preflight.launch.command import accelerate_command, launch_variables
from preflight.machine.answering import answering
from preflight.machine.environment import inspect_environment, near
from preflight.machine.run_folder import CARD, HISTORY, RunFolder
from preflight.outcomes.pages import PAGE
from preflight.outcomes.table import gather
from preflight.training.evaluation import answers, choosing, execution, losses, result

SECONDS = 300.0  # that questions may take where their number is not said


def main(argv: list[str] | None = None) -> int:
    """Print what a finished run reached; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.evaluation",
        description="What a finished run reached: eval loss before and after, and test questions answered by base and adapter. Run it in training's environment.",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the YAML that was given to preflight")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="the workspace that was given to preflight")
    add_run_options(parser)
    asked = "how many test rows to ask, chosen by a seed (default: as many as five minutes take)"
    parser.add_argument("--questions", type=_positive, metavar="N", help=asked)
    parser.add_argument("--against", type=Path, metavar="FILE", help='judge the answers of FILE instead, lines of {"line": n, "answer": "..."}')
    parser.add_argument("--test-loss", action="store_true", help="the loss on validation and test rows instead, by Axolotl's own evaluation")
    args = parser.parse_args(argv)
    args.overrides = parsed_overrides(parser, args.overrides)
    if args.against:
        return guarded("evaluation", partial(judge_file, args.against, args.config, args.workspace))
    logging.disable(logging.WARNING)  # torch and torchao warn about extensions that no part of this needs
    return guarded("evaluation", partial(_evaluate, args), interrupted="Interrupted. The run itself is untouched.")


def _positive(text: str) -> int:
    """A number of questions. Raises ArgumentTypeError."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of questions, such as 50")
    return int(text)


def _evaluate(args: argparse.Namespace) -> int:
    trained = find_trained(args)
    if trained is None:
        return EXIT_ERROR
    run, file, settings, latest, train = trained.run, trained.file, trained.settings, trained.latest, trained.command
    test = trained.test
    if args.test_loss:
        return _test_loss(Config(file=file, values=file.values), run, test)
    measured = result.read_result(run)
    if measured is None or not result.answers_what_is_asked(measured, args.questions):
        measured = _measure(file.values, run, latest, test, args.questions, choose=settings.evaluation.choose_by == "executed")
        write_atomic(run.folder / result.FILE, result.as_text(measured))
        _to_drive(run, run.folder / result.FILE)
    _show(measured, run.outputs, train)
    workspace = trained.workspace
    runs = gather(workspace, settings)
    index, problem = pages(runs, workspace, settings, [run.folder.name])
    if not problem:
        _to_drive(run, run.folder / PAGE)
    show(printable(f"page          not written: {problem}" if problem else f"page          {near(index)}"), error=bool(problem))
    _write_card(run)
    lines = [*comparison_lines(runs.comparison)] if runs.comparison and runs.comparison.against else []
    tried = next((one for one in runs.outcomes if one.name == run.folder.name and not one.kept), None)
    lines += suggestion_lines(tried, runs, settings) if tried else []
    for line in ["", *lines] if lines else []:
        show(printable(line))
    return 0


def _write_card(run: RunFolder) -> None:
    """The model card beside the adapter, with what was measured; a disk that does not take it is said, and no harm."""
    from preflight.training.card import write_card  # the hub's client, which --help does without

    path = run.outputs / CARD
    try:
        written = write_card(run, fetch=True)
    except OSError as error:
        show(printable(f"card          not written: {path}: {error.strerror or error}"), error=True)
        return
    show(printable(f"card          {near(path.absolute())}" + ("" if written else ": yours, left as it is")))
    if written:
        _to_drive(run, path)


def _to_drive(run: RunFolder, path: Path) -> None:
    """Take what was measured to the run's results, where a later machine finds it; a Drive that is gone is said, and no harm."""
    settings = mirror.read_settings(run.folder)
    if settings is None or not settings.to:
        return
    try:
        answering(mirror.keep_small, settings.to)(path, settings)
        answering(mirror.keep_small, settings.to)(run.outputs / HISTORY, settings)
    except OSError as error:
        show(f"{path.name} is not on Drive: {error.strerror or error}. It is in {path.parent}", error=True)


def _measure(values: Mapping[str, Any], run: RunFolder, latest: Checkpoint, test: Path, limit: int | None, *, choose: bool) -> result.Result:
    """Ask the questions of the test rows, of the best of the kept checkpoints if it is to be chosen, and take the losses from the trainer's
    log. Raises OSError."""
    strategy = answers.asking_strategy(values)
    tokenizer = answers.trained_tokenizer(values, run.outputs)
    available = answers.read_questions(test, strategy, values, tokenizer) if strategy and tokenizer and test.is_file() else []
    questions = answers.draw(available, limit)
    asked, executed, why, choice = None, dict[str, execution.Figures](), "not measured", None
    candidates = choosing.find_candidates(run.outputs) if choose else []
    held_out = validation_questions(values, strategy, tokenizer, limit) if len(candidates) > 1 else []
    if questions:
        from preflight.training.evaluation.generation import ask, load_model  # torch, which --help and --test-loss do without

        with progress_bar() as progress:
            seconds = SECONDS if limit is None else None
            model = load_model(values, run.outputs, [*questions, *held_out])
            if held_out:
                choice, why = choose_adapter(
                    model, run, candidates, held_out, seconds and SHARE * seconds, progress, best=bool(values.get("load_best_model_at_end"))
                )
            asking = partial(progress, f"asking base and adapter the questions of {test.name}")
            asked = ask(model, questions, asking, seconds)
            rows = [execution.Asked(line=one.line, question=one.question, expected=one.answer) for one in asked.questions]
            given = {"base": asked.base, "adapter": asked.adapter}
            executed, why = execution.judge_answers(rows, given, partial(progress, "running the answers on PostgreSQL"))
    state = json.loads((latest.path / "trainer_state.json").read_text(encoding="utf-8"))
    trained_on = Path(str(lookup(values, "datasets.0.path")))
    share = answers.prompt_share(trained_on, strategy, values, tokenizer) if strategy and tokenizer and trained_on.is_file() else None
    return result.summarise(asked, state, run.outputs, executed, why, len(available), test, choice.as_json() if choice else None, share)


def _test_loss(config: Config, run: RunFolder, test: Path) -> int:
    environment = inspect_environment()
    if not test.is_file():
        return _no_loss(f"{test} does not exist, so nothing was held back to test on")
    if environment.accelerate is None:
        return _no_loss("there is no training environment: scripts/setup.sh")
    path = run.folder / losses.FOLDER / "config.yaml"
    write_atomic(path, yaml.safe_dump(losses.evaluation_values(config.values, run, test), sort_keys=False))
    command = accelerate_command(environment, path, needs_gpu=config.needs_gpu, module="axolotl.cli.evaluate")
    variables = {"PYTHONPATH": str(CHECKOUT)} | launch_variables(config, local_rows=True)
    show(f"Axolotl evaluates {test.name} and the validation rows: {shlex.join(command)}")
    log = run.folder / losses.FOLDER / "evaluation.log"
    with log.open("w", encoding="utf-8") as file, Console(stderr=True).status("evaluating"):
        done = subprocess.run(command, env=os.environ | variables, stdout=file, stderr=subprocess.STDOUT, check=False)
    try:
        validation, tested = losses.read_losses(run)
    except (OSError, ValueError):
        return _no_loss(f"Axolotl's evaluation ended with exit code {done.returncode}; its output is in {log}")
    losses.write_test_loss(run.folder, losses.TestLoss(adapter_sha256=result.adapter_sha256(run.outputs), validation=validation, test=tested))
    _to_drive(run, run.folder / losses.TEST_LOSS)
    _write_card(run)
    show(f"\nloss          validation rows {validation:.3f}, test rows {tested:.3f}, never trained on and never chosen by")
    return 0


def _no_loss(why: str) -> int:
    show(f"no loss on test rows: {why}", error=True)
    return EXIT_ERROR


def _show(measured: result.Result, outputs: Path, train: str) -> None:
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
    if measured.choice:
        console.print(f"\nchosen        {measured.choice['says']}")
    if measured.questions < measured.available:
        console.print(
            f"\nasked         {measured.questions} of {measured.available} test rows, chosen by a seed; all of them: --questions {measured.available}"
        )
    if measured.executed:
        console.print()
        show_figures(console, measured.executed)
    elif measured.questions:
        console.print(f"\nexecuted      no answer was run on PostgreSQL ({measured.not_executed}): the figures are exact matches only")
    if measured.example:
        console.print()
        for name, text in measured.example.items():
            console.print(f"{name:<10}{' '.join(text.split())}")
    folder = near(outputs.absolute())
    console.print(f"\nadapter       {folder}")
    console.print(f"TensorBoard   {near(Path(sys.executable).with_name('tensorboard'))} --logdir {folder}")
    console.print(f"again         {train}: resumes after a stop, does nothing to a finished run")
