import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from preflight.staging import bring, check_sources, find_data, inspect_source, is_whole, read_manifest, recover, stage
from preflight.workspace import find_workspace
from tests.conftest import CHECKOUT, environment, tree


def quiet(what, done, total):
    pass


@pytest.fixture
def rows(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b"}\n')
    (folder / "val.jsonl").write_bytes(b'{"text": "c"}')  # no line end: still a row
    return [inspect_source(folder / name) for name in ("train.jsonl", "val.jsonl")]


def fetch(rows, folder, **changed):
    return bring(rows, folder, **({"copy": True, "missing": "error", "progress": quiet} | changed))


def test_rows_are_copied_with_a_manifest(rows, tmp_path):
    staged, findings = fetch(rows, tmp_path / "data")
    assert (findings, staged.how) == ([], "copied")
    manifest = json.loads((tmp_path / "data/manifest.json").read_text())["files"]
    assert [(file["name"], file["bytes"], file["rows"]) for file in manifest] == [("train.jsonl", 28, 2), ("val.jsonl", 13, 1)]
    assert (tmp_path / "data/train.jsonl").read_bytes() == rows[0].path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"rows", "data"}, "something was left beside the data"


def test_what_is_there_and_whole_is_kept(rows, tmp_path):
    fetch(rows, tmp_path / "data")
    inode = (tmp_path / "data").stat().st_ino
    staged, _ = fetch(rows, tmp_path / "data")
    assert staged.how == "already there"
    assert (tmp_path / "data").stat().st_ino == inode


@pytest.mark.parametrize(
    "harm", [lambda path: path.write_bytes(b'{"text": "A"}\n{"text": "b"}\n'), lambda path: path.unlink(), lambda path: path.write_bytes(b"")]
)
def test_what_is_there_and_harmed_is_copied_again(rows, tmp_path, harm):
    fetch(rows, tmp_path / "data")
    harm(tmp_path / "data/train.jsonl")
    assert not is_whole(read_manifest(tmp_path / "data"))
    staged, _ = fetch(rows, tmp_path / "data")
    assert staged.how == "copied"
    assert is_whole(read_manifest(tmp_path / "data"))


def test_new_rows_at_the_old_place_are_copied(rows, tmp_path):
    fetch(rows, tmp_path / "data")
    rows[1].path.write_bytes(b'{"text": "d"}')
    os.utime(rows[1].path, ns=(1, 1))
    staged, _ = fetch([rows[0], inspect_source(rows[1].path)], tmp_path / "data")
    assert staged.how == "copied"
    assert (tmp_path / "data/val.jsonl").read_bytes() == b'{"text": "d"}'


def test_a_folder_of_someone_else_is_left_alone(rows, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.txt").write_text("precious")
    before = tree(tmp_path)
    staged, (finding,) = fetch(rows, tmp_path / "data")
    assert (staged, finding.code) == (None, "data.folder-taken")
    assert tree(tmp_path) == before


def test_rows_that_lie_there_already_are_read_in_place(rows):
    staged, findings = fetch(rows, rows[0].path.parent)
    assert (findings, staged.how) == ([], "read where they are")
    assert not (staged.folder / "manifest.json").exists()


@pytest.mark.parametrize(("size", "says"), [(-1, "is not there"), (-2, "is not a file"), (0, "is empty")])
def test_a_source_that_is_none(tmp_path, size, says):
    path = tmp_path / "x.jsonl"
    if size == -2:
        path.mkdir()
    if size == 0:
        path.touch()
    source = inspect_source(path)
    (finding,) = check_sources([source], "error")
    assert (source.bytes, finding.code) == (size, "data.missing")
    assert says in finding.message


def test_a_kill_between_the_two_renames_is_ended_by_the_next_run(rows, tmp_path):
    """The old set waits aside, the new one is whole: the new one was wanted."""
    stage(rows, tmp_path / "data", quiet)
    new = shutil.copytree(tmp_path / "data", tmp_path / ".data.new")
    (tmp_path / "data").rename(tmp_path / ".data.old")
    (new / "extra").touch()
    recover(tmp_path / "data")
    assert (tmp_path / "data/extra").exists()


def test_a_half_written_new_set_is_never_taken(rows, tmp_path):
    stage(rows, tmp_path / "data", quiet)
    new = shutil.copytree(tmp_path / "data", tmp_path / ".data.new")
    (new / "val.jsonl").write_bytes(b"{")
    (tmp_path / "data").rename(tmp_path / ".data.old")
    recover(tmp_path / "data")
    assert (tmp_path / "data/val.jsonl").read_bytes() == rows[1].path.read_bytes()


def test_a_copy_that_fails_leaves_the_old_set(rows, tmp_path):
    """The second file turns into a folder under the copy's feet: a real OSError half-way."""
    fetch(rows, tmp_path / "data")
    before = tree(tmp_path / "data")
    rows[1].path.unlink()
    rows[1].path.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        stage(rows, tmp_path / "data", quiet)
    assert tree(tmp_path / "data") == before
    assert {path.name for path in tmp_path.iterdir()} == {"rows", "data"}


def test_a_kill_at_any_moment_leaves_the_old_set_or_the_new(tmp_path):
    rng = random.Random(7)
    rows, workspace = tmp_path / "rows", tmp_path / "workspace"
    rows.mkdir()
    command = [sys.executable, "-m", "preflight", "axolotl_configs/smoke.yaml", "--data", rows, "--workspace", workspace]
    killed = 0
    for attempt in range(8):
        for name in ("train_postgres.jsonl", "val_postgres.jsonl"):
            (rows / name).write_bytes(b'{"text": "%d"}\n' % attempt * 3_000_000)
        process = subprocess.Popen(command, cwd=CHECKOUT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (workspace / ".sample_data.new").exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        recover(workspace / "sample_data")
        staged = read_manifest(workspace / "sample_data")
        assert staged is None or is_whole(staged)
    assert killed >= 4, "the kills came too late to show anything"
    assert subprocess.run(command, cwd=CHECKOUT, env=environment(), stdout=subprocess.DEVNULL).returncode == 0
    assert (workspace / "sample_data/train_postgres.jsonl").read_bytes() == (rows / "train_postgres.jsonl").read_bytes()
    assert [path.name for path in workspace.iterdir() if path.name.startswith(".")] == []


VALUES = {
    "datasets": [{"path": "/content/data/train.jsonl"}, {"path": "tatsu-lab/alpaca"}],
    "test_datasets": [{"path": "/content/data/val.jsonl"}],
}


def found(tmp_path, source=None):
    workspace = find_workspace(tmp_path / "ws", environ={})
    files = find_data(VALUES, workspace, source=source, drive_folder="/content/drive/MyDrive/rows", test_file="test.jsonl")
    return {file.key: (str(file.source.relative_to(tmp_path)), str(file.staged.relative_to(tmp_path))) for file in files}


def test_content_data_comes_from_drive(tmp_path):
    assert found(tmp_path) == {
        "datasets.0.path": ("ws/drive/MyDrive/rows/train.jsonl", "ws/data/train.jsonl"),
        "test_datasets.0.path": ("ws/drive/MyDrive/rows/val.jsonl", "ws/data/val.jsonl"),
    }


def test_data_overrules_drive_and_test_rows_come_along(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/test.jsonl").write_text("{}\n")
    files = found(tmp_path, tmp_path / "mine")
    assert files["datasets.0.path"] == ("mine/train.jsonl", "ws/data/train.jsonl")
    assert files[""] == ("mine/test.jsonl", "ws/data/test.jsonl")


def test_staged_rows_are_used_when_drive_is_gone(tmp_path):
    (tmp_path / "ws/data").mkdir(parents=True)
    (tmp_path / "ws/data/train.jsonl").write_text("{}\n")
    assert found(tmp_path)["datasets.0.path"] == ("ws/data/train.jsonl", "ws/data/train.jsonl")
