import json
import os
import shutil

import pytest

from preflight.config.settings import Rows
from preflight.data.sources import find_data
from preflight.data.staging import bring, check_sources, inspect_source, is_complete, read_manifest, recover, stage
from preflight.machine.workspace import find_workspace
from tests.conftest import tree
from tests.support.killing import killed_at


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
    assert not is_complete(read_manifest(tmp_path / "data"))
    staged, _ = fetch(rows, tmp_path / "data")
    assert staged.how == "copied"
    assert is_complete(read_manifest(tmp_path / "data"))


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


@pytest.mark.parametrize(("size", "says"), [(-1, "does not exist"), (-2, "is not a file"), (0, "is empty")])
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
    """Killed before each touch of the file system in turn, and again while the next run ends what that left."""
    rows, old = tmp_path / "rows", tmp_path / "old"
    rows.mkdir()

    def sources(content):
        for name in ("a.jsonl", "b.jsonl"):
            (rows / name).write_text(content)
        return [inspect_source(rows / name) for name in ("a.jsonl", "b.jsonl")]

    stage(sources("old"), old, quiet)
    new_rows = sources("new!")
    ends = []
    for event in range(1, 200):
        folder = tmp_path / str(event) / "data"
        shutil.copytree(old, folder)
        killed = killed_at(event, lambda folder=folder: stage(new_rows, folder, quiet))
        killed_at(1 + event % 4, lambda folder=folder: recover(folder))
        recover(folder)
        assert is_complete(read_manifest(folder)), event
        ends.append((folder / "a.jsonl").read_text())
        assert (folder / "b.jsonl").read_text() == ends[-1], event
        if not killed:
            break
    assert set(ends[:-1]) == {"old", "new!"}
    assert ends[-1] == "new!"
    assert [path.name for path in folder.parent.iterdir()] == ["data"]


VALUES = {
    "datasets": [{"path": "/content/data/train.jsonl"}, {"path": "tatsu-lab/alpaca"}],
    "test_datasets": [{"path": "/content/data/val.jsonl"}],
}


def found(tmp_path, source=None):
    workspace = find_workspace(tmp_path / "ws", environ={})
    places = Rows(
        source="drive",
        drive_folder="/content/drive/MyDrive/rows",
        folder="/content/data",
        test_file="test.jsonl",
        disk_gb=1,
        sql_fails_warning=0,
        sql_fails_error=0.1,
    )
    files, _ = find_data(VALUES, workspace, places, source)
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
