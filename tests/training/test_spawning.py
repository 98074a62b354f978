"""What spawned processes import of the program that spawns them: the pool that `datasets` writes rows with."""

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import multiprocess

from preflight.training.plugin.spawning import spare_the_program


def test_a_spawned_process_does_not_import_the_program(tmp_path, monkeypatch):
    (tmp_path / "heavy_program.py").write_text(f"from pathlib import Path\nPath({str(tmp_path)!r}, 'imported').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    program = ModuleType("__main__")
    program.__spec__ = find_spec("heavy_program")
    monkeypatch.setitem(sys.modules, "__main__", program)

    def spawned():
        with multiprocess.get_context("spawn").Pool(1) as pool:
            assert pool.apply(os.getpid) != os.getpid()
        return (tmp_path / "imported").exists()

    assert spawned()
    (tmp_path / "imported").unlink()
    spare_the_program()
    assert not spawned()


def test_a_program_that_is_no_module_stays_as_it_is(monkeypatch):
    program = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", program)
    spare_the_program()
    assert program.__spec__ is None
    program.__spec__ = ModuleSpec("axolotl.cli.train", None)
    spare_the_program()
    assert program.__spec__.name.endswith(".__main__")
