"""`drive.mount`, by the FUSE mount of the tests: FAKE_DRIVE names the folder behind it."""

import os
import subprocess
import sys
from pathlib import Path

DAEMON = Path(__file__).resolve().parents[2] / "fuse_drive.py"


def mount(mountpoint, force_remount=False):
    """As the real one: refused in a child process, and on a mount point that holds files."""
    if "FAKE_DRIVE" not in os.environ:
        raise AttributeError("'NoneType' object has no attribute 'kernel'")
    point = Path(mountpoint)
    if point.is_mount():
        print(f"Drive already mounted at {point}; to attempt to forcibly remount, call drive.mount({str(point)!r}, force_remount=True).")
        return
    point.mkdir(parents=True, exist_ok=True)
    if any(point.iterdir()):
        raise ValueError("Mountpoint must not already contain files")
    Path(os.environ["FAKE_DRIVE"], "MyDrive").mkdir(parents=True, exist_ok=True)
    daemon = subprocess.Popen(
        [sys.executable, DAEMON, os.environ["FAKE_DRIVE"], point], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    daemon.stdout.readline()
