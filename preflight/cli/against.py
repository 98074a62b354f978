"""`python -m preflight.evaluation CONFIG --against FILE`: answers of any system judged by the test rows, without a model."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rich.console import Console

from preflight.cli.console import EXIT_ERROR, progress_bar, refuse, show
from preflight.cli.executed import show_figures
from preflight.config.layers import lookup
from preflight.config.settings import read_settings
from preflight.config.yaml_file import read_yaml
from preflight.files import CHECKOUT
from preflight.machine.workspace import find_workspace
from preflight.training.evaluation.against import BadAnswersError, read_answers, read_asked
from preflight.training.evaluation.answers import asking_strategy
from preflight.training.evaluation.execution import judge_answers


def judge_file(answers: Path, config: Path, workspace: Path | None) -> int:
    """Judge the answers of a file, and print their figures; return the exit code."""
    file, findings = read_yaml(config)
    settings, more = read_settings()
    if file is None or settings is None:
        for finding in (*findings, *more):
            show(f"{finding.where}: {finding.message}; {finding.fix}", error=True)
        return EXIT_ERROR
    strategy = asking_strategy(file.values)
    if strategy is None:
        return refuse(f"{config}: the rows of its first data set can't be read as questions and answers here")
    places = list(_places(str(lookup(file.values, "datasets.0.path") or ""), settings.data.test_file, config, workspace))
    test = next((place for place in places if place.is_file()), None)
    if test is None:
        return refuse("no test rows: " + " or ".join(map(str, places)) + " should hold them")
    try:
        asked = read_asked(test, strategy)
        given = read_answers(answers, asked)
    except BadAnswersError as error:
        return refuse(f"{answers}: {error}")
    except OSError as error:
        return refuse(f"{error.filename or answers}: {error.strerror}")
    chosen = [one for one in asked if one.line in given]
    with progress_bar() as progress:
        texts = {answers.stem: [given[one.line] for one in chosen]}
        figures, why = judge_answers(chosen, texts, partial(progress, "running the answers on PostgreSQL"))
    show(f"{len(chosen):,} answers to the {len(asked):,} questions of {test.name}\n")
    if not figures:
        exact = sum(given[one.line] == one.expected for one in chosen)
        show(f"no answer was run on PostgreSQL ({why}): {exact} of {len(chosen)} are the expected text, character for character")
        return EXIT_ERROR
    show_figures(Console(highlight=False, markup=False, soft_wrap=True), figures)
    return 0


def _places(train: str, test: str, config: Path, workspace: Path | None) -> Iterator[Path]:
    """Where the test rows may lie: beside the staged training rows, those that the config names, and those of the checkout."""
    here = find_workspace(workspace)
    staged, _ = read_yaml(here.run(config.stem).config) if here.run(config.stem).config.is_file() else (None, [])
    named = [str(lookup(staged.values, "datasets.0.path"))] if staged else []
    paths = [*map(Path, named), here.staged(train), here.local(train), CHECKOUT / train]
    yield from dict.fromkeys(path.with_name(test) for path in paths if path.name)
