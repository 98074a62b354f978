"""A real mount in the place of Google Drive, which can really fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


class Drive:
    """A FUSE mount in the place of Google Drive: it can be killed, mounted again, and told to fail or be slow."""

    def __init__(self, folder: Path, mount: Path):
        self.folder, self.mount = folder, mount
        folder.mkdir(parents=True)
        mount.mkdir(parents=True)
        self.start()

    def start(self):
        daemon = CHECKOUT / "tests/fakes/fuse_drive.py"
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


def can_mount():
    """Whether this process may mount FUSE file systems: root may, on a kernel that has them."""
    return os.geteuid() == 0 and Path("/dev/fuse").exists()
