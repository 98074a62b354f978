from pathlib import Path

import pytest

from preflight.workspace import CHECKOUT, COLAB_VARIABLES, detect_colab, find_workspace, probe_writing


@pytest.mark.parametrize("name", COLAB_VARIABLES)
def test_colab_is_told_from_what_its_runtimes_set(name):
    colab = detect_colab({name: ""})
    assert colab.found
    assert name in colab.reason


def test_colab_gpu_says_nothing():
    assert not detect_colab({"COLAB_GPU": "1"}).found


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
    assert probe_writing(tmp_path / "new") == ""
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    assert probe_writing(tmp_path / "file" / "ws") == "Not a directory"
