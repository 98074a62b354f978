"""Rows as datasets itself writes them, cut off where a kill can cut them off."""

import subprocess

import pytest
from datasets import Dataset, load_from_disk

from preflight.data.prepared import is_complete, remove_incomplete
from preflight.machine.run_folder import RunFolder
from tests.conftest import tree

KILLS = {
    "before the rows are written": lambda folder: (
        [path.unlink() for path in folder.glob("*.json")] and [path.write_bytes(b"") for path in folder.glob("*.arrow")]
    ),
    "before the state": lambda folder: [path.unlink() for path in folder.glob("*.json")],
    "in the state": lambda folder: cut(folder / "state.json") or (folder / "dataset_info.json").unlink(),
    "before the info": lambda folder: (folder / "dataset_info.json").unlink(),
    "in the info": lambda folder: cut(folder / "dataset_info.json"),
    "a power cut": lambda folder: [path.write_bytes(b"") for path in folder.glob("*.arrow")],
    "a file that is gone": lambda folder: [path.unlink() for path in folder.glob("*.arrow")],
}


def cut(path):
    path.write_bytes(path.read_bytes()[:20])


@pytest.fixture
def prepared(tmp_path):
    """A run with two tokenised data sets."""
    run = RunFolder(folder=tmp_path)
    for name in ("train", "validation"):
        Dataset.from_dict({"input_ids": [[1, 2], [3]]}).save_to_disk(run.prepared / "rows" / name)
    return run


def test_what_is_whole_is_kept(prepared, tmp_path):
    before = tree(tmp_path)
    assert remove_incomplete(prepared) == []
    assert tree(tmp_path) == before
    assert remove_incomplete(RunFolder(folder=tmp_path / "new")) == []


@pytest.mark.parametrize("when", KILLS)
def test_what_a_kill_left_is_made_again(prepared, when):
    folder = prepared.prepared / "rows/train"
    KILLS[when](folder)
    with pytest.raises(Exception, match=r"."):  # what the launch would have met
        load_from_disk(folder)
    assert not is_complete(folder)
    (finding,) = remove_incomplete(prepared)
    assert (finding.code, finding.where) == ("data.prepared-again", str(folder))
    assert not folder.exists()
    assert load_from_disk(prepared.prepared / "rows/validation")["input_ids"] == [[1, 2], [3]]


def test_what_can_not_be_removed_is_said_with_its_folder(prepared):
    """A folder that is a mount of its own: not even root removes it."""
    folder = prepared.prepared / "rows/train"
    KILLS["before the info"](folder)
    if subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True).returncode:
        pytest.skip("a mount needs root")
    try:
        (finding,) = remove_incomplete(prepared)
        assert (finding.code, finding.level, finding.where) == ("workspace.not-writable", "error", str(folder))
        assert str(prepared.prepared) in finding.fix
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_preflight_removes_it_and_a_plan_does_not(preflight, tmp_path):
    workspace = tmp_path / "workspace"
    half = workspace / "runs/smoke/prepared/rows/hash/data-00000-of-00001.arrow"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"ARROW1")
    assert "data.prepared-again" not in preflight("axolotl_configs/smoke.yaml", "--json", "--plan-only").codes
    assert half.exists()
    ran = preflight("axolotl_configs/smoke.yaml", "--json")
    assert ran.json["ok"]
    assert "data.prepared-again" in ran.codes
    assert not half.parent.exists()
