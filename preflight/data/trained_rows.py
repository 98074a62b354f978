"""Which rows a run was launched on, kept beside its YAML: other rows may lie in their place later."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from preflight.data.staging import Staged
from preflight.files import MALFORMED, write_atomic

FILE = "rows.json"


@dataclass(frozen=True, kw_only=True)
class RowFile:
    """One staged file."""

    path: str
    rows: int
    sha256: str


def write_rows(run: Path, staged: Sequence[Staged]) -> None:
    """Keep what was staged. Raises OSError."""
    files = [RowFile(path=str(one.folder / file.name), rows=file.rows, sha256=file.sha256) for one in staged for file in one.files]
    write_atomic(run / FILE, json.dumps([asdict(file) for file in files], indent=1))


def read_rows_of(run: Path) -> tuple[RowFile, ...]:
    """What was kept, or nothing."""
    try:
        files = tuple(RowFile(**one) for one in json.loads((run / FILE).read_text(encoding="utf-8")))
        return files if all(isinstance(file.rows, int) and isinstance(file.path, str) and isinstance(file.sha256, str) for file in files) else ()
    except (OSError, *MALFORMED):
        return ()
