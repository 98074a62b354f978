"""What a run was expected to take, kept beside its YAML: what it took is set against it later."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflight.data.audit import DatasetLengths
from preflight.files import MALFORMED, write_atomic
from preflight.findings import to_plain
from preflight.plan.cost import Cost

FILE = "estimate.json"


def write_estimate(run: Path, cost: Cost | None, lengths: DatasetLengths) -> None:
    """The estimate of a whole run, and the lengths of its rows. Nothing depends on it: a disk that does not take it is no fault of the run."""
    spans = {"hours": cost.hours, "compute_units": cost.compute_units, "usd": cost.usd} if cost else {}
    values = {
        **{name: [span.low, span.high] for name, span in spans.items() if span},
        "note": cost.pace.note if cost else "",
        "rows": {one.path.name: list(one.histogram) for one in lengths.train},
    }
    with contextlib.suppress(OSError):
        write_atomic(run / FILE, json.dumps(to_plain(values), indent=1))


def read_estimate(run: Path) -> Mapping[str, Any]:
    """What was written, or nothing."""
    try:
        values = json.loads((run / FILE).read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    except (OSError, *MALFORMED):
        return {}
