"""The real TensorBoard."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest
from tensorboard import manager, version

from preflight.launch import tensorboard
from tests.conftest import CHECKOUT


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "preflight.tensorboard", *map(str, arguments)], cwd=CHECKOUT, capture_output=True, text=True)


def test_it_is_started_once_found_again_and_stopped(tmp_path):
    first = command("start", tmp_path)
    try:
        assert (first.returncode, first.stdout.startswith("started: http://localhost:")) == (0, True), first.stderr
        port = first.stdout.partition("localhost:")[2].split()[0]
        with urllib.request.urlopen(f"http://localhost:{port}/data/logdir", timeout=10) as answer:
            assert str(tmp_path) in answer.read().decode()
        again = command("start", tmp_path)
        assert again.stdout.startswith(f"already running: http://localhost:{port} ")
        assert f"notebook.display(port={port}, height=800)" in again.stdout
    finally:
        assert command("stop", tmp_path).stdout == "stopped\n"
    assert "no TensorBoard shows" in command("stop", tmp_path).stdout


UNRELATED = {
    "another program": ("sleep", "60"),
    "one that names the folder": (sys.executable, "-c", "import time; time.sleep(60)", "tensorboard", "--logdir", "FOLDER"),
    "a TensorBoard of another folder": (sys.executable, "-c", "import time; time.sleep(60)", "-m", "tensorboard.main", "--logdir", "FOLDER/x"),
}


@pytest.mark.parametrize("case", UNRELATED)
def test_a_process_that_only_has_the_number_of_one_is_left_alone(tmp_path, case):
    """The record of a TensorBoard that was killed stays, and its number becomes another process's."""
    other = subprocess.Popen([part.replace("FOLDER", str(tmp_path)) for part in UNRELATED[case]])
    record = Path(tempfile.gettempdir()) / ".tensorboard-info" / f"pid-{other.pid}.info"
    try:
        record.parent.mkdir(mode=0o777, exist_ok=True)
        info = {"version": version.VERSION, "start_time": 10**9, "pid": other.pid, "port": 6006, "path_prefix": "", "logdir": str(tmp_path), "db": ""}
        record.write_text(json.dumps(info | {"cache_key": "x"}))
        assert [one.pid for one in manager.get_all() if one.pid == other.pid], "TensorBoard does not read such a record"
        assert tensorboard.find(tmp_path) is None
        assert not record.exists()
        record.write_text(json.dumps(info | {"cache_key": "x", "start_time": 2 * 10**9}))
        assert "no TensorBoard shows" in command("stop", tmp_path).stdout
        time.sleep(0.2)
        assert other.poll() is None, "it was killed"
    finally:
        other.kill()
        other.wait()
        record.unlink(missing_ok=True)


def test_one_that_was_killed_is_started_anew(tmp_path):
    """Its record is left behind, and TensorBoard's own manager would call it running."""
    try:
        assert command("start", tmp_path).stdout.startswith("started: ")
        os.kill(tensorboard.find(tmp_path).pid, signal.SIGKILL)
        again = command("start", tmp_path)
        assert again.stdout.startswith("started: "), again.stderr
    finally:
        command("stop", tmp_path)
