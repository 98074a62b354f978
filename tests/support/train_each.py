"""Trains each YAML that it is given, in a fork of one process that has imported Axolotl: the import takes longer than such a run. Axolotl 0.19.0
imports what trains when it is called for, so that each fork would do it for itself (10 s of CPU, 2026-11-27).

Each one's output goes to a file beside its YAML, `trained.log`; ends with 1 if a run did.
"""

import importlib
import os
import sys
from pathlib import Path

NEEDED = ("axolotl.train", "axolotl.core.builders")


def main(configs):
    for name in NEEDED:
        importlib.import_module(name)
    from axolotl.cli.train import do_cli

    from tests.support.forking import fork_what_writes_rows

    fork_what_writes_rows()

    for config in map(Path, configs):
        if (child := os.fork()) == 0:
            log = os.open(config.with_name("trained.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            do_cli(str(config))
            sys.exit()
        if os.waitpid(child, 0)[1]:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
