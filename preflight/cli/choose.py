"""The evaluation's first part: the kept checkpoints asked the validation rows, and the best one made the run's adapter."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflight.checkpoints import manifest, restore
from preflight.cli.console import show_findings
from preflight.config.layers import lookup
from preflight.data.prompt_strategies import PromptStrategy
from preflight.data.tokenizer import Tokenizer
from preflight.files import Progress
from preflight.machine.run_folder import RunFolder
from preflight.training.evaluation import answers, choosing, execution
from preflight.training.evaluation.answers import Question
from preflight.training.evaluation.choosing import Candidate, Choice

if TYPE_CHECKING:  # it imports torch
    from preflight.training.evaluation.generation import LoadedModel

SHARE = 0.25  # of the time that the test questions may take, for the validation questions before them; twice that of their number


def validation_questions(
    values: Mapping[str, Any], strategy: PromptStrategy | None, tokenizer: Tokenizer | None, limit: int | None
) -> list[Question]:
    """The questions of the validation rows; none where there is no such file, as with `val_set_size`."""
    path = Path(str(lookup(values, "test_datasets.0.path") or ""))
    if strategy is None or tokenizer is None or not path.is_file():
        return []
    available = answers.read_questions(path, strategy, values, tokenizer)
    return answers.draw(available, None if limit is None else max(1, int(2 * SHARE * limit)))


def choose_adapter(
    model: "LoadedModel",
    run: RunFolder,
    candidates: Sequence[Candidate],
    questions: Sequence[Question],
    seconds: float | None,
    progress: Progress,
    *,
    best: bool,
) -> tuple[Choice | None, str]:
    """(what was chosen and is the run's adapter now, why nothing was). The model speaks with it from here on. With `best` training itself has
    left the one with the lowest loss. Raises OSError."""
    from preflight.training.evaluation.generation import ask_candidates, use

    folders = {one.name: one.folder for one in candidates}
    kept, given = ask_candidates(
        model, folders, questions, partial(progress, "asking the kept checkpoints questions of the validation rows"), seconds
    )
    rows = [execution.Asked(line=one.line, question=one.question, expected=one.answer) for one in kept]
    figures, why = execution.judge_answers(rows, given, partial(progress, "running their answers on PostgreSQL"))
    if not figures:
        use(model, candidates[0].name)
        return None, why
    held = manifest.read(run.outputs)
    trained = candidates[0].step
    if held and held.chosen_step:  # by an earlier evaluation, which saw the same checkpoints
        trained = held.best_step if best and held.best_step else max(one.step for one in candidates)
    chosen, choice = choosing.choose(candidates, figures, trained)
    choosing.install(run.outputs, chosen)
    use(model, chosen.name)
    show_findings([finding for finding in restore.mirror_leftovers(run, progress) if finding.level != "ok"])
    return choice, ""
