"""A night on Colab: one run, three machines."""

import shutil

import pytest

from tests.support.drive import can_mount
from tests.support.sessions import TOKEN, Machine, Notebook

STEPS = {"max_steps": 36, "eval_steps": 18}


@pytest.fixture
def new_machine(tmp_path, checkout):
    """Gives the next machine that Colab assigns: empty, at the same path as the one before, with the same Drive behind it."""
    if not can_mount():
        pytest.skip("a FUSE mount needs root and /dev/fuse")
    machines = []

    def assign():
        behind = {"FAKE_DRIVE": str(tmp_path / "drive behind"), "FAKE_SECRET": TOKEN}
        machines.append(Notebook(tmp_path / "content", checkout, behind, **STEPS))
        return machines[-1]

    yield assign
    machines[-1].close()


def test_a_run_outlives_two_machines(new_machine, tmp_path):
    undisturbed = Machine(tmp_path / "elsewhere/workspace", **STEPS)
    undisturbed.workspace.parent.mkdir()
    undisturbed.run()

    evening = new_machine()
    started = evening.start()
    assert started["checkpoints"]["resume_from"] is None
    evening.wait_for_copy(step=12)
    evening.vanish()

    midnight = new_machine()
    assert not midnight.outputs.exists()
    resumed = midnight.start()
    assert 12 <= resumed["checkpoints"]["step"] <= 18
    midnight.wait_for_copy(step=24)
    midnight.vanish()

    morning = new_machine()
    resumed = morning.run()
    assert 24 <= resumed["checkpoints"]["step"] <= 30
    assert morning.losses() == undisturbed.losses()
    assert (morning.outputs / "adapter_model.safetensors").read_bytes() == (undisturbed.outputs / "adapter_model.safetensors").read_bytes()

    shutil.rmtree(morning.outputs)
    noon = morning.preflight()
    assert noon["checkpoints"]["finished"]
    assert not noon["command"]
    assert (morning.outputs / "adapter_model.safetensors").read_bytes() == (undisturbed.outputs / "adapter_model.safetensors").read_bytes()
    assert len(list((morning.outputs / "runs").rglob("events.out.tfevents.*"))) == 3, "the curves of all three machines"
    assert morning.leaks() == []
