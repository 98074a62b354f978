"""Whether the folder for results, on Drive or elsewhere, can be written to and has room."""

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

from preflight.checkpoints.copies import KEPT
from preflight.files import probe_writing, require_mount
from preflight.findings import Finding
from preflight.machine.platforms.base import Platform


@dataclass(frozen=True, kw_only=True)
class DriveReading:
    """What a probe of the folder for results found. `error` is 0 where a file could be written, synced, read back and deleted."""

    folder: Path
    mount: str = ""  # what has to be mounted; empty outside Colab
    error: int = 0
    reason: str = ""
    free: int = 0  # bytes


def probe_drive(folder: Path, mount: str) -> DriveReading:
    """Write, sync, read back and delete a small file in `folder`, which is made if what it lies on is mounted."""
    try:
        require_mount(mount)
        if error := probe_writing(folder):
            return unreachable(folder, mount, error)
        return DriveReading(folder=folder, mount=mount, free=shutil.disk_usage(folder).free)
    except OSError as error:
        return unreachable(folder, mount, error)


def unreachable(folder: Path, mount: str, error: OSError) -> DriveReading:
    """The reading of a folder that gave this error."""
    return DriveReading(folder=folder, mount=mount, error=error.errno or errno.EIO, reason=error.strerror or str(error))


def check_drive(reading: DriveReading, checkpoint_bytes: int | None, platform: Platform) -> list[Finding]:
    """Whether results can be kept there, and whether there is room for what a run writes."""
    if reading.error:
        code, fix = _meaning(reading, platform)
        message = f"results can't be kept in {reading.folder}: {reading.reason} (Errno {reading.error})"
        return [Finding(code=code, level="error", where=reading.mount or str(reading.folder), message=message, fix=fix)]
    if checkpoint_bytes is None:
        return []
    # the newest two, the best, and one more while it is copied, before an older one goes; the final adapter
    needed = (KEPT + 2) * checkpoint_bytes + checkpoint_bytes // 3
    if reading.free >= needed:
        return []
    message = f"{reading.free / 1e9:.1f} GB are free and the run writes up to {needed / 1e9:.1f} GB: {KEPT + 2} checkpoints and the adapter"
    fix = "delete files there and empty the trash of Drive, which counts too: drive.google.com/drive/trash"
    return [Finding(code="drive.full", level="error", where=str(reading.folder), message=message, fix=fix)]


def _meaning(reading: DriveReading, platform: Platform) -> tuple[str, str]:
    """The code for an errno, and the fix."""
    mount = reading.mount or "/content/drive"
    if reading.error == errno.ENODEV or (reading.error == errno.ENOENT and reading.mount):
        return "drive.not-mounted", platform.mount_fix(mount)
    if reading.error in (errno.ENOTCONN, errno.EIO, errno.ESTALE):
        return "drive.stale", platform.remount_fix(mount) if reading.mount else "mount the disk again"
    if reading.error in (errno.ENOSPC, errno.EDQUOT):
        return "drive.full", "delete files there, and empty the trash, which counts too"
    return "drive.not-writable", "make sure that you may write there, or choose another folder: --set output_dir=DIR"
