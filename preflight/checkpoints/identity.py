"""What a run is known by: which runs may continue its checkpoints, and for which its record of seconds holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflight.config.keys import MAY_CHANGE, THROUGHPUT_KEYS
from preflight.config.scale import checkpoint_format, engine_of
from preflight.config.secrets import without_secrets
from preflight.config.stage import Recipe
from preflight.config.values import dataset_entries, step_size, world_size
from preflight.machine.stage import Machine


def run_fingerprint(values: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment, as a flat mapping: two configs that agree here may continue each other's checkpoints.

    Local paths are left out, since the same rows lie elsewhere on another machine: the name of the prepared rows' folder,
    a hash of the rows themselves, stands for them. So are secrets: it is written to Drive.
    """
    values = without_secrets(values)
    kept = {key: value for key, value in values.items() if key not in MAY_CHANGE}
    for key in ("datasets", "test_datasets"):
        kept[key] = [{k: v for k, v in entry.items() if k != "path"} for _, entry in dataset_entries(values, key)]
    kept["rows in a step"] = step_size(values)
    if engine := checkpoint_format(values):
        kept["format of the checkpoints"] = engine
    kept["sha256 of the rows"] = Path(str(values.get("dataset_prepared_path"))).name
    return kept


def throughput_key(values: Mapping[str, Any], machine: str) -> dict[str, Any]:
    """What a record of this config's seconds on this machine is known by."""
    return {"machine": machine} | {key: values[key] for key in sorted(THROUGHPUT_KEYS) if values.get(key) is not None}


def machine_name(recipe: Recipe, machine: Machine) -> str:
    """The GPU's tier, or its own name where no tier names it, how many share a step and by which engine; the CPU's for a config that
    needs no GPU."""
    if not recipe.config.needs_gpu:
        return f"{machine.host.cores} x {machine.host.cpu}"
    name, count = recipe.tier.name if recipe.tier else machine.gpu.name if machine.gpu else "", world_size(recipe.config.values)
    return f"{count} x {name}, {engine_of(recipe.config.values)}" if count > 1 else name
