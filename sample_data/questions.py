"""The kinds of question: each turns random picks from a schema into several ways to ask it and the one SQL answer."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sample_data.schemas import AMOUNTS, YEARS, Column, Schema, Table


@dataclass(frozen=True)
class Draft:
    """One thing to ask, in every wording the kit knows, and its answer."""

    wordings: tuple[str, ...]
    sql: str


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


def count_rows(p: Pick) -> Draft:
    t = p.table
    return Draft(
        (f"How many {t.plural} are there?", f"Count all {t.plural}.", f"What is the number of {t.plural}?"),
        f"SELECT count(*) FROM {t.name};",
    )


def count_where(p: Pick) -> Draft:
    t = p.table
    return Draft(
        (f"How many {t.plural} {p.having} are there?", f"Count the {t.plural} {p.having}.", f"What is the number of {t.plural} {p.having}?"),
        f"SELECT count(*) FROM {t.name} WHERE {p.is_value};",
    )


def list_all(p: Pick) -> Draft:
    t = p.table
    return Draft(
        (f"List the {t.label.name} of every {t.singular}.", f"What are the {t.label.name}s of all {t.plural}?"),
        f"SELECT {t.label.name} FROM {t.name};",
    )


def list_where(p: Pick) -> Draft:
    t = p.table
    return Draft(
        (
            f"List the {t.label.name} of {t.plural} {p.having}.",
            f"Show the {t.label.name} of all {t.plural} {p.having}.",
            f"Which {t.plural} {p.having} do we have?",
        ),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.is_value};",
    )


def list_not(p: Pick) -> Draft:
    t, value = p.table, p.values[0]
    return Draft(
        (
            f"List the {t.label.name} of {t.plural} whose {p.text.noun} is not '{value}'.",
            f"Show all {t.plural} with a {p.text.noun} other than '{value}'.",
        ),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.text.name} <> '{value}';",
    )


def list_either(p: Pick) -> Draft:
    t, (a, b) = p.table, p.values
    return Draft(
        (f"Which {t.plural} have {p.text.noun} '{a}' or '{b}'?", f"List the {t.label.name} of {t.plural} whose {p.text.noun} is '{a}' or '{b}'."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.text.name} IN ('{a}', '{b}');",
    )


def list_above(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (
            f"Which {t.plural} have {c.noun} above {p.n}?",
            f"List the {t.label.name} of {t.plural} with more than {p.n} {c.noun}.",
            f"Show {t.plural} whose {c.noun} is over {p.n}.",
        ),
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} > {p.n};",
    )


def list_below(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (
            f"Which {t.plural} have {c.noun} below {p.n}?",
            f"List the {t.label.name} of {t.plural} with less than {p.n} {c.noun}.",
            f"Show {t.plural} whose {c.noun} is under {p.n}.",
        ),
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} < {p.n};",
    )


def list_between(p: Pick) -> Draft:
    t, c = p.table, p.number
    low, high = sorted(p.rng.sample(AMOUNTS, 2))
    return Draft(
        (f"Which {t.plural} have {c.noun} between {low} and {high}?", f"List the {t.label.name} of {t.plural} with {c.noun} from {low} to {high}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} BETWEEN {low} AND {high};",
    )


def list_after(p: Pick) -> Draft:
    t, c = p.table, p.date
    return Draft(
        (f"Which {t.plural} have a {c.noun} after {p.year}?", f"List the {t.label.name} of {t.plural} with a {c.noun} later than {p.year}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} > '{p.year}-12-31';",
    )


def list_before(p: Pick) -> Draft:
    t, c = p.table, p.date
    return Draft(
        (f"Which {t.plural} have a {c.noun} before {p.year}?", f"List the {t.label.name} of {t.plural} with a {c.noun} earlier than {p.year}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} < '{p.year}-01-01';",
    )


def count_year(p: Pick) -> Draft:
    t, c = p.table, p.date
    return Draft(
        (f"How many {t.plural} have a {c.noun} in {p.year}?", f"Count the {t.plural} with a {c.noun} in {p.year}."),
        f"SELECT count(*) FROM {t.name} WHERE EXTRACT(YEAR FROM {c.name}) = {p.year};",
    )


def list_missing(p: Pick) -> Draft:
    t, c = p.table, p.rng.choice(p.table.columns)
    return Draft(
        (f"Which {t.plural} have no {c.noun}?", f"List the {t.label.name} of {t.plural} without a {c.noun}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} IS NULL;",
    )


def list_both(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (
            f"Which {t.plural} {p.having} have {c.noun} above {p.n}?",
            f"List the {t.label.name} of {t.plural} {p.having} with more than {p.n} {c.noun}.",
        ),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.is_value} AND {c.name} > {p.n};",
    )


def list_starting(p: Pick) -> Draft:
    t, letter = p.table, p.rng.choice("ABCDEFGHJKLMNPRSTW")
    return Draft(
        (f"Which {t.plural} have a {t.label.name} that starts with {letter}?", f"List {t.plural} whose {t.label.name} begins with {letter}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {t.label.name} LIKE '{letter}%';",
    )


def total(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"What is the sum of {c.noun} over all {t.plural}?", f"Add up the {c.noun} of all {t.plural}."),
        f"SELECT sum({c.name}) FROM {t.name};",
    )


def total_where(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"What is the sum of {c.noun} of {t.plural} {p.having}?", f"Add up the {c.noun} of {t.plural} {p.having}."),
        f"SELECT sum({c.name}) FROM {t.name} WHERE {p.is_value};",
    )


def average(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"What is the average {c.noun} of all {t.plural}?", f"Show the mean {c.noun} of {t.plural}."),
        f"SELECT avg({c.name}) FROM {t.name};",
    )


def average_where(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"What is the average {c.noun} of {t.plural} {p.having}?", f"Show the mean {c.noun} of {t.plural} {p.having}."),
        f"SELECT avg({c.name}) FROM {t.name} WHERE {p.is_value};",
    )


def largest_where(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"What is the highest {c.noun} among {t.plural} {p.having}?", f"Show the largest {c.noun} of {t.plural} {p.having}."),
        f"SELECT max({c.name}) FROM {t.name} WHERE {p.is_value};",
    )


def smallest_where(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"What is the lowest {c.noun} among {t.plural} {p.having}?", f"Show the smallest {c.noun} of {t.plural} {p.having}."),
        f"SELECT min({c.name}) FROM {t.name} WHERE {p.is_value};",
    )


def top(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"Show the {p.few} {t.plural} with the highest {c.noun}.", f"Which {p.few} {t.plural} have the most {c.noun}?"),
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} DESC LIMIT {p.few};",
    )


def bottom(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"Show the {p.few} {t.plural} with the lowest {c.noun}.", f"Which {p.few} {t.plural} have the least {c.noun}?"),
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} LIMIT {p.few};",
    )


def newest(p: Pick) -> Draft:
    t, c = p.table, p.date
    return Draft(
        (f"Show the {p.few} {t.plural} with the latest {c.noun}.", f"Which {p.few} {t.plural} have the most recent {c.noun}?"),
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} DESC LIMIT {p.few};",
    )


def ordered_where(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"List {t.plural} {p.having} ordered by {c.noun}.", f"Sort the {t.plural} {p.having} by {c.noun}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.is_value} ORDER BY {c.name};",
    )


def distinct_above(p: Pick) -> Draft:
    t, c, n = p.table, p.text, p.number
    return Draft(
        (
            f"Which different {c.noun} values occur for {t.plural} with {n.noun} above {p.n}?",
            f"List each {c.noun} of {t.plural} with more than {p.n} {n.noun} once.",
        ),
        f"SELECT DISTINCT {c.name} FROM {t.name} WHERE {n.name} > {p.n};",
    )


def count_each(p: Pick) -> Draft:
    t, c, n = p.table, p.text, p.number
    return Draft(
        (
            f"How many {t.plural} with {n.noun} above {p.n} are there for each {c.noun}?",
            f"Count the {t.plural} with more than {p.n} {n.noun} by {c.noun}.",
        ),
        f"SELECT {c.name}, count(*) FROM {t.name} WHERE {n.name} > {p.n} GROUP BY {c.name};",
    )


def average_each(p: Pick) -> Draft:
    t, c, d = p.table, p.text, p.date
    return Draft(
        (
            f"What is the average {p.number.noun} of {t.plural} per {c.noun} with a {d.noun} after {p.year}?",
            f"Show the mean {p.number.noun} by {c.noun} for {t.plural} with a {d.noun} later than {p.year}.",
        ),
        f"SELECT {c.name}, avg({p.number.name}) FROM {t.name} WHERE {d.name} > '{p.year}-12-31' GROUP BY {c.name};",
    )


def groups_with_many(p: Pick) -> Draft:
    t, c = p.table, p.text
    return Draft(
        (f"Which {c.noun} values have more than {p.few} {t.plural}?", f"List each {c.noun} that has over {p.few} {t.plural}."),
        f"SELECT {c.name} FROM {t.name} GROUP BY {c.name} HAVING count(*) > {p.few};",
    )


def join_children(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.parent_text
    return Draft(
        (
            f"List the {child.label.name} of {child.plural} that belong to {parent.plural} {english}.",
            f"Which {child.plural} belong to {parent.plural} {english}?",
        ),
        f"SELECT {child.name}.{child.label.name} {p.join} WHERE {sql};",
    )


def join_parents(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.child_text
    return Draft(
        (
            f"List the {parent.label.name} of {parent.plural} that have {child.plural} {english}.",
            f"Which {parent.plural} have {child.plural} {english}?",
        ),
        f"SELECT DISTINCT {parent.name}.{parent.label.name} {p.join} WHERE {sql};",
    )


def join_count(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.child_text
    return Draft(
        (f"How many {child.plural} {english} does each {parent.singular} have?", f"Count the {child.plural} {english} per {parent.singular}."),
        f"SELECT {parent.name}.{parent.label.name}, count(*) {p.join} WHERE {sql} GROUP BY {parent.name}.{parent.label.name};",
    )


def join_total(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.parent_text
    c = p.rng.choice(child.of_type("int"))
    return Draft(
        (
            f"What is the sum of {c.noun} of {child.plural} that belong to {parent.plural} {english}?",
            f"Add up the {c.noun} of {child.plural} of {parent.plural} {english}.",
        ),
        f"SELECT sum({child.name}.{c.name}) {p.join} WHERE {sql};",
    )


def above_average(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"Which {t.plural} {p.having} have {c.noun} above the average?", f"List {t.plural} {p.having} with more {c.noun} than the mean."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.is_value} AND {c.name} > (SELECT avg({c.name}) FROM {t.name});",
    )


def without_children(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.child_text
    return Draft(
        (f"Which {parent.plural} have no {child.plural} {english}?", f"List {parent.plural} without {child.plural} {english}."),
        f"SELECT {parent.label.name} FROM {parent.name} WHERE id NOT IN (SELECT {child.parent_key} FROM {child.name} WHERE {sql});",
    )


KINDS: tuple[Callable[[Pick], Draft], ...] = (
    count_rows,
    count_where,
    list_all,
    list_where,
    list_not,
    list_either,
    list_above,
    list_below,
    list_between,
    list_after,
    list_before,
    count_year,
    list_missing,
    list_both,
    list_starting,
    total,
    total_where,
    average,
    average_where,
    largest_where,
    smallest_where,
    top,
    bottom,
    newest,
    ordered_where,
    distinct_above,
    count_each,
    average_each,
    groups_with_many,
    join_children,
    join_parents,
    join_count,
    join_total,
    above_average,
    without_children,
)
