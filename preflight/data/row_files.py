"""The staged files of rows: what reads each of them, and which of its rows are taken."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.data import formats
from preflight.data.folders import Cut, stretches
from preflight.data.lengths import Lengths, RowLength, not_judged
from preflight.data.prompt_strategies import PromptStrategy, find_strategy
from preflight.data.staging import DataFile, Staged
from preflight.data.tokenizer import Tokenizer
from preflight.findings import Finding

MISSING = "a file is missing, which is reported above"
UNJUDGED = "a data set is of a type that is not judged here, which is reported above"


@dataclass(frozen=True, kw_only=True)
class RowFile:
    """A staged file, and the strategy that reads it."""

    key: str  # `datasets.0`; empty for the test rows, which are read as the first training rows are
    path: Path
    rows: int
    strategy: PromptStrategy
    kind: str = "json"  # the format that it is read as
    cuts: tuple[Cut, ...] = ()  # what its entry takes of it

    @property
    def group(self) -> str:
        """`datasets`, `test_datasets`, or '' for the test rows."""
        return self.key.partition(".")[0]


def known_files(
    entries: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any], files: Sequence[DataFile], staged: Sequence[Staged]
) -> Iterator[RowFile]:
    """Each file that was staged and whose rows are judged here, of a config of these `values`."""
    places = _places(staged)
    first = next(iter(entries), "")
    for file in files:
        strategy = find_strategy(entries.get(file.entry or first, {}), values)
        path, rows = places.get(file.source, (file.source, 0))
        if strategy and file.source in places and not formats.unread(path, file.kind):
            yield RowFile(key=file.entry, path=path, rows=rows, strategy=strategy, kind=file.kind, cuts=file.cuts)


def _places(staged: Sequence[Staged]) -> dict[Path, tuple[Path, int]]:
    """Where the rows of each source are read, and how many there are."""
    return {Path(record.source): (rows.folder / record.name, record.rows) for rows in staged for record in rows.files}


def why_not_counted(
    entries: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any],
    files: Sequence[DataFile],
    known: Sequence[RowFile],
    tokenizer: Tokenizer | None,
    base_model: str,
) -> str:
    """Why the steps can't be counted, or ''."""
    local = {file.entry for file in files}
    there = {file.key for file in known}
    for key, entry in entries.items():
        if key in local and key not in there:
            return MISSING if find_strategy(entry, values) else UNJUDGED
        if key not in there:
            return f"the rows of {key} are not in local files that are read here"
    if tokenizer is None and entries:
        return f"the tokenizer of {base_model} is not on this machine"
    return "" if entries else MISSING


def check_types(entries: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any], files: Sequence[DataFile]) -> list[Finding]:
    """`data.not-judged` for local rows of a type that no strategy here reads."""
    local = {file.entry for file in files}
    unknown = [key for key, entry in entries.items() if key in local and not find_strategy(entry, values)]
    why = f" for rl: {values['rl']}" if values.get("rl") else ""
    return [not_judged(f"rows of type {entries[key].get('type')}{why} are not read here", key) for key in unknown]


def check_formats(files: Sequence[DataFile], staged: Sequence[Staged]) -> list[Finding]:
    """`data.not-judged` for files whose format can't be read here."""
    places = _places(staged)
    untold = {file.key: formats.unread(places[file.source][0], file.kind) for file in files if file.source in places}
    return [not_judged(reason, key) for key, reason in untold.items() if reason]


def taken_rows(rows: Mapping[RowFile, int]) -> dict[RowFile, list[tuple[int, int]]]:
    """The stretches that its entry takes of each file, of which these are the rows."""
    found, before = {}, dict[str, int]()
    for file, count in rows.items():
        total = sum(more for other, more in rows.items() if other.key == file.key)
        found[file] = stretches(file.cuts, before.get(file.key, 0), count, total)
        before[file.key] = before.get(file.key, 0) + count
    return found


def check_taken(entries: Mapping[str, Mapping[str, Any]], taken: Mapping[RowFile, Sequence[tuple[int, int]]]) -> list[Finding]:
    """`data.not-loaded` for an entry whose split takes no row of its files."""
    empty = {file.key for file in taken if file.cuts} - {file.key for file, kept in taken.items() if kept}
    return [
        Finding(
            code="data.not-loaded",
            level="error",
            where=f"{key}.split",
            message=f"Axolotl would stop before training: split: {entries[key].get('split')} takes no row",
            fix=f"in {key}: take a larger part",
        )
        for key in sorted(empty)
    ]


def cut_lengths(measured: Sequence[RowLength], kept: Sequence[tuple[int, int]], rows: int) -> list[RowLength]:
    """The lengths of the rows in these stretches of so many rows, all or a sample of which were measured."""
    share = len(measured) / max(1, rows)
    return [length for start, end in kept for length in measured[round(start * share) : round(end * share)]]


def joined(parts: Sequence[Lengths]) -> Lengths:
    """The files of one entry as one."""
    if len(parts) == 1:
        return parts[0]
    measured = tuple(row for part in parts for row in part.measured)
    return Lengths(path=parts[0].path.parent, rows=sum(part.rows for part in parts), measured=measured, sampled=any(part.sampled for part in parts))
