"""A laptop with a clone of the kit and Google's command, for the tests that run `make colab` as a person does."""

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import CHECKOUT, environment
from tests.support.colab import change, end_machines, make_account, make_command
from tests.support.laptop import make_script

SECRET = "hf_thisIsASecretOfTheTest"


def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """The kit as a person has it: a clone with everything committed."""
    folder = tmp_path_factory.mktemp("laptop") / "kit"
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        if (CHECKOUT / name).is_file() and not name.startswith(("tests/", "docs/pictures")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", "-Af")
    git(folder, "commit", "-qm", "all")
    return folder


@pytest.fixture(scope="session")
def quick_clone(clone):
    """The same with a training of a second in the place of the real one."""
    folder = clone.parent / "quick"
    subprocess.run(["git", "clone", "-q", clone, folder], check=True)
    make_script(folder / "scripts")
    git(folder, "commit", "-qam", "quick")
    return folder


@pytest.fixture
def rows(tmp_path):
    """A few rows of the user's own, which a test may edit."""
    folder = tmp_path / "my_rows"
    folder.mkdir()
    for split, count in {"train": 200, "val": 20, "test": 8}.items():
        lines = (CHECKOUT / f"sample_data/{split}_postgres.jsonl").read_text().splitlines(keepends=True)
        (folder / f"{split}_postgres.jsonl").write_text("".join(lines[:count]))
    return folder


@pytest.fixture
def laptop(clone, tmp_path, monkeypatch):
    """A terminal in the clone, the command `colab` on the PATH, an account of 600 units behind it."""
    yield terminal(clone, tmp_path, monkeypatch)
    end_machines(tmp_path / "google")


@pytest.fixture
def quick(quick_clone, tmp_path, monkeypatch):
    """The same, where a training takes a second."""
    yield terminal(quick_clone, tmp_path, monkeypatch, PREFLIGHT_REMOTE_EVERY="0.1")
    end_machines(tmp_path / "google")


def terminal(clone, tmp_path, monkeypatch, **more):
    monkeypatch.setattr("tests.support.colab.ROOT", tmp_path / "google")
    make_account(tmp_path / "google")
    make_command(tmp_path / "bin")
    env = environment() | {"COLAB_STANDIN": str(tmp_path / "google"), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "VENV": sys.prefix}
    env |= {"AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "QUESTIONS": "4", "HF_TOKEN": SECRET, "PREFLIGHT_REMOTE_EVERY": "4"}
    return Terminal(clone, tmp_path / "work", env | {"PYTHONPATH": str(clone)} | more)


class Terminal:
    """Runs `make colab`, to its end or as something that is typed at."""

    def __init__(self, clone, work, env):
        self.clone, self.work, self.env = clone, work, env
        self.folder = work / "remote/smoke"
        self.home = self.folder / "home"

    def command(self, words):
        return [sys.executable, "-m", "preflight.remote", *map(str, words), "--workspace", str(self.work)]

    def __call__(self, *words, once_home=None, **changes):
        """The command, to its end. `once_home` becomes the account's as soon as a checkpoint is at home."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(self.command(words), cwd=self.clone, env=self.env | changes, text=True, **streams) as process:
            while once_home and process.poll() is None:
                if list(self.home.glob("checkpoint-*/manifest.json")):
                    change(**once_home)
                    break
                time.sleep(0.2)
            out, err = process.communicate(timeout=400)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @contextlib.contextmanager
    def typed(self, *words, **changes):
        """The command on a terminal of its own, to read from and type at."""
        number, screen = pty.fork()
        if not number:
            os.chdir(self.clone)
            os.execve(sys.executable, self.command(words), self.env | changes)
        typing = Typing(number, screen)
        try:
            yield typing
        finally:
            typing.close()


class Typing:
    """The screen and the keys of one command."""

    def __init__(self, number, screen):
        self.number, self.screen, self.shown, self.code = number, screen, "", None

    def read(self, until=None, limit=120):
        """What is shown from here to the text, or to the end of the command."""
        give_up, seen = time.monotonic() + limit, len(self.shown)
        while until is None or until not in self.shown[seen:]:
            assert time.monotonic() < give_up, self.shown
            if not select.select([self.screen], [], [], 1)[0]:
                continue
            try:
                self.shown += os.read(self.screen, 65536).decode(errors="replace")
            except OSError:  # the last one closed the terminal
                assert until is None, self.shown
                self.code = os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])
                break
        return self.shown[seen:]

    def type(self, keys):
        os.write(self.screen, keys.encode())

    def close(self):
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.number, signal.SIGKILL)
            os.waitpid(self.number, 0)
        os.close(self.screen)
