"""Whether the driver runs the torch that is installed, and what to paste where it does not."""

import runpy
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from preflight.machine.environment import Environment, inspect_environment, read_requirements, read_torch_cuda
from preflight.machine.gpu import Gpu, GpuReading, check_driver

A100, BLACKWELL = (Gpu(name=name, memory_gib=40, compute_capability=number) for name, number in (("A100", (8, 0)), ("RTX PRO 6000", (12, 0))))


@pytest.fixture
def venv(tmp_path):
    (tmp_path / "pyvenv.cfg").touch()
    return tmp_path / "bin/accelerate"


@pytest.mark.parametrize(
    ("runs", "built", "refused"),
    [
        ((12, 8), (13, 0), True),
        ((13, 0), (13, 0), False),
        ((13, 0), (13, 2), False),
        ((12, 2), (12, 6), False),
        ((12, 8), None, False),
        (None, (13, 0), False),
    ],
)
def test_a_driver_that_is_too_old_for_the_installed_torch(venv, runs, built, refused):
    found = check_driver(GpuReading(gpus=(A100,), cuda=runs), Environment(accelerate=venv, torch_cuda=built))
    assert [finding.code for finding in found] == ["gpu.old-driver"] * refused
    assert not refused or "driver runs up to CUDA 12.8" in found[0].message


@pytest.mark.parametrize(("gpu", "backend"), [(A100, "cu126"), (BLACKWELL, "cu128")])
def test_the_fix_installs_into_this_environment_a_torch_that_the_requirements_allow(venv, gpu, backend):
    (finding,) = check_driver(GpuReading(gpus=(gpu,), cuda=(12, 8)), Environment(accelerate=venv, torch_cuda=(13, 0)))
    pip, install = (shlex.split(command) for command in finding.fix.partition(": ")[2].split(" && "))
    python = str(venv.with_name("python"))
    assert pip == [python, "-m", "pip", "install", "uv"]
    assert install[:7] == [python, "-m", "uv", "pip", "install", "--python", python]
    assert f"--torch-backend={backend}" in install
    assert Requirement(install[-1]) in read_requirements(), "the versions are those of requirements.txt"


@pytest.mark.parametrize(
    ("runs", "accelerate", "says"),
    [((11, 8), "venv", "a newer driver, or another GPU"), ((12, 4), "system", "scripts/setup.sh"), ((12, 4), None, "scripts/setup.sh")],
)
def test_where_no_torch_can_be_put_the_fix_has_no_command_for_it(venv, tmp_path, runs, accelerate, says):
    """Into a system's own Python nothing is installed; for CUDA 11 there is nothing to install."""
    folder = {"venv": venv, "system": tmp_path / "usr/bin/accelerate", None: None}[accelerate]
    (finding,) = check_driver(GpuReading(gpus=(A100,), cuda=runs), Environment(accelerate=folder, torch_cuda=(13, 0)))
    assert says in finding.fix
    assert "uv" not in finding.fix


def test_what_torch_is_built_for_is_what_torch_says(tmp_path):
    """Read, not imported, from torch's own file; packages of NVIDIA's that another torch has left count for nothing."""
    version = Path(find_spec("torch").origin).with_name("version.py")
    said = runpy.run_path(version)["cuda"]
    assert read_torch_cuda(Path(sys.prefix)) == (tuple(map(int, said.split(".")[:2])) if said else None)
    there = tmp_path / "lib/python3.12/site-packages/torch"
    there.mkdir(parents=True)
    (there / "version.py").write_text(version.read_text().replace(f"cuda: Optional[str] = {said!r}", "cuda: Optional[str] = '12.6'"))
    (there.with_name("nvidia_cudnn_cu13-9.20.0.48.dist-info")).mkdir()
    assert read_torch_cuda(tmp_path) == (12, 6)
    assert read_torch_cuda(tmp_path / "nowhere") is None
    assert inspect_environment().torch_cuda == read_torch_cuda(Path(sys.prefix))
