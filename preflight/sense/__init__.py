"""Do the values make sense together, and on this GPU. Each check is a pure function of the config and the situation."""

from collections.abc import Callable, Iterator

from preflight.config import Config
from preflight.findings import Finding
from preflight.sense import data_sets, model, schedule
from preflight.sense.situation import Situation

__all__ = ["CHECKS", "Situation", "check_sense"]

CHECKS: tuple[Callable[[Config, Situation], Iterator[Finding]], ...] = (
    model.check_complete,
    model.check_base_model,
    model.check_unsafe_code,
    model.check_trains_to_nan,
    model.check_precision,
    model.check_conflicts,
    model.check_kernels,
    model.check_attention,
    data_sets.check_types,
    data_sets.check_rows,
    data_sets.check_eos,
    data_sets.check_packing,
    data_sets.check_order,
    data_sets.check_evaluation,
    schedule.check_saving,
    schedule.check_best_model,
    schedule.check_schedule,
)


def check_sense(config: Config, situation: Situation) -> list[Finding]:
    """Everything that the values together would do wrong."""
    return [finding for check in CHECKS for finding in check(config, situation)]
