"""One training at a time, held by real processes that are really killed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from preflight.files import exclusive_lock
from preflight.machine import active
from preflight.machine.run_folder import RunFolder
from tests.conftest import CHECKOUT, tree

HOLD = "import sys, time; from pathlib import Path; from preflight.machine import active; print(active.hold(Path(sys.argv[1])), flush=True); {}"
CHILD = "import time; from preflight.machine.orphans import end_with_parent; print(end_with_parent('a_launcher'), flush=True); time.sleep(60)"
LAUNCHER = f"a_launcher = 1; import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.fixture
def start():
    started = []

    def call(*command, **options):
        process = subprocess.Popen(
            [str(part) for part in command], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True, **options
        )
        started.append(process)
        return process

    yield call
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def holding(start, folder, then="time.sleep(60)"):
    process = start(sys.executable, "-c", HOLD.format(then), folder)
    assert process.stdout.readline() == "None\n", "the lock was free"
    return process


def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def test_who_trains_is_known_until_it_dies_however_it_dies(start, tmp_path):
    run = RunFolder(folder=tmp_path)
    assert active.find_training(run) is None
    process = holding(start, tmp_path)
    assert active.find_training(run).pid == process.pid
    second = start(sys.executable, "-c", HOLD.format("pass"), tmp_path)
    assert f"process {process.pid}, since " in second.stdout.read()
    process.kill()
    process.wait()
    assert active.find_training(run) is None
    holding(start, tmp_path)


def test_a_child_that_outlives_training_does_not_hold_its_run(start, tmp_path):
    process = holding(start, tmp_path, "import os; os.fork() or time.sleep(30); os._exit(0)")
    process.wait()
    assert active.find_training(RunFolder(folder=tmp_path)) is None


def test_a_holder_that_has_not_written_its_name_yet_is_no_process_to_kill(start, tmp_path):
    """`kill 0` would end whatever types it."""
    process = holding(start, tmp_path)
    (tmp_path / active.LOCK).write_text("")
    (finding,) = active.check_active(RunFolder(folder=tmp_path))
    assert "a process that is not named" in finding.message
    assert "kill" not in finding.fix + active.find_training(RunFolder(folder=tmp_path)).stop
    process.kill()


def test_looking_does_not_keep_a_training_from_beginning(start, tmp_path):
    (tmp_path / active.LOCK).touch()
    looking = start(
        sys.executable,
        "-c",
        "import sys; from pathlib import Path; from preflight.machine import active; from preflight.machine.run_folder import RunFolder\n"
        "print('looks', flush=True)\nwhile True: active.find_training(RunFolder(folder=Path(sys.argv[1])))",
        tmp_path,
    )
    looking.stdout.readline()
    for _ in range(3):
        process = holding(start, tmp_path)
        process.kill()
        process.wait()


def test_preflight_does_not_start_a_second_training(preflight, start, tmp_path):
    workspace = tmp_path / "workspace"
    assert preflight("axolotl_configs/smoke.yaml", "--json").json["ok"]
    before = {name: text for name, text in tree(workspace).items() if not name.endswith(".lock")}
    process = holding(start, workspace / "runs/smoke")
    ran = preflight("axolotl_configs/smoke.yaml", "--set", "seed=7", "--name", "smoke", "--json")
    (finding,) = [finding for finding in ran.json["findings"] if finding["code"] == "run.active"]
    assert f"process {process.pid}, since 20" in finding["message"]
    assert f"kill {process.pid}" in finding["fix"]
    assert (ran.code, ran.json["command"]) == (1, [])
    assert {name: text for name, text in tree(workspace).items() if not name.endswith(".lock")} == before, "nothing was written"
    assert "run.active" not in preflight("axolotl_configs/smoke.yaml", "--json", "--plan-only").codes, "a plan starts nothing"
    process.kill()
    process.wait()
    assert preflight("axolotl_configs/smoke.yaml", "--json").json["ok"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's own way is Linux's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_a_launcher_started_ends_with_it(start, number):
    launcher = start(sys.executable, "-c", LAUNCHER)
    assert launcher.stdout.readline() == "True\n"
    launcher.send_signal(number)
    assert launcher.wait() == -number
    assert launcher.stdout.read() == "", "read to its end: the child has closed it, 60 s before it would have by itself"


def test_a_shell_that_ends_is_no_launcher(start):
    script = CHILD.replace("time.sleep(60)", "time.sleep(1); print('still here')")
    shell = start("sh", "-c", f'{sys.executable} -c "$1" & read line; exit 0', "sh", script, stdin=subprocess.DEVNULL)
    assert shell.stdout.read() == "False\nstill here\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's own way is Linux's")
def test_what_training_forked_ends_with_it_and_what_a_thread_forked_outlives_the_thread(start):
    program = (
        "import os, threading, time; from preflight.machine.orphans import end_forks_too; end_forks_too()\n"
        "def fork():\n    if os.fork() == 0: time.sleep(2); print('of a thread', flush=True); time.sleep(60)\n"
        "thread = threading.Thread(target=fork); thread.start(); thread.join()\n"
        "if os.fork() == 0: time.sleep(60)\n"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    process = start(sys.executable, "-c", program)
    assert process.stdout.readline() == f"{process.pid}\n"
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    assert process.stdout.readline() == "of a thread\n"
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert (len(gone), len(alive)) == (1, 1)


def test_training_that_saves_after_ctrl_c_is_let_finish(start):
    program = (
        "import signal, time; from preflight.machine.orphans import let_finish; let_finish('terminate_handler')\n"
        "def terminate_handler(*_): print('saving', flush=True); time.sleep(1); print('saved', flush=True); raise SystemExit(0)\n"
        "signal.signal(signal.SIGINT, terminate_handler); print('trains', flush=True); time.sleep(60)"
    )
    for numbers, said, code in (([signal.SIGINT, signal.SIGTERM], "saved\n", 0), ([signal.SIGTERM], "", -signal.SIGTERM)):
        process = start(sys.executable, "-c", program)
        assert process.stdout.readline() == "trains\n"
        for number in numbers:
            process.send_signal(number)
            if number == signal.SIGINT:
                assert process.stdout.readline() == "saving\n"
        assert process.stdout.read() == said
        assert process.wait() == code


def test_two_preflights_at_once_stage_one_after_the_other(start, tmp_path):
    """Each would otherwise see the other's half-swapped rows; a third, which finds the lock taken, says so and waits."""
    command = [sys.executable, "-m", "preflight", "axolotl_configs/smoke.yaml", "--workspace", tmp_path / "workspace", "--json"]
    for _ in range(3):
        pair = [start(*command) for _ in range(2)]
        assert [json.loads(process.stdout.read())["ok"] for process in pair] == [True, True]
        shutil.rmtree(tmp_path / "workspace/sample_data")
    with exclusive_lock(tmp_path / "workspace/.staging.lock", wait=False) as free:
        assert free
        waiting = start(*command)
        time.sleep(3)
        assert waiting.poll() is None, "it waits"
    assert waiting.stdout.read()
    assert waiting.wait() == 0
