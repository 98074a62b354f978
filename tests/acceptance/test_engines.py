"""`make train` runs the command that preflight decided on, whichever launcher that is: here a stand-in that writes down how it was called."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from preflight.cli.launch import read_report
from tests.conftest import CHECKOUT, environment, few_options, run

LAUNCHERS = ("accelerate", "torchrun", "axolotl", "ray")
STAND_IN = """#!{python}
import json, os, sys
with open({log!r}, "a") as file:
    file.write(json.dumps([sys.argv, {{name: os.environ.get(name) for name in ("AXOLOTL_DO_NOT_TRACK", "RAY_CHDIR_TO_TRIAL_DIR", "PYTHONPATH")}}]) + "\\n")
"""


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """An environment with the packages of the tests', two more by name, and stand-ins for every launcher."""
    folder = tmp_path_factory.mktemp("venv")
    real = Path(sys.prefix)
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(real / "bin/python")
    (folder / "pyvenv.cfg").write_bytes((real / "pyvenv.cfg").read_bytes())
    packages = folder / next(path.relative_to(real) for path in real.glob("lib/python3.*/site-packages"))
    packages.mkdir(parents=True)
    for path in (real / packages.relative_to(folder)).iterdir():
        (packages / path.name).symlink_to(path)
    for name in ("deepspeed-0.18.9", "ray-2.60.0"):
        (packages / f"{name}.dist-info").mkdir()
    for name in LAUNCHERS:
        (folder / "bin" / name).write_text(STAND_IN.format(python=sys.executable, log=str(folder / "called.jsonl")))
        (folder / "bin" / name).chmod(0o755)
    stamp = "cat requirements.txt requirements-dev.txt constraints.txt | cksum"
    (folder / ".installed").write_bytes(subprocess.run(stamp, shell=True, cwd=CHECKOUT, capture_output=True, check=True).stdout)
    return folder


def train(venv, workspace, *options, gpus=None):
    """(what `scripts/train.sh` printed, how launchers were called)."""
    (venv / "called.jsonl").unlink(missing_ok=True)
    env = environment(gpus) | {"VENV": str(venv)}
    few = few_options(workspace.parent / "rows")
    ran = run("bash", "scripts/train.sh", "axolotl_configs/smoke.yaml", "--workspace", workspace, *few, *options, env=env)
    called = (venv / "called.jsonl").read_text().splitlines() if (venv / "called.jsonl").exists() else []
    return ran, [json.loads(line) for line in called]


@pytest.mark.parametrize(
    ("engine", "launcher", "arguments"),
    [
        ("", "accelerate", ["launch", "--num_processes", "1"]),
        ("ddp", "torchrun", ["--standalone", "--nproc_per_node=1", "-m", "axolotl.cli.train"]),
        ("fsdp2", "torchrun", ["--standalone", "--nproc_per_node=1", "-m", "axolotl.cli.train"]),
        ("deepspeed_zero2", "torchrun", ["--standalone", "--nproc_per_node=1", "-m", "axolotl.cli.train"]),
        ("ray", "axolotl", ["train"]),
    ],
)
def test_the_command_of_each_engine_is_run(venv, tmp_path, engine, launcher, arguments):
    scale = ["--scale", engine, "--gpus-per-node", "1"] if engine else []
    ran, called = train(venv, tmp_path / "ws", *scale)
    ((argv, variables),) = called
    assert Path(argv[0]) == venv / "bin" / launcher, ran.out
    assert argv[1 : 1 + len(arguments)] == arguments
    assert str(tmp_path / "ws/runs/smoke/config.yaml") in argv
    assert variables["AXOLOTL_DO_NOT_TRACK"] == "1"
    if engine == "ray":
        assert argv[-2:] == ["--use-ray", "--ray-num-workers=1"]
        assert variables["RAY_CHDIR_TO_TRIAL_DIR"] == "0"
        assert str(CHECKOUT) in variables["PYTHONPATH"]
    assert "holds no trained run" in ran.err, "the stand-in trains nothing, and the evaluation says so"


def test_a_second_experiment_is_a_run_of_its_own_from_the_first_step_to_the_evaluation(venv, tmp_path):
    for options, name in ((["--set", "learning_rate=0.004"], "smoke-learning_rate-0.004"), (["--set=seed=7", "--name=mine"], "mine")):
        ran, ((argv, _),) = train(venv, tmp_path / "ws", *options)
        assert str(tmp_path / f"ws/runs/{name}/config.yaml") in argv
        assert f"ws/runs/{name} holds no trained run" in ran.err


def test_a_run_of_several_machines_is_not_started_on_one(venv, tmp_path):
    ran, called = train(
        venv, tmp_path / "ws", "--set", "device=null", "--scale", "ddp", "--nodes", "2", "--gpus-per-node", "1", gpus=[["NVIDIA H100", 79.6, [9, 0]]]
    )
    assert called == []
    assert "type the commands of the report on each of the 2 machines" in ran.err
    assert ran.code == 1


def test_a_run_with_errors_is_not_started(venv, tmp_path):
    ran, called = train(venv, tmp_path / "ws", "--set", "lora_rank=8")
    assert called == []
    assert (ran.code, "did you mean lora_r?" in ran.out) == (1, True)


def test_a_report_with_nothing_to_launch_launches_nothing(preflight, tmp_path):
    report = tmp_path / "report.json"
    ran = preflight("axolotl_configs/smoke.yaml", "--set", "lora_rank=8", "--report", report, "--json")
    assert json.loads(report.read_text()) == ran.json
    assert not read_report(report)
    assert run(sys.executable, "-m", "preflight.cli.launch", report).code == 0
