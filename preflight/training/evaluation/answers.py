"""The questions of the test rows, and what base and adapter answered to them."""

import contextlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflight.config.layers import lookup
from preflight.data.formats import format_of
from preflight.data.preview import Prompt, find_prompt, tokenize_with_loss_mask
from preflight.data.prompt_strategies import BadRowError, PromptStrategy, find_strategy
from preflight.data.prompt_strategies.completion import MARKER, without_end
from preflight.data.rows import read_rows
from preflight.data.tokenizer import Tokenizer, find_tokenizer


@dataclass(frozen=True, kw_only=True)
class Question:
    """One test row: the tokens that training showed up to the answer, the answer, and what is asked, for people."""

    tokens: tuple[int, ...]
    answer: str
    question: str
    line: int = 0  # of the test rows

    @property
    def shown(self) -> str:
        """What is asked, for people."""
        return last_line(self.question)


def last_line(question: str) -> str:
    """The last line of a question that is not markup."""
    bare = MARKER.sub("", question.replace("[INST]", ""))
    return bare.strip().rpartition("\n")[2].strip()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What base and adapter answered to each question, in order."""

    questions: Sequence[Question]
    base: Sequence[str]
    adapter: Sequence[str]
    cut: Mapping[str, int] = field(default_factory=dict)  # how many ran on to the limit, by base and adapter

    def exact(self, answers: Sequence[str]) -> int:
        """How many answers are the expected text, character for character."""
        return sum(answer == question.answer for question, answer in zip(self.questions, answers, strict=True))

    @property
    def example(self) -> int:
        """The first question that the adapter answers exactly, else the first."""
        return next((i for i, question in enumerate(self.questions) if self.adapter[i] == question.answer), 0)


def trained_tokenizer(config: Mapping[str, Any], adapter: Path) -> Tokenizer | None:
    """The tokenizer that the run trained with, which lies beside its adapter, or else the base model's."""
    return find_tokenizer(str(adapter.absolute())) or find_tokenizer(str(config.get("base_model") or ""), config)


def asking_strategy(config: Mapping[str, Any]) -> PromptStrategy | None:
    """The strategy of the first data set, by which test rows are read too: as questions and answers, whatever preferences are trained by."""
    return find_strategy(lookup(config, "datasets.0") or {}, dict(config) | {"rl": None})


def read_questions(path: Path, strategy: PromptStrategy, config: Mapping[str, Any], tokenizer: Tokenizer, limit: int | None = None) -> list[Question]:
    """The first `limit` good rows that ask something, or all, as training showed such rows. Raises OSError."""
    if strategy.refusal(config, tokenizer) or strategy.unjudged(config, tokenizer):
        return []
    rows = (row for row in read_rows(path, strategy, kind=format_of(str(path))) if not row.problem)

    def prompts() -> Iterator[Question]:
        for row in rows:
            with contextlib.suppress(BadRowError):
                if prompt := find_prompt(row, strategy, config, tokenizer):
                    yield _question(prompt, strategy.question_and_answer(row)[0], row.line)

    return list(itertools.islice(prompts(), limit))


def prompt_share(path: Path, strategy: PromptStrategy, config: Mapping[str, Any], tokenizer: Tokenizer, rows: int = 200) -> float | None:
    """Of the tokens that have loss in the first rows of a file: the share that stands before the answer; None where that can't be told.
    Raises OSError."""
    if strategy.refusal(config, tokenizer) or strategy.unjudged(config, tokenizer):
        return None
    before = trained = 0
    for row in itertools.islice(read_rows(path, strategy, kind=format_of(str(path))), rows):
        with contextlib.suppress(BadRowError):
            prompt = None if row.problem else find_prompt(row, strategy, config, tokenizer)
            if prompt:
                seen = [token.trained for token in tokenize_with_loss_mask(row, strategy, config, tokenizer)]
                before, trained = before + sum(seen[: len(prompt.tokens)]), trained + sum(seen)
    return before / trained if trained else None


def shuffled(count: int) -> list[int]:
    """The numbers below `count` in the order in which questions are asked where not all are: by a seed, so that fewer are among more."""
    order = list(range(count))
    random.Random(0).shuffle(order)  # noqa: S311
    return order


def draw(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """So many of the questions, in the order of their lines; all of them without a limit."""
    return [questions[i] for i in sorted(shuffled(len(questions))[:limit])]


def _question(prompt: Prompt, question: str, line: int) -> Question:
    return Question(tokens=prompt.tokens, answer=without_end(prompt.answer).strip(), question=question, line=line)
