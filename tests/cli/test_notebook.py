"""What a cell does that hands the machine back, and what its children are told. The whole notebook: tests/acceptance/test_notebook.py."""

import subprocess
import sys
import time

import pytest

from preflight.checkpoints import mirror
from preflight.checkpoints.mirror import MirrorSettings
from preflight.cli.notebook import CellError, Session, stream
from tests.checkpoints.test_mirror import EXPERIMENT, checkpoint, final
from tests.conftest import CHECKOUT, tree
from tests.support.drive import Disk, can_mount


@pytest.fixture
def session(tmp_path, monkeypatch, google_colab):
    """A session on Colab whose run has saved a checkpoint."""
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    monkeypatch.setenv("FAKE_DRIVE", str(tmp_path / "behind"))
    one = Session(config="axolotl_configs/smoke.yaml", root=str(tmp_path / "content"))
    checkpoint(one._outputs(), 6)
    mirror.write_settings(one._outputs().parent, MirrorSettings(to=str(tmp_path / "to"), experiment=EXPERIMENT))
    return one


def test_a_machine_is_not_handed_back_while_something_is_only_on_it(session, tmp_path):
    with pytest.raises(CellError, match=r"not handed back, and checkpoint-6 is not in .*python -m preflight.mirror "):
        session.hand_back(True)
    assert not (tmp_path / "unassigned").exists()
    mirror.mirror(session._outputs(), mirror.read_settings(session._outputs().parent))
    session.hand_back(False)
    assert not (tmp_path / "unassigned").exists()
    session.hand_back(True)
    assert (tmp_path / "unassigned").exists()


def test_drive_fills_up_overnight(session, tmp_path):
    """In the morning nothing is lost, the machine is still there, and one command brings everything once there is room."""
    if not can_mount():
        pytest.skip("a mount needs root")
    disk, outputs = Disk(tmp_path / "content/drive", "2m"), session._outputs()
    to = disk.mount / "MyDrive/run"
    try:
        mirror.write_settings(outputs.parent, MirrorSettings(to=str(to), mount=str(disk.mount), experiment=EXPERIMENT))
        watch = f"import sys; from preflight.cli import mirror; mirror.PATIENCE, mirror.RETRY = 2, 1; sys.exit(mirror.main([{str(outputs)!r}, '--watch']))"
        night = subprocess.Popen([sys.executable, "-c", watch], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT)
        while not (to / "checkpoint-6/manifest.json").exists():
            assert night.poll() is None
            time.sleep(0.02)
        disk.fill()
        for step in (12, 18):
            checkpoint(outputs, step)
        final(outputs)
        saved = tree(outputs)
        _, said = night.communicate()  # training ends, and with it the mirror's patience

        assert night.returncode == 1
        assert "is full; delete files there, and empty its trash" in said
        assert "checkpoint-18, checkpoint-12, the final adapter could not be mirrored" in said
        with pytest.raises(CellError, match="not handed back, and checkpoint-18, checkpoint-12, the final adapter are not in") as refused:
            session.hand_back(True)
        assert not (tmp_path / "unassigned").exists()
        assert tree(outputs) == saved
        assert (to / "checkpoint-6/manifest.json").exists()

        disk.empty()
        command = str(refused.value).partition("in a new cell: !")[2]
        assert subprocess.run(["bash", "-c", command], capture_output=True).returncode == 0
        session.hand_back(True)
        assert (tmp_path / "unassigned").exists()
        there = tree(to)
        assert {name: there[name] for name in saved if name in there} == {name: saved[name] for name in saved if name in there}
        assert {"checkpoint-12/manifest.json", "checkpoint-18/optimizer.pt", "adapter_model.safetensors"} <= there.keys()
    finally:
        disk.unmount()


def test_elsewhere_there_is_nothing_to_hand_back(session, monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    mirror.mirror(session._outputs(), mirror.read_settings(session._outputs().parent))
    with pytest.raises(CellError, match="not handed back: this machine is not rented"):
        session.hand_back(True)


def test_no_child_of_a_cell_gets_the_repositorys_secret(monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_TOKEN", "github_pat_x")
    stream("env")
    assert "github_pat_x" not in capsys.readouterr().out


@pytest.mark.parametrize(("user", "told"), [(None, "1"), ("0", "0")])
def test_every_child_of_a_cell_is_told_to_send_no_telemetry_unless_the_user_said_otherwise(monkeypatch, capsys, user, told):
    monkeypatch.delenv("AXOLOTL_DO_NOT_TRACK", raising=False)
    if user:
        monkeypatch.setenv("AXOLOTL_DO_NOT_TRACK", user)
    stream("bash", "-c", "echo tracked not: $AXOLOTL_DO_NOT_TRACK")
    assert f"tracked not: {told}" in capsys.readouterr().out
