import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from preflight.cli.preflight import main
from tests.support.drive import Drive, can_mount
from tests.support.hub import Hub
from tests.support.judge import shared_server
from tests.support.oracle import Axolotl

CHECKOUT = Path(__file__).resolve().parents[1]
FAKES = CHECKOUT / "tests/support/fakes"
HUB = Hub()  # that every process of the tests asks, in the place of the real one: the client reads its address when it is imported
os.environ["HF_ENDPOINT"] = HUB.address
os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # two trainings at once on two cores: 109 s, and 404 s where threads wait by spinning (2026-11-26)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many trainings at once as there are cores
os.environ["PREFLIGHT_VALIDATORS"] = "never"  # a start of Axolotl for each preflight would take 10 s; what tests it says so
for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
    os.environ.pop(name, None)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def codes(self):
        return [finding["code"] for finding in self.json["findings"]]


def environment(gpus=None):
    """This process's variables, with the fake driver in the place of NVIDIA's. Output is buffered, as a person's shell has it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("COLAB_", "AXOLOTL_", "PYTHONUNBUFFERED"))}
    env |= {"PYTHONPATH": str(FAKES), "COLUMNS": "110"}
    if gpus is not None:
        env["FAKE_GPUS"] = json.dumps(gpus)
    return env


def run(*command, cwd=CHECKOUT, env=None):
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env or environment(), capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def preflight(tmp_path, monkeypatch, capsys):
    """Runs `python -m preflight` on a workspace of its own: in this process, or in one of its own `under` a command or in another folder,
    which may hold a copy of the project."""
    monkeypatch.syspath_prepend(str(FAKES))

    def call(*arguments, gpus=None, workspace=tmp_path / "workspace", under=(), cwd=CHECKOUT):
        argv = [str(part) for part in (*arguments, "--workspace", workspace)]
        if under or cwd != CHECKOUT:
            return run(*under, sys.executable, "-m", "preflight", *argv, cwd=cwd, env=environment(gpus))
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "pynvml", raising=False)  # the stand-in reads FAKE_GPUS when it is imported
            patch.chdir(CHECKOUT)
            for name in os.environ.keys() - environment(gpus).keys():
                patch.delenv(name)
            for name, value in environment(gpus).items():
                patch.setenv(name, value)
            capsys.readouterr()
            try:
                code = main(argv)
            except SystemExit as end:  # argparse, for wrong usage and --help
                code = end.code or 0
        out, err = capsys.readouterr()
        assert "Traceback" not in err, err
        return Ran(code, out, err)

    return call


@pytest.fixture(autouse=True, scope="session")
def shared_postgres():
    """The PostgreSQL that all preflights of this process ask, and ask about an answer once: a start each would cost the suite minutes."""
    with shared_server():
        yield


@pytest.fixture
def google_colab(monkeypatch):
    """The stand-in for the package google.colab in this process, and no trace of it afterwards."""
    monkeypatch.syspath_prepend(str(FAKES))
    yield
    for name in [name for name in sys.modules if name == "google.colab" or name.startswith("google.colab.")]:
        del sys.modules[name]
    vars(sys.modules.get("google", sys)).pop("colab", None)


def in_small_disk(folder: Path, options: str):
    """A command prefix that runs what follows with a tmpfs of its own on `folder`: gone with the process, no root needed."""
    folder.mkdir(parents=True, exist_ok=True)
    script = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", options, folder)


def with_full_disk(folder: Path):
    """A command prefix that runs what follows in /tmp, which is full, as /var/tmp is: there is no place for temporary files. The checkout and
    the interpreter are still there if they lie below."""
    folder.mkdir(parents=True, exist_ok=True)
    script = """
        full=$1 kept=$2; shift 3
        mount -t tmpfs -o size=1m none "$full"
        for keep in $kept; do
            case $keep in /tmp/*) mkdir -p "$full${keep#/tmp}"; mount --rbind "$keep" "$full${keep#/tmp}";; esac
        done
        head -c 2m /dev/zero > "$full/filling" 2>/dev/null
        mount --rbind "$full" /var/tmp; mount --rbind "$full" /tmp; cd /tmp; exec "$@"
    """
    keep = f"{CHECKOUT} {sys.prefix} {sys.base_prefix}"
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", folder, keep, "--", "env", f"PYTHONPATH={CHECKOUT}:{FAKES}")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def drive(tmp_path):
    if not can_mount():
        pytest.skip("a FUSE mount needs root and /dev/fuse")
    mounted = Drive(tmp_path / "drive behind", tmp_path / "workspace/drive")
    yield mounted
    mounted.kill()
    subprocess.run(["umount", "-l", mounted.mount], check=False, capture_output=True)


def wait_for(path: Path, seconds: float = 10) -> None:
    """Until another process has written it."""
    for _ in range(int(10 * seconds)):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(path)


@dataclass(frozen=True)
class SmokeRun:
    """The README's first command, in a fresh copy of the project: begun under another split of the step, its launcher killed, run to its
    end as the README writes it, and once more."""

    checkout: Path
    killed: str  # output up to the kill
    killed_at: int  # newest checkpoint then
    orphans: list[int]  # processes that the killed launcher left behind
    resumed: Ran
    again: Ran

    @property
    def folder(self):
        return self.checkout / "workspace" / "runs" / "smoke"

    @property
    def state(self):
        newest = max(self.folder.glob("outputs/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        return json.loads((newest / "trainer_state.json").read_text())


def fresh_copy(to: Path) -> Path:
    """The project's own files, as a clone has them, without what git ignores."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if name and (CHECKOUT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes((CHECKOUT / name).read_bytes())
            (to / name).chmod((CHECKOUT / name).stat().st_mode)
    return to


def few_rows(folder: Path, source: str = "sample_data") -> Path:
    """The folder, with the first sample rows in it: enough for a training that is only begun, and for its evaluations."""
    folder.mkdir(exist_ok=True)
    for name, count in (("train", 150), ("val", 12), ("test", 12)):
        lines = (CHECKOUT / source / f"{name}_postgres.jsonl").read_text().splitlines(keepends=True)
        (folder / f"{name}_postgres.jsonl").write_text("".join(lines[:count]))
    return folder


def few_options(folder: Path) -> list[str]:
    """The options of such a preflight: the sample rows' intervals are longer than its run."""
    return ["--data", str(few_rows(folder)), "--set", "save_steps=5", "--set", "eval_steps=5"]


def readme_commands() -> list[str]:
    """The README's first block of commands."""
    block = (CHECKOUT / "README.md").read_text().partition("```sh\n")[2].partition("```")[0]
    return [line.partition("#")[0].strip() for line in block.strip().splitlines()]


def in_this_environment():
    """Variables that make the README's commands use the environment that runs the tests, in place of one they would install."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("COLAB_", "PYTEST", "MAKE"))} | {"VENV": sys.prefix}


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A copy of the project that is no repository."""
    return fresh_copy(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    checkout = fresh_copy(tmp_path_factory.mktemp("clone"))
    command = ["bash", "-c", readme_commands()[0]]
    env = in_this_environment() | {"QUESTIONS": "30"}  # 50 take longer and show no more

    outputs = checkout / "workspace" / "runs" / "smoke" / "outputs"

    log = checkout.parent / "killed.log"
    with log.open("w") as file:
        split = ["bash", "-c", f"{command[-1]} ARGS='--set micro_batch_size=1 --set gradient_accumulation_steps=2'"]
        process = subprocess.Popen(split, cwd=checkout, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        while not (outputs / "checkpoint-100/manifest.json").exists():
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.05)
        started = psutil.Process(process.pid).children(recursive=True)
        launcher = next(one for one in started if "launch" in one.cmdline())
        launcher.terminate()  # which ends only itself, as far as accelerate is concerned
        _, alive = psutil.wait_procs(started, timeout=60)
        alive = [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
        for one in alive:
            one.kill()
        process.wait()
    killed_at = max(int(path.name.rpartition("-")[2]) for path in outputs.glob("checkpoint-*") if (path / "manifest.json").exists())
    del env["PREFLIGHT_VALIDATORS"]  # this is what a person types
    resumed = run(*command, cwd=checkout, env=env)
    again = run(*command, cwd=checkout, env=env)
    return SmokeRun(checkout, log.read_text(), killed_at, [one.pid for one in alive], resumed, again)


@pytest.fixture
def hub():
    return HUB


@pytest.fixture(scope="session")
def axolotl():
    """The real Axolotl, in one process for all tests that ask it something."""
    oracle = Axolotl()
    yield oracle
    oracle.close()


def pytest_collection_modifyitems(items):
    """What trains and what lives through a whole run comes first, then what asks Axolotl: of two workers none is left alone with them at the
    end."""
    asking = {item.path for item in items if "axolotl" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (not {"acceptance", "training", "remote"} & set(item.path.parts), item.path not in asking))
