"""The notebook itself, run in a real Jupyter kernel as Colab runs it: a real mount for Drive, a stand-in for google.colab alone."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from preflight.cli import notebook
from preflight.data.archives import pack
from tests.conftest import CHECKOUT, few_rows, fresh_copy
from tests.data.test_download import Server
from tests.support.drive import can_mount
from tests.support.sessions import TOKEN, Machine

NOTEBOOK = CHECKOUT / "notebooks/train_colab.ipynb"
STEPS = ["max_steps=36", "save_steps=6", "eval_steps=18", "logging_steps=1", "warmup_ratio=0.05"]
ROWS = ["datasets.0.path=/content/data/train_postgres.jsonl", "test_datasets.0.path=/content/data/val_postgres.jsonl"]
GPU = '#!/bin/sh\necho "NVIDIA A100-SXM4-40GB, 40960 MiB"\n'


class Colab:
    """A Colab machine at one path, and a Drive that outlives it. Cells run as a person runs them: the settings filled in, top to bottom."""

    def __init__(self, folder, repository):
        self.root, self.behind, self.repository = folder / "content", folder / "drive behind", repository
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/nvidia-smi").write_text(GPU)
        (folder / "bin/nvidia-smi").chmod(0o755)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("COLAB_", "PYTEST", "MAKE", "AXOLOTL_", "HF_TOKEN"))}
        self.env = kept | {
            "PYTHONPATH": str(CHECKOUT / "tests/support/fakes"),
            "PATH": f"{folder / 'bin'}:{kept['PATH']}",
            "VENV": sys.prefix,
            "COLAB_RELEASE_TAG": "test",
            "FAKE_DRIVE": str(self.behind),
            "FAKE_SECRET": TOKEN,
            "IPYTHONDIR": str(folder / "ipython"),
        }
        self.rows = self.behind / "MyDrive/sql-codegen-data"
        self.rows.mkdir(parents=True)
        self.pid = os.getpid()

    @property
    def results(self):
        return self.behind / "MyDrive/sql-codegen-models/smoke"

    def run(self, until="hand-back", broken=None, **settings):
        """{cell's id: its text output}, with the settings of a person who tries the tiny model. Raises CellExecutionError."""
        book = nbformat.read(NOTEBOOK, as_version=4)
        filled = {
            "REPOSITORY": str(self.repository),
            "CONFIG": "axolotl_configs/smoke.yaml",
            "OVERRIDES": STEPS,
            "NAME": "smoke",
            "ROOT": str(self.root),
        } | settings
        for cell in book.cells:
            if cell["id"] == "settings":
                for name, value in filled.items():
                    cell["source"], times = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", cell["source"], flags=re.M)
                    assert times == 1, name
            cell["source"] = cell["source"].replace(
                "kit.ask(questions=50)", "kit.ask(questions=6)"
            )  # 50 take a minute of the suite, and show no more
            if cell["id"] == broken:
                cell["source"] = "raise SystemExit('broken on purpose')" if not cell["source"].startswith("%%bash") else "%%bash\nexit 3"
        last = next(i for i, cell in enumerate(book.cells) if cell["id"] == until)
        book.cells = book.cells[: last + 1]
        kernel = KernelManager()
        kernel.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self.root.mkdir(exist_ok=True)
        client = NotebookClient(book, km=kernel, timeout=600)
        self.book = book
        try:
            client.execute(env=self.env, cwd=str(self.root))
        finally:
            if os.getpid() == self.pid:
                if kernel.has_kernel:  # one that is handed in outlives its client
                    kernel.shutdown_kernel(now=True)
                self.stop_daemons("tensorboard")
        return self.said()

    def stop_daemons(self, *names):
        """What outlives the kernel: TensorBoard, and at the end the process of the mount."""
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or ())
            if str(self.root) in line and any(name in line for name in names or ("tensorboard", "fuse_drive", "axolotl", "preflight")):
                process.kill()

    def said(self):
        return {
            cell["id"]: "".join(output.get("text", "") or "\n".join(output.get("traceback", [])) for output in cell.get("outputs", []))
            for cell in self.book.cells
            if cell["cell_type"] == "code"
        }

    def vanish(self):
        """The machine is taken away: its disk is gone, and what ran beside the kernel."""
        self.stop_daemons()
        subprocess.run(["umount", "-l", self.root / "drive"], check=False, capture_output=True)
        if self.root.exists():
            shutil.rmtree(self.root)

    def leaks(self):
        """Files of the machine and of Drive that hold the token, and cells that show it."""
        tests = self.root / "sql-codegen-slm/tests"  # where the token is made up
        paths = [path for folder in (self.root, self.behind) for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(tests)]
        return [str(path) for path in paths if TOKEN.encode() in path.read_bytes()] + [name for name, text in self.said().items() if TOKEN in text]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What the user's repository on GitHub is."""
    folder = fresh_copy(tmp_path_factory.mktemp("origin"))

    def git(*arguments):
        subprocess.run(["git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x@localhost", *arguments], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", "-f", ".")
    git("commit", "-qm", "first")
    return folder


@pytest.fixture
def machine(tmp_path, repository):
    if not can_mount():
        pytest.skip("a FUSE mount needs root and /dev/fuse")
    one = Colab(tmp_path, repository)
    yield one
    one.vanish()


def cut_off(machine, checkpoint, settings):
    """Run all, and the machine is taken away once Drive has this checkpoint."""
    session = os.fork()  # a process of its own, which goes with its kernel
    if session == 0:
        try:
            machine.run(**settings)
        finally:
            os._exit(1)
    while not (machine.results / f"checkpoint-{checkpoint}/manifest.json").exists():
        assert os.waitpid(session, os.WNOHANG) == (0, 0), "the notebook ended before its training saved"
        time.sleep(0.05)
    root = psutil.Process(session)
    for process in [*root.children(recursive=True), root]:
        process.kill()
    os.waitpid(session, 0)
    machine.vanish()


def resumed_at(said):
    resumed = re.search(r"resuming from step (\d+) of 36", said)
    assert resumed, said
    return int(resumed[1])


def test_a_run_of_three_machines_ends_as_one_that_nothing_disturbed(machine, tmp_path):
    """The story of most users: rows on Drive, run all, a disconnect in the middle of training, run all, another, run all; and once more on
    a fourth machine for good measure. What comes out is bit for bit what one machine makes that is never taken away."""
    elsewhere = few_rows(tmp_path / "rows")
    values = {name: json.loads(value) for name, _, value in (step.partition("=") for step in STEPS)}
    values |= {"datasets.0.path": str(elsewhere / "train_postgres.jsonl"), "test_datasets.0.path": str(elsewhere / "val_postgres.jsonl")}
    undisturbed = Machine(tmp_path / "elsewhere/workspace", **values)
    undisturbed.workspace.parent.mkdir()
    undisturbed.run()
    few_rows(machine.rows)
    settings = {"OVERRIDES": [*STEPS, *ROWS]}

    cut_off(machine, 12, settings)
    cut_off(machine, 24, settings)
    said = machine.run(**settings)
    assert "A100-SXM4-40GB" in said["gpu"]
    assert "Drive is mounted" in said["begin"]
    assert "HF_TOKEN is set for this session" in said["begin"]
    assert "up to date" in said["install"]
    assert "The whole run on each GPU" in said["compare"]
    assert resumed_at(said["verify"]) >= 24
    state = json.loads((machine.results / "checkpoint-36/trainer_state.json").read_text())
    assert {entry["step"]: entry["loss"] for entry in state["log_history"] if "loss" in entry} == undisturbed.losses()
    assert list(undisturbed.losses()) == list(range(1, 37))
    adapter = (undisturbed.outputs / "adapter_model.safetensors").read_bytes()
    assert (machine.results / "adapter_model.safetensors").read_bytes() == adapter
    losses = re.search(r"validation rows (\d+\.\d+), test rows (\d+\.\d+)", said["test-loss"])
    assert losses, said["test-loss"]
    assert abs(float(losses[1]) - state["log_history"][-1]["eval_loss"]) < 0.01, "Axolotl's evaluation of the adapter agrees with training's own"
    assert "exact answers" in said["ask"]
    assert (machine.root / "runs/smoke/merged/model.safetensors").exists()
    wrong = {
        name: found[0] for name, text in said.items() if (found := re.search(r".*(Traceback|\bERROR\b|Failed to launch|could not bind).*", text))
    }
    assert wrong == {}, "no cell shows an error, TensorBoard's neither"
    assert machine.behind.with_name("unassigned").exists()
    assert machine.leaks() == []

    machine.vanish()
    noon = machine.run(until="train", **settings)
    assert "Nothing left to train" in noon["train"]
    assert "Drive is mounted" in noon["begin"]
    outputs = machine.root / "runs/smoke/outputs"
    assert (outputs / "adapter_model.safetensors").read_bytes() == adapter
    assert len(list((outputs / "runs").rglob("events.out.tfevents.*"))) == 3, "the curves of all three machines"
    assert machine.leaks() == []


@pytest.mark.parametrize("way", ["a zip on Drive", "an address", "a folder"])
def test_rows_come_from_wherever_the_settings_say(machine, tmp_path, way):
    server, there = Server(), few_rows(tmp_path / "rows")
    pack([there / f"{name}_postgres.jsonl" for name in ("train", "val", "test")], machine.rows / "data.zip", 10**9, lambda what, done, total: None)
    server.body, server.answers = (machine.rows / "data.zip").read_bytes(), ["whole"]
    source = {"a zip on Drive": f"{machine.root}/drive/MyDrive/sql-codegen-data/data.zip", "an address": server.address(), "a folder": str(there)}
    said = machine.run(until="verify", DATA=source[way], OVERRIDES=[*STEPS, *ROWS])
    server.shutdown()
    server.server_close()
    assert "150 rows" in said["verify"]
    assert "Start training with:" in said["verify"]
    assert (machine.root / "data/train_postgres.jsonl").read_bytes() == (there / "train_postgres.jsonl").read_bytes()


@pytest.mark.parametrize("broken", ["gpu", "clone", "begin"])
def test_a_broken_cell_fails_the_notebook(machine, broken):
    with pytest.raises(CellExecutionError):
        machine.run(until="begin", broken=broken)


@pytest.mark.parametrize(
    ("settings", "fails", "says"),
    [
        ({"OVERRIDES": [*STEPS, "lora_rank=8"]}, "verify", "did you mean lora_r?"),
        ({"OVERRIDES": ["lora_r"]}, "compare", "write it as KEY=VALUE"),
        ({"DATA": "/nowhere/rows.zip"}, "compare", "no such folder or zip"),
        ({"REPOSITORY": "https://github.com/YOUR_NAME/sql-codegen-slm.git"}, "clone", "Edit the settings cell: REPOSITORY is"),
    ],
    ids=["a key", "an override", "rows", "a repository"],
)
def test_what_is_wrong_stops_at_its_cell_and_says_how_to_mend_it(machine, settings, fails, says):
    with pytest.raises(CellExecutionError):
        machine.run(until="verify", **settings)
    said = machine.said()
    assert says in said[fails]
    assert "Traceback" not in said[fails]
    after = list(said)[list(said).index(fails) + 1 :]
    assert all(said[cell] == "" for cell in after), "a cell ran after the one that failed"


def test_the_command_that_pushes_is_one_that_the_hubs_own_takes(tmp_path, monkeypatch):
    """Against a hub that is not there: it gets as far as asking it, where a wrong option would end in usage."""
    asked = []
    monkeypatch.setattr(notebook, "stream", lambda *command: asked.append(command))
    (tmp_path / "runs/smoke/outputs").mkdir(parents=True)
    session = notebook.Session(config="axolotl_configs/smoke.yaml", root=str(tmp_path))
    session.push("")
    assert asked == []
    session.push("owner/name")
    env = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_x"}
    done = subprocess.run(asked[0], capture_output=True, text=True, env=env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Usage" not in done.stderr
    assert "--private" in asked[0]


def test_the_notebook_is_thin_explained_and_without_outputs():
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    long = [cell["id"] for cell in code if len(cell["source"].splitlines()) > 9]
    assert long == ["clone"], "the only step that the kit can't do, which is not there yet"
    for before, cell in zip(book.cells, book.cells[1:], strict=False):
        if cell["cell_type"] == "code" and before["cell_type"] == "code":
            assert cell["id"] in ("begin", "ask"), "the second cell of a step"
    kept = "".join(cell["source"] for cell in code)
    assert not re.search(r"lora_r|learning_rate: |base_model", kept), "the config is the repository's"
