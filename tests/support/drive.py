"""A real mount in the place of Google Drive, which can really fail."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


class Drive:
    """A FUSE mount in the place of Google Drive: it can be killed, mounted again, and told to fail or be slow."""

    def __init__(self, folder: Path, mount: Path):
        self.folder, self.mount = folder, mount
        folder.mkdir(parents=True)
        mount.mkdir(parents=True)
        self.start()

    def start(self):
        daemon = CHECKOUT / "tests/support/fakes/fuse_drive.py"
        self.process = subprocess.Popen([sys.executable, daemon, self.folder, self.mount], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        """As Colab's Drive drops out: every access then gives Errno 107."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def unmount(self):
        subprocess.run(["umount", "-l", self.mount], check=True)

    def again(self):
        self.kill()
        self.unmount()
        self.start()

    def faults(self, **faults):
        self.folder.with_name(f"{self.folder.name}.faults").write_text(json.dumps(faults))


class Disk:
    """A small tmpfs in the place of Google Drive: it really fills up, and is really mounted read-only."""

    def __init__(self, mount: Path, size="64m"):
        self.mount = mount
        mount.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", mount], check=True)

    def fill(self):
        with contextlib.suppress(OSError), (self.mount / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self):
        (self.mount / "filler").unlink()

    def read_only(self):
        while subprocess.run(["mount", "-o", "remount,ro", self.mount], check=False, capture_output=True).returncode:
            time.sleep(0.01)  # a file is just being written

    def writable(self):
        subprocess.run(["mount", "-o", "remount,rw", self.mount], check=True)

    def unmount(self):
        subprocess.run(["umount", "-l", self.mount], check=True)


def can_mount():
    """Whether this process may mount FUSE file systems: root may, on a kernel that has them."""
    return os.geteuid() == 0 and Path("/dev/fuse").exists()
