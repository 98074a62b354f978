"""What Python's spawned processes begin with."""

import sys
from importlib.machinery import ModuleSpec


def spare_the_program() -> None:
    """Have spawned processes not import the program again: what they do is in other modules.

    `datasets` 4.8.4 spawns two of them wherever it writes rows. Each imported all of `axolotl.cli.evaluate`, which took the loss on test
    rows from 24 s to 80 s (2 vCPU, 2026-11-27). Of what is a package's `__main__` Python imports nothing there.
    """
    program = sys.modules["__main__"]
    if program.__spec__ is not None:
        program.__spec__ = ModuleSpec("axolotl.__main__", None)
