"""Three real runs, of which one diverges and one is killed half-way, and what the table of runs says of each."""

import json
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import CHECKOUT, few_rows, in_this_environment, run

SHORT = {"max_steps": 4, "save_steps": 2, "eval_steps": 4, "logging_steps": 1}
RUNS = {
    "calm": SHORT | {"learning_rate": 0.005},
    "lost": SHORT | {"learning_rate": 1e12, "max_grad_norm": None, "warmup_ratio": 0},
    "killed": SHORT | {"max_steps": 400, "learning_rate": 0.01},
}


@pytest.fixture
def workspace(preflight, tmp_path):
    """A workspace in which the three have run, in one process that imports Axolotl once."""
    rows = few_rows(tmp_path / "rows")
    for name, values in RUNS.items():
        sets = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        report = preflight("axolotl_configs/smoke.yaml", "--data", rows, "--name", name, *sets, "--json").json
        assert report["ok"], report["findings"]
        (tmp_path / name).mkdir()
        shutil.copy(report["config_path"], tmp_path / name / "smoke.yaml")
    env = in_this_environment() | report["environment"] | {"PYTHONPATH": str(CHECKOUT), "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, CHECKOUT / "tests/support/train_each.py", *(tmp_path / name / "smoke.yaml" for name in RUNS)]
    with subprocess.Popen(command, env=env, cwd=CHECKOUT, start_new_session=True) as process:
        while not (tmp_path / "workspace/runs/killed/outputs/checkpoint-2/manifest.json").exists():
            assert process.poll() is None, "\n".join(path.read_text()[-2000:] for path in tmp_path.glob("*/trained.log"))
            time.sleep(0.05)
        running = table(tmp_path / "workspace")
        for child in psutil.Process(process.pid).children(recursive=True):
            child.send_signal(signal.SIGKILL)
        process.wait()
    return tmp_path / "workspace", running


def table(root):
    ran = run(sys.executable, "-m", "preflight.runs", "--workspace", root, "--json", env=in_this_environment() | {"PYTHONPATH": str(CHECKOUT)})
    assert ran.code == 0, ran.err
    return {one["name"]: one for one in ran.json["runs"]}


def test_the_table_says_the_truth_of_each(workspace):
    root, running = workspace
    assert running["killed"]["state"].startswith("running, step ")
    found = table(root)
    assert {name: one["state"].partition(" at step ")[0] for name, one in found.items()} == {
        "calm": "finished",
        "lost": "diverged",
        "killed": "stopped",
    }
    calm, lost, killed = (found[name] for name in RUNS)
    assert (calm["step"], calm["max_steps"]) == (4, 4)
    assert calm["eval_loss"]["first"] > calm["eval_loss"]["last"]
    assert lost["state"].endswith("of 4")
    assert (lost["step"], killed["step"] >= 2, killed["max_steps"]) == (0, True, 400)
    assert calm["values"] == {"learning_rate": 0.005, "max_grad_norm": 0.3, "max_steps": 4, "warmup_ratio": 0.03}
    assert all(one["hours"] > 0 and one["compute_units"] is None for one in found.values()), "a CPU has no rate"
    assert [one["change"] for one in lost["suggestions"]] == ["--set learning_rate=100000000000.0"]
    assert lost["suggestions"][0]["because"] == f"it {lost['state']}, with a learning rate of 1e+12"
    assert calm["suggestions"] == killed["suggestions"] == [], "four steps show nothing"
    assert calm["sessions"][0]["last_step"] == 4
    card = (root / "runs/calm/outputs/README.md").read_text()
    assert "- accuracy: not measured\n" in card, "training itself has written it, in the place of Axolotl's"
    assert str(root) not in card
    assert running.keys() == found.keys()
    shutil.rmtree(root / "runs/calm")
    assert table(root)["calm"]["on_drive"], "what the mirror has kept"
