"""What a person sees while training runs, and where it fails: the real command with a stand-in for the launcher that it starts."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from preflight.checkpoints.progress import Said, begin, tell
from preflight.cli.watching import failure
from preflight.launch.command import HERE
from tests.conftest import CHECKOUT, in_small_disk, wait_for

FIRST = """
import os, signal, sys, time
from pathlib import Path
from preflight.checkpoints.progress import Moment, Said, begin, tell
folder = Path(sys.argv[1])
begin(folder)
"""
FAILS = '''
tell(folder, Moment(phase="reading the rows"))
print("config dump " * 20)
sys.stderr.write("\\r 10%|#         | 1/10 [00:01<00:09]\\r 20%|##        | 2/10 [00:02<00:08]")
raise SystemExit("""
Traceback (most recent call last):
  File "train.py", line 1, in <module>
RuntimeError: \x1b[2Jthe cause
Traceback (most recent call last):
  File "accelerate", line 1, in <module>
subprocess.CalledProcessError: Command '...' returned non-zero exit status 1.
""")
'''
TRAINS = """
for step in (1, 2, 3):
    tell(folder, Moment(step=step, steps=3, loss=1 / step))
    print("lines of Axolotl's")
    time.sleep(0.7)
tell(folder, Said(text="step 3: checkpoint-3 is saved"))
"""


def command(tmp_path, script):
    """`preflight.cli.launch` of a report that starts this script."""
    folder = tmp_path / "runs/x"
    (folder / "outputs").mkdir(parents=True)
    argv = [sys.executable, "-c", FIRST + script, str(folder)]
    report = {"command": argv, "environment": {}, "commands": [[HERE, argv]], "config_path": str(folder / "config.yaml")}
    (tmp_path / "report.json").write_text(json.dumps(report))
    return [sys.executable, "-m", "preflight.cli.launch", str(tmp_path / "report.json")], folder


def run(argv):
    return subprocess.run(list(map(str, argv)), cwd=CHECKOUT, capture_output=True, text=True)


def test_a_run_is_shown_in_a_few_lines_and_axolotls_own_are_kept(tmp_path):
    argv, folder = command(tmp_path, TRAINS)
    (folder / "training.log").write_text("of an earlier session, killed within a line")
    ran = run(argv)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0] == f"training: all that Axolotl prints goes to {folder}/training.log"
    assert lines[1:3] == ["starting Axolotl", "step 3: checkpoint-3 is saved"]
    assert lines[-1].startswith("training: ended after 0:0")
    assert "Axolotl's" not in ran.stdout
    log = (folder / "training.log").read_text()
    assert log.startswith("of an earlier session, killed within a line\n== ")
    assert log.splitlines().count("lines of Axolotl's") == 3


def test_verbose_shows_all_and_keeps_no_log(tmp_path):
    argv, folder = command(tmp_path, TRAINS)
    ran = run([*argv, "--verbose"])
    assert ran.stdout.count("lines of Axolotl's") == 3
    assert not (folder / "training.log").exists()


def test_a_cell_has_its_line_written_over(tmp_path):
    argv, _ = command(tmp_path, TRAINS)
    shown = subprocess.run([*argv, "--live"], cwd=CHECKOUT, capture_output=True).stdout.decode()  # as bytes: \r is no end of a line here
    assert [shown.count(f"\rstep {step} of 3 (") > 0 for step in (1, 2, 3)] == [True] * 3
    screen = [line.rpartition("\r")[2].strip() for line in shown.split("\n")]
    assert screen[1:3] == ["step 3: checkpoint-3 is saved", screen[2]]
    assert screen[2].startswith("training: ended")


def test_a_failure_shows_the_end_of_the_log_without_bars_and_without_the_launchers_own(tmp_path):
    argv, folder = command(tmp_path, FAILS)
    ran = run(argv)
    assert ran.returncode == 1
    assert "RuntimeError: \\x1b[2Jthe cause" in ran.stderr, "and no escape of it reaches the terminal"
    assert "CalledProcessError" not in ran.stderr
    assert "|##" not in ran.stderr
    assert ran.stderr.endswith(f"training: failed with exit code 1; its whole log: {folder}/training.log\n")
    assert "CalledProcessError" in (folder / "training.log").read_text()


def test_a_process_that_the_system_kills_is_said_to_be(tmp_path):
    argv, _ = command(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    ran = run(argv)
    assert ran.returncode not in (0, 1)
    assert "SIGKILL" in ran.stderr
    assert "memory" in failure(b"CalledProcessError: Command died with <Signals.SIGKILL: 9>.", 1, "training.log")


def test_what_another_training_says_in_this_folder_is_not_shown(tmp_path):
    argv, folder = command(tmp_path, "time.sleep(1)")
    begin(folder)
    tell(folder, Said(text="of the other one"))
    assert "other one" not in run(argv).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_command_ends_training(tmp_path, number):
    argv, folder = command(tmp_path, "(folder / 'pid').write_text(str(os.getpid()))\ntime.sleep(600)")
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(folder / "pid", seconds=30)
        process.send_signal(number)
        assert process.wait(timeout=60) != 0
    assert not Path(f"/proc/{(folder / 'pid').read_text()}").exists()


def test_ctrl_c_at_a_terminal_waits_until_training_has_saved(tmp_path):
    script = """
def stop(*_):
    time.sleep(1)
    tell(folder, Said(text="step 2: checkpoint-2 is saved"))
    os._exit(0)
signal.signal(signal.SIGINT, stop)
(folder / 'pid').write_text("")
time.sleep(600)
"""
    argv, folder = command(tmp_path, script)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(CHECKOUT)
        os.execv(argv[0], argv)
    wait_for(folder / "pid", seconds=30)
    os.write(terminal, b"\x03")
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:  # how the end of a terminal reads
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"training: stopping. What was saved is kept" in shown
    assert b"step 2: checkpoint-2 is saved" in shown
    assert b"Traceback" not in shown


def test_a_disk_without_room_for_the_log_ends_no_training(tmp_path):
    argv, folder = command(tmp_path, "print('x' * 3_000_000)\n" + TRAINS)
    small = in_small_disk(folder, "size=1m")
    ran = run([*small, "env", f"PYTHONPATH={CHECKOUT}", *argv])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "training: ended" in ran.stdout
