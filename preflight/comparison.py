"""The same run on every tier of GPU, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight import tiers
from preflight.config import Change, Config, with_changes
from preflight.cost import Cost, expect, memory_gib
from preflight.estimate import plan_steps
from preflight.examples import Counted
from preflight.gpu import OLDEST, TIERS, Tier
from preflight.sizes import ModelShape
from preflight.throughput import Record, depends, find_pace


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the run would be on one tier; `best` is "", "fastest", "cheapest", or both."""

    tier: Tier
    memory_gib: float | None
    cost: Cost | None
    best: str = ""


def compare(
    config: Config,
    overrides: Sequence[Change],
    counted: Counted,
    settings: Mapping[str, Any],
    shape: ModelShape | None,
    records: Sequence[Record],
) -> tuple[Offer, ...]:
    """An offer for each tier that the pinned torch runs on, of a config without its tier's layer."""
    offers = []
    for tier in TIERS:
        layer, _ = tiers.read_tier(tier.name)
        if layer is None or tier.compute_capability < OLDEST:
            continue
        resolved, _ = with_changes(config, tiers.tier_changes(config, layer, overrides))
        resolved, _ = with_changes(resolved, overrides)
        values = resolved.values
        steps = plan_steps(values, counted) if counted.train else None
        pace = find_pace(values, records, depends(values, tier.name), tier, shape)
        cost = expect(values, steps, 0, pace, settings, tier.name) if steps and pace else None
        offers.append(Offer(tier=tier, memory_gib=memory_gib(values, shape), cost=cost))
    return marked(offers)


def marked(offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """The offers, the fastest and the cheapest of those that fit marked."""
    known = [(offer, offer.cost) for offer in offers if offer.cost and (offer.memory_gib or 0) <= offer.tier.memory_gib]
    priced = [(offer, cost.usd) for offer, cost in known if cost.usd]
    fastest = min(known, key=lambda one: one[1].hours.high)[0] if known else None
    cheapest = min(priced, key=lambda one: one[1].high)[0] if priced else None

    def best(offer: Offer) -> str:
        return ", ".join(name for name, one in (("fastest", fastest), ("cheapest", cheapest)) if one is offer)

    return tuple(Offer(tier=offer.tier, memory_gib=offer.memory_gib, cost=offer.cost, best=best(offer)) for offer in offers)
