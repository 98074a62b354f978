"""Pack the rows into an archive, and unpack one: judged before anything is written, checked against its sums after."""

import hashlib
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preflight.findings import Finding
from preflight.workspace import disk_trouble

SUMS = "SHA256SUMS"  # inside the archive, as sha256sum writes it
LITTER = ("__MACOSX/", ".DS_Store", "._")  # what macOS adds
SAFE_RATIO, SAFE_BYTES = 100, 1 << 30  # SQL rows shrink 5 to 30 times; more than both is a bomb
CHUNK = 1 << 20
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of an archive: the name it gets (its last part), and the entry that holds it."""

    name: str
    entry: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A zip file as its directory describes it, before anything is unpacked; `problem` says why it must not be."""

    path: Path
    members: tuple[Member, ...] = ()
    problem: str = ""

    @property
    def bytes(self) -> int:
        return sum(member.bytes for member in self.members)


def inspect_archive(path: Path) -> Archive:
    """Look at an archive's directory. Nothing is unpacked."""
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_litter(entry.filename)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return Archive(path=path, problem=f"it is cut off, or no zip file: {error}")
    members: dict[str, Member] = {}
    for entry in entries:
        problem = _problem(entry)
        name = PurePosixPath(entry.filename).name
        if name in members:
            problem = f"{name} is in it twice"
        if problem:
            return Archive(path=path, problem=problem)
        members[name] = Member(name=name, entry=entry.filename, bytes=entry.file_size)
    archive_of = Archive(path=path, members=tuple(members.values()))
    if not members:
        return Archive(path=path, problem="it is empty")
    if archive_of.bytes > max(SAFE_BYTES, SAFE_RATIO * size):
        return Archive(path=path, problem=f"{size:,} bytes that claim to be {archive_of.bytes:,}: a bomb")
    return archive_of


def _is_litter(name: str) -> bool:
    return name.startswith(LITTER[0]) or PurePosixPath(name).name.startswith(LITTER[1:])


def _problem(entry: zipfile.ZipInfo) -> str:
    """Why an entry must not be unpacked, or ''."""
    # ZipInfo.filename is cut at a zero byte and has / for the separator of this system; orig_filename is what the file says
    name = entry.orig_filename.replace("\\", "/")
    if entry.flag_bits & 1:
        return f"{name} is encrypted"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return f"{name} is an absolute path"
    if ".." in PurePosixPath(name).parts:
        return f"{name} leaves the folder"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return f"{name} is a link"
    return ""


def check_archive(archive: Archive, free: int) -> list[Finding]:
    """`data.archive` for one that must not be unpacked, `workspace.full` for one that there is no room for."""
    if archive.problem:
        fix = "pack the rows anew: scripts/package_data.sh"
        return [Finding(code="data.archive", level="error", where=str(archive.path), message=f"{archive.path.name}: {archive.problem}", fix=fix)]
    if archive.bytes > free:
        message = f"{archive.path.name} unpacks to {archive.bytes:,} bytes, and {free:,} are free"
        fix = "free some space, or give another folder: --workspace DIR"
        return [Finding(code="workspace.full", level="error", where=str(archive.path), message=message, fix=fix)]
    return []


def unpack(archive: Archive, folder: Path, progress: Progress) -> list[Finding]:
    """Unpack into `folder`, which is there, whole and checked, when this returns nothing, and not there at all otherwise.

    Does nothing where the folder is there already: it takes its name only when it is whole. Raises OSError.
    """
    if folder.exists():
        return []
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        sums: dict[str, str] = {}
        done = 0
        with zipfile.ZipFile(archive.path) as opened:
            for member in archive.members:
                digest = hashlib.sha256()
                with opened.open(member.entry) as source, (aside / member.name).open("wb") as target:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
                        digest.update(chunk)
                        done += len(chunk)
                        progress(f"unpacking {member.name}", done, archive.bytes)
                    target.flush()
                    os.fsync(target.fileno())
                sums[member.name] = digest.hexdigest()
        if findings := check_sums(archive.path, aside, sums):
            return findings
        aside.rename(folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return check_archive(Archive(path=archive.path, problem=f"an entry can't be read: {error}"), 0)
    except Exception as error:
        if type(error).__module__ not in ("zlib", "_bz2", "_lzma", "lzma"):
            raise
        return check_archive(Archive(path=archive.path, problem=f"an entry is damaged: {error}"), 0)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return []


def find_archive(source: Path | None, drive_folder: Path) -> Path | None:
    """The archive that --data names, or without --data the data.zip of the Drive folder, if no loose rows lie beside it."""
    if source:
        return source if source.suffix == ".zip" else None
    archive = drive_folder / "data.zip"
    return archive if archive.is_file() and not any(drive_folder.glob("*.jsonl")) else None


def bring_archive(path: Path, folder: Path, progress: Progress) -> tuple[Path | None, list[Finding]]:
    """The folder below `folder` that holds the archive's files, unpacked now or before, or None and what is wrong with it."""
    archive = inspect_archive(path)
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    findings = check_archive(archive, shutil.disk_usage(there).free)
    if findings:
        return None, findings
    try:
        digest = _sha256(path)
        unpacked = folder / digest[:16]
        findings = check_sum_beside(path, digest) or unpack(archive, unpacked, progress)
    except OSError as error:
        return None, [disk_trouble(error, folder, "rows", archive.bytes)]
    return (None if findings else unpacked), findings


def check_sum_beside(path: Path, digest: str) -> list[Finding]:
    """`data.checksum` if NAME.sha256 lies beside the archive and names another sum than `digest`, its own."""
    beside = path.with_name(f"{path.name}.sha256")
    if not beside.is_file():
        return []
    wanted = beside.read_text(encoding="utf-8", errors="replace").split()
    return _mismatch(path, path.name, wanted[0].lower() if wanted else "", digest)


def check_sums(path: Path, folder: Path, sums: dict[str, str]) -> list[Finding]:
    """`data.checksum` for each file that differs from the SHA256SUMS it came with, or is not named there."""
    if SUMS not in sums:
        return []
    wanted = {}
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition(" ")
        wanted[name.lstrip(" *")] = digest.lower()
    names = sorted(wanted.keys() | sums.keys() - {SUMS})
    return [finding for name in names for finding in _mismatch(path, name, wanted.get(name, ""), sums.get(name, ""))]


def _mismatch(path: Path, name: str, wanted: str, found: str) -> list[Finding]:
    if wanted == found:
        return []
    message = f"{name}: sha256 {found or 'of nothing'}, but {wanted or 'none'} is recorded"
    fix = "bring it again; if it differs again, pack it anew: scripts/package_data.sh"
    return [Finding(code="data.checksum", level="error", where=str(path), message=message, fix=fix)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TooLargeError(Exception):
    """The archive would have more bytes than the limit; `args[0]` is how many."""


def pack(files: Sequence[Path], out: Path, limit: int, progress: Progress) -> str:
    """Write the files and their SHA256SUMS into `out`, and its own sum beside it; return that sum.

    The same files give the same bytes: no times, no owners, sorted names, one compressor. Raises OSError, and TooLargeError
    above `limit` bytes, with what lay there untouched.
    """
    total, done = sum(file.stat().st_size for file in files), 0
    aside = out.with_name(f".{out.name}.new")
    sums = []
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(files, key=lambda file: file.name):
                digest = hashlib.sha256()
                with file.open("rb") as source, archive.open(_entry(file.name), "w", force_zip64=True) as target:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
                        digest.update(chunk)
                        done += len(chunk)
                        progress(f"packing {file.name}", done, total)
                sums.append(f"{digest.hexdigest()}  {file.name}\n")
            archive.writestr(_entry(SUMS), "".join(sums))
        if (size := aside.stat().st_size) > limit:
            raise TooLargeError(size)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    digest_of_all = _sha256(out)
    out.with_name(f"{out.name}.sha256").write_text(f"{digest_of_all}  {out.name}\n", encoding="utf-8")
    return digest_of_all


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the earliest that a zip can say
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    return entry
