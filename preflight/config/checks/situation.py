"""What the checks need to know beside the config."""

from dataclasses import dataclass, field

from preflight.config.layers import Config
from preflight.config.model_files import ModelFiles
from preflight.findings import Finding, Level


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the checks need to know beside the config."""

    compute_capability: tuple[int, int] | None = None  # of the GPU that trains; None on a CPU, or where there is none
    base_model_missing: bool = False  # base_model is a path that does not exist
    base_model_here: bool = False  # base_model is a folder
    model: ModelFiles = field(default_factory=ModelFiles)
    installed: frozenset[str] = frozenset()  # distributions of the training environment, names in lower case
    reported: frozenset[str] = frozenset()  # dotted keys whose value the schema refused already


def finding(config: Config, code: str, level: Level, key: str, message: str, fix: str) -> Finding:
    """A finding at the place that set the key."""
    return Finding(code=code, level=level, where=config.where(key), message=message, fix=fix)
