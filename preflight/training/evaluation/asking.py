"""A new question put as the test rows put theirs: their tables and their question replaced, all else left as it stands."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from preflight.data.formats import format_of
from preflight.data.preview import find_prompt
from preflight.data.prompt_strategies import BadRowError, PromptStrategy, Row
from preflight.data.rows import read_rows
from preflight.data.tokenizer import Tokenizer
from preflight.postgres.ddl_text import find_statements
from preflight.training.evaluation.answers import Question

ROWS = 50  # that are compared: what they have in common is not the question


class Slot(Enum):
    """What is put in the place of a row's own."""

    TABLES = "tables"
    QUESTION = "question"


Part = str | Slot


class NoPatternError(Exception):
    """Why the rows do not tell where a question stands, in words."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """How the test rows ask: the parts of each of their texts, of which one is the question and one may be the tables."""

    row: Row  # the first of them
    texts: tuple[tuple[Part, ...], ...]
    tables: str  # of that row; '' where the rows show none
    answer: str  # of that row

    def prompt(self, question: str, tables: str = "") -> str:
        """What is asked, as one text; the first row's tables where none are given."""
        return "\n\n".join(self._filled(question, tables))

    def _filled(self, question: str, tables: str) -> Iterator[str]:
        said = {Slot.QUESTION: question, Slot.TABLES: tables or self.tables}
        for parts in self.texts:
            yield "".join(said[part] if isinstance(part, Slot) else part for part in parts)

    def put(self, question: str, tables: str, strategy: PromptStrategy, values: Mapping[str, Any], tokenizer: Tokenizer) -> Question:
        """The question as the model is asked it. Raises NoPatternError, BadRowError."""
        texts = list(self._filled(question, tables))
        if self.row.turns:
            turns = [(role, text) for (role, _), text in zip(self.row.turns, texts, strict=False)]
            row = self.row._replace(turns=(*turns, *self.row.turns[len(turns) :]))
        else:
            row = self.row._replace(text=texts[0] + self.answer)
        prompt = find_prompt(row, strategy, values, tokenizer)
        if prompt is None:
            raise NoPatternError("the test rows ask nothing")
        return Question(tokens=prompt.tokens, answer="", question=self.prompt(question, tables))


def read_pattern(path: Path, strategy: PromptStrategy) -> Pattern:
    """How the rows of a file ask. Raises OSError, NoPatternError."""
    rows = [row for row in itertools.islice(read_rows(path, strategy, kind=format_of(str(path))), ROWS) if not row.problem]
    split = [(row, [_around_tables(text) for text in texts]) for row in rows if (texts := _asking(row, strategy))]
    shapes = [[len(parts) for parts in texts] for _, texts in split]
    alike = [texts for (_, texts), shape in zip(split, shapes, strict=True) if shape == shapes[0]]
    if len(alike) < 2:
        raise NoPatternError("fewer than two of its rows ask something in the same form")
    row, first = split[0]
    told, found = list[tuple[Part, ...]](), 0
    for which, parts in enumerate(first):
        text = list[Part]()
        for place, part in enumerate(parts):
            others = [one[which][place] for one in alike]
            if place == 1:
                text.append(Slot.TABLES)
            elif len(set(others)) == 1:
                text.append(part)
            else:
                before, after = _common(others)
                text += [before, Slot.QUESTION, after]
                found += 1
        told.append(tuple(text))
    if found != 1:
        raise NoPatternError(f"its rows differ in {found} places beside their tables, and one is the question")
    tables = next((parts[1] for parts in first if len(parts) == 3), "")
    return Pattern(row=row, texts=tuple(told), tables=tables, answer=strategy.question_and_answer(row)[1])


def _asking(row: Row, strategy: PromptStrategy) -> list[str]:
    """The texts of a row before its answer."""
    try:
        _, answer = strategy.question_and_answer(row)
    except BadRowError:
        return []
    if row.turns:
        return [content for _, content in row.turns[:-1]]
    start = row.text.rfind(answer)
    return [row.text[:start]] if start > 0 else []


def _around_tables(text: str) -> list[str]:
    """What stands before the tables, the tables, what stands behind them; the text alone where it shows none."""
    statements = find_statements(text).statements
    first = text.find(statements[0]) if statements else -1
    last = text.rfind(statements[-1]) if statements else -1
    if first < 0 or last < 0:
        return [text]
    end = last + len(statements[-1])
    end += len(text[end:]) - len(text[end:].lstrip(" ;"))
    return [text[:first], text[first:end], text[end:]]


def _common(texts: Sequence[str]) -> tuple[str, str]:
    """How all begin and how all end, cut where a word ends: "Question: " and " [/INST]" are no part of a question, "Which" may be one."""
    before = _shared(texts)
    lines = max(before.rfind("\n"), before.rfind(": ") + 1, before.rfind("] ") + 1)
    before = before[: lines + 1] if lines > 0 else before[: len(before) - len(before.lstrip())]
    after = _shared([text[len(before) :][::-1] for text in texts])[::-1]
    start = next((i for i, sign in enumerate(after) if sign.isspace()), len(after))
    return before, after[start:]


def _shared(texts: Sequence[str]) -> str:
    """What all begin with."""
    first, last = min(texts), max(texts)  # in order: what these two share, all do
    return first[: next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), min(len(first), len(last)))]
