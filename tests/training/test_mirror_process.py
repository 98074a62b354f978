"""The mirror's process as the plugin holds it, with the real child: what becomes of training when that is killed."""

import json
import os
import signal
from types import SimpleNamespace

import numpy
import pytest
from safetensors.numpy import save_file

from preflight.checkpoints import manifest, mirror
from preflight.training.plugin import checkpoints
from preflight.training.plugin.checkpoints import Mirror
from tests.conftest import wait_for

EXPERIMENT = {"lora_r": 16}


def state(step, last=12):
    return SimpleNamespace(is_world_process_zero=True, global_step=step, max_steps=last, best_global_step=0)


def save(outputs, step):
    folder = outputs / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"lora_A": numpy.ones((4, 8), "float32")}, folder / "adapter_model.safetensors")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 12}))


def begun(tmp_path):
    outputs = tmp_path / "run/outputs"
    outputs.mkdir(parents=True)
    mirror.write_settings(outputs.parent, mirror.MirrorSettings(to=str(tmp_path / "to"), experiment=EXPERIMENT))
    callback = Mirror(outputs, EXPERIMENT)
    callback.on_train_begin(None, state(0), None)
    return outputs, callback


def kill(callback):
    os.kill(callback.process.pid, signal.SIGKILL)
    callback.process.wait()


@pytest.fixture
def warnings(monkeypatch):
    """What is logged, whoever has set logging up."""
    lines = []
    monkeypatch.setattr(checkpoints.LOG, "warning", lambda text, *values: lines.append(text % values))
    return lines


def test_the_best_checkpoint_is_looked_for_where_this_machine_has_it(tmp_path):
    """The trainer ends with its last adapter where nothing lies at the path that the machine before wrote down."""
    outputs = tmp_path / "run/outputs"
    save(outputs, 6)
    moved = SimpleNamespace(is_world_process_zero=False, best_global_step=6, best_model_checkpoint="/content/elsewhere/checkpoint-6")
    Mirror(outputs, EXPERIMENT).on_train_begin(None, moved, None)
    assert moved.best_model_checkpoint == str(outputs / "checkpoint-6")
    lost = SimpleNamespace(is_world_process_zero=False, best_global_step=12, best_model_checkpoint="/content/elsewhere/checkpoint-12")
    Mirror(outputs, EXPERIMENT).on_train_begin(None, lost, None)
    assert lost.best_model_checkpoint == "/content/elsewhere/checkpoint-12"


def test_one_that_is_killed_is_started_again_and_training_ends_as_it_should(tmp_path, warnings):
    outputs, callback = begun(tmp_path)
    save(outputs, 6)
    callback.on_save(None, state(6), None)
    wait_for(tmp_path / "to/checkpoint-6/manifest.json")
    kill(callback)
    save(outputs, 12)
    callback.state = state(12)
    callback.on_save(None, state(12), None)
    wait_for(tmp_path / "to/checkpoint-12/manifest.json")
    kill(callback)
    callback.finish()
    assert callback.process.returncode == 0
    assert mirror.left_behind(outputs) == ""
    assert warnings == ["mirror: killed by signal 9; started again"] * 2


def test_one_that_dies_while_it_is_written_to_does_not_end_training(tmp_path, monkeypatch, warnings):
    """Between the look whether it lives and the write: the pipe is broken, and nothing of what was not taken is written when it is closed."""
    outputs, callback = begun(tmp_path)
    monkeypatch.setattr(callback, "_revive", lambda: None)
    kill(callback)
    for step in (6, 12):
        save(outputs, step)
        callback.state = state(step)
        callback.on_save(None, callback.state, None)
        assert manifest.read(outputs / f"checkpoint-{step}")
    callback.finish()
    assert callback.process.returncode == -signal.SIGKILL
    assert [line for line in warnings if "checkpoint-12 can't be handed on: [Errno 32]" in line]
    assert warnings[-1] == "mirror: killed by signal 9; the next preflight brings what it left"
    assert mirror.left_behind(outputs).startswith("checkpoint-12, checkpoint-6")


def test_one_that_has_nothing_to_do_is_not_started_again(tmp_path):
    outputs = tmp_path / "run/outputs"
    outputs.mkdir(parents=True)
    mirror.write_settings(outputs.parent, mirror.MirrorSettings(to="", experiment=EXPERIMENT))
    callback = Mirror(outputs, EXPERIMENT)
    callback.on_train_begin(None, state(0), None)
    first = callback.process
    first.wait(timeout=30)
    save(outputs, 12)
    callback.state = state(12)
    callback.on_save(None, callback.state, None)
    callback.finish()
    assert callback.process is first
    assert first.returncode == 0
