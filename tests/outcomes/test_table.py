import json
import shutil

import pytest

from preflight.config.settings import read_settings
from preflight.machine.workspace import find_workspace
from preflight.outcomes.table import gather, spent
from tests.support.run_folders import begun, evaluated, trained

SETTINGS, _ = read_settings()
MODELS = "drive/MyDrive/sql-codegen-models"


def found(root):
    return gather(find_workspace(root), SETTINGS)


def test_only_the_keys_that_differ_are_shown(tmp_path):
    trained(begun(tmp_path, "one", seed=42, rows={"a": 1}))
    trained(begun(tmp_path, "two", seed=42, rows={"a": 1}, learning_rate=0.002))
    begun(tmp_path, "three", seed=42, rows={"a": 1}, warmup_ratio=0.1)
    runs = found(tmp_path)
    assert runs.differing == ("learning_rate", "warmup_ratio")
    assert runs.differs(runs.outcomes[1]) == {"learning_rate": 0.001, "warmup_ratio": 0.1}


@pytest.mark.parametrize(
    ("machine", "units"),
    [("l4", 1.71), ("a100-40gb", 5.40), ("2 x l4, ddp", 3.42), ("h100", None), ("2 x Intel Xeon", None), ("", None)],
)
def test_what_a_run_cost_is_its_sessions_at_the_rate_of_their_machine(tmp_path, machine, units):
    trained(begun(tmp_path, "one"), machine=machine, seconds=3600, sessions=3)
    cost = spent(found(tmp_path).outcomes[0], SETTINGS)
    assert cost.hours == pytest.approx(1)
    assert cost.units == (None if units is None else pytest.approx(units))
    assert cost.usd == (None if units is None else pytest.approx(units * 58.99 / 600))


def test_a_run_of_both_places_is_shown_once_by_the_one_that_is_further(tmp_path):
    to = tmp_path / MODELS / "smoke"
    run = trained(begun(tmp_path, "smoke", to=str(to)))
    shutil.copytree(run.outputs, to)
    assert [(one.name, one.kept) for one in found(tmp_path).outcomes] == [("smoke", "")]
    shutil.rmtree(run.outputs)
    trained(begun(tmp_path / "anew", "smoke", to=str(to)), step=20, ended="").outputs.rename(run.outputs)
    assert [(one.state, one.kept) for one in found(tmp_path).outcomes] == [("finished", "on Drive")]
    shutil.rmtree(run.folder)
    assert [(one.name, one.kept) for one in found(tmp_path).outcomes] == [("smoke", "on Drive")]


def test_runs_that_came_home_from_colab_are_compared_with_those_of_here(tmp_path):
    trained(begun(tmp_path, "smoke"))
    home = tmp_path / "remote/mistral_qlora/home"
    home.parent.mkdir(parents=True)
    trained(begun(tmp_path / "machine", "mistral_qlora")).outputs.rename(home)
    shutil.copytree(home, home.with_name("home-20261127"))  # what `--fresh` has set aside
    assert [(one.name, one.state, one.kept) for one in found(tmp_path).outcomes] == [
        ("smoke", "finished", ""),
        ("mistral_qlora", "finished", "from Colab"),
        ("mistral_qlora", "finished", "from Colab"),
    ]


def test_nothing_yet_and_a_drive_that_can_not_be_read(tmp_path, monkeypatch):
    assert found(tmp_path).outcomes == ()

    def broken(place, deep):
        raise OSError(107, "Transport endpoint is not connected")

    begun(tmp_path, "one")
    monkeypatch.setattr("preflight.outcomes.table._mirrored_below", broken)
    runs = found(tmp_path)
    assert [one.name for one in runs.outcomes] == ["one"]
    assert "Transport endpoint is not connected" in runs.drive_problem


def test_two_hundred_runs(tmp_path):
    rows = tmp_path / "rows"
    rows.write_text("rows")
    for number in range(200):
        evaluated(trained(begun(tmp_path, f"run-{number:03}", seed=number)), set(range(number % 40)), rows)
    runs = found(tmp_path)
    assert len(runs.as_json(SETTINGS)["runs"]) == 200
    assert len(runs.comparison.against) == 199
    json.dumps(runs.as_json(SETTINGS))
