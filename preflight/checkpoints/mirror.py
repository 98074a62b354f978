"""Copy what a run has finished to Drive, so that nothing incomplete there ever counts.

A checkpoint is copied under another name, synced, read back, renamed, and gets its manifest last. Without a manifest it counts
for nothing. Standard library only: it runs beside training, in a process of its own (cli/mirror.py).
"""

import contextlib
import errno
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preflight import files
from preflight.checkpoints import manifest
from preflight.checkpoints.manifest import Manifest
from preflight.files import Progress, require_mount, silent
from preflight.machine.run_folder import EVENTS, RECORDS

SETTINGS = "mirror.json"  # beside the outputs: what preflight tells the plugin
FINAL = "."  # the name of the final adapter, whose files lie among the outputs themselves
KEPT = 2  # newest checkpoints on Drive; the best one is kept as well


@dataclass(frozen=True, kw_only=True)
class MirrorSettings:
    """Where a run's results go. An empty `to` means nowhere: checkpoints get their manifest all the same."""

    to: str = ""
    mount: str = ""  # a folder that has to be a mount, or nothing is written: a Drive that is gone leaves an empty folder behind
    experiment: Mapping[str, Any]
    depends: Mapping[str, Any] = field(default_factory=dict)  # what the seconds that a step takes are recorded with


class DamagedError(OSError):
    """What was to be copied is not what its manifest says."""


@contextlib.contextmanager
def exclusive_lock(outputs: Path, *, wait: bool) -> Iterator[bool]:
    """Whether no other mirror works on these outputs, and none will meanwhile. With `wait` it is always True, later. Raises OSError."""
    outputs.parent.mkdir(parents=True, exist_ok=True)
    with (outputs.parent / ".mirror.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def write_settings(run: Path, settings: MirrorSettings) -> None:
    """Raises OSError."""
    files.write_atomic(run / SETTINGS, json.dumps(asdict(settings), indent=1))


def read_settings(run: Path) -> MirrorSettings | None:
    """What `write_settings` wrote below `run`, or None."""
    try:
        return MirrorSettings(**json.loads((run / SETTINGS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def step_of(folder: Path) -> int:
    """N of `checkpoint-N`, else -1."""
    name, _, step = folder.name.partition("-")
    return int(step) if name == "checkpoint" and step.isdecimal() else -1


def checkpoints_in(folder: Path) -> list[Path]:
    """Every `checkpoint-N` below the folder, newest first. Raises OSError."""
    found = [path for path in folder.iterdir() if step_of(path) >= 0] if folder.is_dir() else []
    return sorted(found, key=step_of, reverse=True)


def unmirrored(outputs: Path, to: Path) -> list[str]:
    """Names below `outputs` that are finished and not at `to` in the same state: checkpoints, newest first, FINAL, event files.
    Raises OSError."""
    checkpoints = [(path.name, held) for path in checkpoints_in(outputs)[:KEPT] if (held := manifest.read(path))]
    final = [(FINAL, held)] if (held := manifest.read(outputs)) else []
    names = [name for name, held in checkpoints + final if not _is_kept(to / name, held)]
    return names + [str(path) for path in _small(outputs) if not _same(outputs / path, to / path)]


def _is_kept(copy: Path, held: Manifest) -> bool:
    """Whether the copy is there as the manifest says. Sizes are looked at again each time: Drive has lost files that it had taken."""
    return manifest.read(copy) == held and not manifest.difference(copy, held, hashes=False)


def left_behind(outputs: Path) -> str:
    """Why what a run has saved is not all in its folder for results, or ''. For the moment at which a machine is given back."""
    settings = read_settings(outputs.parent)
    if settings is None or not settings.to:
        return ""
    try:
        require_mount(settings.mount)
        missing = [name for name in unmirrored(outputs, Path(settings.to)) if not is_small(name)]
    except OSError as error:
        return f"{settings.to} can't be read: {error.strerror or error}"
    names = ", ".join("the final adapter" if name == FINAL else name for name in missing)
    return f"{names} {'are' if len(missing) > 1 else 'is'} not in {settings.to}" if missing else ""


def mirror(outputs: Path, settings: MirrorSettings, progress: Progress = silent) -> list[str]:
    """Bring all that is finished to Drive; return the names of what was brought. Raises OSError, with nothing half-taken."""
    require_mount(settings.mount)
    to = Path(settings.to)
    to.mkdir(parents=True, exist_ok=True)
    brought = list[str]()
    for name in unmirrored(outputs, to):
        try:
            bring(outputs, to, name, progress)
        except DamagedError:
            continue  # preflight passes over it as well, and says so
        except FileNotFoundError:
            if name == FINAL or (outputs / name).exists():
                raise
            continue  # training deleted it for a newer one meanwhile
        brought.append(name)
        if step_of(outputs / name) >= 0:
            prune(to)
    prune(to)  # what an earlier kill left
    return brought


def restore_small(source: Path, outputs: Path) -> None:
    """The event files and the record of earlier sessions that are not here, so that the curves continue and the pace is known. Raises OSError."""
    for path in _small(source):
        if not (outputs / path).exists():
            files.copy_atomic(source / path, outputs / path)


def bring(source: Path, target: Path, name: str, progress: Progress = silent) -> None:
    """Copy one finished thing from folder to folder, verify the copy, and only then let it count. Raises OSError."""
    target.mkdir(parents=True, exist_ok=True)
    if name != FINAL and step_of(source / name) < 0:
        files.copy_atomic(source / name, target / name)
        return
    held = manifest.read(source / name)
    if held is None:
        raise FileNotFoundError(errno.ENOENT, "it has no manifest", str(source / name))
    aside = "final" if name == FINAL else name
    partial, old = target / f".{aside}.partial", target / f".{aside}.old"
    try:
        for leftover in (partial, old):
            _delete(leftover)
        partial.mkdir()
        _copy_verified(source / name, partial, held, progress)
        if name == FINAL:
            (target / manifest.NAME).unlink(missing_ok=True)
            for file in held.files:
                (partial / file).replace(target / file)
        else:
            if (target / name).exists():
                (target / name / manifest.NAME).unlink(missing_ok=True)
                (target / name).rename(old)
            partial.rename(target / name)
        manifest.write(target / name, held)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def prune(to: Path) -> None:
    """Delete half copies, and checkpoints but the newest two complete ones and the best, none of them newer than these. Raises OSError."""
    for leftover in (*to.glob(".checkpoint-*"), *to.glob(".final.*")):
        _delete(leftover)
    found = checkpoints_in(to)
    complete = [held for path in found if (held := manifest.read(path))]
    if len(complete) < KEPT:
        return
    kept = {held.step for held in complete[:KEPT]} | {complete[0].best_step}
    for path in found:
        if step_of(path) not in kept and step_of(path) < complete[0].step:
            _delete(path)


def _copy_verified(source: Path, target: Path, held: Manifest, progress: Progress) -> None:
    """Copy the files that the manifest names and read them back. Raises OSError if either differs from it."""
    total, done = 2 * sum(size for size, _ in held.files.values()), 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(f"copying {source.name}", done, total)

    for name, expected in held.files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        copied = files.copy(source / name, target / name, count)
        if (copied.bytes, copied.sha256) != expected:
            raise DamagedError(errno.EIO, f"{name} is not what it was when it was saved", str(source))
        if manifest.content_of(target / name) != expected:
            raise OSError(errno.EIO, "what is read back is not what was written", str(target / name))
        count(expected[0])


def _delete(folder: Path) -> None:
    """Delete a folder, its manifest first, so that a kill half-way leaves nothing that counts. Raises OSError."""
    if folder.exists():
        (folder / manifest.NAME).unlink(missing_ok=True)
        shutil.rmtree(folder)


def is_small(name: str) -> bool:
    """Whether this is one of the files that go to Drive as they are: no checkpoint and no adapter."""
    return name != FINAL and not name.startswith("checkpoint-")


def _small(outputs: Path) -> Iterator[Path]:
    """Event files and the record of seconds below `outputs`, relative to it."""
    for path in (outputs / RECORDS, *sorted((outputs / EVENTS).rglob("*"))):
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(outputs)


def _same(path: Path, copy: Path) -> bool:
    """Whether a small file is there already. Event files only ever grow; of a record the bytes count."""
    return _size(path) == _size(copy) and (path.name != RECORDS or path.read_bytes() == copy.read_bytes())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
