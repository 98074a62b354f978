"""Split rows anew so that no database is on both sides: what a random split of rows of few databases can't give."""

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preflight.data.duplicates import RowDigests
from preflight.data.formats import BOM
from preflight.findings import Finding

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class SchemaSplit:
    """Which part each row of each file goes to, and what the parts hold."""

    part_of: Mapping[tuple[Path, int], str]  # (file, line) -> the part
    rows: Mapping[str, int]
    databases: Mapping[str, int]
    alone: int  # rows that show no CREATE TABLE, each of which counts as a database with those that ask the same

    def shares(self) -> list[str]:
        """What each part holds, in words."""
        every = sum(self.rows.values())
        return [f"{part:<11}{rows:>12,} rows ({rows / every:.2%}) of {self.databases[part]:,} databases" for part, rows in self.rows.items() if rows]


def split_by_schema(files: Sequence[RowDigests], seed: int) -> SchemaSplit:
    """Every database, with all its rows, in one part; as many rows for validation and for test as there are now, or as near below as whole
    databases come, and at least one database. The first file is the training rows."""
    groups: dict[int, list[tuple[Path, int]]] = {}
    alone = 0
    for one in files:
        for line, database, question, example in zip(one.lines, one.databases, one.questions, one.examples, strict=True):
            alone += not database
            groups.setdefault(database or question or example, []).append((one.path, line))
    order = sorted(groups)
    random.Random(seed).shuffle(order)  # noqa: S311  # any order that the seed gives again
    part_of, left = dict[tuple[Path, int], str](), list(order)
    rows, databases = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for part, wanted in reversed(list(zip(PARTS[1:], (len(one.lines) for one in files[1:]), strict=False))):
        chosen, count = list[int](), 0
        for key in left:
            if count + len(groups[key]) <= wanted:
                chosen.append(key)
                count += len(groups[key])
        if not chosen and len(left) > 1:
            chosen = [min(left, key=lambda key: len(groups[key]))]
        taken = set(chosen)
        left = [key for key in left if key not in taken]
        _put(part, chosen, groups, part_of, rows, databases)
    _put("train", left, groups, part_of, rows, databases)
    return SchemaSplit(part_of=part_of, rows=rows, databases=databases, alone=alone)


def _put(
    part: str,
    keys: Sequence[int],
    groups: Mapping[int, Sequence[tuple[Path, int]]],
    part_of: dict[tuple[Path, int], str],
    rows: dict[str, int],
    databases: dict[str, int],
) -> None:
    for key in keys:
        part_of.update(dict.fromkeys(groups[key], part))
        rows[part] += len(groups[key])
    databases[part] = len(keys)


def check_split(split: SchemaSplit, files: Sequence[RowDigests]) -> list[Finding]:
    """`data.one-schema` where there are too few databases for the parts."""
    if all(split.rows[part] for part, _ in zip(PARTS, files, strict=False)):
        return []
    message = f"the rows show {sum(split.databases.values()):,} databases, too few for {len(files)} parts that share none"
    fix = "bring rows of more databases, or keep the split as it is and know that it tells nothing of a new database"
    return [Finding(code="data.one-schema", level="error", where=str(files[0].path.parent), message=message, fix=fix)]


def write_split(split: SchemaSplit, files: Sequence[Path], folder: Path) -> None:
    """The files by the same names in `folder`, each with the rows of its part, in the order in which they stood. Raises OSError."""
    with contextlib.ExitStack() as stack:
        parts = {part: stack.enter_context((folder / path.name).open("wb")) for part, path in zip(PARTS, files, strict=False)}
        for path in files:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if part := split.part_of.get((path, number)):
                        parts[part].write(line.removeprefix(BOM).rstrip(b"\r\n") + b"\n")
