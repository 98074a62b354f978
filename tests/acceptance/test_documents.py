"""The documents that `--json` prints, key by key and value by value: scripts read them, so a change of one is a change of the contract.

UPDATE=1 writes them anew; the diff of tests/examples/documents/ then shows what a change means for those who read them.
"""

import json
import os
import re
from pathlib import Path

import pytest

from preflight.checkpoints import manifest
from tests.conftest import CHECKOUT

DOCUMENTS = CHECKOUT / "tests/examples/documents"
SMOKE = "axolotl_configs/smoke.yaml"
PLAN = ["--data", "sample_data", "--set", "save_steps=25", "--set", "eval_steps=25"]
CALLS = {
    "smoke": [SMOKE],
    "gpu_l4": ["--gpu", "l4", *PLAN],
    "gpu_all": ["--gpu", "all", *PLAN],
    "scale_ddp": ["--gpu", "h100", "--scale", "ddp", "--gpus-per-node", "2", *PLAN],
    "misspelt": ["tests/examples/rejected/misspelt.yaml", "--plan-only"],
    "resumed": [SMOKE],
}


@pytest.fixture
def document(preflight, tmp_path):
    """What one call prints, with what depends on the machine in words."""

    def call(arguments):
        text = preflight(*arguments, "--json").out
        text = text.replace(str(tmp_path / "workspace"), "<workspace>").replace(str(CHECKOUT), "<checkout>")
        text = re.sub(r'"[^"]*bin/accelerate"', '"<accelerate>"', text)
        found = json.loads(re.sub(r'"(modified_ns|free_disk_gb)": \d+', r'"\1": 0', text))
        threads = "--num_cpu_threads_per_process"
        for command in [found["command"], *(argv for _, argv in found["commands"])]:
            if threads in command:
                command[command.index(threads) + 1] = "<cores>"
        return found

    return call


def stopped_at(outputs: Path, step: int):
    """A checkpoint as a run that was stopped leaves it, of the run that preflight has just set up."""
    experiment = json.loads((outputs.parent / "mirror.json").read_text())["experiment"]
    folder = outputs / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 400}))
    manifest.write(folder, manifest.describe(folder, subfolders=True, step=step, max_steps=400, best_step=0, experiment=experiment))


@pytest.mark.parametrize("name", CALLS)
def test_a_document_is_what_it_was(document, tmp_path, name):
    found = document(CALLS[name])
    if name == "resumed":
        stopped_at(tmp_path / "workspace/runs/smoke/outputs", 120)
        found = document(CALLS[name])
        assert found["checkpoints"]["step"] == 120
    found["findings"].sort(key=lambda finding: (finding["code"], finding["where"], finding["message"]))
    path = DOCUMENTS / f"{name}.json"
    if os.environ.get("UPDATE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(path.read_text())
    assert list(found) == list(json.loads(path.read_text())), "the order of the keys"
