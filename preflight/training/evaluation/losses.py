"""The loss on validation and test rows, by Axolotl's own evaluation of a trained adapter."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preflight.files import MALFORMED, read_content, write_atomic
from preflight.machine.run_folder import RunFolder

TEST_LOSS = "test_loss.json"  # beside the run's YAML
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


@dataclass(frozen=True, kw_only=True)
class TestLoss:
    """The losses of one adapter on rows that it was not trained on."""

    __test__ = False  # for pytest, which takes it for a test by its name

    adapter_sha256: str
    validation: float
    test: float


def write_test_loss(folder: Path, loss: TestLoss) -> None:
    """Keep it beside the run's YAML. Raises OSError."""
    write_atomic(folder / TEST_LOSS, json.dumps(asdict(loss), indent=1))


def read_test_loss(folder: Path) -> TestLoss | None:
    """What was kept, or None."""
    try:
        loss = TestLoss(**json.loads((folder / TEST_LOSS).read_text(encoding="utf-8")))
        return loss if math.isfinite(loss.test) and math.isfinite(loss.validation) else None
    except (OSError, *MALFORMED):
        return None
