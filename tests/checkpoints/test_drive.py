"""The folder for results, on a real mount that really fails."""

from preflight.checkpoints.drive import DriveReading, check_drive, probe_drive
from preflight.machine.platforms.colab import Colab
from tests.conftest import in_small_disk


def test_drive_is_probed_by_writing(drive):
    folder = drive.mount / "MyDrive/models"
    good = probe_drive(folder, str(drive.mount))
    assert (good.error, check_drive(good, 10**6, Colab())) == (0, [])
    assert list(folder.iterdir()) == []
    assert good.free > 10**6
    (finding,) = check_drive(good, good.free, Colab())
    assert (finding.code, "trash" in finding.fix) == ("drive.full", True)
    for number, code in ((30, "drive.not-writable"), (28, "drive.full"), (5, "drive.stale")):
        drive.faults(errno=number)
        (finding,) = check_drive(probe_drive(folder, str(drive.mount)), None, Colab())
        assert (finding.code, finding.level, f"Errno {number}" in finding.message) == (code, "error", True)
    drive.kill()
    (finding,) = check_drive(probe_drive(folder, str(drive.mount)), None, Colab())
    assert (finding.code, "force_remount=True" in finding.fix) == ("drive.stale", True)
    drive.unmount()
    (finding,) = check_drive(probe_drive(folder, str(drive.mount)), None, Colab())
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
    assert check_drive(DriveReading(folder=disk, free=10**12), 10**9, Colab()) == []
