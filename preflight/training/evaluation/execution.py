"""What answers are worth: each is run on PostgreSQL beside the expected one, on databases made around that."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from preflight.postgres.ddl import read_schema
from preflight.postgres.judge import CAUSES, DATABASES, Judgement, Pair
from preflight.postgres.judging import Judge
from preflight.postgres.kinds import KINDS, kinds_of
from preflight.postgres.running import LostError
from preflight.postgres.server import NoPostgresError, started

CONFIDENCE = 1.959964  # of a normal distribution: 95% lie within
MOST_SHOWN = 200  # wrong answers that are kept with their proof


class Asked(NamedTuple):
    """A test row: where it stands, what it asks, with its tables, and the answer that it expects."""

    line: int
    question: str
    expected: str


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How many of the answers of one model, or of one file, are right when they are run."""

    questions: int
    right: int
    wrong: int
    undecided: int
    not_checked: int
    exact: int  # the expected text, character for character
    interval: tuple[float, float]  # of the share that is right: Wilson's, 95%
    causes: Mapping[str, int]  # of wrong answers
    reasons: Mapping[str, int]  # why answers were undecided or not checked
    wrong_answers: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    verdicts: Mapping[str, str] = field(default_factory=dict)  # by the line of the test rows: of the same rows, another run's stand beside them
    kinds: Mapping[str, Sequence[int]] = field(default_factory=dict)  # (right, asked) of each kind of question; one can be of several

    @property
    def summary(self) -> str:
        """The figures as one line."""
        low, high = (f"{100 * bound:.0f}" for bound in self.interval)
        share = f"{self.right / self.questions:.0%}" if self.questions else "none"
        text = f"{self.right} of {self.questions} right when run on PostgreSQL ({share}, 95% interval {low} to {high}), "
        return text + f"{self.undecided} undecided, {self.not_checked} not checked; {self.exact} exact"


def ordered_causes(executed: Iterable[Figures]) -> list[str]:
    """The causes that occur, from the plainest to the finest."""
    return [cause for cause in CAUSES if any(figures.causes.get(cause) for figures in executed)]


def wilson(right: int, of: int) -> tuple[float, float]:
    """The interval in which the share lies that many more questions would give, with 95% confidence."""
    if not of:
        return 0.0, 1.0
    share, square = right / of, CONFIDENCE**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = CONFIDENCE / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def alone_right(first: Mapping[str, str], second: Mapping[str, str], lines: Iterable[str]) -> tuple[int, int]:
    """Of the verdicts on these lines: how many questions only the first answers right, and how many only the second."""
    right = [(first[line] == "right", second[line] == "right") for line in lines]
    return sum(one and not two for one, two in right), sum(two and not one for one, two in right)


def mcnemar(first_alone: int, second_alone: int) -> float:
    """The two-sided p of the exact test: how likely at least this many of the questions that differ fall to one side, were it a coin."""
    differing, fewer = first_alone + second_alone, min(first_alone, second_alone)
    ways = sum(math.comb(differing, k) for k in range(fewer + 1))  # whole numbers, of any size
    return float(min(Fraction(1), Fraction(2 * ways, 2**differing)))


def judge_answers(
    questions: Sequence[Asked],
    answers: Mapping[str, Sequence[str]],
    progress: Callable[[int, int], None] = lambda done, total: None,
    databases: int = DATABASES,
) -> tuple[dict[str, Figures], str]:
    """(the figures of each name's answers, why there are none). The same answers give the same figures."""
    schemas = [read_schema(asked.question) for asked in questions]
    pairs = [
        Pair(schema=schemas[i], expected=asked.expected, given=given[i], seed=asked.line)
        for given in answers.values()
        for i, asked in enumerate(questions)
    ]
    try:
        with started() as server, Judge(server, databases=databases) as judge:
            found = judge.judge_all(pairs, progress)
    except (NoPostgresError, LostError) as error:
        return {}, str(error)
    size = len(questions)
    return {name: summarise(questions, given, found[n * size : (n + 1) * size]) for n, (name, given) in enumerate(answers.items())}, ""


def summarise(questions: Sequence[Asked], answers: Sequence[str], found: Sequence[Judgement]) -> Figures:
    """The figures of one list of answers."""
    counted = Counter(judgement.verdict for judgement in found)
    causes = Counter(judgement.cause for judgement in found if judgement.verdict == "wrong")
    wrong = [
        {"line": asked.line, "question": asked.question, "expected": asked.expected, "given": answer}
        | {"cause": judgement.cause, "detail": judgement.detail, "proof": asdict(judgement.proof) if judgement.proof else None}
        for asked, answer, judgement in zip(questions, answers, found, strict=True)
        if judgement.verdict == "wrong"
    ]
    reasons = Counter(judgement.detail for judgement in found if judgement.verdict in ("undecided", "not checked"))
    return Figures(
        questions=len(questions),
        right=counted["right"],
        wrong=counted["wrong"],
        undecided=counted["undecided"],
        not_checked=counted["not checked"],
        exact=sum(answer == asked.expected for asked, answer in zip(questions, answers, strict=True)),
        interval=wilson(counted["right"], len(questions)),
        causes={cause: causes[cause] for cause in CAUSES if causes[cause]},
        reasons=dict(reasons.most_common()),
        wrong_answers=tuple(wrong[:MOST_SHOWN]),
        verdicts={str(asked.line): judgement.verdict for asked, judgement in zip(questions, found, strict=True)},
        kinds=_by_kind(questions, found),
    )


def _by_kind(questions: Sequence[Asked], found: Sequence[Judgement]) -> dict[str, tuple[int, int]]:
    asked, right = Counter[str](), Counter[str]()
    for question, judgement in zip(questions, found, strict=True):
        kinds = kinds_of(question.expected)
        asked.update(kinds)
        right.update(kinds if judgement.verdict == "right" else ())
    return {kind: (right[kind], asked[kind]) for kind in KINDS if asked[kind]}
