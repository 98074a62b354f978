"""What the checks need to know beside the config, and what they share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from preflight.config import Config
from preflight.estimate import Steps
from preflight.findings import Finding, Level


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the checks need to know beside the config."""

    compute_capability: tuple[int, int] | None = None  # of the GPU that trains; None on a CPU, or where there is none
    steps: Steps | None = None  # None where the rows can't be counted
    base_model_missing: bool = False  # base_model is a path, and nothing is there
    installed: frozenset[str] = frozenset()  # distributions of the training environment, names in lower case
    reported: frozenset[str] = frozenset()  # dotted keys whose value the schema refused already


def finding(config: Config, code: str, level: Level, key: str, message: str, fix: str) -> Finding:
    """A finding at the place that set the key."""
    return Finding(code=code, level=level, where=config.where(key), message=message, fix=fix)


def entries(config: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted key, entry) of every data set."""
    for name in ("datasets", "test_datasets"):
        held = config.values.get(name)
        for index, entry in enumerate(held if isinstance(held, list) else ()):
            if isinstance(entry, Mapping):
                yield f"{name}.{index}", entry
