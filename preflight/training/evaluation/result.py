"""The figures of one trained run, and the file beside it that keeps them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preflight.files import MALFORMED, read_content
from preflight.machine.run_folder import WEIGHTS, RunFolder
from preflight.training.evaluation.answers import Answers
from preflight.training.evaluation.execution import Figures

FILE = "evaluation.json"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run reached. Losses are means over the tokens of the validation rows; null where the run evaluated none."""

    adapter_sha256: str
    step: int
    eval_loss_before: float | None  # at step 0, where the adapter adds nothing: the base's
    eval_loss_after: float | None
    questions: int
    base_exact: int
    adapter_exact: int
    example: Mapping[str, str]  # question, expected, base, adapter
    executed: Mapping[str, Figures] | None = None  # by base and adapter; None where answers were not run
    not_executed: str = "not measured"  # why that is so
    available: int = 0  # questions that the test rows ask, of which `questions` were asked
    rows_sha256: str = ""  # of the test rows
    choice: Mapping[str, Any] | None = None  # of the kept checkpoints, which this adapter is
    cut: Mapping[str, int] = field(default_factory=dict)  # answers that ran on to the limit, by base and adapter
    prompt_share: float | None = None  # of the tokens that have loss in training: what stands before the answers


def eval_losses(trainer_state: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """(at step 0, last) from the trainer's own log. A resumed run logs step 0 no second time: its log is restored."""
    losses = [(entry["step"], float(entry["eval_loss"])) for entry in trainer_state["log_history"] if "eval_loss" in entry]
    return next((loss for step, loss in losses if step == 0), None), losses[-1][1] if losses else None


def summarise(
    answers: Answers | None,
    trainer_state: Mapping[str, Any],
    adapter: Path,
    executed: Mapping[str, Figures] | None = None,
    not_executed: str = "not measured",
    available: int = 0,
    rows: Path | None = None,
    choice: Mapping[str, Any] | None = None,
    prompt_share: float | None = None,
) -> Result:
    """The figures of a run whose adapter folder is `adapter`, with those of its answers where they were run."""
    before, after = eval_losses(trainer_state)
    example = {}
    if answers and answers.questions:
        i = answers.example
        question = answers.questions[i]
        example = {"question": question.shown, "expected": question.answer, "base": answers.base[i], "adapter": answers.adapter[i]}
    return Result(
        adapter_sha256=adapter_sha256(adapter),
        step=int(trainer_state["global_step"]),
        eval_loss_before=before,
        eval_loss_after=after,
        questions=len(answers.questions) if answers else 0,
        base_exact=answers.exact(answers.base) if answers else 0,
        adapter_exact=answers.exact(answers.adapter) if answers else 0,
        example=example,
        executed=executed or None,
        not_executed="" if executed else not_executed,
        available=available,
        choice=choice,
        cut=answers.cut if answers else {},
        prompt_share=prompt_share,
        rows_sha256=read_content(rows).sha256 if rows and rows.is_file() else "",
    )


def adapter_sha256(adapter: Path) -> str:
    """The sha256 of the adapter's weights. Raises OSError."""
    return read_content(adapter / WEIGHTS).sha256


def answers_what_is_asked(result: Result, questions: int | None) -> bool:
    """Whether a result is that of so many questions, or of all that there are; None asks for what there is time for."""
    return questions is None or result.questions == questions or result.questions == result.available < questions


def read_result(run: RunFolder) -> Result | None:
    """What was measured of this very adapter before, or None."""
    result = parse_result(run.folder / FILE)
    try:
        return result if result and result.adapter_sha256 == adapter_sha256(run.outputs) else None
    except OSError:
        return None


def parse_result(path: Path) -> Result | None:
    """What a file says that was measured, or None where it can't be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.get("executed"):
            values["executed"] = {name: _figures(part) for name, part in values["executed"].items()}
        return Result(**values)
    except (OSError, *MALFORMED):
        return None


def _figures(values: Mapping[str, Any]) -> Figures:
    low, high = values["interval"]
    return Figures(**(dict(values) | {"interval": (low, high)}))


def as_text(result: Result) -> str:
    """The result as the file holds it."""
    return json.dumps(asdict(result), indent=2, ensure_ascii=False) + "\n"
