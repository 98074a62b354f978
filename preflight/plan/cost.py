"""Steps and their pace -> hours -> compute units -> money."""

from collections.abc import Mapping
from dataclasses import dataclass
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


def evaluation_interval(values: Mapping[str, Any], steps: int) -> int:
    """Steps from one evaluation to the next; 0 where nothing is evaluated between."""
    if values.get("eval_strategy") == "no":
        return 0
    if per_epoch := values.get("evals_per_epoch"):
        return max(1, round(steps / (float(per_epoch) * float(values.get("num_epochs") or 1))))
    every = float(values.get("eval_steps") or 0)
    return max(1, round(every * steps if 0 < every < 1 else every)) if every else 0
