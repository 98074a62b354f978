"""What a question is made of: random parts of a schema."""

import random
from dataclasses import dataclass
from functools import cached_property

from sample_data.schemas import AMOUNTS, YEARS, Column, Schema, Table


@dataclass(frozen=True)
class Draft:
    """One thing to ask, in every wording the kit knows, and its answer as one writer of SQL would put it.

    `other` is what another writer would answer. Both give the same rows on any data, as in rows that several people
    wrote: a model learns both, and an exact match with one of them says too little (docs/evaluation.md).
    """

    wordings: tuple[str, ...]
    sql: str
    other: str = ""

    @property
    def ways(self) -> tuple[str, ...]:
        """The answer in every way that the kit knows."""
        return (self.sql, self.other) if self.other else (self.sql,)


class Pick:
    """Random parts of one schema, drawn once each when a kind asks for them."""

    def __init__(self, rng: random.Random, schema: Schema) -> None:
        self.rng, self.schema = rng, schema

    @cached_property
    def table(self) -> Table:
        return self.rng.choice(self.schema.tables)

    @cached_property
    def number(self) -> Column:
        return self.rng.choice(self.table.of_type("int"))

    @cached_property
    def date(self) -> Column:
        return self.rng.choice(self.table.of_type("date"))

    @cached_property
    def text(self) -> Column:
        return self.rng.choice(self.table.of_type("text"))

    @cached_property
    def n(self) -> int:
        return self.rng.choice(AMOUNTS)

    @cached_property
    def few(self) -> int:
        return self.rng.randint(2, 9)

    @cached_property
    def year(self) -> int:
        return self.rng.choice(YEARS)

    @cached_property
    def values(self) -> list[str]:
        """Two different values of the text column."""
        return self.rng.sample(self.text.values, 2)

    @cached_property
    def having(self) -> str:
        """The text filter in English: "from 'Berlin'". Quoted as in SQL: a base this small can copy a word, not respell it."""
        return self.rng.choice(self.text.where).format(f"'{self.values[0]}'")

    @property
    def is_value(self) -> str:
        return f"{self.text.name} = '{self.values[0]}'"

    @cached_property
    def child_text(self) -> tuple[str, str]:
        """A filter on the child table: English and SQL."""
        column = self.rng.choice(self.schema.child.of_type("text"))
        value = self.rng.choice(column.values)
        return self.rng.choice(column.where).format(f"'{value}'"), f"{self.schema.child.name}.{column.name} = '{value}'"

    @cached_property
    def parent_text(self) -> tuple[str, str]:
        """A filter on the parent table: English and SQL."""
        column = self.rng.choice(self.schema.parent.of_type("text"))
        value = self.rng.choice(column.values)
        return self.rng.choice(column.where).format(f"'{value}'"), f"{self.schema.parent.name}.{column.name} = '{value}'"

    @property
    def join(self) -> str:
        parent, child = self.schema.tables
        return f"FROM {parent.name} JOIN {child.name} ON {child.name}.{child.parent_key} = {parent.name}.id"
