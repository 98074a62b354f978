"""Which column a reference in a query means."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.postgres.catalog import Table
from preflight.postgres.trees import shallow

Key = tuple[str, str]  # (table, column)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The names that a query's FROM gives its tables, and those of the query around it."""

    names: Mapping[str, Table]
    outer: "Scope | None"

    def find(self, fields: Sequence[str], tables: Sequence[Table]) -> Key | None:
        """The column that a reference means."""
        name = fields[-1]
        scope: Scope | None = self
        while scope:
            candidates = [scope.names[fields[-2]]] if len(fields) > 1 and fields[-2] in scope.names else []
            candidates = candidates or (list(scope.names.values()) if len(fields) == 1 else [])
            for table in candidates:
                if table.column(name):
                    return table.name, name
            scope = scope.outer
        # a column of a sub-query or a CTE: most often named as the one that it comes from
        return next(((table.name, name) for table in tables if table.column(name)), None)


def names_of(clause: Any, tables: Sequence[Table]) -> Iterator[tuple[str, Table]]:
    """(the name, the table) of each table of a FROM, or of a part of it."""
    for kind, node in shallow(clause):
        if kind == "RangeVar":
            table = next((table for table in tables if table.name == node.get("relname")), None)
            if table:
                yield node.get("alias", {}).get("aliasname") or table.name, table
