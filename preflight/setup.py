"""What axolotl_configs/colab_setup.yaml says: the subscription, the GPU that the plan is made for, and where things lie."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflight.config import CONFIGS, Config
from preflight.findings import Finding
from preflight.schema import SETUP_SCHEMA, find_problems
from preflight.yaml_file import read_yaml

SETUP = CONFIGS / "colab_setup.yaml"


def read_setup(path: Path = SETUP) -> tuple[Mapping[str, Any] | None, list[Finding]]:
    """The settings, whole and of the right types (schema/colab_setup.json), or None and the findings that say why not."""
    file, findings = read_yaml(path)
    if file is None:
        return None, findings
    schema = json.loads(SETUP_SCHEMA.read_text(encoding="utf-8"))
    findings = [problem.finding for problem in find_problems(Config(file=file, values=file.values), schema)]
    return (None if findings else file.values), findings


def data_places(settings: Mapping[str, Any]) -> dict[str, str]:
    """Where rows come from and are staged, as `staging.find_data` takes it."""
    return {name: settings["data"][name] for name in ("drive_folder", "folder", "test_file")}


def check_setup(settings: Mapping[str, Any], config: Config) -> list[Finding]:
    """Where the config goes against the settings: results that don't end up on Drive, checkpoints too far apart."""
    if not config.needs_gpu:
        return []
    findings = []
    drive, session = settings["drive"], settings["session"]
    output, models = str(config.values.get("output_dir") or ""), drive["models"]
    if drive["backup"] and not Path(output).is_relative_to(models):
        message = f"output_dir {output} is not below {models}, where colab_setup.yaml wants results to end up"
        findings.append(
            Finding(code="drive.elsewhere", level="warning", where=config.where("output_dir"), message=message, fix=f"output_dir: {models}")
        )
    save = config.values.get("save_steps")
    if isinstance(save, int) and save > session["save_steps"]:
        message = f"save_steps {save}: a disconnect loses up to {save} steps, more than the {session['save_steps']} of colab_setup.yaml"
        fix = f"save_steps: {session['save_steps']}"
        findings.append(Finding(code="config.saves-rarely", level="warning", where=config.where("save_steps"), message=message, fix=fix))
    return findings
