"""Find, verify and copy the data to local disk, so that a kill at any moment leaves a complete set or none."""

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preflight.data import formats
from preflight.data.folders import Cut, role_of
from preflight.files import MALFORMED, Progress, copy, quoted, read_content, sync_folder, write_atomic
from preflight.findings import Finding, Level, disk_trouble

MANIFEST = "manifest.json"
SHOWN = 8  # names of a folder
POINTER = b"version https://git-lfs.github.com/spec/"
PROBLEMS = {-3: "is a Git LFS pointer: a few lines that stand for the rows", -2: "is not a file", -1: "does not exist", 0: "is empty"}


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A local file of rows: where it comes from and where it is trained from."""

    source: Path
    staged: Path
    key: str = ""  # the dotted key that names it; empty for the test rows, which Axolotl never sees
    kind: str = "json"  # the format that it is read as
    path: str = ""  # as its entry says it
    cuts: tuple[Cut, ...] = ()  # what its entry takes of it; nothing for all of it
    changes: Mapping[str, Any] | None = None  # what names it in the resolved YAML, where that is not its path

    @property
    def entry(self) -> str:
        """The dotted key of the entry that names it."""
        return self.key.rpartition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file as its folder describes it, before it is read. `bytes` is -1 if it is not there, -2 if it is no file, -3 if it is a Git LFS
    pointer; `file` says what it is for."""

    path: Path
    bytes: int
    modified_ns: int
    file: DataFile | None = None
    beside: tuple[str, ...] = ()  # the row files in its folder, where it is not there

    @property
    def kind(self) -> str:
        return self.file.kind if self.file else "json"


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """One file as manifest.json records it, with the source it was copied from."""

    name: str
    bytes: int
    rows: int
    sha256: str
    source: str
    modified_ns: int  # of the source, to see that it has changed without reading it again


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A folder of rows, and how they came to be there: copied, already there, or read where they are."""

    folder: Path
    files: tuple[StagedFile, ...]
    how: str


def inspect_source(path: Path, file: DataFile | None = None) -> Source:
    """The file's size and age, and what else its folder holds where it is not there. Raises OSError for any other reason."""
    try:
        stat = path.stat()
        if not path.is_file():
            return Source(path=path, bytes=-2, modified_ns=stat.st_mtime_ns, file=file)
        with path.open("rb") as opened:
            pointer = opened.read(len(POINTER)) == POINTER
    except (FileNotFoundError, NotADirectoryError):
        beside = sorted(name.name for name in path.parent.glob("*") if name.name.endswith(formats.SUFFIXES)) if path.parent.is_dir() else []
        return Source(path=path, bytes=-1, modified_ns=0, file=file, beside=tuple(beside))
    return Source(path=path, bytes=-3 if pointer else stat.st_size, modified_ns=stat.st_mtime_ns, file=file)


def check_sources(sources: Sequence[Source], level: Level) -> list[Finding]:
    """`data.missing` for each file that is not there, no file, empty, or a Git LFS pointer."""
    return [
        Finding(
            code="data.missing",
            level=level,
            where=str(source.path),
            message=f"the data file {source.path.name} {PROBLEMS[source.bytes]}"
            + (f"; its folder holds {', '.join(source.beside[:SHOWN])}" if source.beside else ""),
            fix="fetch them where the file comes from: git lfs pull" if source.bytes == -3 else _instead(source),
        )
        for source in sources
        if source.bytes <= 0
    ]


def _instead(source: Source) -> str:
    """What to set so that rows are found where a file is not there."""
    key, file = (source.file.key, source.file) if source.file else ("", None)
    group = key.partition(".")[0]
    roles = ("train",) if group == "datasets" else ("validation", "test")
    likely = [name for role in roles for name in source.beside if role_of(name) == role]
    if key and file and likely and source.bytes == -1:
        place, kind = Path(file.path or file.staged).with_name(likely[0]), formats.format_of(likely[0])
        return f"--set {key}={quoted(place)}" + (f" --set {file.entry}.ds_type={kind}" if kind != file.kind else "")
    if group == "test_datasets" and source.beside and source.bytes == -1:
        return "delete test_datasets, and take a part of the training rows in its place: val_set_size: 0.05; or put the validation rows there"
    return "put the rows there (scripts/package_data.sh packs them and says three ways), or say where they are: --data FOLDER, ZIP or https address"


def bring(sources: Sequence[Source], folder: Path, *, copy: bool, missing: Level, progress: Progress) -> tuple[Staged | None, list[Finding]]:
    """Have the rows in `folder`: keep what is there if it is complete and current, else copy it.

    With `copy` False, and for sources that lie there already, they are only read. `missing` is the level of a file that
    is not there. On any finding nothing has changed.
    """
    try:
        if copy:
            recover(folder)
        recorded = read_manifest(folder)
        if recorded and is_current(recorded, sources) and is_complete(recorded):
            return recorded, []
        if findings := check_sources(sources, missing):
            return None, findings
        if not copy or all(source.path.parent == folder for source in sources):
            files = _read(sources, None, progress)
            return Staged(folder=sources[0].path.parent, files=files, how="read where they are"), []
        if folder.exists() and not recorded and any(folder.iterdir()):
            message = "this folder holds files that the kit did not stage, and staging would replace them"
            fix = f"mv {quoted(folder)} {quoted(folder, '.mine')}, then name it as the source: --data {quoted(folder, '.mine')}"
            return None, [Finding(code="data.folder-taken", level="error", where=str(folder), message=message, fix=fix)]
        return stage(sources, folder, progress), []
    except OSError as error:
        return None, [disk_trouble(error, folder, "rows", sum(source.bytes for source in sources))]


def stage(sources: Sequence[Source], folder: Path, progress: Progress) -> Staged:
    """Copy the sources into `folder`, replacing the set that was there. Raises OSError, with that set untouched.

    The new set is written aside, its manifest last, and takes the old one's place by renaming; `recover` ends what a
    kill between the two renames began.
    """
    new, old = _aside(folder)
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        if shutil.disk_usage(new).free < sum(source.bytes for source in sources):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        files = _read(sources, new, progress)
        write_atomic(new / MANIFEST, json.dumps({"files": [asdict(record) for record in files]}, indent=1))
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # gone already unless something failed, Ctrl-C among it
        recover(folder)
        shutil.rmtree(old, ignore_errors=True)
    return Staged(folder=folder, files=files, how="copied")


def recover(folder: Path) -> None:
    """End a swap that a kill interrupted: the new set is what was wanted, if it is complete; else the old one returns."""
    new, old = _aside(folder)
    if folder.exists():
        return
    if (staged := read_manifest(new)) and is_complete(staged):
        new.rename(folder)
    elif old.exists():
        old.rename(folder)


def read_manifest(folder: Path) -> Staged | None:
    """What the folder's manifest records, or None where there is none that can be read. The rows are not opened."""
    try:
        records = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return Staged(folder=folder, files=tuple(StagedFile(**record) for record in records), how="already there")
    except (OSError, *MALFORMED):
        return None


def is_current(staged: Staged, sources: Sequence[Source]) -> bool:
    """True if these sources, unchanged since, are what was staged."""
    return {(file.source, file.bytes, file.modified_ns) for file in staged.files} == {(str(s.path), s.bytes, s.modified_ns) for s in sources}


def is_complete(staged: Staged) -> bool:
    """True if every file's content is what the manifest records."""
    try:
        contents = [(read_content(staged.folder / file.name), file) for file in staged.files]
        return all((content.bytes, content.sha256) == (file.bytes, file.sha256) for content, file in contents)
    except OSError:
        return False


def _aside(folder: Path) -> tuple[Path, Path]:
    """Where the new set is written and where the old one waits, on the same disk as `folder`."""
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def _read(sources: Sequence[Source], into: Path | None, progress: Progress) -> tuple[StagedFile, ...]:
    """A record of each source, copied into the folder `into` if there is one. Raises OSError."""
    total, done = sum(source.bytes for source in sources), 0
    files = []
    for source in sources:
        name = source.path.name

        def report(more: int, what: str = f"{'copying' if into else 'reading'} {name}") -> None:
            nonlocal done
            done += more
            progress(what, done, total)

        size, rows, sha256 = copy(source.path, into / name, report) if into else read_content(source.path, report)
        if not formats.is_seekable(source.path, source.kind):
            rows = formats.count_rows(source.path, source.kind)
        files.append(StagedFile(name=name, bytes=size, rows=rows, sha256=sha256, source=str(source.path), modified_ns=source.modified_ns))
    return tuple(files)
