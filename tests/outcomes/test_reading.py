import json
import subprocess
import sys

import pytest

from preflight.checkpoints.history import read_history
from preflight.machine.run_folder import HISTORY, RunFolder
from preflight.outcomes.reading import curve, find_mirrored, read_local, read_mirrored
from preflight.training.evaluation.losses import TestLoss, write_test_loss
from preflight.training.evaluation.result import FILE
from tests.support.run_folders import begun, described, evaluated, trained


def test_a_finished_run(tmp_path):
    run = evaluated(trained(begun(tmp_path, "one")), {1, 2}, tmp_path)
    one = read_local(run)
    assert (one.name, one.state, one.step, one.max_steps, one.notes) == ("one", "finished", 40, 40, ())
    assert one.eval_losses == [(0, 3.0), (20, 1.0), (40, 1.2)]
    assert one.best_loss == (20, 1.0)
    assert one.result.executed["adapter"].right == 2
    assert one.experiment == {"learning_rate": 0.001}


@pytest.mark.parametrize(
    ("how", "state"),
    [
        ({"step": 20, "ended": ""}, "stopped at step 20 of 40"),
        ({"step": 20, "ended": "diverged", "log": [{"step": 20, "loss": "nan"}]}, "diverged at step 20 of 40"),
        ({"step": 40, "ended": "finished"}, "finished"),
    ],
)
def test_how_a_run_ended(tmp_path, how, state):
    assert read_local(trained(begun(tmp_path, "one"), **how)).state == state


def test_a_run_that_was_stopped_early_is_at_its_end(tmp_path):
    run = trained(begun(tmp_path, "one"), step=20, ended="stopped early")
    described(run.outputs, {}, 20, 20, b"weights", None)
    assert read_local(run).state == "stopped early, at step 20 of 40"


def test_one_that_trains_now(tmp_path):
    run = trained(begun(tmp_path, "one"), step=20, ended="")
    code = "import sys, time; from pathlib import Path; from preflight.machine.active import hold; hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code, run.folder], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert read_local(run).state == "running, step 20 of 40"
        process.kill()
        process.wait()
    assert read_local(run).state == "stopped at step 20 of 40"


def test_a_folder_that_holds_no_run_and_one_that_only_begins(tmp_path):
    (tmp_path / "runs/smoke/prepared/rows").mkdir(parents=True)
    assert read_local(RunFolder(folder=tmp_path / "runs/smoke")) is None
    assert read_local(begun(tmp_path, "one")).state == "not begun"


def test_a_run_of_an_earlier_kit_has_no_history(tmp_path):
    run = trained(begun(tmp_path, "one"))
    (run.outputs / HISTORY).unlink()
    one = read_local(run)
    assert (one.state, one.sessions, one.eval_losses[-1], one.notes) == ("finished", None, (40, 1.2), ())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sessions": 1}', "\x00" * 99, '{"name": "x", "step": "y", "max_steps": 1, "sessions": []}'])
def test_files_that_are_damaged_are_said(tmp_path, text):
    run = evaluated(trained(begun(tmp_path, "one")), {1}, tmp_path)
    (run.outputs / HISTORY).write_text(text)
    (run.folder / FILE).write_text(text)
    one = read_local(run)
    assert (one.state, one.result, one.sessions) == ("finished", None, None)
    assert [note.partition(" ")[0] for note in one.notes] == [HISTORY, FILE]
    (run.outputs / "manifest.json").write_text(text)
    (run.outputs / "checkpoint-40/manifest.json").write_text(text)
    assert read_local(run).state == "stopped before a checkpoint"


def test_figures_of_another_adapter_are_not_this_ones(tmp_path):
    run = evaluated(trained(begun(tmp_path, "one")), {1}, tmp_path)
    write_test_loss(run.folder, TestLoss(adapter_sha256="another", validation=1.0, test=1.1))
    assert read_local(run).test_loss is None
    trained(run, adapter=b"trained anew")
    one = read_local(run)
    assert (one.result, one.notes) == (None, ("its evaluation is of an earlier adapter: evaluate it again",))
    write_test_loss(
        run.folder,
        TestLoss(
            adapter_sha256=json.loads((run.outputs / "manifest.json").read_text())["files"]["adapter_model.safetensors"][1], validation=1.0, test=1.1
        ),
    )
    assert read_local(run).test_loss.test == 1.1


def test_results_on_drive_are_found_below_the_folder_for_them(tmp_path):
    models = tmp_path / "models"
    for name, folder in (("smoke", models / "smoke"), ("smoke-seed-7", models / "smoke/smoke-seed-7"), ("deep", models / "a/b/c")):
        run = trained(begun(tmp_path / name, name))
        folder.parent.mkdir(parents=True, exist_ok=True)
        run.outputs.rename(folder)
    described(models / "old", {"seed": 1}, 40, 40, b"weights", None)
    (models / "smoke/runs").mkdir()
    found = find_mirrored(models)
    assert [(one.name, one.state, one.kept) for one in found] == [
        ("old", "finished", "on Drive"),
        ("smoke", "finished", "on Drive"),
        ("smoke-seed-7", "finished", "on Drive"),
    ]
    assert found[0].experiment == {"seed": 1}
    assert find_mirrored(tmp_path / "nothing") == []
    assert read_mirrored(models) is None


def test_a_log_that_is_no_log(tmp_path):
    assert curve(
        [{"step": 1, "loss": "nan"}, {"step": "x", "loss": 1}, {"loss": 1}, {"step": 2, "loss": None}, {"step": 3, "loss": 0.5}], "loss"
    ) == [(3, 0.5)]


def test_a_history_that_lies_is_not_read(tmp_path):
    run = trained(begun(tmp_path, "one"))
    values = json.loads((run.outputs / HISTORY).read_text())
    for wrong in ({"ended": "well"}, {"step": float("nan")}, {"log": [{"loss": 1}]}, {"sessions": [{}]}, {"name": 3}):
        (run.outputs / HISTORY).write_text(json.dumps(values | wrong))
        assert read_history(run.outputs) is None
