"""Which columns take their values from another table's: foreign keys of the schema, and joins of the query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preflight.postgres.catalog import Table
from preflight.postgres.conditions import Conditions
from preflight.postgres.ddl import ForeignKey
from preflight.postgres.scopes import Key

Row = tuple[str | None, ...]  # in the order of the table's columns


@dataclass(frozen=True, kw_only=True)
class Link:
    """A column whose values come from another table's; `declared` where the schema says that each must be there."""

    parent: Key
    declared: bool


def without_orphans(rows: Mapping[Table, tuple[Row, ...]], keys: Sequence[ForeignKey]) -> dict[Table, tuple[Row, ...]]:
    """The rows without those that refer to a row which is not there; a key with a NULL refers to none."""
    left = dict(rows)
    places = [place for key in keys if (place := _places(key, list(rows)))]
    changed = True
    while changed:
        changed = False
        for table, columns, parent, parent_columns in places:
            there = {tuple(row[i] for i in parent_columns) for row in left[parent]}
            kept = tuple(row for row in left[table] if None in (value := tuple(row[i] for i in columns)) or value in there)
            changed = changed or len(kept) < len(left[table])
            left[table] = kept
    return left


def _places(key: ForeignKey, tables: Sequence[Table]) -> tuple[Table, list[int], Table, list[int]] | None:
    """A foreign key as tables and places in their rows; None where it names what is not there."""
    by_name = {table.name: table for table in tables}
    table, parent = by_name.get(key.table.rpartition(".")[2]), by_name.get(key.parent.rpartition(".")[2])
    if not table or not parent:
        return None
    named = key.parent_columns or tuple(sorted(parent.unique[0])) if parent.unique or key.parent_columns else ()
    try:
        own = [[column.name for column in table.columns].index(name) for name in key.columns]
        theirs = [[column.name for column in parent.columns].index(name) for name in named]
    except ValueError:
        return None
    return (table, own, parent, theirs) if len(own) == len(theirs) and own else None


def find_links(tables: Sequence[Table], keys: Sequence[ForeignKey], found: Conditions) -> dict[Key, Link]:
    """The columns that refer to another: those of declared keys, and those that the query joins to a column which is unique."""
    links: dict[Key, Link] = {}
    for key in keys:
        if (place := _places(key, tables)) and len(place[1]) == 1:
            table, (own,), parent, (theirs,) = place
            if (table, own) != (parent, theirs):
                links[table.name, table.columns[own].name] = Link(parent=(parent.name, parent.columns[theirs].name), declared=True)
    by_name = {table.name: table for table in tables}
    for one, other in found.joined:
        for child, parent_key in ((one, other), (other, one)):
            there = parent_key in links and links[parent_key].parent == child
            if child not in links and not there and by_name[parent_key[0]].is_unique(parent_key[1]) and not by_name[child[0]].is_unique(child[1]):
                links[child] = Link(parent=parent_key, declared=False)
    return links


def find_parents(names: set[str], keys: Sequence[ForeignKey]) -> set[str]:
    """The tables of these names and all that they refer to."""
    wanted, more = set(names), True
    while more:
        found = {key.parent.rpartition(".")[2] for key in keys if key.table.rpartition(".")[2] in wanted}
        more = not found <= wanted
        wanted |= found
    return wanted
