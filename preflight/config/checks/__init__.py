"""Do the values make sense together, and on this GPU. Each check is a pure function of the config and the situation; a new one gets a
line in CHECKS. One that needs the steps of the run belongs to plan/checks.py."""

from collections.abc import Callable, Iterator

from preflight.config.checks import base, data_sets, model, outside_code, saving
from preflight.config.checks.situation import Situation
from preflight.config.layers import Config
from preflight.findings import Finding

__all__ = ["CHECKS", "Situation", "check_values"]

CHECKS: tuple[Callable[[Config, Situation], Iterator[Finding]], ...] = (
    model.check_complete,
    model.check_base_model,
    base.check_name,
    base.check_targets,
    base.check_family,
    base.check_tokens,
    outside_code.check_outside_code,
    outside_code.check_fetched_code,
    model.check_trains_to_nan,
    model.check_precision,
    model.check_conflicts,
    model.check_kernels,
    model.check_fp8,
    model.check_graphs,
    model.check_attention,
    model.check_packages,
    data_sets.check_types,
    data_sets.check_rows,
    data_sets.check_eos,
    data_sets.check_packing,
    data_sets.check_order,
    saving.check_saving,
    saving.check_best_model,
    saving.check_early_stopping,
    saving.check_learning_rate,
)


def check_values(config: Config, situation: Situation) -> list[Finding]:
    """Everything that the values together would do wrong."""
    return [finding for check in CHECKS for finding in check(config, situation)]
