"""`setup_colab_environment()` in a process that stands for the kernel: real mounts and git, a stand-in for google.colab alone."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from preflight.colab import update_code
from preflight.drive import DriveReading, check_drive, mount_google_drive, probe_drive
from tests.conftest import CHECKOUT, environment, in_small_disk
from tests.drive import can_mount

TOKEN = "hf_goodTokenOfTheSecrets"
CELL = """
import sys
from pathlib import Path
from preflight import setup_colab_environment
from preflight.pipeline import Request
from preflight.report import render_json
print(render_json(setup_colab_environment(Request(config=Path("axolotl_configs/smoke.yaml"), workspace=Path(sys.argv[1])))))
"""


def kernel(workspace, **variables):
    env = environment() | {"COLAB_RELEASE_TAG": "test"} | variables
    env.pop("HF_TOKEN", None)
    env["PYTHONPATH"] += f":{CHECKOUT}"
    done = subprocess.run([sys.executable, "-c", CELL, workspace], cwd=CHECKOUT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def workspace(tmp_path):
    if not can_mount():
        pytest.skip("a FUSE mount needs root and /dev/fuse")
    root = tmp_path / "content"
    root.mkdir()
    yield root
    subprocess.run(
        [sys.executable, "-m", "preflight.tensorboard", "stop", root / "runs/smoke/outputs"], cwd=CHECKOUT, check=True, capture_output=True
    )
    subprocess.run(["umount", "-l", root / "drive"], check=False, capture_output=True)


def codes(report, area):
    return {finding["code"]: finding["message"] for finding in report["findings"] if finding["code"].startswith(area)}


def test_one_call_mounts_drive_reads_the_secret_judges_and_shows_the_curves(workspace, tmp_path):
    report = kernel(workspace, FAKE_DRIVE=str(tmp_path / "drive behind"), FAKE_SECRET=TOKEN)
    assert report["ok"], report["findings"]
    assert os.path.ismount(workspace / "drive")
    assert {"sql-codegen-models", "sql-codegen-logs", "sql-codegen-tensorboard", "sql-codegen-data"} <= {
        path.name for path in (tmp_path / "drive behind/MyDrive").iterdir()
    }
    assert {"drive.mounted", "hub.secret", "tensorboard.running"} <= {finding["code"] for finding in report["findings"]}
    assert "started" in codes(report, "tensorboard")["tensorboard.running"]
    assert report["command"]
    again = kernel(workspace, FAKE_DRIVE=str(tmp_path / "drive behind"), FAKE_SECRET=TOKEN)
    assert again["ok"]
    assert "already there" in codes(again, "tensorboard")["tensorboard.running"]
    assert not [path for path in workspace.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_outside_a_cell_drive_and_secrets_are_not_to_be_had(workspace):
    """As the real module in a child process; nothing is made under the mount point."""
    report = kernel(workspace)
    assert not report["ok"]
    assert "only a cell of the notebook can mount Drive" in codes(report, "drive")["drive.not-mounted"]
    assert "hub.no-secret" in codes(report, "hub")
    assert not list((workspace / "drive").rglob("*"))


def test_a_mount_point_that_holds_files_is_left_alone(workspace, tmp_path):
    (workspace / "drive/MyDrive").mkdir(parents=True)
    report = kernel(workspace, FAKE_DRIVE=str(tmp_path / "behind"), FAKE_SECRET=TOKEN)
    assert "must not already contain files" in codes(report, "drive")["drive.not-mounted"]
    assert not list((workspace / "drive/MyDrive").iterdir())


def test_elsewhere_than_on_colab_nothing_is_mounted(tmp_path):
    assert "not Colab" in mount_google_drive(str(tmp_path / "drive"), [str(tmp_path / "drive/MyDrive/x")])
    assert not (tmp_path / "drive").exists()


def test_drive_is_probed_by_writing(drive):
    folder = drive.mount / "MyDrive/models"
    good = probe_drive(folder, str(drive.mount))
    assert (good.error, check_drive(good, 10**6)) == (0, [])
    assert list(folder.iterdir()) == []
    assert good.free > 10**6
    (finding,) = check_drive(good, good.free)
    assert (finding.code, "trash" in finding.fix) == ("drive.full", True)
    for number, code in ((30, "drive.not-writable"), (28, "drive.full"), (5, "drive.stale")):
        drive.faults(errno=number)
        (finding,) = check_drive(probe_drive(folder, str(drive.mount)), None)
        assert (finding.code, finding.level, f"Errno {number}" in finding.message) == (code, "error", True)
    drive.kill()
    (finding,) = check_drive(probe_drive(folder, str(drive.mount)), None)
    assert (finding.code, "force_remount=True" in finding.fix) == ("drive.stale", True)
    drive.unmount()
    (finding,) = check_drive(probe_drive(folder, str(drive.mount)), None)
    assert (finding.code, "drive.mount(" in finding.fix) == ("drive.not-mounted", True)
    assert list(drive.mount.iterdir()) == []
    drive.start()


def test_a_disk_with_no_room_is_found_by_preflight(preflight, tmp_path):
    """A real, small disk in the place of Drive: what the run writes is worked out before."""
    disk = tmp_path / "disk"
    ran = preflight("axolotl_configs/smoke.yaml", "--set", f"output_dir={disk}/out", "--json", under=in_small_disk(disk, "size=8m"))
    (finding,) = [finding for finding in ran.json["findings"] if finding["code"] == "drive.full"]
    assert ran.code == 1
    assert "4 checkpoints and the adapter" in finding["message"]
    assert check_drive(DriveReading(folder=disk, free=10**12), 10**9) == []


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
