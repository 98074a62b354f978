"""What a cell does that hands the machine back, and what its children are told. The whole notebook: tests/acceptance/test_notebook.py."""

import pytest

from preflight.checkpoints import mirror
from preflight.checkpoints.mirror import MirrorSettings
from preflight.cli.notebook import CellError, Session, stream
from tests.checkpoints.test_mirror import EXPERIMENT, checkpoint


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


def test_elsewhere_there_is_nothing_to_hand_back(session, monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    mirror.mirror(session._outputs(), mirror.read_settings(session._outputs().parent))
    with pytest.raises(CellError, match="not handed back: this machine is not rented"):
        session.hand_back(True)


@pytest.mark.parametrize(("user", "told"), [(None, "1"), ("0", "0")])
def test_every_child_of_a_cell_is_told_to_send_no_telemetry_unless_the_user_said_otherwise(monkeypatch, capsys, user, told):
    monkeypatch.delenv("AXOLOTL_DO_NOT_TRACK", raising=False)
    if user:
        monkeypatch.setenv("AXOLOTL_DO_NOT_TRACK", user)
    stream("bash", "-c", "echo tracked not: $AXOLOTL_DO_NOT_TRACK")
    assert f"tracked not: {told}" in capsys.readouterr().out
