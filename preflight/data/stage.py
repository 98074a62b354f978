"""The third stage: the rows are found, staged and judged."""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from preflight.config.layers import Config, with_changes
from preflight.config.settings import Settings
from preflight.config.values import dataset_entries
from preflight.data import archives, download, staging
from preflight.data.audit import DatasetLengths, audit_rows, show_example
from preflight.data.paths import path_changes
from preflight.data.preview import Preview
from preflight.data.staging import DataFile, Staged
from preflight.files import Progress, exclusive_lock
from preflight.findings import Diagnostics, Level, to_plain
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
        return {"folders": folders, "tokenizer": self.lengths.tokenizer or None}


def prepare_data(source: DataSource, config: Config, settings: Settings, workspace: Workspace, diagnostics: Diagnostics, progress: Progress) -> Data:
    """The rows that the config names, staged unless this is a plan, and judged. What is wrong with them goes to `diagnostics`."""
    with _alone(workspace, diagnostics, progress), _unpacked(workspace, diagnostics) as folder:
        place = _find_source(source, settings, workspace, folder, diagnostics, progress)
        files = diagnostics.attempt((), staging.find_data, config.values, workspace, settings.data, place)
        staged = _stage(files, diagnostics, progress)
        lengths = diagnostics.take(DatasetLengths(), audit_rows, config.values, files, staged, progress)
        example = diagnostics.take(None, show_example, config.values, files, staged, source.show_example) if source.show_example else None
    changed, _ = with_changes(config, path_changes(files, staged, workspace.run(config.name)))
    local = len(list(dataset_entries(config.values))) == sum(bool(file.key) for file in files)
    return Data(config=changed, staged=tuple(staged), lengths=lengths, example=example, local=local)


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


@contextlib.contextmanager
def _unpacked(workspace: Workspace, diagnostics: Diagnostics) -> Iterator[Path]:
    """Where archives are unpacked: in the workspace, or for a plan, which writes nothing there, in a folder that goes away."""
    if diagnostics.writes:
        yield workspace.root / "unpacked"
        return
    with tempfile.TemporaryDirectory(prefix="preflight-") as scratch:
        yield Path(scratch)


def _find_source(
    source: DataSource, settings: Settings, workspace: Workspace, unpacked: Path, diagnostics: Diagnostics, progress: Progress
) -> Path | None:
    """The folder that the rows come from, fetched and unpacked if need be; None for where the config says."""
    place = source.path
    if source.address:
        place = diagnostics.take(None, download.fetch, source.address, source.sha256, unpacked, progress)
    if archive := archives.find_archive(place, workspace.local(settings.data.drive_folder)):
        place = diagnostics.take(None, archives.bring_archive, archive, unpacked, progress)
    return place


def _stage(files: Sequence[DataFile], diagnostics: Diagnostics, progress: Progress) -> list[Staged]:
    """The rows by the folder that they are trained from, copied there where anything may be written."""
    copy = diagnostics.may_write
    missing: Level = "error" if diagnostics.writes else "warning"
    staged = []
    for folder, group in itertools.groupby(sorted(files, key=lambda file: str(file.staged)), key=lambda file: file.staged.parent):
        sources = [staging.inspect_source(file.source) for file in group]
        rows = diagnostics.take(None, staging.bring, sources, folder, copy=copy, missing=missing, progress=progress)
        staged += [rows] if rows else []
    return staged
