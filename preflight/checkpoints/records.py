"""What earlier runs took on this machine, in seconds: the plugin writes it beside the checkpoints, the next preflight plans with it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preflight.files import MALFORMED, write_atomic
from preflight.machine.run_folder import RECORDS


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run on this machine took, in seconds, as the plugin saw it."""

    depends: Mapping[str, Any]  # throughput_key of its config
    date: str
    steps: int
    step: float
    evaluation_batch: float | None = None
    save: float | None = None
    start: float | None = None
    end: float | None = None

    @property
    def machine(self) -> str:
        return str(self.depends.get("machine", "this machine"))


def read_records(folders: Sequence[Path]) -> list[Record]:
    """The records of runs whose results lie in these folders; a file that can't be read holds none."""
    records = []
    for folder in folders:
        try:
            found = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
            records += [Record(**entry) for entry in found if float(entry["step"]) > 0 and int(entry["steps"]) > 0]
        except (OSError, *MALFORMED):
            continue
    return records


def write_record(folder: Path, record: Record) -> None:
    """Put the record in the place of an earlier one of the same config and machine. Raises OSError."""
    others = [one for one in read_records([folder]) if one.depends != record.depends]
    write_atomic(folder / RECORDS, json.dumps([asdict(one) for one in (*others, record)], indent=1))
