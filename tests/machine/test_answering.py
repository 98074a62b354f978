"""A disk that hangs: a real FUSE mount whose process is stopped, or has taken a request and never answers it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preflight.checkpoints import mirror
from preflight.files import read_content
from preflight.machine import answering as module
from preflight.machine.answering import UnansweredError, answering, mount_that_may_hang
from tests.checkpoints.test_mirror import EXPERIMENT, checkpoint
from tests.conftest import CHECKOUT


def double(number):
    return 2 * number


def own_pid(path):
    return os.getpid()


def touch_and_say(path, say):
    say("before", 1)
    path.write_text("x")
    say("after", 2)


def fail(path):
    raise FileExistsError(17, "in the way", str(path))


def ask_a_process_that_dies(path):
    os._exit(3)


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 2)
    monkeypatch.setattr(module, "SAID_AFTER", 0)
    yield
    module._hung.clear()


@pytest.fixture
def stopped(drive, limit):
    """The drive, its process stopped; it answers again before it is taken away."""
    os.kill(drive.process.pid, signal.SIGSTOP)
    yield drive
    os.kill(drive.process.pid, signal.SIGCONT)


def test_a_disk_of_this_machine_is_asked_directly(tmp_path):
    assert mount_that_may_hang(tmp_path) is None
    assert answering(double, tmp_path, "some/model") is double


def test_a_step_on_a_mount_runs_elsewhere_and_answers_as_it_would_here(drive):
    there = drive.mount / "file"
    assert mount_that_may_hang(there)[1] == str(drive.mount)
    pid = answering(own_pid, there)(there)
    assert pid != os.getpid()
    assert answering(own_pid, there)(there) == pid, "one process for all steps"
    said = []
    answering(touch_and_say, there)(there, lambda *words: said.append(words))
    assert said == [("before", 1), ("after", 2)]
    assert there.read_text() == "x"
    with pytest.raises(FileExistsError) as raised:
        answering(fail, there)(there)
    assert (raised.value.errno, raised.value.filename) == (17, str(there))
    with pytest.raises(OSError, match="the process that asked it ended"):
        answering(ask_a_process_that_dies, there)(there)
    assert answering(read_content, there)(there).bytes == 1


def test_a_link_to_a_mount_leads_into_it(drive, tmp_path):
    link, circle = tmp_path / "link", tmp_path / "circle"
    link.symlink_to(drive.mount)
    circle.symlink_to(circle)
    assert mount_that_may_hang(link / "a/b")[1] == str(drive.mount)
    assert mount_that_may_hang(circle / "a") is None
    assert mount_that_may_hang(f"{tmp_path}/none/../link/a")[1] == str(drive.mount)


def test_a_stopped_disk_is_given_up_and_asked_again_when_it_is_back(stopped):
    waits = []
    ask = answering(os.listdir, stopped.mount, progress=lambda *said: waits.append(said))
    with pytest.raises(UnansweredError, match="has not answered for 2 s"):
        ask(str(stopped.mount))
    assert waits[0][0] == f"waiting for {stopped.mount} to answer"
    begun = len(waits)
    with pytest.raises(UnansweredError):
        ask(str(stopped.mount))
    assert len(waits) == begun, "it was not waited for again"
    os.kill(stopped.process.pid, signal.SIGCONT)
    for since, left_behind in module._hung.values():
        left_behind.process.wait(10)
        assert since
    time.sleep(2)
    assert ask(str(stopped.mount)) == []


def test_a_request_that_was_taken_and_never_answered_holds_nobody(drive, limit):
    """Not even SIGKILL ends the process that asked, so nobody waits for its end."""
    drive.faults(delay=15)
    there = drive.mount / "file"
    with pytest.raises(UnansweredError):
        answering(touch_and_say, there)(there, lambda *words: None)
    ((_, left_behind),) = module._hung.values()
    assert left_behind.process.poll() is None
    with pytest.raises(UnansweredError):
        answering(own_pid, there)(there)


def test_who_is_slow_but_works_is_waited_for(drive, limit):
    (drive.mount / "file").write_bytes(bytes(1000))
    assert answering(work, drive.mount)(drive.mount / "file") > 50


def work(path):
    """Small reads with pauses, four seconds in all, and nothing said."""
    count, end = 0, time.monotonic() + 4
    while time.monotonic() < end:
        path.read_bytes()
        count += 1
        time.sleep(0.05)
    return count


def test_nobody_is_left_when_the_one_who_asked_is_killed(drive):
    script = f"""
import os, time
from pathlib import Path
from preflight.machine.answering import answering
from tests.machine.test_answering import own_pid
print(answering(own_pid, {str(drive.mount)!r})({str(drive.mount)!r}), flush=True)
time.sleep(60)
"""
    asking = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    child = int(asking.stdout.readline())
    asking.kill()
    asking.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize("more", [[], ["--plan-only"]])
def test_preflight_says_that_drive_hangs_and_judges_the_rest(stopped, preflight, monkeypatch, more):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    ran = preflight("axolotl_configs/smoke.yaml", "--set", f"output_dir={stopped.mount}/MyDrive/run", "--json", *more)
    assert ran.code == 1
    assert json.dumps(ran.json).count("has not answered for 2 s") >= 1
    assert [code for code in ran.codes if code.startswith(("drive.", "internal."))] == ["drive.no-answer"]
    assert ran.json["data"]["folders"], "the rows were judged"


def test_a_base_model_on_a_drive_that_hangs_is_not_waited_for_twice(stopped, preflight):
    ran = preflight("axolotl_configs/smoke.yaml", "--set", f"base_model={stopped.mount}/model", "--plan-only", "--json")
    assert [code for code in ran.codes if code.startswith("drive.")] == ["drive.no-answer"]
    assert "internal.crash" not in ran.codes


def test_a_base_model_on_a_drive_is_read(drive, preflight):
    shutil.copytree(CHECKOUT / "sample_data/smoke_base", drive.mount / "model")
    settings = ("--set", f"base_model={drive.mount}/model", "--set", "lora_target_modules=[q_proy]", "--set", "lora_target_linear=null")
    ran = preflight("axolotl_configs/smoke.yaml", *settings, "--plan-only", "--json")
    assert [code for code in ran.codes if code.startswith(("internal.", "config.no-"))] == ["config.no-such-module"]


def test_a_drive_that_dropped_out_is_one_fault_of_the_rows_and_one_of_the_results(drive, preflight, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    drive.kill()
    for more in ([], ["--plan-only"], ["--data", drive.mount / "MyDrive/data.zip"]):
        ran = preflight("axolotl_configs/mistral_qlora.yaml", "--gpu", "a100-40gb", "--json", *more)
        errors = [(finding["code"], finding["message"]) for finding in ran.json["findings"] if finding["level"] == "error"]
        assert ran.code == 1
        assert [code for code, _ in errors] == ["data.unreadable", "drive.stale"]
        assert all("Errno 107" in message for _, message in errors)


def test_the_mirror_ends_though_drive_never_answers_and_the_machine_is_not_given_back(stopped, tmp_path):
    outputs = tmp_path / "run/outputs"
    checkpoint(outputs, 50)
    settings = mirror.MirrorSettings(to=str(stopped.mount / "to"), mount=str(stopped.mount), experiment=EXPERIMENT)
    mirror.write_settings(outputs.parent, settings)
    script = f"""
import sys
from preflight.cli import mirror
from preflight.machine import answering
answering.LIMIT, mirror.PATIENCE, mirror.RETRY = 1, 3, 1
sys.exit(mirror.main([{str(outputs)!r}, "--watch"]))
"""
    watching = subprocess.run([sys.executable, "-c", script], input="", capture_output=True, text=True, cwd=CHECKOUT)
    assert watching.returncode == 1
    assert watching.stderr.count("does not answer; mount it again") == 1
    assert f"python -m preflight.mirror {outputs}" in watching.stderr.splitlines()[-1]
    assert "has not answered for 2 s" in mirror.left_behind(outputs)
