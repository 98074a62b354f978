"""The same run on every tier of GPU, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from preflight.checkpoints.identity import throughput_key
from preflight.checkpoints.records import Record
from preflight.config.layers import with_changes
from preflight.config.memory import memory_gib
from preflight.config.settings import Settings
from preflight.config.stage import Recipe
from preflight.config.tiers import OLDEST, TIERS, Room, Tier, read_tier, tier_changes
from preflight.data.audit import DatasetLengths
from preflight.plan.cost import Cost, expect
from preflight.plan.steps import plan_steps
from preflight.plan.throughput import find_pace


@dataclass(frozen=True, kw_only=True)
class GpuOption:
    """What the run would be on one tier; `best` is "", "fastest", "cheapest", or both."""

    tier: Tier
    memory_gib: float | None
    cost: Cost | None
    best: str = ""


def compare(recipe: Recipe, counted: DatasetLengths, settings: Settings, records: Sequence[Record]) -> tuple[GpuOption, ...]:
    """The run on each tier that the pinned torch runs on."""
    options = []
    for tier in TIERS:
        layer, _ = read_tier(tier.name)
        if layer is None or tier.compute_capability < OLDEST:
            continue
        room = Room(shape=recipe.shape, memory_gib=tier.memory_gib)
        config, _ = with_changes(recipe.untiered, tier_changes(recipe.untiered, layer, recipe.overrides, room))
        config, _ = with_changes(config, recipe.overrides)
        values = config.values
        steps = plan_steps(values, counted) if counted.train else None
        pace = find_pace(values, records, throughput_key(values, tier.name), tier, recipe.shape)
        cost = expect(values, steps, 0, pace, settings, tier.name) if steps and pace else None
        options.append(GpuOption(tier=tier, memory_gib=memory_gib(values, recipe.shape), cost=cost))
    return marked(options)


def marked(options: Sequence[GpuOption]) -> tuple[GpuOption, ...]:
    """The options, the fastest and the cheapest of those that fit marked."""
    known = [(option, option.cost) for option in options if option.cost and (option.memory_gib or 0) <= option.tier.memory_gib]
    priced = [(option, cost.usd) for option, cost in known if cost.usd]
    fastest = min(known, key=lambda one: one[1].hours.high)[0] if known else None
    cheapest = min(priced, key=lambda one: one[1].high)[0] if priced else None

    def best(option: GpuOption) -> str:
        return ", ".join(name for name, one in (("fastest", fastest), ("cheapest", cheapest)) if one is option)

    return tuple(GpuOption(tier=option.tier, memory_gib=option.memory_gib, cost=option.cost, best=best(option)) for option in options)
