import json
import os

import numpy
import pytest
from safetensors.numpy import save_file

from preflight.checkpoints import check_checkpoints, check_resume, check_same_run, inspect_checkpoints, is_finished, newest_whole


def checkpoint(outputs, step, last=100):
    folder = outputs / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"lora_A": numpy.ones((4, 8), "float32")}, folder / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_config.json"):
        (folder / name).write_text("x")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": last}))
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def grow(path):
    path.write_bytes(path.read_bytes() + b"x")


HARMS = {
    "cut adapter": lambda folder: cut(folder / "adapter_model.safetensors"),
    "empty adapter": lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""),
    "no header": lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 64),
    "grown adapter": lambda folder: grow(folder / "adapter_model.safetensors"),
    "no optimizer": lambda folder: (folder / "optimizer.pt").unlink(),
    "empty optimizer": lambda folder: (folder / "optimizer.pt").write_bytes(b""),
    "no rng": lambda folder: (folder / "rng_state.pth").unlink(),
    "no scheduler": lambda folder: (folder / "scheduler.pt").unlink(),
    "no state": lambda folder: (folder / "trainer_state.json").unlink(),
    "half a state": lambda folder: (folder / "trainer_state.json").write_text('{"global_step": 100'),
    "state of another step": lambda folder: (folder / "trainer_state.json").write_text('{"global_step": 50, "max_steps": 100}'),
    "state that is a list": lambda folder: (folder / "trainer_state.json").write_text("[]"),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_a_harmed_checkpoint_is_passed_over(tmp_path, harm):
    before, newest = checkpoint(tmp_path, 50), checkpoint(tmp_path, 100)
    assert newest_whole(inspect_checkpoints(tmp_path)).path == newest
    harm(newest)
    found = inspect_checkpoints(tmp_path)
    assert newest_whole(found).path == before
    (finding,) = check_checkpoints(found)
    assert (finding.code, finding.level, finding.where) == ("checkpoint.corrupt", "warning", str(newest))
    assert "goes on from checkpoint-50" in finding.message


def test_steps_are_numbers_not_text(tmp_path):
    for step in (90, 100, 1000):
        checkpoint(tmp_path, step, 2000)
    (tmp_path / "checkpoint-x").mkdir()
    assert [one.step for one in inspect_checkpoints(tmp_path)] == [1000, 100, 90]


def test_no_checkpoint_at_all(tmp_path):
    assert inspect_checkpoints(tmp_path / "nowhere") == ()
    assert newest_whole(()) is None
    assert not is_finished(tmp_path, None)


def test_a_run_is_finished_when_the_adapter_follows_the_last_step(tmp_path):
    last = checkpoint(tmp_path, 100)
    state = (last / "trainer_state.json").stat().st_mtime_ns
    newest = newest_whole(inspect_checkpoints(tmp_path))
    assert not is_finished(tmp_path, newest), "no adapter"
    (tmp_path / "adapter_model.safetensors").touch()
    os.utime(tmp_path / "adapter_model.safetensors", ns=(state - 1, state - 1))
    assert not is_finished(tmp_path, newest), "an adapter that an interrupt saved earlier"
    os.utime(tmp_path / "adapter_model.safetensors", ns=(state + 1, state + 1))
    assert is_finished(tmp_path, newest)


def test_a_run_in_the_middle_is_not_finished(tmp_path):
    checkpoint(tmp_path, 50)
    (tmp_path / "adapter_model.safetensors").touch()
    assert not is_finished(tmp_path, newest_whole(inspect_checkpoints(tmp_path)))


def test_another_experiment_is_refused_with_what_differs(tmp_path):
    checkpoint(tmp_path, 50)
    assert check_same_run({"lora_r": 8}, {"lora_r": 8}, tmp_path, tmp_path) == []
    (finding,) = check_same_run({"lora_r": 8, "seed": 1}, {"lora_r": 16, "seed": 1}, tmp_path, tmp_path)
    assert finding.code == "checkpoint.other-run"
    assert "(lora_r: 8 then, 16 now)" in finding.message
    (finding,) = check_same_run(None, {}, tmp_path, tmp_path)
    assert "config.yaml is missing" in finding.message


def test_a_folder_where_nothing_was_trained_yet_is_free(tmp_path):
    (tmp_path / "debug.log").touch()
    assert check_same_run({"lora_r": 8}, {"lora_r": 16}, tmp_path, tmp_path) == []


def test_settings_that_say_not_to_go_on(tmp_path):
    checkpoint(tmp_path / "run/outputs", 50)
    whole = newest_whole(inspect_checkpoints(tmp_path / "run/outputs"))
    (finding,) = check_resume(whole, finished=False, resume=False)
    assert (finding.code, finding.level) == ("checkpoint.not-resumed", "error")
    assert f"mv {tmp_path / 'run'} " in finding.fix
    assert (
        check_resume(whole, finished=False, resume=True)
        == check_resume(whole, finished=True, resume=False)
        == check_resume(None, finished=False, resume=False)
        == []
    )
