"""Units an hour of a GPU, as `colab usage` showed them for this account during a run of `make colab`: read there, kept in one file, used by every estimate."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from preflight.files import MALFORMED, write_atomic

NAME = "rates.json"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Units an hour of a tier."""

    per_hour: float
    read: str  # the day


def read_rates(folder: Path) -> Mapping[str, Rate]:
    """The rates that runs have read, by tier; none where the file is not there or damaged: the table's are used then."""
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
        rates = {str(tier): Rate(per_hour=float(one["per_hour"]), read=date.fromisoformat(one["read"]).isoformat()) for tier, one in values.items()}
    except (OSError, *MALFORMED):
        return {}
    return {tier: rate for tier, rate in rates.items() if rate.per_hour > 0 and math.isfinite(rate.per_hour)}


def keep_rate(folder: Path, tier: str, per_hour: float) -> None:
    """Keep what was read today. Raises OSError."""
    known = {**read_rates(folder), tier: Rate(per_hour=per_hour, read=date.today().isoformat())}
    write_atomic(folder / NAME, json.dumps({name: asdict(rate) for name, rate in sorted(known.items())}, indent=1))
