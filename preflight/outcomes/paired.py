"""Whether one run answers better than another, or the difference is chance: the exact test of McNemar on the same questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preflight.outcomes.reading import Outcome
from preflight.training.evaluation.execution import Figures, alone_right, mcnemar

LEVEL = 0.05  # a difference this large or larger comes by chance once in 20 times, where there is none


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two runs on the questions that both were asked."""

    name: str  # of the run that is set against the leader
    questions: int
    leader_alone: int  # questions that only the leader answers right
    other_alone: int
    p: float  # by chance alone, as much or more
    p_adjusted: float  # the same, for as many comparisons as were made (Holm)

    @property
    def beyond_chance(self) -> bool:
        """Whether the leader's answers are better than this run's."""
        return self.p_adjusted < LEVEL and self.leader_alone > self.other_alone


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The run with the most right answers, and how sure that is."""

    leader: str
    share: float
    against: tuple[Paired, ...] = ()
    apart: tuple[str, ...] = ()  # runs that were asked other questions, or whose answers were not kept one by one

    @property
    def says(self) -> str:
        """The comparison in words."""
        beaten = [one.name for one in self.against if one.beyond_chance]
        close = [one.name for one in self.against if not one.beyond_chance]
        said = []
        if beaten:
            said.append(f"{self.leader} answers better than {', '.join(beaten)}, by more than chance")
        if close:
            said.append(f"between {self.leader} and {', '.join(close)} the difference can be chance")
        if self.apart:
            said.append(f"not compared, since not the same questions were kept: {', '.join(self.apart)}")
        return "; ".join(said) or "one run is evaluated: there is nothing to compare it with"


def holm(values: Sequence[float]) -> list[float]:
    """Each p for as many tests as there are (Holm 1979)."""
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted


def compare(outcomes: Sequence[Outcome]) -> Comparison | None:
    """The leader against each other run that was asked the same questions; None where no run's answers were run."""
    judged = [(one, figures) for one in outcomes if (figures := adapter_figures(one)) and figures.questions]
    if not judged:
        return None
    leader, best = max(judged, key=lambda pair: (pair[1].right / pair[1].questions, pair[1].questions))
    against, apart = [], []
    for other, figures in judged:
        if other is leader:
            continue
        same = leader.result and other.result and leader.result.rows_sha256 and leader.result.rows_sha256 == other.result.rows_sha256
        lines = sorted(best.verdicts.keys() & figures.verdicts.keys()) if same else []
        if lines:
            against.append((other.name, *counts(best.verdicts, figures.verdicts, lines)))
        else:
            apart.append(other.name)
    chances = [mcnemar(first, second) for _, _, first, second in against]
    paired = [
        Paired(name=name, questions=size, leader_alone=first, other_alone=second, p=p, p_adjusted=adjusted)
        for (name, size, first, second), p, adjusted in zip(against, chances, holm(chances), strict=True)
    ]
    return Comparison(leader=leader.name, share=best.right / best.questions, against=tuple(paired), apart=tuple(apart))


def counts(first: Mapping[str, str], second: Mapping[str, str], lines: Sequence[str]) -> tuple[int, int, int]:
    """(questions, those that only the first answers right, those that only the second does)."""
    return len(lines), *alone_right(first, second, lines)


def adapter_figures(outcome: Outcome) -> Figures | None:
    """The figures of a run's adapter, where its answers were run."""
    return outcome.result.executed.get("adapter") if outcome.result and outcome.result.executed else None
