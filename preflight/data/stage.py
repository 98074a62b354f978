"""The third stage: the rows are found, staged and judged."""

import contextlib
import errno
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from preflight.config.layers import Config, with_changes
from preflight.config.settings import Rows, Settings
from preflight.config.values import dataset_entries
from preflight.data import archives, download, sources, staging
from preflight.data.audit import DatasetLengths, audit_rows, show_example
from preflight.data.paths import path_changes
from preflight.data.preview import Preview
from preflight.data.sql_runs import Limits, SqlAnswers, run_answers
from preflight.data.staging import DataFile, Staged
from preflight.files import Progress, exclusive_lock
from preflight.findings import MOUNT_AGAIN, Diagnostics, Finding, Level, to_plain
from preflight.machine.answering import answering, mount_that_may_hang
from preflight.machine.workspace import Workspace

LOCK = ".staging.lock"  # in the workspace
QUANTILES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where the rows come from, where that is not what the config says."""

    path: Path | None = None  # a folder or an archive
    address: str = ""  # of an archive, in the place of `path`
    sha256: str = ""  # its checksum
    show_example: int = 0  # the line of the row to show; 0 for none

    @classmethod
    def named(cls, text: str, *, sha256: str = "", show_example: int = 0) -> "DataSource":
        """What `--data` names: a folder or an archive here, or the address of one."""
        is_address = text.startswith(("http://", "https://"))
        path = Path(text).absolute() if text and not is_address else None
        return cls(path=path, address=text if is_address else "", sha256=sha256, show_example=show_example)


@dataclass(frozen=True, kw_only=True)
class Data:
    """The rows: the config that names them where they were staged, and what they hold."""

    config: Config
    staged: tuple[Staged, ...] = ()
    lengths: DatasetLengths = field(default_factory=DatasetLengths)
    answers: SqlAnswers | None = None  # what they do on the tables of their prompts; None where there is none to be asked
    example: Preview | None = None
    local: bool = False  # whether all rows are files of this machine

    def as_json(self) -> dict[str, object]:
        """The key `data` of `--json`."""
        counts = {lengths.path: lengths for lengths in (*self.lengths.train, *self.lengths.held_out)}
        folders = to_plain([asdict(rows) for rows in self.staged])
        for rows in folders:
            for file in rows["files"]:
                path = Path(rows["folder"], file["name"])
                lengths = counts.get(path)
                file["sql"] = self.lengths.sql.get(path)
                file["tokens"] = lengths.tokens if lengths else None
                file["lengths"] = {name: lengths.quantile(share) for name, share in QUANTILES.items()} if lengths else None
                file["sampled"] = len(lengths.measured) if lengths and lengths.sampled else None
                file["histogram"] = to_plain(lengths.histogram) if lengths else None
        return {"folders": folders, "tokenizer": self.lengths.tokenizer or None, "answers": self.answers.as_json() if self.answers else None}


def prepare_data(source: DataSource, config: Config, settings: Settings, workspace: Workspace, diagnostics: Diagnostics, progress: Progress) -> Data:
    """The rows that the config names, staged unless this is a plan, and judged. What is wrong with them goes to `diagnostics`."""
    with _alone(workspace, diagnostics, progress), contextlib.ExitStack() as scratch:
        usual, drive = _usual_places(config, settings, workspace), workspace.local(settings.data.drive_folder)
        place = _find_source(source, usual, drive, workspace, scratch, diagnostics, progress)
        looked = [place] if place else usual
        files = diagnostics.take((), answering(_find_data, *looked), config.values, workspace, settings.data, place)
        staged = _stage(files, diagnostics, progress)
        read: list[Path | str] = [*(rows.folder for rows in staged), str(config.values.get("base_model") or "")]  # which holds the tokenizer
        lengths = diagnostics.take(DatasetLengths(), answering(audit_rows, *read, progress=progress), config.values, files, staged, progress)
        limits = Limits(settings.data.sql_fails_warning, settings.data.sql_fails_error)
        answers = diagnostics.take(None, run_answers, lengths.asked, lengths.answers, limits, progress)
        show = answering(show_example, *read, progress=progress)
        example = diagnostics.take(None, show, config.values, files, staged, source.show_example) if source.show_example else None
    changed, _ = with_changes(config, path_changes(files, staged, workspace.run(config.name, config.own_name)))
    local = len(list(dataset_entries(config.values))) == len({file.entry for file in files if file.key})
    return Data(config=changed, staged=tuple(staged), lengths=replace(lengths, asked={}), answers=answers, example=example, local=local)


def _usual_places(config: Config, settings: Settings, workspace: Workspace) -> list[Path]:
    """Where rows are looked for without --data."""
    paths = [path for _, entry in dataset_entries(config.values) if isinstance(path := entry.get("path"), str)]
    on_drive = workspace.local(settings.data.drive_folder)
    return [on_drive if Path(path).is_relative_to(settings.data.folder) else workspace.local(path) for path in paths]


@contextlib.contextmanager
def _alone(workspace: Workspace, diagnostics: Diagnostics, progress: Progress) -> Iterator[None]:
    """Nobody else fetches, unpacks or stages in the workspace meanwhile: a set that another preflight swaps is half there for a moment."""
    lock = workspace.root / LOCK
    if not diagnostics.writes:
        yield
        return
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # a disk that can't be written to, which is reported by what has to write there
            if not held.enter_context(exclusive_lock(lock, wait=False)):
                progress("another preflight stages rows here; waiting for it", 0, 0)
                held.enter_context(exclusive_lock(lock, wait=True))
        yield


def _find_source(
    source: DataSource,
    usual: Sequence[Path],
    drive: Path,
    workspace: Workspace,
    scratch: contextlib.ExitStack,
    diagnostics: Diagnostics,
    progress: Progress,
) -> Path | None:
    """The folder that the rows come from, fetched and unpacked if need be; None for where the config says."""
    archive, wanted = None, not source.address and (source.path or drive in usual)
    if wanted:
        archive = diagnostics.take(None, answering(_find_archive, source.path or drive), source.path, drive)
    if archive is None and not source.address:
        return source.path
    unpacked = diagnostics.take(None, _make_folder, workspace, diagnostics.writes, scratch)
    if unpacked and source.address:
        archive = diagnostics.take(None, download.fetch, source.address, source.sha256, unpacked, progress)
    if unpacked is None or archive is None:
        return None
    return diagnostics.take(None, answering(_bring_archive, archive, progress=progress), archive, unpacked, progress)


def _make_folder(workspace: Workspace, writes: bool, scratch: contextlib.ExitStack) -> tuple[Path | None, list[Finding]]:
    """Where archives are unpacked: in the workspace, or for a plan, which writes nothing there, in a folder that goes away with `scratch`."""
    if writes:
        return workspace.root / "unpacked", []
    try:
        return Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix="preflight-"))), []
    except OSError as error:
        message = f"there is no folder to unpack the archive in: {error.strerror or error}"
        fix = "free some space in /tmp, or name a folder that can be written to: TMPDIR=DIR"
        return None, [Finding(code="workspace.full", level="error", message=message, fix=fix)]


def _stage(files: Sequence[DataFile], diagnostics: Diagnostics, progress: Progress) -> list[Staged]:
    """The rows by the folder that they are trained from, copied there where anything may be written."""
    copy = diagnostics.may_write
    missing: Level = "error" if diagnostics.writes else "warning"
    staged = []
    # a folder before those in it: staging replaces the whole of it
    ordered = sorted(files, key=lambda file: (len(file.staged.parts), str(file.staged)))
    for folder, group in itertools.groupby(ordered, key=lambda file: file.staged.parent):
        once = {file.source: file for file in group}  # several entries may name one file
        bring = answering(_bring, *once, progress=progress)
        rows = diagnostics.take(None, bring, list(once.values()), folder, copy=copy, missing=missing, progress=progress)
        staged += [rows] if rows else []
    return staged


# what may run in a process of its own, since it looks at a disk that may hang: what the system says of it becomes a finding


def _find_data(values: Mapping[str, Any], workspace: Workspace, places: Rows, source: Path | None) -> tuple[tuple[DataFile, ...], list[Finding]]:
    try:
        return sources.find_data(values, workspace, places, source)
    except OSError as error:
        return (), [_unreadable(error)]


def _find_archive(place: Path | None, drive: Path) -> tuple[Path | None, list[Finding]]:
    try:
        return archives.find_archive(place, drive), []
    except OSError as error:
        return None, [_unreadable(error)]


def _bring_archive(archive: Path, unpacked: Path, progress: Progress) -> tuple[Path | None, list[Finding]]:
    try:
        return archives.bring_archive(archive, unpacked, progress)
    except OSError as error:
        return None, [_unreadable(error)]


def _bring(files: Sequence[DataFile], folder: Path, *, copy: bool, missing: Level, progress: Progress) -> tuple[Staged | None, list[Finding]]:
    try:
        found = [staging.inspect_source(file.source, file) for file in files]
    except OSError as error:
        return None, [_unreadable(error)]
    return staging.bring(found, folder, copy=copy, missing=missing, progress=progress)


def _unreadable(error: OSError) -> Finding:
    """Rows that can't be looked at where they are. A mount that dropped out is one fault, whichever file was asked for first."""
    where, dropped_out = str(error.filename or ""), error.errno in (errno.ENOTCONN, errno.EIO, errno.ESTALE)
    if dropped_out and (mount := mount_that_may_hang(where)):
        where = mount[1]
    message = f"the rows can't be read: {error.strerror or error} (Errno {error.errno})"
    fix = MOUNT_AGAIN if dropped_out else "check the disk and the permissions, then run preflight again"
    return Finding(code="data.unreadable", level="error", where=where, message=message, fix=fix)
