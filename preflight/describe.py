"""What each room found, as the plain values of a Report: the contract of `--json`."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from preflight import config
from preflight.checkpoints import Checkpoint
from preflight.comparison import Offer
from preflight.config import Config
from preflight.cost import Cost
from preflight.estimate import Steps
from preflight.examples import Counted
from preflight.findings import to_plain
from preflight.gpu import GpuReading
from preflight.staging import Staged
from preflight.throughput import Span
from preflight.workspace import Workspace

QUANTILES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}
# every key is there, and null where it is not known
PLAN: dict[str, Any] = {
    "tier": None,
    "tokens_per_step": None,
    "examples_per_step": None,
    "steps": None,
    "exact": None,
    "warmup_steps": None,
    "tokens": None,
    "trained_tokens": None,
    "checkpoints": None,
    "saves": None,
    "hours": {"low": None, "high": None},
    "compute_units": {"low": None, "high": None},
    "cost_usd": {"low": None, "high": None},
    "throughput_source": "none",
    "throughput_note": "",
    "seconds_per_step": {"low": None, "high": None},
    "steps_left": None,
    "runs_per_month": {"low": None, "high": None},
    "memory_gib": None,
    "gpus": [],
}


def workspace(found: Workspace) -> dict[str, object]:
    return {"root": str(found.root), "colab": found.colab.found, "colab_reason": found.colab.reason}


def gpus(reading: GpuReading) -> dict[str, object]:
    return {"name": reading.gpus[0].name if reading.gpus else None, "gpus": to_plain([asdict(one) for one in reading.gpus]), "reason": reading.reason}


def data(staged: Sequence[Staged], counted: Counted) -> dict[str, object]:
    counts = {lengths.path: lengths for lengths in (*counted.train, *counted.held_out)}
    folders = to_plain([asdict(rows) for rows in staged])
    for rows in folders:
        for file in rows["files"]:
            path = Path(rows["folder"], file["name"])
            lengths = counts.get(path)
            file["sql"] = counted.sql.get(path)
            file["tokens"] = lengths.tokens if lengths else None
            file["lengths"] = {name: lengths.quantile(share) for name, share in QUANTILES.items()} if lengths else None
            file["sampled"] = len(lengths.measured) if lengths and lengths.sampled else None
            file["histogram"] = lengths.histogram if lengths else None
    return {"folders": folders, "tokenizer": counted.tokenizer or None}


def checkpoints(kept: Sequence[Checkpoint], whole: Checkpoint | None, finished: bool, mirrored_to: str) -> dict[str, object]:
    return {
        "whole": [str(one.path) for one in kept if not one.problem],
        "passed_over": [str(one.path) for one in kept if one.problem],
        "resume_from": str(whole.path) if whole and not finished else None,
        "step": whole.step if whole else 0,
        "max_steps": whole.max_steps if whole else None,
        "finished": finished,
        "mirrored_to": mirrored_to or None,
    }


def plan(tier: str, resolved: Config, steps: Steps | None) -> dict[str, object]:
    """What an optimizer step holds, and with the rows counted, how many there are."""
    known: dict[str, object] = {"tier": tier or None}
    size = config.step_size(resolved.values)
    if resolved.values.get("sample_packing"):
        known["tokens_per_step"] = size * config.sequence_len(resolved.values)
    else:
        known["examples_per_step"] = size
    if steps:
        known |= {
            "examples_per_step": steps.examples_per_step,
            "steps": steps.steps,
            "exact": steps.exact,
            "warmup_steps": steps.warmup,
            "tokens": steps.tokens,
            "trained_tokens": steps.trained_tokens,
            "checkpoints": len(steps.saves),
            "saves": list(steps.saves),
        }
    return PLAN | known


def cost(taken: Cost | None, memory_gib: float | None, offers: Sequence[Offer]) -> dict[str, object]:
    """What the rest of the run takes, as far as it is known, and with `offers` on each GPU."""
    known: dict[str, object] = {"memory_gib": memory_gib}
    if taken:
        known |= {
            "hours": _span(taken.hours, 2),
            "compute_units": _span(taken.compute_units, 1),
            "cost_usd": _span(taken.usd, 2),
            "runs_per_month": _span(taken.runs_a_month, 1),
            "seconds_per_step": _span(taken.pace.step, 3),
            "steps_left": taken.steps_left,
            "throughput_source": taken.pace.source,
            "throughput_note": taken.pace.note,
        }
    known["gpus"] = [
        {
            "name": offer.tier.name,
            "title": offer.tier.title,
            "memory_gib": offer.tier.memory_gib,
            "needs_gib": offer.memory_gib,
            "hours": _span(offer.cost.hours if offer.cost else None, 2),
            "compute_units": _span(offer.cost.compute_units if offer.cost else None, 1),
            "cost_usd": _span(offer.cost.usd if offer.cost else None, 2),
            "runs_per_month": _span(offer.cost.runs_a_month if offer.cost else None, 1),
            "throughput_note": offer.cost.pace.note if offer.cost else "",
            "best": offer.best,
        }
        for offer in offers
    ]
    return known


def _span(span: Span | None, digits: int) -> dict[str, float | None]:
    return {"low": round(span.low, digits), "high": round(span.high, digits)} if span else {"low": None, "high": None}


def setup(settings: Mapping[str, Any], found: Workspace, tier: str) -> dict[str, object]:
    """colab_setup.yaml, with the disk that is free, the runs that a month's units are good for by the plan's own estimate,
    and what this tier takes an hour, if that is known."""
    low, high = settings["compute"]["compute_units_per_run"]
    units = settings["subscription"]["compute_units_per_month"]
    root = next(folder for folder in (found.root, *found.root.parents) if folder.exists())
    derived = {
        "runs_per_month": [int(units // high), int(units // low)] if low and high else None,
        "units_per_hour": settings["compute"]["compute_units_per_hour"].get(tier),
        "free_disk_gb": round(shutil.disk_usage(root).free / 1e9),
    }
    return to_plain(dict(settings)) | derived  # type: ignore[no-any-return]
