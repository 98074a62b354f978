"""`setup_colab_environment()` in a process that stands for the kernel: real mounts and git, a stand-in for google.colab alone."""

import os
import shutil
import subprocess

import pytest

from preflight.cli.session import update_code
from preflight.machine.platforms.colab import Colab
from tests.support.drive import can_mount
from tests.support.sessions import TOKEN, Notebook


@pytest.fixture
def machine(tmp_path, checkout):
    if not can_mount():
        pytest.skip("a FUSE mount needs root and /dev/fuse")
    machine = Notebook(tmp_path / "content", checkout, {"FAKE_DRIVE": str(tmp_path / "drive behind"), "FAKE_SECRET": TOKEN})
    yield machine
    machine.close()
    assert machine.leaks() == []


def codes(report, area):
    return {finding["code"]: finding["message"] for finding in report["findings"] if finding["code"].startswith(area)}


def test_one_call_mounts_drive_reads_the_secret_judges_and_shows_the_curves(machine, tmp_path):
    report = machine.preflight()
    assert report["ok"], report["findings"]
    assert os.path.ismount(machine.workspace / "drive")
    assert {"sql-codegen-models", "sql-codegen-logs", "sql-codegen-tensorboard", "sql-codegen-data"} <= {
        path.name for path in (tmp_path / "drive behind/MyDrive").iterdir()
    }
    assert {"drive.mounted", "hub.secret", "tensorboard.running"} <= {finding["code"] for finding in report["findings"]}
    assert "started" in codes(report, "tensorboard")["tensorboard.running"]
    assert report["command"]
    again = machine.preflight()
    assert again["ok"]
    assert "already running" in codes(again, "tensorboard")["tensorboard.running"]


def test_outside_a_cell_drive_and_secrets_are_not_to_be_had(machine):
    """As the real module in a child process; nothing is made under the mount point."""
    del machine.env["FAKE_DRIVE"], machine.env["FAKE_SECRET"]
    report = machine.preflight()
    assert not report["ok"]
    assert "only a cell of the notebook can mount Drive" in codes(report, "drive")["drive.not-mounted"]
    assert "hub.no-secret" in codes(report, "hub")
    assert not list((machine.workspace / "drive").rglob("*"))


def test_a_mount_point_that_holds_files_is_left_alone(machine):
    (machine.workspace / "drive/MyDrive").mkdir(parents=True)
    report = machine.preflight()
    assert "must not already contain files" in codes(report, "drive")["drive.not-mounted"]
    assert not list((machine.workspace / "drive/MyDrive").iterdir())


def test_elsewhere_than_on_colab_nothing_is_mounted(tmp_path):
    assert "not Colab" in Colab().mount(str(tmp_path / "drive"), [str(tmp_path / "drive/MyDrive/x")])
    assert not (tmp_path / "drive").exists()


@pytest.fixture
def clone(tmp_path):
    """A checkout and its origin, one commit ahead."""

    def git(folder, *arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
        subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)

    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    (origin / "a.yaml").write_text("a: 1\n")
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "first")
    subprocess.run(["git", "clone", "-q", origin, tmp_path / "clone"], check=True)
    (origin / "a.yaml").write_text("a: 2\n")
    git(origin, "commit", "-qam", "second")
    return tmp_path / "clone"


def test_the_code_goes_to_its_origins_newest_commit(clone):
    (finding,) = update_code(clone)
    assert (finding.code, (clone / "a.yaml").read_text()) == ("code.updated", "a: 2\n")
    assert update_code(clone) == []


def test_local_edits_are_never_lost(clone):
    (clone / "a.yaml").write_text("a: mine\n")
    (finding,) = update_code(clone)
    assert (finding.code, finding.level) == ("code.not-updated", "warning")
    assert "a.yaml" in finding.message
    assert (clone / "a.yaml").read_text() == "a: mine\n"


def test_an_origin_that_is_gone(clone, tmp_path):
    shutil.rmtree(tmp_path / "origin")
    (finding,) = update_code(clone)
    assert finding.code == "code.not-updated"
    assert update_code(tmp_path) == []
