"""Answers that are brought in a file: JSON lines of {"line": n, "answer": "..."}, where n is a line of the test rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight.data.formats import format_of
from preflight.data.prompt_strategies import PromptStrategy
from preflight.data.prompt_strategies.completion import without_end
from preflight.data.rows import read_rows
from preflight.training.evaluation.execution import Asked

MOST_PROBLEMS = 5  # that are named


class BadAnswersError(Exception):
    """The file can't be judged; the text says which lines, and why."""


def read_asked(path: Path, strategy: PromptStrategy) -> list[Asked]:
    """The good test rows that ask something. Raises OSError."""
    found = []
    for row in read_rows(path, strategy, kind=format_of(str(path))):
        if not row.problem:
            question, answer = strategy.question_and_answer(row)
            expected = without_end(answer).strip()
            if question.strip() and expected:
                found.append(Asked(line=row.line, question=question, expected=expected))
    return found


def read_answers(path: Path, asked: Sequence[Asked]) -> dict[int, str]:
    """The answers by their line of the test rows. Raises OSError and BadAnswersError."""
    lines, answers, problems = {one.line for one in asked}, dict[int, str](), list[str]()
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                problem = _read_answer(text, lines, answers)
                problems += [f"line {number}: {problem}"] if problem else []
    if problems:
        more = f"\nand {len(problems) - MOST_PROBLEMS:,} more" if len(problems) > MOST_PROBLEMS else ""
        raise BadAnswersError("\n".join(problems[:MOST_PROBLEMS]) + more)
    if not answers:
        raise BadAnswersError("it holds no answers")
    return answers


def _read_answer(text: str, lines: set[int], answers: dict[int, str]) -> str:
    """Take one answer in; what is wrong with it, or ''."""
    try:
        text.encode()
        row: Any = json.loads(text)
    except UnicodeEncodeError:
        return "it is not UTF-8"
    except (ValueError, RecursionError):
        return "it is not JSON"
    if not isinstance(row, Mapping):
        return 'it is not {"line": n, "answer": "..."}'
    line, answer = row.get("line"), row.get("answer")
    if not isinstance(line, int) or isinstance(line, bool):
        return '"line" is not a whole number'
    if not isinstance(answer, str):
        return '"answer" is not a text'
    if line not in lines:
        return f"the test rows have no question in line {line}"
    if line in answers:
        return f"line {line} of the test rows was answered before"
    answers[line] = answer.strip()
    return ""
