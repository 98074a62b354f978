"""Is the training environment the one that requirements.txt pins, and where is its launcher."""

import re
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement

from preflight.files import CHECKOUT
from preflight.findings import Finding

INSTALL = "scripts/setup.sh"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A Python environment that can launch training: the `accelerate` command and the versions installed beside it."""

    accelerate: Path | None
    wrong: tuple[tuple[str, str, str], ...] = ()  # name, wanted, installed ("" if not)
    installed: frozenset[str] = frozenset()  # the names of all distributions
    torch_cuda: tuple[int, int] | None = None  # the CUDA that torch is built for; None for a CPU's, and where it is not installed
    axolotl: str = ""  # its version; '' where it is not installed

    def beside(self, name: str) -> str:
        """A command of this environment, as seen from the current folder; where there is none, whatever the shell finds."""
        return near(self.accelerate.with_name(name)) if self.accelerate else name


def near(path: Path) -> str:
    """The path as seen from the current folder, if it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def inspect_environment(python: Path = Path(sys.executable)) -> Environment:
    """The environment of this Python, or else the checkout's .venv: the first that has `accelerate`. Imports none of it."""
    for folder in (python.parent, CHECKOUT / ".venv" / "bin"):
        if (folder / "accelerate").exists():
            return Environment(
                accelerate=folder / "accelerate",
                wrong=wrong_versions(folder.parent, read_requirements()),
                installed=installed_names(folder.parent),
                torch_cuda=read_torch_cuda(folder.parent),
                axolotl=installed_version(folder.parent, "axolotl"),
            )
    return Environment(accelerate=None)


def read_requirements(path: Path = CHECKOUT / "requirements.txt") -> list[Requirement]:
    """The requirements of the file that apply to this Python."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return [requirement for requirement in requirements if not requirement.marker or requirement.marker.evaluate()]


def check_environment(environment: Environment) -> list[Finding]:
    """An error if there is nothing to train with, and one for each version that requirements.txt does not allow."""
    if environment.accelerate is None:
        return [
            Finding(
                code="packages.mismatch",
                level="error",
                message="the training environment is not installed: no accelerate beside this Python or in .venv",
                fix=f"install it: {INSTALL}",
            )
        ]
    return [
        Finding(
            code="packages.mismatch",
            level="error",
            where=str(environment.accelerate.parent.parent),
            message=f"{name}: requires {wanted}, {installed or 'not'} installed",
            fix=f"install the pinned versions: {INSTALL}",
        )
        for name, wanted, installed in environment.wrong
    ]


def installed_names(prefix: Path) -> frozenset[str]:
    """The names of the distributions installed at `prefix`, as their folders spell them, in lower case with dashes."""
    folders = prefix.glob("lib/python3.*/*-packages/*.dist-info")
    return frozenset(folder.name.partition("-")[0].lower().replace("_", "-") for folder in folders)


def installed_version(prefix: Path, name: str) -> str:
    """The version of a distribution at `prefix`, as its folder says it; '' where it is not installed."""
    found = next(prefix.glob(f"lib/python3.*/*-packages/{name}-*.dist-info"), None)
    return found.name.removesuffix(".dist-info").partition("-")[2] if found else ""


def read_torch_cuda(prefix: Path) -> tuple[int, int] | None:
    """The CUDA that the torch at `prefix` is built for, as its own version.py says. Packages of NVIDIA's that an earlier torch left say nothing."""
    for path in prefix.glob("lib/python3.*/*-packages/torch/version.py"):
        if found := re.search(r"^cuda\b.*= '(\d+)\.(\d+)", path.read_text(encoding="utf-8"), re.M):
            return int(found[1]), int(found[2])
    return None


def wrong_versions(prefix: Path, requirements: list[Requirement]) -> tuple[tuple[str, str, str], ...]:
    """(name, wanted, installed) of each requirement that the environment at `prefix` does not meet."""
    folders = [str(folder) for folder in prefix.glob("lib/python3.*/*-packages")]
    wrong = []
    for requirement in requirements:
        installed = next((found.version for found in distributions(name=requirement.name, path=folders)), "")
        # a local label such as +cpu or +cu130 is another build of the same version
        if not installed or not requirement.specifier.contains(installed.partition("+")[0], prereleases=True):
            wrong.append((requirement.name, str(requirement.specifier) or "any version", installed))
    return tuple(wrong)
