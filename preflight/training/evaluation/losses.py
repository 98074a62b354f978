"""The loss on validation and test rows, by Axolotl's own evaluation of a trained adapter."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflight.files import read_content
from preflight.machine.run_folder import RunFolder

FOLDER = "evaluation"  # below the run: the YAML that is evaluated, and what Axolotl writes
# of a training run, and none of an evaluation's business
TRAINING_ONLY = ("save_", "resume_", "auto_resume", "load_best", "metric_for_best", "greater_is_better", "max_steps", "use_tensorboard")


def evaluation_values(values: Mapping[str, Any], run: RunFolder, test: Path) -> dict[str, Any]:
    """The run's resolved config as an evaluation of its adapter: validation rows in the place of training's, test rows in theirs.

    Axolotl 0.19.0 evaluates both data sets of a config, the first as "training", the second as "validation".
    """
    kept = {key: value for key, value in values.items() if not key.startswith(TRAINING_ONLY)}
    entries = list(values.get("test_datasets") or values["datasets"])
    content = read_content(test).sha256
    return kept | {
        "datasets": [{key: value for key, value in entry.items() if key not in ("shards", "shards_idx")} for entry in entries],
        "test_datasets": [dict(entries[0]) | {"path": str(test)}],
        "lora_model_dir": str(run.outputs),
        "output_dir": str(run.folder / FOLDER),
        "dataset_prepared_path": str(run.prepared / f"{FOLDER}-{content[:16]}"),
        "eval_strategy": "no",
        "eval_steps": None,
    }


def read_losses(run: RunFolder) -> tuple[float, float]:
    """(validation, test) of the last evaluation. Raises OSError, or ValueError where Axolotl wrote none."""
    with (run.folder / FOLDER / "eval_summary.csv").open(encoding="utf-8", newline="") as file:
        found = {row["metric"]: row for row in csv.DictReader(file)}
    if "loss" not in found:
        raise ValueError("eval_summary.csv holds no loss")
    return float(found["loss"]["training"]), float(found["loss"]["validation"])
