"""The smallest database on which two queries differ, found by leaving out rows as long as they do."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from preflight.postgres.catalog import Table
from preflight.postgres.ddl import ForeignKey
from preflight.postgres.links import Row, without_orphans

MOST_TRIES, MOST_SECONDS = 200, 2.0
Rows = Mapping[Table, tuple[Row, ...]]


@dataclass(frozen=True, kw_only=True)
class ShownTable:
    """Rows with the names of their columns, for people: NULL is None."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A database that shows a difference, and what expected and given answer give on it. `error` is what the given one gives in the place of rows."""

    tables: tuple[ShownTable, ...]
    expected: ShownTable
    given: ShownTable | None
    error: str = ""

    @property
    def most_rows(self) -> int:
        """The rows of its largest table."""
        return max((len(table.rows) for table in self.tables), default=0)


def smallest(rows: Rows, keys: Sequence[ForeignKey], differ: Callable[[Rows], bool]) -> Rows:
    """As few of the rows as still differ: no single one of them can be left out, unless time was up."""
    end, tries = time.monotonic() + MOST_SECONDS, 0
    left = rows
    for table in rows:  # a table that is of no account goes as a whole
        tries += 1
        fewer = without_orphans({**left, table: ()}, keys)
        if left[table] and differ(fewer):
            left = fewer
    chunk = max((len(part) for part in left.values()), default=0) // 2
    while chunk:
        removed = False
        for table in sorted(left, key=lambda one: -len(left[one])):
            start = 0
            while start < len(left[table]):
                if tries >= MOST_TRIES or time.monotonic() > end:
                    return left
                tries += 1
                fewer = without_orphans({**left, table: left[table][:start] + left[table][start + chunk :]}, keys)
                if differ(fewer):
                    left, removed = fewer, True
                else:
                    start += chunk
        if not (chunk == 1 and removed):
            chunk //= 2
    return left
