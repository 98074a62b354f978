"""The real TensorBoard."""

import subprocess
import sys
import urllib.request

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
