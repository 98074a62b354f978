import json

import numpy
import pytest
from safetensors.numpy import save_file

from preflight.checkpoints import manifest
from preflight.checkpoints.mirror import MirrorSettings
from preflight.checkpoints.restore import restore
from preflight.checkpoints.verify import (
    check_checkpoints,
    check_resume,
    check_same_run,
    earlier_on_drive,
    inspect_checkpoints,
    inspect_earlier,
    inspect_mirrored,
    is_finished,
    latest_complete,
)
from preflight.files import silent
from preflight.machine.platforms.local import Local
from preflight.machine.run_folder import RunFolder
from tests.support.torch_files import write_torch_file


def checkpoint(outputs, step, last=100, described=True):
    """As training leaves it: with its manifest, or as a kill before that leaves it."""
    folder = outputs / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"lora_A": numpy.full((4, 8), step, "float32")}, folder / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        write_torch_file(folder / name, f"{name} of step {step}" * 100)
    (folder / "adapter_config.json").write_text('{"r": 16}')
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": last}))
    if described:
        manifest.write(folder, manifest.describe(folder, subfolders=True, step=step, max_steps=last, best_step=0, experiment={"lora_r": 16}))
    return folder


def final(outputs, step, last=100):
    save_file({"lora_A": numpy.ones((4, 8), "float32")}, outputs / "adapter_model.safetensors")
    manifest.write(outputs, manifest.describe(outputs, subfolders=False, step=step, max_steps=last, best_step=0, experiment={}))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def of_another_step(path):
    path.write_bytes((path.parents[1] / "checkpoint-50" / path.name).read_bytes())


FILES = ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
HARMS = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": cut,
    "one bit changed": flip,
    "of another step": of_another_step,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_checkpoint_is_passed_over(tmp_path, name, harm):
    before, newest = checkpoint(tmp_path, 50), checkpoint(tmp_path, 100)
    if name == "adapter_config.json" and harm == "of another step":
        (before / name).write_text('{"r": 32}')
    assert latest_complete(inspect_checkpoints(tmp_path)).path == newest
    HARMS[harm](newest / name)
    found = inspect_checkpoints(tmp_path)
    if name != "adapter_config.json" or harm != "of another step":
        assert latest_complete(found).path == before
        (finding,) = check_checkpoints(found)
        assert (finding.code, finding.level, finding.where) == ("checkpoint.corrupt", "warning", str(newest))
        assert name in finding.message
        assert "resuming from checkpoint-50" in finding.message
    else:
        assert latest_complete(found) is None, "both differ from their manifests"


# what can be told of a checkpoint that was killed before its manifest was written
UNDESCRIBED = [(name, harm) for name in FILES for harm in ("missing", "empty", "cut in half")]
UNDESCRIBED += [(name, "one bit changed") for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth")] + [("trainer_state.json", "of another step")]


@pytest.mark.parametrize(("name", "harm"), UNDESCRIBED)
def test_without_a_manifest_the_files_are_judged_by_their_own_marks(tmp_path, name, harm):
    before, newest = (checkpoint(tmp_path, step, described=False) for step in (50, 100))
    assert latest_complete(inspect_checkpoints(tmp_path)).path == newest
    HARMS[harm](newest / name)
    found = inspect_checkpoints(tmp_path)
    assert latest_complete(found).path == before
    resort, harmed = check_checkpoints(found)
    assert name in harmed.message
    assert (resort.code, resort.where) == ("checkpoint.undescribed", str(before))


def test_a_checkpoint_without_a_manifest_is_the_last_resort(tmp_path):
    """One of plain Axolotl goes on; but where another has its manifest, nothing that nobody vouches for is before it."""
    newest, middle = checkpoint(tmp_path, 100, described=False), checkpoint(tmp_path, 50, described=False)
    found = inspect_checkpoints(tmp_path)
    assert latest_complete(found).path == newest
    (finding,) = check_checkpoints(found)
    assert (finding.code, finding.level, finding.where) == ("checkpoint.undescribed", "warning", str(newest))
    assert "resumed from all the same" in finding.message
    vouched = checkpoint(tmp_path, 30)
    found = inspect_checkpoints(tmp_path)
    assert latest_complete(found).path == vouched
    assert [finding.where for finding in check_checkpoints(found)] == [str(newest), str(middle)]
    assert all("resuming from checkpoint-30" in finding.message for finding in check_checkpoints(found))
    flip(vouched / "optimizer.pt")
    assert latest_complete(inspect_checkpoints(tmp_path)).path == newest


def test_what_drive_vouches_for_is_before_what_nobody_does(tmp_path):
    run, to = RunFolder(folder=tmp_path / "run"), tmp_path / "to"
    newest = checkpoint(run.outputs, 100, described=False)
    checkpoint(to, 50)
    settings = MirrorSettings(to=str(to), experiment={"lora_r": 16})
    kept, found = restore(run, settings, inspect_checkpoints(run.outputs), inspect_mirrored(to), Local(), silent)
    assert latest_complete(kept).path == run.outputs / "checkpoint-50"
    assert [one.path for one in kept] == [newest, run.outputs / "checkpoint-50"]
    assert [finding.code for finding in found] == ["checkpoint.restored"]


def test_only_as_many_bytes_are_read_as_it_takes(tmp_path):
    """A byte that changed in a checkpoint that nobody needs is not looked for."""
    older, _ = checkpoint(tmp_path, 50), checkpoint(tmp_path, 100)
    flip(older / "optimizer.pt")
    assert [one.problem for one in inspect_checkpoints(tmp_path)] == ["", ""]


def test_on_drive_only_what_has_its_manifest_counts(tmp_path):
    for step in (50, 100, 150):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-150/manifest.json").unlink()
    cut(tmp_path / "checkpoint-100/optimizer.pt")
    found = inspect_mirrored(tmp_path)
    assert [(one.step, bool(one.problem)) for one in found] == [(150, True), (100, True), (50, False)]
    assert found[-1].experiment == {"lora_r": 16}


def test_steps_are_numbers_not_text(tmp_path):
    for step in (90, 100, 1000):
        checkpoint(tmp_path, step, 2000)
    (tmp_path / "checkpoint-x").mkdir()
    assert [one.step for one in inspect_checkpoints(tmp_path)] == [1000, 100, 90]


def test_no_checkpoint_at_all(tmp_path):
    assert inspect_checkpoints(tmp_path / "nowhere") == ()
    assert latest_complete(()) is None
    assert not is_finished(tmp_path)


def test_a_run_is_finished_when_its_final_adapter_is_there_and_whole(tmp_path):
    checkpoint(tmp_path, 100)
    save_file({"lora_A": numpy.zeros((4, 8), "float32")}, tmp_path / "adapter_model.safetensors")
    assert not is_finished(tmp_path), "an adapter that an interrupt saved has no manifest"
    final(tmp_path, 50)
    assert not is_finished(tmp_path), "not the last step"
    final(tmp_path, 100)
    assert is_finished(tmp_path)
    cut(tmp_path / "adapter_model.safetensors")
    assert not is_finished(tmp_path)


def judged(outputs, before, now):
    return check_same_run([inspect_earlier(outputs, before)], now)


def test_another_experiment_is_refused_with_what_differs(tmp_path):
    outputs = tmp_path / "run/outputs"
    checkpoint(outputs, 50)
    assert judged(outputs, {"lora_r": 8}, {"lora_r": 8}) == []
    (finding,) = judged(outputs, {"lora_r": 8, "seed": 1}, {"lora_r": 16, "seed": 1})
    assert (finding.code, finding.where) == ("checkpoint.other-run", str(tmp_path / "run"))
    assert "(lora_r: 8 then, 16 now)" in finding.message
    assert f"mv {tmp_path / 'run'} {tmp_path / 'run'}.before" in finding.fix
    (finding,) = judged(outputs, None, {})
    assert "config.yaml is missing" in finding.message


def test_another_experiment_here_and_on_drive_is_one_finding(tmp_path):
    outputs, drive = tmp_path / "run/outputs", tmp_path / "drive"
    checkpoint(outputs, 50)
    checkpoint(drive, 50)  # of lora_r 16, as its manifest says
    earlier = [inspect_earlier(outputs, {"lora_r": 16}), earlier_on_drive(inspect_mirrored(drive), None, str(drive))]
    assert check_same_run(earlier, {"lora_r": 16}) == []
    (finding,) = check_same_run(earlier, {"lora_r": 8})
    assert f"{tmp_path / 'run'} and {drive} hold a run of another experiment" in finding.message
    assert f"mv {tmp_path / 'run'} " in finding.fix
    assert f"--set output_dir={drive}-2" in finding.fix
    assert earlier_on_drive((), None, str(drive)) is None


def test_a_finished_adapter_without_checkpoints_is_an_earlier_run_too(tmp_path):
    final(tmp_path, 100)
    earlier = earlier_on_drive((), manifest.read(tmp_path), str(tmp_path))
    assert check_same_run([earlier], {}) == []
    (finding,) = check_same_run([earlier], {"lora_r": 8})
    assert (finding.code, finding.where) == ("checkpoint.other-run", str(tmp_path))


def test_a_folder_where_nothing_was_trained_yet_is_free(tmp_path):
    (tmp_path / "debug.log").touch()
    assert inspect_earlier(tmp_path, {"lora_r": 8}) is None
    assert judged(tmp_path, {"lora_r": 8}, {"lora_r": 16}) == []


def test_settings_that_say_not_to_go_on(tmp_path):
    checkpoint(tmp_path / "run/outputs", 50)
    whole = latest_complete(inspect_checkpoints(tmp_path / "run/outputs"))
    (finding,) = check_resume(whole, finished=False, resume=False)
    assert (finding.code, finding.level) == ("checkpoint.not-resumed", "error")
    assert f"mv {tmp_path / 'run'} " in finding.fix
    assert (
        check_resume(whole, finished=False, resume=True)
        == check_resume(whole, finished=True, resume=False)
        == check_resume(None, finished=False, resume=False)
        == []
    )


@pytest.mark.parametrize("key", ["step", "max_steps", "best_step"])
@pytest.mark.parametrize("value", ["60", 60.0, None, [60]])
def test_a_manifest_whose_numbers_are_none_is_no_manifest(tmp_path, key, value):
    """Its checkpoint counts as one that nobody vouches for; as the final adapter's it finishes no run; as a copy on Drive it is unfinished."""
    for folder in (checkpoint(tmp_path, 60, last=60), tmp_path):
        if folder == tmp_path:
            final(tmp_path, 60, last=60)
        held = json.loads((folder / manifest.NAME).read_text())
        (folder / manifest.NAME).write_text(json.dumps(held | {key: value}))
    (found,) = inspect_checkpoints(tmp_path)
    assert (found.problem, found.described) == ("", False)
    assert [finding.code for finding in check_checkpoints([found])] == ["checkpoint.undescribed"]
    assert not is_finished(tmp_path)
    (copy,) = inspect_mirrored(tmp_path)
    assert "no manifest" in copy.problem


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "state", ['{"global_step": 100, "max_steps": Infinity}', '{"global_step": 1e999, "max_steps": 100}', "[]", "null", '"x"', DEEP]
)
def test_a_state_that_is_none_is_damage(tmp_path, state):
    (checkpoint(tmp_path, 100, described=False) / "trainer_state.json").write_text(state)
    (found,) = inspect_checkpoints(tmp_path)
    assert "trainer_state.json can't be read" in found.problem


@pytest.mark.parametrize(
    "changed",
    [
        {"files": {"optimizer.pt": [float("inf"), ""]}},
        {"files": []},
        {"files": {"optimizer.pt": 5}},
        {"experiment": [5]},
        {"experiment": "x"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_manifest_that_is_none_is_no_manifest(tmp_path, changed):
    folder = checkpoint(tmp_path, 100)
    held = json.loads((folder / manifest.NAME).read_text())
    (folder / manifest.NAME).write_text(json.dumps(held | changed))
    assert manifest.read(folder) is None
    (folder / manifest.NAME).write_text(DEEP)
    assert manifest.read(folder) is None


def test_an_adapters_configuration_that_is_nested_without_end_is_damage(tmp_path):
    (checkpoint(tmp_path, 100, described=False) / "adapter_config.json").write_text(DEEP)
    (found,) = inspect_checkpoints(tmp_path)
    assert "adapter_config.json can't be read" in found.problem
