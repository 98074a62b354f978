"""The fifth stage: what the run takes, from its rows and from what was seen on such a machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from preflight.checkpoints.stage import RunState
from preflight.config.layers import Config
from preflight.config.memory import check_memory, memory_gib, why_unjudged
from preflight.config.settings import Settings
from preflight.config.stage import Recipe
from preflight.config.values import sequence_len, step_size
from preflight.data.audit import DatasetLengths
from preflight.findings import Diagnostics
from preflight.machine.stage import Machine
from preflight.plan.checks import CHECKS, check_examples, check_interval, check_rows
from preflight.plan.compare import GpuOption, compare
from preflight.plan.cost import Cost, earliest_stop, expect, saved_by_stopping
from preflight.plan.estimate import write_estimate
from preflight.plan.steps import Steps, plan_steps
from preflight.plan.throughput import Pace, Span, find_pace

UNKNOWN: Mapping[str, Any] = {"low": None, "high": None}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the run takes; what is not known is None."""

    tier_name: str = ""
    tokens_per_step: int | None = None  # of packed rows
    examples_per_step: float | None = None  # of padded rows exactly, of packed ones on average
    steps: Steps | None = None
    cost: Cost | None = None  # of the steps that are left
    stops_from: int = 0  # the first step at which early stopping can end the run; 0 where it can't
    saved: Cost | None = None  # that a run which stops there does not take
    memory_gib: float | None = None  # that a step needs
    memory_note: str = ""  # why that was not judged
    options: tuple[GpuOption, ...] = ()  # the run on each GPU, where that was asked for

    def as_json(self) -> dict[str, object]:
        """The key `plan` of `--json`: every key is there, and null where it is not known."""
        steps, cost = self.steps, self.cost
        return {
            "tier": self.tier_name or None,
            "tokens_per_step": self.tokens_per_step,
            "examples_per_step": self.examples_per_step,
            "steps": steps.steps if steps else None,
            "exact": steps.exact if steps else None,
            "warmup_steps": steps.warmup if steps else None,
            "tokens": steps.tokens if steps else None,
            "trained_tokens": steps.trained_tokens if steps else None,
            "checkpoints": len(steps.saves) if steps else None,
            "saves": list(steps.saves) if steps else None,
            **_cost_as_json(cost),
            "throughput_source": cost.pace.source if cost else "none",
            "throughput_note": cost.pace.note if cost else "",
            "seconds_per_step": _span(cost.pace.step if cost else None, 3),
            "early_stop": {"from_step": self.stops_from, "hours_saved": _span(replace(self.saved.hours, low=0) if self.saved else None, 2)}
            if self.stops_from
            else None,
            "steps_left": cost.steps_left if cost else None,
            "runs_per_month": _span(cost.runs_a_month if cost else None, 1),
            "memory_gib": self.memory_gib,
            "memory_note": self.memory_note,
            "gpus": [_option_as_json(option) for option in self.options],
        }


def plan_run(
    recipe: Recipe, lengths: DatasetLengths, run: RunState, settings: Settings, machine: Machine, diagnostics: Diagnostics, *, compared: bool
) -> Plan:
    """The steps of the run, their hours and their price; with `compared` on each GPU."""
    config = run.config
    steps = diagnostics.attempt(None, plan_steps, config.values, lengths) if lengths.train else None
    pace = diagnostics.attempt(None, find_pace, config.values, run.records, run.mirror.depends, recipe.tier, recipe.shape)
    cost = None
    if steps and pace and not run.finished:
        cost = diagnostics.attempt(None, expect, config.values, steps, run.done, pace, settings, recipe.tier_name)
    saved = None
    if steps and pace and cost:
        saved = diagnostics.attempt(None, saved_by_stopping, config.values, steps, run.done, pace, settings, recipe.tier_name)
    if diagnostics.may_write and not run.done:
        diagnostics.attempt(None, write_estimate, run.folder.folder, cost, lengths)
    if lengths.train and not steps:
        diagnostics.check(check_rows, config, lengths)
    _judge(config, recipe, steps, pace, machine, diagnostics)
    packed, size = bool(config.values.get("sample_packing")), step_size(config.values)
    return Plan(
        tier_name=recipe.tier_name,
        tokens_per_step=size * sequence_len(config.values) if packed else None,
        examples_per_step=steps.examples_per_step if steps else None if packed else size,
        steps=steps,
        cost=cost,
        stops_from=earliest_stop(config.values, steps.steps) if steps else 0,
        saved=saved,
        memory_gib=memory_gib(config.values, recipe.shape) if config.needs_gpu else None,
        memory_note=why_unjudged(config.values, recipe.shape) if config.needs_gpu else "",
        options=diagnostics.attempt((), compare, recipe, lengths, settings, run.records) if compared else (),
    )


def _judge(config: Config, recipe: Recipe, steps: Steps | None, pace: Pace | None, machine: Machine, diagnostics: Diagnostics) -> None:
    if steps:
        for check in CHECKS:
            diagnostics.check(check, config, steps)
    if config.needs_gpu and machine.gpu:
        diagnostics.check(check_memory, config, recipe.shape, machine.gpu.memory_gib)
        diagnostics.check(check_interval, config, steps, pace)
        diagnostics.check(check_examples, config, steps)


def _cost_as_json(cost: Cost | None) -> dict[str, object]:
    return {
        "hours": _span(cost.hours if cost else None, 2),
        "compute_units": _span(cost.compute_units if cost else None, 1),
        "cost_usd": _span(cost.usd if cost else None, 2),
    }


def _option_as_json(option: GpuOption) -> dict[str, object]:
    return {
        "name": option.tier.name,
        "title": option.tier.title,
        "memory_gib": option.tier.memory_gib,
        "needs_gib": option.memory_gib,
        **_cost_as_json(option.cost),
        "runs_per_month": _span(option.cost.runs_a_month if option.cost else None, 1),
        "throughput_note": option.cost.pace.note if option.cost else "",
        "best": option.best,
    }


def _span(span: Span | None, digits: int) -> Mapping[str, Any]:
    return {"low": round(span.low, digits), "high": round(span.high, digits)} if span else UNKNOWN
