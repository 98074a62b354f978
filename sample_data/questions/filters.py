"""Questions about single rows of one table: which, in what order."""

from sample_data.questions.pick import Draft, Pick
from sample_data.schemas import AMOUNTS


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
        f"SELECT {t.label.name} FROM {t.name} WHERE NOT {p.text.name} = '{value}';",
    )


def list_either(p: Pick) -> Draft:
    t, (a, b) = p.table, p.values
    return Draft(
        (f"Which {t.plural} have {p.text.noun} '{a}' or '{b}'?", f"List the {t.label.name} of {t.plural} whose {p.text.noun} is '{a}' or '{b}'."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.text.name} IN ('{a}', '{b}');",
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.text.name} = '{a}' OR {p.text.name} = '{b}';",
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
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} >= {low} AND {c.name} <= {high};",
    )


def list_after(p: Pick) -> Draft:
    t, c = p.table, p.date
    return Draft(
        (f"Which {t.plural} have a {c.noun} after {p.year}?", f"List the {t.label.name} of {t.plural} with a {c.noun} later than {p.year}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} > '{p.year}-12-31';",
        f"SELECT {t.label.name} FROM {t.name} WHERE EXTRACT(YEAR FROM {c.name}) > {p.year};",
    )


def list_before(p: Pick) -> Draft:
    t, c = p.table, p.date
    return Draft(
        (f"Which {t.plural} have a {c.noun} before {p.year}?", f"List the {t.label.name} of {t.plural} with a {c.noun} earlier than {p.year}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} < '{p.year}-01-01';",
        f"SELECT {t.label.name} FROM {t.name} WHERE EXTRACT(YEAR FROM {c.name}) < {p.year};",
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
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} > {p.n} AND {p.is_value};",
    )


def list_starting(p: Pick) -> Draft:
    t, letter = p.table, p.rng.choice("ABCDEFGHJKLMNPRSTW")
    return Draft(
        (f"Which {t.plural} have a {t.label.name} that starts with {letter}?", f"List {t.plural} whose {t.label.name} begins with {letter}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {t.label.name} LIKE '{letter}%';",
        f"SELECT {t.label.name} FROM {t.name} WHERE left({t.label.name}, 1) = '{letter}';",
    )


def top(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"Show the {p.few} {t.plural} with the highest {c.noun}.", f"Which {p.few} {t.plural} have the most {c.noun}?"),
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} DESC LIMIT {p.few};",
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} DESC FETCH FIRST {p.few} ROWS ONLY;",
    )


def bottom(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"Show the {p.few} {t.plural} with the lowest {c.noun}.", f"Which {p.few} {t.plural} have the least {c.noun}?"),
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} LIMIT {p.few};",
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} FETCH FIRST {p.few} ROWS ONLY;",
    )


def newest(p: Pick) -> Draft:
    t, c = p.table, p.date
    return Draft(
        (f"Show the {p.few} {t.plural} with the latest {c.noun}.", f"Which {p.few} {t.plural} have the most recent {c.noun}?"),
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} DESC LIMIT {p.few};",
        f"SELECT {t.label.name} FROM {t.name} ORDER BY {c.name} DESC FETCH FIRST {p.few} ROWS ONLY;",
    )


def ordered_where(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"List {t.plural} {p.having} ordered by {c.noun}.", f"Sort the {t.plural} {p.having} by {c.noun}."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.is_value} ORDER BY {c.name};",
    )


def above_average(p: Pick) -> Draft:
    t, c = p.table, p.number
    return Draft(
        (f"Which {t.plural} {p.having} have {c.noun} above the average?", f"List {t.plural} {p.having} with more {c.noun} than the mean."),
        f"SELECT {t.label.name} FROM {t.name} WHERE {p.is_value} AND {c.name} > (SELECT avg({c.name}) FROM {t.name});",
        f"SELECT {t.label.name} FROM {t.name} WHERE {c.name} > (SELECT avg({c.name}) FROM {t.name}) AND {p.is_value};",
    )
