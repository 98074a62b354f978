"""Copies of what a run has finished: brought, verified, and pruned, so that nothing incomplete ever counts and nothing of anybody else's is
touched. Standard library only."""

import errno
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from preflight import files
from preflight.checkpoints import manifest
from preflight.checkpoints.manifest import Manifest
from preflight.files import Progress, silent

FINAL = "."  # the name of the final adapter, whose files lie among the outputs themselves
KEPT = 2  # newest checkpoints on Drive; the best one is kept as well


class DamagedError(OSError):
    """What was to be copied is not what its manifest says."""


class ForeignError(OSError):
    """Something that is not this run's is in the place of a copy. It is never replaced, deleted, or followed if it is a link."""


def title(name: str) -> str:
    """What a person calls a finished thing: its folder's name, or that it is the final adapter."""
    return "the final adapter" if name == FINAL else name


def step_of(folder: Path) -> int:
    """N of `checkpoint-N`, else -1."""
    name, _, step = folder.name.partition("-")
    return int(step) if name == "checkpoint" and step.isdecimal() else -1


def checkpoints_in(folder: Path) -> list[Path]:
    """Every `checkpoint-N` below the folder, newest first. Raises OSError."""
    found = [path for path in folder.iterdir() if step_of(path) >= 0] if folder.is_dir() else []
    return sorted(found, key=step_of, reverse=True)


def bring(source: Path, target: Path, name: str, progress: Progress = silent, own: Mapping[str, Any] | None = None) -> None:
    """Copy one finished thing from folder to folder, verify the copy, and only then let it count. Raises OSError.

    With `own` only what carries this fingerprint is replaced; without, anything: a run's local outputs are the kit's.
    """
    target.mkdir(parents=True, exist_ok=True)
    if name != FINAL and step_of(source / name) < 0:
        files.copy_atomic(source / name, target / name)
        return
    held = manifest.read(source / name)
    if held is None:
        raise FileNotFoundError(errno.ENOENT, "it has no manifest", str(source / name))
    if name == FINAL:
        _bring_final(source, target, held, progress, own)
        return
    there, partial, old = target / name, target / f".{name}.partial", target / f".{name}.old"
    if own is not None and (there.is_symlink() or there.exists()) and not _is_own(there, own):
        raise ForeignError(errno.EEXIST, "it is not of this run, and is left as it is", str(there))
    try:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        _copy_verified(source / name, partial, held, progress)
        manifest.write(partial, held)
        if there.exists():
            there.rename(old)
        partial.rename(there)
        files.sync_folder(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _bring_final(source: Path, target: Path, held: Manifest, progress: Progress, own: Mapping[str, Any] | None) -> None:
    """The files of the final adapter, which lie among other things. The partial copy, which has its manifest, says whose they are until
    all of them are in place. Raises OSError."""
    partial = target / ".final.partial"
    if own is not None and (taken := occupied(target, held.files, own)):
        raise ForeignError(errno.EEXIST, "it is not of this run, and is left as it is", str(target / taken[0]))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _copy_verified(source, partial, held, progress)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    manifest.write(partial, held)
    (target / manifest.NAME).unlink(missing_ok=True)
    for file in held.files:
        (partial / file).replace(target / file)
    manifest.write(target, held)
    shutil.rmtree(partial, ignore_errors=True)


def occupied(to: Path, names: Iterable[str], own: Mapping[str, Any]) -> list[str]:
    """Which of these names in the folder for results are not of the run with this fingerprint. Raises OSError."""
    ours = [held for folder in (to, to / ".final.partial") if (held := manifest.read(folder)) and held.experiment == own]
    known = {file for held in ours for file in held.files}
    return [name for name in names if name not in known and ((to / name).exists() or (to / name).is_symlink())]


def _is_own(folder: Path, own: Mapping[str, Any]) -> bool:
    """Whether a folder on Drive is a copy of this run's."""
    held = None if folder.is_symlink() else manifest.read(folder)
    return held is not None and held.experiment == own


def prune(to: Path, own: Mapping[str, Any], verified: Collection[int] = ()) -> None:
    """Delete half copies, and this run's checkpoints but the newest two complete ones, the newest two `verified` ones and the best, none
    of them newer than these. Raises OSError."""
    for leftover in to.glob(".checkpoint-*"):
        shutil.rmtree(leftover)
    if (final := manifest.read(to)) and final.experiment == own and not manifest.difference(to, final, hashes=False):
        shutil.rmtree(to / ".final.partial", ignore_errors=True)
    found = [(path, held) for path in checkpoints_in(to) if _is_own(path, own) and (held := manifest.read(path))]
    complete = [held for path, held in found if not manifest.difference(path, held, hashes=False)]
    if len(complete) < KEPT:
        return
    kept = {held.step for held in complete[:KEPT]} | set(sorted(verified)[-KEPT:])
    kept |= {held.best_step for held in complete if held.step in (complete[0].step, max(verified, default=0))}
    for path, held in found:
        if held.step not in kept and held.step < complete[0].step:
            old = path.with_name(f".{path.name}.old")
            path.rename(old)  # at once no checkpoint any more, however far the deletion comes
            shutil.rmtree(old)


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
