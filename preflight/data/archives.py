"""Pack the rows into an archive, and unpack one: judged before anything is written, checked against its checksums after."""

import re
import shutil
import stat
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preflight.files import Progress, existing_parent, read_content, sync, sync_folder, transfer, write_atomic
from preflight.findings import Finding, disk_trouble

SUMS = "SHA256SUMS"  # inside the archive, as sha256sum writes it
LITTER = ("__MACOSX/", ".DS_Store", "._")  # what macOS adds
SAFE_RATIO, SAFE_BYTES = 100, 1 << 30  # SQL rows shrink 5 to 30 times; more than both is a bomb
LONGEST_NAME = 255  # bytes, as file systems have it
MOST_FILES = 1000  # the plan's archive holds four; each is synced by itself, so that 60,000 empty ones took over 100 s (2026-11)


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
    """Look at an archive's directory. Nothing is unpacked. Raises OSError, but for a file that is not there."""
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_litter(entry.filename)]
    except FileNotFoundError:
        return Archive(path=path, problem="there is no such file")
    except (UnicodeDecodeError, IndexError):  # IndexError: Python 3.11 of an entry without a name
        return Archive(path=path, problem="the name of an entry is none, or not UTF-8")
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        return Archive(path=path, problem=f"it is cut off, or no zip file: {error}")
    if len(entries) > MOST_FILES:
        return Archive(path=path, problem=f"it holds {len(entries):,} files, and {MOST_FILES:,} are the most that are unpacked")
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
    if not PurePosixPath(name).name or len(PurePosixPath(name).name.encode()) > LONGEST_NAME:
        return f"an entry's name is none, or longer than {LONGEST_NAME} bytes"
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
    """Unpack into `folder`, which is there, complete and checked, when this returns nothing, and not there at all otherwise.

    Does nothing where the folder is there already: it takes its name only when it is complete. Raises OSError.
    """
    if folder.exists():
        return []
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        checksums: dict[str, str] = {}
        done = 0
        with zipfile.ZipFile(archive.path) as opened:
            for member in archive.members:

                def report(more: int, what: str = f"unpacking {member.name}") -> None:
                    nonlocal done
                    done += more
                    progress(what, done, archive.bytes)

                with opened.open(member.entry) as source, (aside / member.name).open("wb") as target:
                    checksums[member.name] = transfer(source, target, report).sha256
                    sync(target)
        if SUMS in checksums and (findings := check_checksums(archive.path, read_checksums(aside), checksums)):
            return findings
        aside.rename(folder)
        sync_folder(folder.parent)
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
    findings = check_archive(archive, shutil.disk_usage(existing_parent(folder)).free)
    if findings:
        return None, findings
    try:
        digest = read_content(path).sha256
        unpacked = folder / digest[:16]
        findings = check_checksum_beside(path, read_checksum_beside(path), digest) or unpack(archive, unpacked, progress)
    except OSError as error:
        return None, [disk_trouble(error, folder, "rows", archive.bytes)]
    return (None if findings else unpacked), findings


def read_checksum_beside(path: Path) -> str | None:
    """The checksum that NAME.sha256 beside the archive holds ('' where it holds none), or None without such a file. Raises OSError."""
    beside = path.with_name(f"{path.name}.sha256")
    if not beside.is_file():
        return None
    words = beside.read_text(encoding="utf-8", errors="replace").split()
    return words[0].lower() if words else ""


def check_checksum_beside(path: Path, expected: str | None, digest: str) -> list[Finding]:
    """`data.checksum` if the file beside the archive names another checksum than `digest`, its own."""
    return [] if expected is None else _mismatch(path, path.name, expected, digest)


def read_checksums(folder: Path) -> dict[str, str]:
    """name -> sha256 of the SHA256SUMS in an unpacked folder. Raises OSError."""
    expected = {}
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition(" ")
        expected[name.lstrip(" *")] = digest.lower()
    return expected


def check_checksums(path: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> list[Finding]:
    """`data.checksum` for each unpacked file that differs from the SHA256SUMS it came with, or is not named there."""
    names = sorted(expected.keys() | found.keys() - {SUMS})
    return [finding for name in names for finding in _mismatch(path, name, expected.get(name, ""), found.get(name, ""))]


def _mismatch(path: Path, name: str, expected: str, found: str) -> list[Finding]:
    if expected == found:
        return []
    message = f"{name}: sha256 {found or 'of nothing'}, but {expected or 'none'} is recorded"
    fix = "bring it again; if it differs again, pack it anew: scripts/package_data.sh"
    return [Finding(code="data.checksum", level="error", where=str(path), message=message, fix=fix)]


class TooLargeError(Exception):
    """The archive would have more bytes than the limit; `args[0]` is how many."""


def pack(files: Sequence[Path], out: Path, limit: int, progress: Progress) -> str:
    """Write the files and their SHA256SUMS into `out`, and its own checksum beside it; return that.

    The same files give the same bytes: no times, no owners, sorted names, one compressor. Raises OSError, and TooLargeError
    above `limit` bytes, with what lay there untouched.
    """
    total, done = sum(file.stat().st_size for file in files), 0
    aside = out.with_name(f".{out.name}.new")
    lines = []
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(files, key=lambda file: file.name):

                def report(more: int, what: str = f"packing {file.name}") -> None:
                    nonlocal done
                    done += more
                    progress(what, done, total)

                with file.open("rb") as source, archive.open(_entry(file.name), "w", force_zip64=True) as target:
                    lines.append(f"{transfer(source, target, report).sha256}  {file.name}\n")
            archive.writestr(_entry(SUMS), "".join(lines))
        if (size := aside.stat().st_size) > limit:
            raise TooLargeError(size)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    digest = read_content(out).sha256
    write_atomic(out.with_name(f"{out.name}.sha256"), f"{digest}  {out.name}\n")
    return digest


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the earliest that a zip can say
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    return entry
