"""What to try next: up to three changes after a run, each with what was seen and what it costs. The rules are one table, RULES; none
speaks where what it sees is no more than noise."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from preflight.config.layers import shown
from preflight.config.settings import Settings
from preflight.config.values import ANSWER_ONLY, dataset_entries
from preflight.files import MALFORMED
from preflight.findings import to_plain
from preflight.outcomes.paired import adapter_figures
from preflight.outcomes.reading import Outcome, curve
from preflight.outcomes.table import Runs, spent
from preflight.plan.estimate import read_estimate
from preflight.training.evaluation.execution import wilson

MOST = 3
NOISE = 0.01  # of a loss: a smaller difference says nothing. Three seeds of the smoke run end 0.1% apart (2026-11-27)
SURE = 0.02  # of the questions: what surely happens more often than that (the lower end of its interval)
PROMPTS = 0.3  # of the tokens that have loss: what is no answer
POINTS = 3  # logged losses whose mean is compared, at least
LONGEST_SEQUENCE = 8192  # that is suggested


class Idea(NamedTuple):
    """What a rule makes of a run: what to change, why, and how much of this run's cost the next one takes."""

    changes: Mapping[str, Any]  # by dotted key
    because: str
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A change, the observation behind it, and what a run with it costs."""

    change: str  # as `--set` has it
    because: str
    cost: str
    hours: float | None = None  # where this run's were measured
    compute_units: float | None = None

    @property
    def says(self) -> str:
        """The suggestion as one line."""
        return f"{self.change}: {self.because}. {self.cost}"


def diverged(one: Outcome) -> Idea | None:
    """The loss was no number: a tenth of the learning rate."""
    rate = _number(one.experiment, "learning_rate")
    if not one.state.startswith("diverged") or not rate:
        return None
    return Idea({"learning_rate": float(f"{rate / 10:.1g}")}, f"it {one.state}, with a learning rate of {rate:g}")


def memorised(one: Outcome) -> Idea | None:
    """The validation loss rose while that of training fell: no further than to where it was lowest."""
    evals, train = _evaluations(one), curve(one.log, "loss")
    if not one.state.startswith(("finished", "stopped early")) or len(evals) < 2:
        return None
    (step, lowest), (_, last) = min(evals, key=lambda point: point[1]), evals[-1]
    before, after = [loss for at, loss in train if at <= step][-POINTS:], [loss for at, loss in train if at > step][-POINTS:]
    if last < lowest * (1 + NOISE) or len(before) < POINTS or len(after) < POINTS or fmean(after) > fmean(before) * (1 - NOISE):
        return None
    because = (
        f"the loss on the validation rows rose from {lowest:.3f} at step {step:,} to {last:.3f}, while that of training fell from {fmean(before):.3f} "
        f"to {fmean(after):.3f}, as when rows are learnt by heart"
    )
    return _shorter(one, step, because)


def cut_off(one: Outcome) -> Idea | None:
    """Answers ran on to their limit, and rows were longer than a sequence, so that training never showed how they end."""
    length, rows, result = _number(one.experiment, "sequence_len"), _lengths(one), one.result
    cut = result.cut.get("adapter", 0) if result else 0
    if not result or not length or wilson(cut, result.questions)[0] < SURE:
        return None
    longer = {most: count for most, count in rows.items() if most / 2 >= length and count}  # a row is longer than half of what it is counted with
    needed = min(max(longer, default=0), LONGEST_SEQUENCE)
    if needed <= length:
        return None
    because = (
        f"{cut} of {result.questions} answers ran on to their limit, and {sum(longer.values()):,} of {sum(rows.values()):,} training rows "
        f"are longer than sequence_len {length:g}, so that it was not shown how they end"
    )
    return Idea({"sequence_len": needed}, because)


def still_learning(one: Outcome) -> Idea | None:
    """Both losses were still falling at the end: longer."""
    evals, train = _evaluations(one), [loss for _, loss in curve(one.log, "loss")]
    third = len(train) // 3
    if one.state != "finished" or len(evals) < 2 or third < POINTS:
        return None
    before, after = train[-2 * third : -third], train[-third:]
    fell, validation = 1 - fmean(after) / fmean(before), 1 - evals[-1][1] / evals[-2][1]
    if fell < NOISE or fmean(before) - fmean(after) < 3 * _error(before, after) or validation < NOISE:
        return None
    because = (
        f"both losses were still falling at the end: that of training by {fell:.0%} in the last third of the run, that of validation by {validation:.0%} "
        "since the evaluation before"
    )
    return _longer(one, because)


def trained_on_prompts(one: Outcome) -> Idea | None:
    """Much of what has loss is schema and question: the answer alone."""
    share = one.result.prompt_share if one.result else None
    if share is None or share < PROMPTS:
        return None
    texts = [f"{key}.type" for key, entry in dataset_entries(one.experiment) if entry.get("type") == "completion"]
    everything = {"train_on_inputs": False} if one.experiment.get("train_on_inputs") else {}
    changes = everything | dict.fromkeys(texts, ANSWER_ONLY)
    return Idea(changes, f"{share:.0%} of the tokens that have loss are schema and question, not answer") if changes else None


def out_of_order(one: Outcome) -> Idea | None:
    """Answers that are right but for the order of their rows: longer."""
    figures = adapter_figures(one)
    count = figures.causes.get("other order", 0) if figures else 0
    if one.state != "finished" or not figures or wilson(count, figures.questions)[0] < SURE:
        return None
    return _longer(one, f"{count} of {figures.questions} answers give the right rows in another order than the one that is asked for")


# in the order in which they are shown; of two that change the same key the first is
RULES: tuple[Callable[[Outcome], Idea | None], ...] = (diverged, memorised, cut_off, still_learning, trained_on_prompts, out_of_order)


def suggest(one: Outcome, runs: Runs, settings: Settings) -> tuple[Suggestion, ...]:
    """What to try after this run, of what no other run has tried."""
    ideas = dict[str, Idea]()
    for rule in RULES:
        try:
            idea = rule(one)
        except (*MALFORMED, ZeroDivisionError):  # a record that holds something else than the kit writes
            continue
        if idea and not idea.changes.keys() & ideas.keys() and not _tried(idea, one, runs.outcomes):
            ideas |= dict.fromkeys(idea.changes, idea)
    once = {id(idea): idea for idea in ideas.values()}
    return tuple(_priced(idea, one, settings) for idea in list(once.values())[:MOST])


def _tried(idea: Idea, one: Outcome, outcomes: Sequence[Outcome]) -> bool:
    changed = to_plain(one.experiment)
    for key, value in idea.changes.items():
        *path, last = (int(part) if part.isdecimal() else part for part in key.split("."))
        inner = changed
        for part in path:
            inner = inner[part]
        inner[last] = to_plain(value)
    return any(to_plain(other.experiment) == changed for other in outcomes)


def _priced(idea: Idea, one: Outcome, settings: Settings) -> Suggestion:
    """By this run's own time, if it came to its end; else by the estimate."""
    change = " ".join(f"--set {key}={shown(to_plain(value))}" for key, value in idea.changes.items())
    cost = spent(one, settings)
    if cost is None or not one.state.startswith(("finished", "stopped early")):
        return Suggestion(change=change, because=idea.because, cost=_estimated(one, idea.scale))
    hours, units = cost.hours * idea.scale, None if cost.units is None else cost.units * idea.scale
    took = f"; this run took {cost.hours:.2f} h" + ("" if cost.units is None else f" and {cost.units:.1f} units")
    said = f"About {hours:.2f} h" + (", whose units are not known" if units is None else f" and {units:.1f} units") + took
    return Suggestion(change=change, because=idea.because, cost=said, hours=hours, compute_units=units)


def _estimated(one: Outcome, scale: float) -> str:
    estimate = _kept_estimate(one)
    for name, unit in (("compute_units", "units"), ("hours", "h")):
        try:
            low, high = (float(bound) * scale for bound in estimate[name])
            return f"{low:.1f} to {high:.1f} {unit}, by the estimate"
        except MALFORMED:
            continue
    return "What it costs is not known: nothing was measured, and no estimate was kept"


def _shorter(one: Outcome, step: int, because: str) -> Idea:
    """No more steps than these."""
    scale = step / one.max_steps
    if _number(one.experiment, "max_steps"):
        return Idea({"max_steps": step}, because, scale)
    epochs = _number(one.experiment, "num_epochs") or 1.0
    fewer = max(0.5, round(2 * epochs * scale) / 2)
    if fewer < epochs:
        return Idea({"num_epochs": _plain(fewer)}, because, fewer / epochs)
    return Idea({"early_stopping_patience": 1}, because)


def _longer(one: Outcome, because: str) -> Idea:
    """Half as long again."""
    if steps := _number(one.experiment, "max_steps"):
        return Idea({"max_steps": math.ceil(1.5 * steps)}, because, 1.5)
    epochs = _number(one.experiment, "num_epochs") or 1.0
    more = math.ceil(1.5 * epochs)
    return Idea({"num_epochs": more}, because, more / epochs)


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number


def _evaluations(one: Outcome) -> list[tuple[int, float]]:
    """Those of the adapter: the one at step 0 is the base's."""
    return [(step, loss) for step, loss in one.eval_losses if step]


def _error(first: Sequence[float], second: Sequence[float]) -> float:
    """The standard error of the difference of two means."""
    return math.sqrt(sum(sum((value - fmean(values)) ** 2 for value in values) / (len(values) - 1) / len(values) for values in (first, second)))


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0 else None


def _lengths(one: Outcome) -> dict[int, int]:
    """How many training rows have so many tokens at most, and more than half as many."""
    return dict(_bins(_kept_estimate(one).get("rows")))


def _kept_estimate(one: Outcome) -> Mapping[str, Any]:
    """It lies in the workspace alone: Drive, which may not answer, is not asked for it."""
    return {} if one.kept else read_estimate(one.folder)


def _bins(rows: Any) -> Iterator[tuple[int, int]]:
    found = dict[int, int]()
    try:
        for histogram in rows.values():
            for most, count in histogram:
                found[int(most)] = found.get(int(most), 0) + int(count)
    except MALFORMED:
        return
    yield from found.items()
