"""The mirror against real mounts that really fail."""

import errno
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy
import pytest
from safetensors.numpy import save_file

from preflight.checkpoints import copies, manifest, mirror
from preflight.checkpoints.copies import FINAL
from preflight.checkpoints.mirror import MirrorSettings
from preflight.checkpoints.verify import check_best, inspect_checkpoints, inspect_mirrored, latest_complete
from preflight.files import exclusive_lock
from tests.conftest import CHECKOUT, in_small_disk, tree
from tests.support.killing import killed_at
from tests.support.torch_files import write_torch_file

EXPERIMENT = {"lora_r": 16}


def checkpoint(outputs, step, last=400, best=0, size=4):
    """A checkpoint as training leaves it, finished: its manifest is there."""
    folder = outputs / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"lora_A": numpy.full((size, 8), step, "float32")}, folder / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        write_torch_file(folder / name, f"{name} of step {step}")
    (folder / "adapter_config.json").write_text(f"of step {step}")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": last}))
    manifest.write(folder, manifest.describe(folder, subfolders=True, step=step, max_steps=last, best_step=best, experiment=EXPERIMENT))
    return folder


def final(outputs, step=400):
    save_file({"lora_A": numpy.full((4, 8), -step, "float32")}, outputs / "adapter_model.safetensors")
    (outputs / "debug.log").write_text("grows")
    manifest.write(outputs, manifest.describe(outputs, subfolders=False, step=step, max_steps=400, best_step=0, experiment=EXPERIMENT))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_finished_is_copied_and_nothing_else(tmp_path):
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    checkpoint(outputs, 50)
    unfinished = checkpoint(outputs, 100)
    (unfinished / manifest.NAME).unlink()
    (outputs / "runs").mkdir()
    (outputs / "runs/events.1").write_text("curve")
    settings = MirrorSettings(to=str(to), experiment=EXPERIMENT)
    assert mirror.mirror(outputs, settings) == ["checkpoint-50", "runs/events.1"]
    assert tree(to / "checkpoint-50") == tree(outputs / "checkpoint-50")
    assert names(to) == ["checkpoint-50", "runs"]
    assert mirror.mirror(outputs, settings) == []
    (outputs / "runs/events.1").write_text("curve that goes on")
    final(outputs)
    assert mirror.mirror(outputs, settings) == [FINAL, "runs/events.1"]
    assert (to / "runs/events.1").read_text() == "curve that goes on"
    assert names(to) == ["adapter_model.safetensors", "checkpoint-50", "manifest.json", "runs"]


def test_a_record_that_changed_is_copied_though_it_is_as_long(tmp_path):
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    checkpoint(outputs, 50)
    settings = MirrorSettings(to=str(to), experiment=EXPERIMENT)
    for content in ("[1]", "[2]"):
        (outputs / manifest.RECORDS).write_text(content)
        assert manifest.RECORDS in mirror.mirror(outputs, settings)
        assert (to / manifest.RECORDS).read_text() == content
    assert mirror.mirror(outputs, settings) == []


def test_the_newest_two_and_the_best_are_kept_and_nothing_goes_before_a_newer_is_there(tmp_path):
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    settings = MirrorSettings(to=str(to), experiment=EXPERIMENT)
    for step in (50, 100, 150, 200, 250):
        checkpoint(outputs, step, best=100 if step > 50 else 50)
        mirror.mirror(outputs, settings)
    assert names(to) == ["checkpoint-100", "checkpoint-200", "checkpoint-250"]
    (to / "checkpoint-300").mkdir()  # half of one, of another program: neither counted nor deleted
    copies.prune(to, EXPERIMENT)
    assert "checkpoint-300" in names(to)


def test_a_checkpoint_that_was_trained_again_replaces_the_earlier_one(tmp_path):
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    settings = MirrorSettings(to=str(to), experiment=EXPERIMENT)
    checkpoint(outputs, 50)
    mirror.mirror(outputs, settings)
    shutil.rmtree(outputs)
    checkpoint(outputs, 50, size=8)
    assert mirror.mirror(outputs, settings) == ["checkpoint-50"]
    assert tree(to / "checkpoint-50") == tree(outputs / "checkpoint-50")
    assert names(to) == ["checkpoint-50"]


def test_a_checkpoint_that_has_changed_since_it_was_saved_is_not_copied(tmp_path):
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    checkpoint(outputs, 50)
    harmed = checkpoint(outputs, 100) / "adapter_config.json"
    harmed.write_text(harmed.read_text().replace("step", "stop"))
    assert mirror.mirror(outputs, MirrorSettings(to=str(to), experiment=EXPERIMENT)) == ["checkpoint-50"]
    assert names(to) == ["checkpoint-50"]


def test_a_kill_at_any_moment_leaves_nothing_that_is_taken_for_whole(tmp_path):
    """Killed before each touch of the file system in turn: whatever counts on Drive is what was saved, and the next try ends it."""
    outputs = tmp_path / "outputs"
    for step in (50, 100, 150):
        checkpoint(outputs, step)
    final(outputs)
    newest = []
    for moment in range(1, 400):
        to = tmp_path / str(moment)
        for step in (50, 100):
            copies.bring(outputs, to, f"checkpoint-{step}")
        settings = MirrorSettings(to=str(to), experiment=EXPERIMENT)
        killed = killed_at(moment, lambda settings=settings: mirror.mirror(outputs, settings))
        for one in inspect_mirrored(to):
            assert one.problem or tree(one.path) == tree(outputs / one.path.name), moment
        newest.append(latest_complete(inspect_mirrored(to)).step)
        assert manifest.read(to) is None or not manifest.difference(to, manifest.read(to), hashes=True), moment
        killed_at(1 + moment % 7, lambda settings=settings: mirror.mirror(outputs, settings))
        mirror.mirror(outputs, settings)
        assert names(to) == ["adapter_model.safetensors", "checkpoint-100", "checkpoint-150", "manifest.json"], moment
        assert not any(one.problem for one in inspect_mirrored(to))
        if not killed:
            break
    assert moment > 50, "it was killed less than 50 times"
    assert not killed
    assert set(newest) == {100, 150}


def test_a_drive_that_is_not_mounted_gets_no_folder(tmp_path):
    outputs, mount = tmp_path / "outputs", tmp_path / "drive"
    checkpoint(outputs, 50)
    mount.mkdir()
    with pytest.raises(OSError, match="nothing is mounted") as raised:
        mirror.mirror(outputs, MirrorSettings(to=str(mount / "MyDrive/x"), mount=str(mount), experiment=EXPERIMENT))
    assert raised.value.errno == errno.ENODEV
    assert names(mount) == []


def test_a_drive_that_dies_half_way_and_comes_back(drive, tmp_path):
    outputs = tmp_path / "outputs"
    settings = MirrorSettings(to=str(drive.mount / "MyDrive/x"), mount=str(drive.mount), experiment=EXPERIMENT)
    checkpoint(outputs, 50)
    assert mirror.mirror(outputs, settings) == ["checkpoint-50"]
    checkpoint(outputs, 100)
    drive.kill()
    with pytest.raises(OSError, match="Transport endpoint") as raised:
        mirror.mirror(outputs, settings)
    assert raised.value.errno == errno.ENOTCONN
    drive.unmount()
    with pytest.raises(OSError, match="nothing is mounted"):
        mirror.mirror(outputs, settings)
    drive.start()
    assert mirror.mirror(outputs, settings) == ["checkpoint-100"]
    assert [one.step for one in inspect_mirrored(drive.mount / "MyDrive/x") if not one.problem] == [100, 50]


def test_50_random_kills_of_the_mounts_process_while_copying(drive, tmp_path):
    """Drive dies at any moment of a copy: what counts afterwards is whole."""
    outputs, rng, behind = tmp_path / "outputs", random.Random(7), set()
    settings = MirrorSettings(to=str(drive.mount / "x"), mount=str(drive.mount), experiment=EXPERIMENT)
    checkpoint(outputs, 1, size=20_000)
    mirror.mirror(outputs, settings)
    for step in range(2, 52):
        checkpoint(outputs, step, size=20_000)
        for old in range(1, step - 1):
            shutil.rmtree(outputs / f"checkpoint-{old}", ignore_errors=True)
        command = [sys.executable, "-c", COPY, str(outputs), json.dumps([settings.to, settings.mount])]
        with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # it has imported what it needs: the moment does not hang on how busy the machine is
            time.sleep(rng.random() * 0.12)
            drive.kill()
        drive.unmount()
        drive.start()
        for one in inspect_mirrored(drive.mount / "x"):
            held = manifest.read(one.path)
            assert one.problem or not manifest.difference(one.path, held, hashes=True), step
        behind.add(step - latest_complete(inspect_mirrored(drive.mount / "x")).step)
    assert behind >= {0, 1}
    mirror.mirror(outputs, settings)
    assert latest_complete(inspect_mirrored(drive.mount / "x")).step == 51


COPY = """
import contextlib, json, sys
from pathlib import Path
from preflight.checkpoints import mirror
to, mount = json.loads(sys.argv[2])
print("ready", flush=True)
with contextlib.suppress(OSError):
    mirror.mirror(Path(sys.argv[1]), mirror.MirrorSettings(to=to, mount=mount, experiment={"lora_r": 16}))
"""


def watching(tmp_path, settings):
    """The mirror as training starts it, and a way to read what it has said so far."""
    outputs = tmp_path / "outputs"
    outputs.mkdir(exist_ok=True)
    mirror.write_settings(tmp_path, settings)
    log = tmp_path / "mirror.log"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "preflight.mirror", outputs, "--watch"], cwd=CHECKOUT, stdin=subprocess.PIPE, stderr=file)

    def wait_for(text):
        deadline = time.monotonic() + 30
        while text not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return log.read_text()

    return process, wait_for


def poke(process):
    process.stdin.write(b"\n")
    process.stdin.flush()


def test_the_watch_says_each_state_once_and_mirrors_all_in_the_end(drive, tmp_path):
    process, wait_for = watching(tmp_path, MirrorSettings(to=str(drive.mount / "x"), mount=str(drive.mount), experiment=EXPERIMENT))
    checkpoint(tmp_path / "outputs", 50)
    poke(process)
    wait_for("checkpoint-50 is in")
    drive.kill()
    checkpoint(tmp_path / "outputs", 100)
    for _ in range(5):
        poke(process)
        time.sleep(0.1)
    said = wait_for("has dropped out")
    assert said.count("has dropped out") == 1
    assert "(Errno 107)" in said
    drive.unmount()
    drive.start()
    poke(process)
    wait_for("is back")
    final(tmp_path / "outputs")
    process.stdin.close()
    assert process.wait(30) == 0
    assert names(drive.mount / "x") == ["adapter_model.safetensors", "checkpoint-100", "checkpoint-50", "manifest.json"]


def test_the_watch_outlives_a_killed_training_just_long_enough(tmp_path):
    """Standard input closes when the process that holds it dies: what was finished by then is still mirrored."""
    process, wait_for = watching(tmp_path, MirrorSettings(to=str(tmp_path / "to"), experiment=EXPERIMENT))
    checkpoint(tmp_path / "outputs", 50)
    poke(process)
    wait_for("checkpoint-50 is in")
    checkpoint(tmp_path / "outputs", 100)
    process.send_signal(signal.SIGINT)  # Ctrl-C goes to all of a terminal's processes
    process.stdin.close()
    assert process.wait(30) == 0
    assert names(tmp_path / "to") == ["checkpoint-100", "checkpoint-50"]


@pytest.mark.parametrize(("number", "says"), [(errno.EIO, "input/output errors"), (errno.ENOSPC, "is full"), (errno.EROFS, "can only be read")])
def test_a_drive_that_refuses_to_be_written(drive, tmp_path, number, says):
    process, wait_for = watching(tmp_path, MirrorSettings(to=str(drive.mount), mount=str(drive.mount), experiment=EXPERIMENT))
    drive.faults(errno=number)
    checkpoint(tmp_path / "outputs", 50)
    poke(process)
    assert "Training continues" in wait_for(says)
    assert not any(manifest.read(path) for path in drive.folder.iterdir())
    drive.faults()
    poke(process)
    wait_for("is back")
    process.stdin.close()
    assert process.wait(30) == 0
    assert names(drive.mount) == ["checkpoint-50"]


def test_a_small_disk_that_fills_up(tmp_path):
    """The real Errno 28, by the command that a person runs."""
    outputs, to = tmp_path / "outputs", tmp_path / "small"
    checkpoint(outputs, 50, size=10_000)
    checkpoint(outputs, 100, size=10_000)
    mirror.write_settings(tmp_path, MirrorSettings(to=str(to), experiment=EXPERIMENT))
    command = [*map(str, in_small_disk(to, "size=500k")), sys.executable, "-m", "preflight.mirror", str(outputs)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is full; delete files there, and empty its trash, which counts too (Errno 28)" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_mirrors_of_one_run_take_turns(tmp_path):
    outputs = tmp_path / "run/outputs"
    outputs.mkdir(parents=True)
    with exclusive_lock(outputs.parent / mirror.LOCK, wait=False) as first, exclusive_lock(outputs.parent / mirror.LOCK, wait=False) as second:
        assert (first, second) == (True, False)
    with exclusive_lock(outputs.parent / mirror.LOCK, wait=False) as third:
        assert third


def test_the_command_says_what_it_did(tmp_path):
    outputs = tmp_path / "outputs"
    checkpoint(outputs, 50)

    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "preflight.mirror", *arguments], cwd=CHECKOUT, capture_output=True, text=True)

    assert (run(outputs).returncode, "run preflight first" in run(outputs).stderr) == (2, True)
    mirror.write_settings(tmp_path, MirrorSettings(to=str(tmp_path / "to"), experiment=EXPERIMENT))
    assert "checkpoint-50; all of" in run(outputs).stderr
    assert "nothing new; all of" in run(outputs).stderr
    mirror.write_settings(tmp_path, MirrorSettings(experiment=EXPERIMENT))
    assert "drive.backup: false" in run(outputs).stderr


def test_everything_comes_back_from_drive_alone(tmp_path):
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    checkpoint(outputs, 350)
    checkpoint(outputs, 400)
    final(outputs)
    mirror.mirror(outputs, MirrorSettings(to=str(to), experiment=EXPERIMENT))
    before = tree(outputs)
    shutil.rmtree(outputs)
    for name in ("checkpoint-400", "checkpoint-350", FINAL):
        copies.bring(to, outputs, name)
    assert tree(outputs) == {name: content for name, content in before.items() if name != "debug.log"}
    assert [one.problem for one in inspect_checkpoints(outputs)] == ["", ""]


def test_parts_of_a_checkpoint_in_subfolders_go_to_drive_and_back(tmp_path):
    """DeepSpeed keeps the optimizer's state in one."""
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    folder = checkpoint(outputs, 50)
    (folder / "global_step50").mkdir()
    part = folder / "global_step50/rank_0_optim_states.pt"
    part.write_text("of rank 0")
    manifest.write(folder, manifest.describe(folder, subfolders=True, step=50, max_steps=400, best_step=0, experiment=EXPERIMENT))
    mirror.mirror(outputs, MirrorSettings(to=str(to), experiment=EXPERIMENT))
    before = tree(folder)
    shutil.rmtree(outputs)
    copies.bring(to, outputs, "checkpoint-50")
    assert tree(folder) == before
    part.write_text("of rank 1")
    assert "rank_0_optim_states.pt have changed" in inspect_checkpoints(outputs)[0].problem


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "in/../../outside"])
def test_a_manifest_that_names_files_elsewhere_is_none(tmp_path, name):
    folder = checkpoint(tmp_path, 50)
    written = json.loads((folder / manifest.NAME).read_text())
    written["files"][name] = [1, "0" * 64]
    (folder / manifest.NAME).write_text(json.dumps(written))
    assert manifest.read(folder) is None


@pytest.mark.parametrize(("key", "value"), [("mount", "a\0b"), ("to", "\ud800"), ("to", 7), ("experiment", [])])
def test_settings_of_the_mirror_that_are_none(tmp_path, key, value):
    mirror.write_settings(tmp_path, MirrorSettings(to="x", experiment=EXPERIMENT))
    path = tmp_path / mirror.SETTINGS
    assert mirror.read_settings(tmp_path).to == "x"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert mirror.read_settings(tmp_path) is None


def test_a_best_checkpoint_that_is_nowhere_is_said(tmp_path):
    outputs = tmp_path / "outputs"
    for step in (50, 150, 200):
        checkpoint(outputs, step, best=50)
    assert check_best(inspect_checkpoints(outputs), wanted=True) == []
    shutil.rmtree(outputs / "checkpoint-50")
    (finding,) = check_best(inspect_checkpoints(outputs), wanted=True)
    assert (finding.code, finding.level) == ("checkpoint.best-lost", "warning")
    assert "of step 50, is neither here nor" in finding.message
    assert check_best(inspect_checkpoints(outputs), wanted=False) == []
    checkpoint(outputs, 250)
    assert check_best(inspect_checkpoints(outputs), wanted=True) == [], "none is the best yet"
