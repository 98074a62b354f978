"""Steps and their pace -> hours -> compute units -> money."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from preflight.config.settings import Settings
from preflight.plan.steps import Steps
from preflight.plan.throughput import Pace, Span


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What is left of a run takes: hours with start-up, compute units and money where the rate is known."""

    steps_left: int
    hours: Span
    compute_units: Span | None
    usd: Span | None
    runs_a_month: Span | None
    pace: Pace


def expect(values: Mapping[str, Any], steps: Steps, done: int, pace: Pace, settings: Settings, tier: str) -> Cost:
    """What the steps from `done` on cost, by the rates of colab_setup.yaml."""
    left = max(0, steps.steps - done)
    evaluate_every = evaluation_interval(values, steps.steps)
    rate, subscription = settings.compute.compute_units_per_hour.get(tier), settings.subscription
    saves = sum(step > done for step in steps.saves)
    evaluations = left // evaluate_every + (not done) if evaluate_every else 0  # one before the first step, which a resumed run has had
    batches = evaluations * (steps.eval_batches or 0)

    def hours(end: str) -> float:
        parts = ((pace.step, left), (pace.evaluation_batch, batches), (pace.save, saves), (pace.start, 1), (pace.end, 1))
        return float(sum(getattr(span, end) * count for span, count in parts)) / 3600

    span = Span(low=hours("low"), high=hours("high"))
    units = span.times(rate) if rate else None
    month = subscription.compute_units_per_month
    return Cost(
        steps_left=left,
        hours=span,
        compute_units=units,
        usd=units.times(subscription.usd_per_month / month) if units else None,
        runs_a_month=Span(low=month / units.high, high=month / units.low) if units else None,
        pace=pace,
    )


def earliest_stop(values: Mapping[str, Any], steps: int) -> int:
    """The first step at which `early_stopping_patience` can end the run: the first evaluation was the best. 0 where it never can."""
    patience, every = values.get("early_stopping_patience"), evaluation_interval(values, steps)
    if not isinstance(patience, int) or patience < 1 or not every:
        return 0
    first = every * (patience + 1)
    return first if first < steps else 0


def saved_by_stopping(values: Mapping[str, Any], steps: Steps, done: int, pace: Pace, settings: Settings, tier: str) -> Cost | None:
    """What a run that stops as early as it can does not take; None where it can't stop early any more."""
    earliest = earliest_stop(values, steps.steps)
    if not earliest or earliest <= done:
        return None
    rest = replace(steps, saves=tuple(step for step in steps.saves if step > earliest))
    left = expect(values, rest, earliest, pace, settings, tier)
    each = (pace.start, pace.end)  # which a run that stops has as well
    hours = Span(low=left.hours.low - sum(one.low for one in each) / 3600, high=left.hours.high - sum(one.high for one in each) / 3600)
    share = Span(low=hours.low / left.hours.low, high=hours.high / left.hours.high) if left.hours.low else Span(low=0, high=0)
    units = Span(low=left.compute_units.low * share.low, high=left.compute_units.high * share.high) if left.compute_units else None
    return replace(left, hours=hours, compute_units=units, usd=None, runs_a_month=None)


def evaluation_interval(values: Mapping[str, Any], steps: int) -> int:
    """Steps from one evaluation to the next; 0 where nothing is evaluated between."""
    if values.get("eval_strategy") == "no":
        return 0
    if per_epoch := values.get("evals_per_epoch"):
        return max(1, round(steps / (float(per_epoch) * float(values.get("num_epochs") or 1))))
    every = float(values.get("eval_steps") or 0)
    return max(1, round(every * steps if 0 < every < 1 else every)) if every else 0
