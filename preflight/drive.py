"""Mount Google Drive, from the kernel, and probe it, from anywhere."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preflight.findings import Finding
from preflight.mirror import KEPT, check_mount

MOUNT_CELL = "run this in a cell of the notebook, then preflight again: from google.colab import drive; drive.mount('{mount}')"


@dataclass(frozen=True, kw_only=True)
class DriveReading:
    """What a probe of the folder for results found. `error` is 0 where a file could be written, synced, read back and deleted."""

    folder: Path
    mount: str = ""  # what has to be mounted; empty outside Colab
    error: int = 0
    reason: str = ""
    free: int = 0  # bytes


def mount_google_drive(mount: str, folders: Sequence[str]) -> str:
    """Mount Drive if it is not, make the project's folders on it, and return why that failed, or ''.

    Only a cell of the notebook can do this: in a child process google.colab has no kernel to ask (facts of the real module).
    A mount point that holds files of its own is refused by Colab, so nothing is ever made under one that is not mounted.
    """
    try:
        if not os.path.ismount(mount):
            from google.colab import drive

            drive.mount(mount)
        check_mount(mount)
        for folder in folders:
            Path(folder).mkdir(parents=True, exist_ok=True)
    except ImportError:
        return "this is not Colab: google.colab is not here"
    except AttributeError:  # 'NoneType' object has no attribute 'kernel'
        return f"only a cell of the notebook can mount Drive; {MOUNT_CELL.format(mount=mount)}"
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def probe_drive(folder: Path, mount: str) -> DriveReading:
    """Write, sync, read back and delete a small file in `folder`, which is made if what it lies on is mounted."""
    token = uuid.uuid4().hex
    path = folder / f".preflight-{token[:8]}"
    try:
        check_mount(mount)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("w", encoding="utf-8") as file:
                file.write(token)
                file.flush()
                os.fsync(file.fileno())
            same = path.read_text(encoding="utf-8") == token
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        if not same:
            return DriveReading(folder=folder, mount=mount, error=errno.EIO, reason="a file read back is not what was written")
        return DriveReading(folder=folder, mount=mount, free=shutil.disk_usage(folder).free)
    except OSError as error:
        return DriveReading(folder=folder, mount=mount, error=error.errno or errno.EIO, reason=error.strerror or str(error))


def check_drive(reading: DriveReading, checkpoint_bytes: int | None) -> list[Finding]:
    """Whether results can be kept there, and whether there is room for what a run writes."""
    if reading.error:
        code, fix = _meaning(reading)
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


def _meaning(reading: DriveReading) -> tuple[str, str]:
    """The code for an errno, and the mend."""
    mount = reading.mount or "/content/drive"
    if reading.error == errno.ENODEV or (reading.error == errno.ENOENT and reading.mount):
        return "drive.not-mounted", MOUNT_CELL.format(mount=mount)
    if reading.error in (errno.ENOTCONN, errno.EIO, errno.ESTALE):
        again = f"from google.colab import drive; drive.flush_and_unmount(); drive.mount('{mount}', force_remount=True)"
        return "drive.stale", f"Drive dropped out; mount it again in a cell: {again}" if reading.mount else "mount the disk again"
    if reading.error in (errno.ENOSPC, errno.EDQUOT):
        return "drive.full", "delete files there, and empty the trash, which counts too"
    return "drive.not-writable", "see that you may write there, or choose another folder: --set output_dir=DIR"
