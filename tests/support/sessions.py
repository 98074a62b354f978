"""Sessions on a rented machine: preflight, then the very command that it prints, until something kills it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TOKEN = "hf_thisIsNoTokenButItMustNotBeWrittenDown"
# a run of half a minute that saves often and logs each loss
SHORT = {"max_steps": 60, "save_steps": 6, "eval_steps": 30, "logging_steps": 1, "warmup_ratio": 0.05}
DRIVE_FOLDER = "drive/MyDrive/sql-codegen-models/smoke"


class Machine:
    """A machine in a workspace folder. On `colab`, Drive has to be mounted at workspace/drive."""

    def __init__(self, workspace, colab=False, **values):
        self.workspace, self.values = Path(workspace), SHORT | values
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("COLAB_", "PYTEST", "MAKE", "AXOLOTL_"))}
        self.env = kept | {"HF_TOKEN": TOKEN, "PYTHONPATH": str(CHECKOUT)} | ({"COLAB_RELEASE_TAG": "test"} if colab else {})
        self.log = self.workspace.parent / f"{self.workspace.name}.log"
        self.process = None

    @property
    def outputs(self):
        return self.workspace / "runs/smoke/outputs"

    @property
    def drive(self):
        return self.workspace / DRIVE_FOLDER

    def preflight(self, **values):
        """The report, as --json prints it."""
        settings = [part for key, value in (self.values | values).items() for part in ("--set", f"{key}={json.dumps(value)}")]
        command = [
            sys.executable,
            "-m",
            "preflight",
            "axolotl_configs/smoke.yaml",
            *settings,
            "--name",
            "smoke",
            "--workspace",
            str(self.workspace),
            "--json",
        ]
        done = subprocess.run(command, cwd=CHECKOUT, env=self.env, capture_output=True, text=True)
        self.write(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return json.loads(done.stdout)

    def start(self, **values):
        """Preflight, then training in the background; the report."""
        report = self.preflight(**values)
        assert report["command"], [finding for finding in report["findings"] if finding["level"] == "error"]
        with self.log.open("a") as file:
            self.process = subprocess.Popen(
                report["command"], cwd=CHECKOUT, env=self.env | report["environment"], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        return report

    def run(self, **values):
        """Preflight and training to its end; the report."""
        report = self.start(**values)
        assert self.process.wait() == 0, self.log.read_text()[-3000:]
        return report

    def wait_for(self, exists, pause=0.005):
        """Until `exists()` is true; training must be alive until then."""
        while not exists():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(pause)

    def wait_for_step(self, step):
        """Until a checkpoint of this step, or a later one, has begun to be written."""
        self.wait_for(lambda: any(int(path.name[11:]) >= step for path in self.outputs.glob("checkpoint-*")))

    def kill(self):
        """kill -9 of training and all that it started; the newest step that had begun to be saved."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return max((int(path.name[11:]) for path in self.outputs.glob("checkpoint-*")), default=0)

    def vanish(self):
        """The machine is taken away: nothing of its disk is left but what is on Drive."""
        self.kill()
        for path in self.workspace.iterdir():
            if path.is_file():
                path.unlink()
            elif path.name != "drive":
                shutil.rmtree(path)

    def wait_for_copy(self, step):
        """Wait until Drive has a whole checkpoint of this step."""
        self.wait_for(lambda: (self.drive / f"checkpoint-{step}/manifest.json").exists())

    def write(self, text):
        with self.log.open("a") as file:
            file.write(text)

    def losses(self):
        """{step: loss} of the whole run, from the last checkpoint's own log."""
        newest = max(self.outputs.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
        state = json.loads((newest / "trainer_state.json").read_text())
        return {entry["step"]: entry["loss"] for entry in state["log_history"] if "loss" in entry}

    def leaks(self):
        """Files that hold the token."""
        paths = [path for path in self.workspace.rglob("*") if path.is_file()] + [self.log]
        return [str(path) for path in paths if TOKEN.encode() in path.read_bytes()]


CELL = """
import json, sys
from pathlib import Path
from preflight import setup_colab_environment
from preflight.cli.text import render_json
from preflight.config.layers import Change
from preflight.request import Request
overrides = tuple(Change(key=key, value=value, layer="cell") for key, value in json.loads(sys.argv[2]).items())
print(render_json(setup_colab_environment(Request(config=Path("axolotl_configs/smoke.yaml"), overrides=overrides, name="smoke", workspace=Path(sys.argv[1])))))
"""


class Notebook(Machine):
    """A Colab machine whose notebook has run its cell: setup_colab_environment() with the stand-in for google.colab.

    `checkout` is a copy without .git: the call would bring the tests' own to its origin's newest commit.
    """

    def __init__(self, workspace, checkout, variables, **values):
        super().__init__(workspace, colab=True, **values)
        self.workspace.mkdir(parents=True)
        self.checkout = checkout
        self.env |= variables | {"PYTHONPATH": f"{checkout}:{CHECKOUT / 'tests/support/fakes'}"}

    def preflight(self, **values):
        env = {key: value for key, value in self.env.items() if key != "HF_TOKEN"}
        command = [sys.executable, "-c", CELL, self.workspace, json.dumps(self.values | values)]
        done = subprocess.run(command, cwd=self.checkout, env=env, capture_output=True, text=True)
        self.write(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def close(self):
        """What outlives the kernel on the machine: TensorBoard and the mount."""
        stop = [sys.executable, "-m", "preflight.tensorboard", "stop", self.outputs]
        subprocess.run(stop, cwd=self.checkout, check=True, capture_output=True)
        subprocess.run(["umount", "-l", self.workspace / "drive"], check=False, capture_output=True)

    def vanish(self):
        self.kill()
        self.close()
        shutil.rmtree(self.workspace)
