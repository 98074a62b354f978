"""`runtime.unassign`: the machine is given back; here a file behind Drive says so."""

import os
from pathlib import Path


def unassign():
    Path(os.environ["FAKE_DRIVE"]).with_name("unassigned").touch()
