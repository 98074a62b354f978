import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from preflight.machine.environment import Environment, check_environment, inspect_environment, read_requirements, wrong_versions
from tests.conftest import CHECKOUT


def test_this_environment_is_what_the_project_pins():
    environment = inspect_environment()
    assert environment.accelerate == Path(sys.executable).parent / "accelerate"
    assert environment.wrong == ()
    assert check_environment(environment) == []


def test_constraints_pin_every_requirement_to_one_version_it_allows():
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\n]+)", (CHECKOUT / "constraints.txt").read_text(), re.M))
    pins = {name.lower().replace("_", "-"): pin for name, pin in pins.items()}
    for path in ("requirements.txt", "requirements-dev.txt"):
        for requirement in read_requirements(CHECKOUT / path):
            assert requirement.specifier.contains(pins[requirement.name.lower().replace("_", "-")]), requirement


@pytest.mark.parametrize(
    ("content", "wrong"), [("rich==1.0\n", [("rich", "==1.0")]), ("nonesuch>=1\n", [("nonesuch", ">=1")]), ("# note\nrich>=13 # why\n", [])]
)
def test_a_version_that_is_not_allowed_is_named(tmp_path, content, wrong):
    (tmp_path / "r.txt").write_text(content)
    found = wrong_versions(Path(sys.prefix), read_requirements(tmp_path / "r.txt"))
    assert [(name, wanted) for name, wanted, _ in found] == wrong
    for finding in check_environment(Environment(accelerate=Path("/v/bin/accelerate"), wrong=found)):
        assert finding.code == "packages.mismatch"
        assert finding.fix.endswith("scripts/setup.sh")


def test_nothing_installed_says_what_installs_it():
    (finding,) = check_environment(Environment(accelerate=None))
    assert finding.code == "packages.mismatch"
    assert (CHECKOUT / finding.fix.rpartition(" ")[2]).exists()


def test_another_build_of_the_same_torch_is_allowed():
    assert Requirement("torch<=2.13.0").specifier.contains(version("torch").partition("+")[0])


def test_setup_refuses_a_python_that_is_too_old(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho Python 3.8.0\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["scripts/setup.sh"],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(old), "VENV": str(tmp_path / "v")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "needs Python 3.11 to 3.13" in done.stderr
    assert "Python 3.8.0" in done.stderr
