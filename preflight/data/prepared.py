"""The tokenised rows that Axolotl keeps: what a kill left half written would fail every launch to come."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from preflight.files import MALFORMED, quoted
from preflight.findings import Finding
from preflight.machine.active import find_training
from preflight.machine.run_folder import RunFolder


def remove_incomplete(run: RunFolder) -> list[Finding]:
    """Delete what is incomplete, so that the launch makes it anew. Axolotl 0.19.0 loads whatever folder is not empty."""
    removed = [folder for folder in find_prepared(run) if not is_complete(folder)]
    if removed and any(find_training(RunFolder(folder=other)) for other in run.folder.parent.iterdir()):
        return []  # another run of the config, which shares them, may be writing them now
    try:
        for folder in removed:
            shutil.rmtree(folder)
    except OSError as error:
        message = f"tokenised rows that an interrupted session left incomplete can't be removed: {error.strerror}"
        fix = f"rm -r {quoted(run.prepared)}"
        return [Finding(code="workspace.not-writable", level="error", where=str(error.filename or run.prepared), message=message, fix=fix)]
    message = "tokenised rows that an interrupted session left incomplete were removed; training makes them anew"
    return [Finding(code="data.prepared-again", level="info", where=str(folder), message=message) for folder in removed]


def find_prepared(run: RunFolder) -> Iterator[Path]:
    """Each data set in the run's cache: a folder named by Axolotl's hash, in one named by the rows' own."""
    for folder in sorted(run.prepared.glob("*/*")):
        if folder.is_dir() and not folder.is_symlink() and any(folder.iterdir()):
            yield folder


def is_complete(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` came to its end: it writes the rows, then state.json, which names their files, then dataset_info.json
    (datasets 4.8)."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        return all((folder / file["filename"]).stat().st_size for file in state["_data_files"])
    except (OSError, *MALFORMED):
        return False
