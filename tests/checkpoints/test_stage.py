"""Where a run lies, here and on Drive: the command line itself, with what earlier sessions and an earlier kit left."""

import json
import shutil

import pytest

from preflight.checkpoints import manifest
from preflight.checkpoints.mirror import read_settings

SMOKE = "axolotl_configs/smoke.yaml"
RATE = ("--set", "learning_rate=0.004")
MODELS = "drive/MyDrive/sql-codegen-models/smoke"


@pytest.fixture
def ask(preflight):
    """The report of a preflight of the smoke config, with some options."""
    return lambda *options: preflight(SMOKE, "--json", *options).json


def codes(report):
    return [finding["code"] for finding in report["findings"] if finding["level"] == "error"]


def test_a_second_experiment_has_a_run_of_its_own_beside_the_first(ask, tmp_path):
    root = tmp_path / "workspace"
    first, second, named = ask(), ask(*RATE), ask(*RATE, "--name", "größer")
    assert [codes(report) for report in (first, second, named)] == [[], [], []]
    found = [(report["checkpoints"]["name"], report["config_path"], report["checkpoints"]["mirrored_to"]) for report in (first, second, named)]
    assert found == [
        ("smoke", str(root / "runs/smoke/config.yaml"), str(root / MODELS)),
        *(
            (name, str(root / f"runs/{name}/config.yaml"), str(root / MODELS / name))
            for name in ("smoke-learning_rate-0.004", "größer")
        ),
    ]  # fmt: skip
    shared = {change["value"] for report in (first, second, named) for change in report["changes"] if change["key"] == "dataset_prepared_path"}
    assert len(shared) == 1, "tokenised rows are shared"
    assert sorted(path.name for path in root.iterdir()) == [".staging.lock", "drive", "runs", "sample_data"], "and staged rows too"


def test_the_folder_that_set_chooses_is_taken_as_it_is(ask, tmp_path):
    assert ask(*RATE, "--set", f"output_dir={tmp_path}/mine")["checkpoints"]["mirrored_to"] == str(tmp_path / "mine")


def with_checkpoint(folder, experiment):
    folder = folder / "checkpoint-50"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 50, "max_steps": 400}))
    manifest.write(folder, manifest.describe(folder, subfolders=True, step=50, max_steps=400, best_step=0, experiment=experiment))


@pytest.mark.parametrize("where", ["here", "on Drive"])
def test_a_run_of_an_earlier_kit_resumes_where_it_lies(ask, tmp_path, where):
    """That had one place for every run of a config, whatever --set said."""
    root = tmp_path / "workspace"
    ask(*RATE, "--name", "smoke")
    experiment = read_settings(root / "runs/smoke").experiment
    if where == "here":
        with_checkpoint(root / "runs/smoke/outputs", experiment)
    else:
        shutil.rmtree(root / "runs")
        with_checkpoint(root / MODELS, experiment)
    found = ask(*RATE)
    assert (codes(found), found["checkpoints"]["name"], found["checkpoints"]["step"]) == ([], "smoke", 50)
    other = ask("--set", "learning_rate=0.003")
    assert (codes(other), other["checkpoints"]["name"], other["checkpoints"]["step"]) == ([], "smoke-learning_rate-0.003", 0)
    mixed = ask()
    assert codes(mixed) == ["checkpoint.other-run"], "the config's own run would be mixed up with it"
    (finding,) = [finding for finding in mixed["findings"] if finding["level"] == "error"]
    assert "learning_rate: 0.004 then, 0.005 now" in finding["message"]
    assert "--name NAME" in finding["fix"]


def test_a_name_that_another_experiment_has_is_refused(ask, tmp_path):
    ask(*RATE, "--name", "mine")
    with_checkpoint(tmp_path / "workspace/runs/mine/outputs", read_settings(tmp_path / "workspace/runs/mine").experiment)
    assert codes(ask("--name", "mine")) == ["checkpoint.other-run"]
    assert codes(ask(*RATE, "--name", "mine", "--set", "save_steps=10")) == []


def test_tokenised_rows_that_another_run_may_be_writing_are_left_alone(ask, tmp_path, monkeypatch):
    half = tmp_path / "workspace/runs/smoke/prepared/rows/hash"
    half.mkdir(parents=True)
    (half / "data-00000-of-00001.arrow").write_bytes(b"half")
    monkeypatch.setattr("preflight.data.prepared.find_training", lambda run: run.folder.name == "smoke")
    ask(*RATE)
    assert half.exists()
    monkeypatch.undo()
    ask(*RATE)
    assert not half.exists()
