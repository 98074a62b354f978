from pathlib import Path

import pytest

from preflight.files import CHECKOUT, probe_writing
from preflight.machine.workspace import find_workspace


def test_roots():
    assert find_workspace(environ={"COLAB_RELEASE_TAG": "x"}).root == Path("/content")
    assert find_workspace(environ={}).root == CHECKOUT / "workspace"
    assert find_workspace(Path("/x"), environ={"COLAB_RELEASE_TAG": "x"}).root == Path("/x")


@pytest.mark.parametrize(
    ("path", "local", "staged"),
    [
        ("/content/data/a.jsonl", "/ws/data/a.jsonl", "/ws/data/a.jsonl"),
        ("/content", "/ws", "/ws"),
        ("/contents/a.jsonl", "/contents/a.jsonl", "/contents/a.jsonl"),
        ("rows/a.jsonl", str(Path("rows/a.jsonl").absolute()), "/ws/rows/a.jsonl"),
        ("../a.jsonl", str(Path("../a.jsonl").absolute()), str(Path("../a.jsonl").absolute())),
        ("~/a.jsonl", str(Path("~/a.jsonl").expanduser()), str(Path("~/a.jsonl").expanduser())),
    ],
)
def test_paths(path, local, staged):
    workspace = find_workspace(Path("/ws"), environ={})
    assert (str(workspace.local(path)), str(workspace.staged(path))) == (local, staged)


def test_probing_leaves_nothing(tmp_path):
    assert probe_writing(tmp_path / "new") is None
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    assert probe_writing(tmp_path / "file" / "ws").strerror == "Not a directory"
