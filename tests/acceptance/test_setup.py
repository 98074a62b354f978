"""scripts/setup.sh in an empty folder, with what it fetches from the package registry, and the versions for each Python."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import CHECKOUT, run

PIP = SimpleNamespace(**runpy.run_path(str(CHECKOUT / "scripts/pip_settings.py")))


def without_settings():
    """The variables, without this machine's own settings of pip and uv, which are not what is tested."""
    env = {name: value for name, value in os.environ.items() if name not in ("VENV", "INSTALLER") and not name.startswith(("UV_", "PIP_"))}
    return env | {"PIP_CONFIG_FILE": os.devnull}


def set_up(folder, **more):
    """A set-up that installs one small package, on a PATH without uv."""
    (folder / "scripts").mkdir(parents=True)
    for name in ("setup.sh", "pip_settings.py"):
        shutil.copy(CHECKOUT / "scripts" / name, folder / "scripts")
    for name, content in {"requirements.txt": "packaging>=25\n", "requirements-dev.txt": "", "constraints.txt": "packaging==26.0\n"}.items():
        (folder / name).write_text(content)
    without = [part for part in os.environ["PATH"].split(":") if not Path(part, "uv").exists()]
    return run("scripts/setup.sh", cwd=folder, env=without_settings() | {"PATH": ":".join(without), "PYTHON": sys.executable} | more)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    if subprocess.run([sys.executable, "-m", "pip", "index", "versions", "uv"], capture_output=True, env=without_settings()).returncode:
        pytest.skip("no package registry can be reached")
    folder = tmp_path_factory.mktemp("setup")
    return folder, set_up(folder)


def test_uv_is_fetched_where_there_is_none_and_installs(registry):
    folder, done = registry
    assert (done.code, done.err) == (0, ""), done.out
    assert "setup: done in" in done.out
    assert re.search(r"^ ?\+ packaging==26.0$", (folder / ".venv/install.log").read_text(), re.M), "uv's own words"
    assert (folder / ".venv/bin/uv").exists()
    again = run("scripts/setup.sh", cwd=folder)
    assert again.out == "setup: .venv is up to date\n"


def test_where_uv_fails_pip_installs(registry, tmp_path):
    done = set_up(tmp_path / "folder", UV_FIND_LINKS=str(tmp_path / "nowhere"))
    assert (done.code, done.err) == (0, ""), done.out
    assert "setup: uv failed after" in done.out
    assert "Successfully installed packaging-26.0" in (tmp_path / "folder/.venv/install.log").read_text()


def test_pip_alone_where_it_is_asked_for(registry, tmp_path):
    assert set_up(tmp_path / "folder", INSTALLER="pip").code == 0
    assert not (tmp_path / "folder/.venv/bin/uv").exists()


@pytest.mark.parametrize("python", sorted({"3.11", "3.12", "3.13"} - {f"{sys.version_info.major}.{sys.version_info.minor}"}))
def test_every_other_python_gets_the_versions_that_are_pinned(registry, python):
    """3.13 is Colab's. What is resolved for it here is not installed: that was done by hand (docs/benchmarks.md)."""
    uv = registry[0] / ".venv/bin/uv"
    settings = run(sys.executable, CHECKOUT / "scripts/pip_settings.py").out
    command = f"{settings}\nexec {uv} pip compile -q --no-header --no-annotate -c constraints.txt --python-version {python} requirements.txt"
    done = run("bash", "-c", command, cwd=CHECKOUT)
    assert done.code == 0, done.err
    pinned = set(re.findall(r"^([^=\s]+==[^\s;]+)", (CHECKOUT / "constraints.txt").read_text(), re.M))
    found = {line.partition("+")[0].strip() for line in done.out.splitlines() if "==" in line}
    assert len(found) > 150
    assert found <= pinned


def test_pip_installs_where_it_takes_packages_from_several_places(registry, tmp_path):
    """Of a version that lies in two of them, uv took the wheel of another Python."""
    done = set_up(tmp_path / "folder", PIP_FIND_LINKS=str(tmp_path))
    assert (done.code, done.err) == (0, ""), done.out
    assert "setup: pip is set to take packages from several places" in done.out
    assert not (tmp_path / "folder/.venv/bin/uv").exists()


def test_what_pip_is_set_to_use_is_told_to_uv():
    listed = "\n".join(
        [
            "global.index-url='https://one.example/simple'",
            "global.trusted-host='one.example two.example'",
            "global.constraint='/a\\n/b'",
            "install.constraint='/c /d'",
            ":env:.index-url='https://name:secret@four.example/simple'",
            "global.timeout='60'",
            "freeze.cert='/not/read'",
        ]
    )
    settings = PIP.read_settings(listed)
    assert PIP.variables(settings, {}) == {
        "UV_DEFAULT_INDEX": "https://name:secret@four.example/simple",
        "UV_INSECURE_HOST": "one.example two.example",
        "UV_CONSTRAINT": "/c /d",
    }
    assert PIP.variables(settings, {"UV_INSECURE_HOST": "", "UV_DEFAULT_INDEX": "mine"}) == {"UV_CONSTRAINT": "/c /d"}
    assert PIP.variables({}, {}) == {}
