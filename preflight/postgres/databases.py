"""Small databases made around a query: rows that meet all its conditions, rows that miss one, and any rows.

The same seed makes the same rows, and a table's rows do not depend on which other tables are filled.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from preflight.postgres.catalog import Column, Table
from preflight.postgres.conditions import Atom, Conditions
from preflight.postgres.ddl import ForeignKey
from preflight.postgres.links import Link, Row, find_links, without_orphans
from preflight.postgres.meeting import choose, meets
from preflight.postgres.pools import Pool, family, fresh, make_pool, shuffled
from preflight.postgres.scopes import Key


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How the rows of one database are made; the shares are of its rows, the others are any rows."""

    rows: int
    meeting: float
    missing: float
    nulls: float = 0.0  # of the values that may be NULL
    ties: bool = False  # few values in a column
    flat: bool = False  # one number in a column
    grouped: bool = False  # groups of the sizes that the query compares with


# those that tell most apart come first: a wrong answer is done with the first that does. With NULLs last: a difference there is another one
PROFILES = (
    Profile(rows=9, meeting=0.5, missing=0.35),
    Profile(rows=12, meeting=0.6, missing=0.25, ties=True),
    Profile(rows=8, meeting=0.85, missing=0.1, grouped=True),
    Profile(rows=7, meeting=0.5, missing=0.3, flat=True),
    Profile(rows=14, meeting=0.35, missing=0.45),
    Profile(rows=6, meeting=0.3, missing=0.2),
    Profile(rows=12, meeting=0.75, missing=0.2, ties=True),
    Profile(rows=10, meeting=0.5, missing=0.35, nulls=0.2),
    Profile(rows=12, meeting=0.6, missing=0.2, nulls=0.3, ties=True),
    Profile(rows=8, meeting=0.85, missing=0.1, nulls=0.12, grouped=True),
)
MOST_ROWS = 40
ORPHANS = 0.12  # of the values that refer to another table only because the query joins them


@dataclass(frozen=True, kw_only=True)
class Database:
    """The rows of each table, and whether NULLs stand where the query does not ask for them."""

    rows: Mapping[Table, tuple[Row, ...]]
    has_nulls: bool


def make_databases(tables: Sequence[Table], keys: Sequence[ForeignKey], found: Conditions, count: int, seed: int) -> Iterator[Database]:
    """`count` databases, one after the other; those with NULLs come last."""
    links = find_links(tables, keys, found)
    pools = _pools(tables, found, links)
    size = min(count, len(PROFILES))
    whole = len([profile for profile in PROFILES if not profile.nulls])
    with_nulls = [*PROFILES[whole:]][: max(size // 3, 1 if size > 1 else 0)]
    order = [*PROFILES[: size - len(with_nulls)], *with_nulls]
    more = [PROFILES[number % len(PROFILES)] for number in range(count - size)]
    numbered = sorted(enumerate([*order, *more]), key=lambda pair: bool(pair[1].nulls))
    for number, profile in numbered:
        making = _Making(tables=tables, links=links, pools=pools, found=found, profile=profile, seed=f"{seed}/{number}")
        yield Database(rows=without_orphans(making.run(), keys), has_nulls=bool(profile.nulls))


def _pools(tables: Sequence[Table], found: Conditions, links: Mapping[Key, Link]) -> dict[Key, Pool]:
    """The values of each column; columns that are compared with each other share theirs."""
    columns = {(table.name, column.name): column for table in tables for column in table.columns}
    together: dict[Key, set[Key]] = {key: {key} for key in columns}
    for one, other in (*found.joined, *((child, link.parent) for child, link in links.items())):
        if one in together and other in together and family(columns[one]) == family(columns[other]):
            union = together[one] | together[other]
            for key in union:
                together[key] = union
    pools = {}
    for key, column in columns.items():
        atoms = [atom for atom in found.atoms if atom.key in together[key]]
        near = [value for other in sorted(together[key]) for value in found.near.get(other, ())]
        pools[key] = make_pool(column, atoms, near)
    return pools


@dataclass(frozen=True, kw_only=True)
class _Making:
    """The making of one database."""

    tables: Sequence[Table]
    links: Mapping[Key, Link]
    pools: Mapping[Key, Pool]
    found: Conditions
    profile: Profile
    seed: str

    def run(self) -> dict[Table, tuple[Row, ...]]:
        modes = {table: self._modes(table) for table in self.tables}
        made: dict[Key, list[str | None]] = {}
        columns = [(table, column) for table in self.tables for column in table.columns if not column.generated]
        # what tells rows apart comes first, and each column after the one that it refers to
        columns.sort(key=lambda pair: (not pair[0].is_unique(pair[1].name), (pair[0].name, pair[1].name) in self.links))
        for table, column in columns:
            key = table.name, column.name
            rng = random.Random(f"{self.seed}/{'/'.join(key)}")
            if table.is_unique(column.name):
                made[key] = self._distinct(table, column, modes[table], made, rng)
            else:
                made[key] = self._values(table, column, modes, made, rng)
        rows = {}
        for table in self.tables:
            parts = [made.get((table.name, column.name), [None] * len(modes[table])) for column in table.columns]
            rows[table] = tuple(zip(*parts, strict=False))
        return rows

    def _modes(self, table: Table) -> list[Atom | bool | None]:
        """How each row is made: True meets all conditions, an atom misses it, None is any row."""
        rng = random.Random(f"{self.seed}/{table.name}")
        profile, atoms = self.profile, [atom for atom in self.found.atoms if atom.key[0] == table.name]
        count = max(profile.rows + rng.randint(-2, 2), self.found.limit + 3 if self.found.limit else 0)
        modes: list[Atom | bool | None] = []
        if profile.grouped:
            modes = [
                True if meets_all or not atoms else rng.choice(atoms)
                for size, beside in self._groups()
                for meets_all in [True] * size + [False] * beside
            ]
            count = max(count, len(modes) + 2)
        for number in range(len(modes), min(count, MOST_ROWS)):
            drawn = rng.random()
            if number < min(len(atoms), count // 2) and not profile.grouped:  # each is missed once at least
                modes.append(atoms[number])
            elif drawn < profile.meeting:
                modes.append(True)
            else:
                modes.append(rng.choice(atoms) if atoms and drawn < profile.meeting + profile.missing else None)
        return modes

    def _groups(self) -> tuple[tuple[int, int], ...]:
        """The groups of the sizes that the query compares with: how many rows meet all conditions, and how many beside them don't.

        Those beside make a group large enough for who forgets a condition. The last group's rows belong to no parent where there are NULLs,
        else to a namesake of the first's.
        """
        most = max(self.found.counts, default=2)
        return ((most + 1, 0), (most, 1), (max(most - 1, 1), 1), (most + 1, 0))

    def _has_parent(self, number: int) -> bool:
        return self._group(number) < len(self._groups()) - bool(self.profile.nulls)

    def _group(self, number: int) -> int:
        """The group that a row belongs to; their number for those that belong to none."""
        for group, sizes in enumerate(self._groups()):
            if number < sum(sizes):
                return group
            number -= sum(sizes)
        return len(self._groups())

    def _distinct(
        self, table: Table, column: Column, modes: Sequence[Atom | bool | None], made: Mapping[Key, list[str | None]], rng: random.Random
    ) -> list[str | None]:
        key = table.name, column.name
        link = self.links.get(key)
        if link and link.parent in made and link.declared:
            values = [value for value in dict.fromkeys(made[link.parent]) if value is not None]
        else:
            asked = [atom for atom in self.found.atoms if atom.key == key]
            first = list(self.pools[key].around[: 3 * len(asked)])
            more = [value for number in range(1, len(modes) + 1) if (value := fresh(column, number)) is not None]
            values = list(dict.fromkeys([*first, *(more or self.pools[key].values)]))[: len(modes)]
        values = shuffled(values, rng)
        return [*values, *[None] * (len(modes) - len(values))]

    def _values(
        self,
        table: Table,
        column: Column,
        modes: Mapping[Table, Sequence[Atom | bool | None]],
        made: Mapping[Key, list[str | None]],
        rng: random.Random,
    ) -> list[str | None]:
        key = table.name, column.name
        atoms = [atom for atom in self.found.atoms if atom.key == key]
        may_be_null = not column.not_null and (self.profile.nulls or any(atom.operator in ("null", "not null") for atom in atoms))
        nulls = (self.profile.nulls or 0.25) if may_be_null else 0.0
        link = self.links.get(key)
        theirs = made.get(link.parent, []) if link else []
        parent = next((one for one in self.tables if link and one.name == link.parent[0]), None)
        parents = [(value, mode) for value, mode in zip(theirs, modes[parent] if parent else (), strict=True) if value is not None]
        pool = self._pool(key, column, atoms, rng)
        values: list[str | None] = []
        value: str | None
        whole = next((number for number, mode in enumerate(modes[table]) if mode is True), -1)
        for number, mode in enumerate(modes[table]):
            if link and parents and not (not link.declared and rng.random() < ORPHANS):
                value = self._reference(parents, mode, number, rng)
            elif self.profile.grouped and key in self.found.grouped and not self._is_parent(table) and pool:
                value = (
                    pool[self._group(number) % len(pool)]
                    if self._has_parent(number)
                    else choose(pool, self.pools[key].around, atoms, column, None, rng)
                )
            elif self.profile.grouped and not self.profile.nulls and not atoms and self._is_parent(table) and key not in self.found.grouped and pool:
                value = pool[number % (len(self._groups()) - 1) % len(pool)]
            else:
                value = choose(pool, self.pools[key].around, atoms, column, mode, rng)
            wanted = mode is True and any(atom.operator == "null" for atom in atoms) and may_be_null
            missed = isinstance(mode, Atom) and mode.key == key and mode.operator == "not null" and may_be_null
            orphan = number == whole or (self.profile.grouped and self._group(number) == len(self._groups()) - 1)
            alone = bool(link and self.profile.nulls and may_be_null) and orphan  # it refers to nothing, and meets all else
            values.append(None if wanted or missed or alone or (rng.random() < nulls and not self._needs(mode, atoms)) else value)
        return values

    def _needs(self, mode: Atom | bool | None, atoms: Sequence[Atom]) -> bool:
        """Whether a row would be of no use with a NULL here: most of those that meet all conditions."""
        return mode is True and bool(atoms) and not self.profile.nulls > 0.25

    def _is_parent(self, table: Table) -> bool:
        return any(link.parent[0] == table.name for link in self.links.values())

    def _reference(self, parents: Sequence[tuple[str, Atom | bool | None]], mode: Atom | bool | None, number: int, rng: random.Random) -> str:
        meeting = [value for value, how in parents if how is True]
        if self.profile.grouped and meeting and self._has_parent(number):
            return meeting[self._group(number) % len(meeting)]
        if mode is True and meeting and rng.random() < 0.7:
            return rng.choice(meeting)
        return rng.choice(parents)[0]

    def _pool(self, key: Key, column: Column, atoms: Sequence[Atom], rng: random.Random) -> list[str]:
        """The column's values for this database: few where there are to be ties, else all in another order."""
        around, plain = list(self.pools[key].around), shuffled(self.pools[key].plain, rng)
        if self.profile.flat and family(column) == "number" and not atoms:
            return [rng.choice(around + plain)]
        if self.profile.grouped and key in self.found.grouped:
            good = [value for value in around + plain if all(meets(atom, column, value) for atom in atoms)]
            return [*shuffled(good, rng), *plain]
        if self.profile.ties:
            some = 2 * len(atoms)
            return [*around[:some], *shuffled(around[some:], rng)[: some + 1], *plain[: 1 if around else 3]]
        return around + plain
