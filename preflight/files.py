"""What every room does with files: hashing, copying, writing so that a kill loses nothing. Standard library only: the mirror runs on it."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIGS = CHECKOUT / "axolotl_configs"
CHUNK = 1 << 20  # bytes read at once

# what reading a file that holds something else than expected raises: no JSON, nested too deeply, a list for a mapping, text or infinity for a number
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)

Progress = Callable[[str, int, int], None]  # what is under way, how much of it is done, of how much in all


def silent(what: str, done: int, total: int) -> None:
    """A Progress that nobody watches."""


@contextlib.contextmanager
def exclusive_lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether nobody else holds the lock that this file is, and nobody will meanwhile. With `wait` it is always True, later. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


class Content(NamedTuple):
    """What a file holds. A last line without a line end counts as one."""

    bytes: int
    lines: int
    sha256: str


def transfer(source: IO[bytes], target: IO[bytes] | None, report: Callable[[int], None] = lambda more: None) -> Content:
    """Read `source` to its end, into `target` if there is one, and return what went through; `report` gets the size of each chunk."""
    digest, size, lines, last = hashlib.sha256(), 0, 0, b"\n"
    while chunk := source.read(CHUNK):
        if target:
            target.write(chunk)
        digest.update(chunk)
        size, lines, last = size + len(chunk), lines + chunk.count(b"\n"), chunk[-1:]
        report(len(chunk))
    return Content(size, lines + (last != b"\n"), digest.hexdigest())


def read_content(path: Path, report: Callable[[int], None] = lambda more: None) -> Content:
    """What the file holds, from the disk rather than from memory where the system allows it. Raises OSError."""
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return transfer(file, None, report)


def copy(path: Path, to: Path, report: Callable[[int], None] = lambda more: None) -> Content:
    """Copy a file, synced to the disk, and return what went through. Raises OSError."""
    with path.open("rb") as source, to.open("wb") as target:
        content = transfer(source, target, report)
        sync(target)
    return content


def copy_atomic(path: Path, to: Path) -> None:
    """Copy a file so that a kill leaves the old one or the new one. Raises OSError."""
    with _aside(to) as aside:
        copy(path, aside)


def write_atomic(path: Path, text: str) -> None:
    """Write the file so that a kill leaves the old one or the new one. Raises OSError."""
    with _aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(text)
        sync(file)


def sync(file: IO[Any]) -> None:
    """Have what was written to the open file on the disk. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in the folder on the disk: a rename alone is lost with the power. A file system that can't (FUSE, some) is passed over."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A name beside `path` to write under; what is written there takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    try:
        yield aside
        aside.replace(path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def probe_writing(folder: Path) -> OSError | None:
    """Write, sync, read back and delete a small file in `folder`, which is made if need be; what went wrong, or None.

    os.access is not asked: for root it says yes to everything, and on Drive it knows nothing.
    """
    token = os.urandom(16).hex()
    path = folder / f".preflight-{token[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("w", encoding="utf-8") as file:
                file.write(token)
                sync(file)
            same = path.read_text(encoding="utf-8") == token
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    except OSError as error:
        return error
    return None if same else OSError(errno.EIO, "a file read back is not what was written", str(path))


def require_mount(mount: str) -> None:
    """Raises OSError, with the error of a mount that died, where nothing is mounted. No mount asked for is no error."""
    if mount and not os.path.ismount(mount):
        Path(mount).stat()
        raise OSError(errno.ENODEV, "nothing is mounted there", mount)


def quoted(path: Path | str, more: str = "") -> str:
    """A path, with `more` behind it, as one word of a command that a person pastes."""
    return shlex.quote(f"{path}{more}")


def existing_parent(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there: where to ask for free space."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
