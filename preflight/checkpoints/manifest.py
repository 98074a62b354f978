"""What a finished checkpoint holds, file by file, so that an incomplete or a changed one is recognised. Standard library only."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from preflight.config.secrets import without_secrets
from preflight.files import MALFORMED, read_content, write_atomic
from preflight.machine.run_folder import CARD, HISTORY, RECORDS

NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The files of a checkpoint, or of the final adapter, and which run they are of."""

    step: int
    max_steps: int
    best_step: int = 0  # the step of the best checkpoint so far; 0 if none is
    chosen_step: int = 0  # of the final adapter: the step that the evaluation chose; 0 where none has chosen
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # name -> (bytes, sha256)
    experiment: Mapping[str, Any] = field(default_factory=dict)  # run_fingerprint of the config: which runs may resume from here


def describe(folder: Path, *, subfolders: bool, step: int, max_steps: int, best_step: int, experiment: Mapping[str, Any]) -> Manifest:
    """A manifest of the files in `folder`, without logs and records, which are still being written, and without the card. DeepSpeed keeps the optimizer of a
    checkpoint in a subfolder; those of the outputs are checkpoints of their own. Raises OSError."""
    found = folder.rglob("*") if subfolders else folder.iterdir()
    paths = sorted(path for path in found if path.is_file() and path.suffix != ".log" and not path.name.startswith("."))
    files = {path.relative_to(folder).as_posix(): content_of(path) for path in paths if path.name not in (NAME, RECORDS, HISTORY, CARD)}
    return Manifest(step=step, max_steps=max_steps, best_step=best_step, files=files, experiment=experiment)


def write(folder: Path, manifest: Manifest) -> None:
    """Put the manifest beside its files: last, and complete or not at all. Raises OSError."""
    write_atomic(folder / NAME, json.dumps(asdict(manifest), indent=1))


def read(folder: Path) -> Manifest | None:
    """The folder's manifest, or None where there is none that can be read. Raises OSError other than for a file that is not there."""
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
        files = {
            str(name): (int(size), str(digest)) for name, (size, digest) in values.pop("files").items() if name != CARD
        }  # which earlier versions listed
        if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in files):
            return None  # no manifest of ours names files elsewhere, where copying it would write them
        values["experiment"] = without_secrets(values.get("experiment") or {})  # which earlier versions of the kit left in
        held = Manifest(files=files, **values)
        numbers = all(isinstance(number, int) for number in (held.step, held.max_steps, held.best_step, held.chosen_step))
        return held if numbers and isinstance(held.experiment, dict) else None
    except (FileNotFoundError, *MALFORMED):
        return None


def difference(folder: Path, manifest: Manifest, *, hashes: bool) -> str:
    """Which file is not as the manifest says, or ''. Without `hashes` only sizes are compared. Raises OSError."""
    for name, (size, digest) in manifest.files.items():
        path = folder / name
        actual = path.stat().st_size if path.is_file() else -1
        if actual < 0:
            return f"{name} is missing"
        if actual != size:
            return f"{name} has {actual:,} bytes of {size:,}"
        if hashes and content_of(path) != (size, digest):
            return f"the bytes of {name} have changed"
    return ""


def content_of(path: Path) -> tuple[int, str]:
    """(bytes, sha256) of a file, as a manifest lists it. Raises OSError."""
    content = read_content(path)
    return content.bytes, content.sha256
