"""Questions about many rows of one table at once: counts, sums, groups."""

from sample_data.questions.pick import Draft, Pick


def count_rows(p: Pick) -> Draft:
    t = p.table
    return Draft(
        (f"How many {t.plural} are there?", f"Count all {t.plural}.", f"What is the number of {t.plural}?"),
        f"SELECT count(*) FROM {t.name};",
        f"SELECT count(id) FROM {t.name};",
    )


def count_where(p: Pick) -> Draft:
    t = p.table
    return Draft(
        (f"How many {t.plural} {p.having} are there?", f"Count the {t.plural} {p.having}.", f"What is the number of {t.plural} {p.having}?"),
        f"SELECT count(*) FROM {t.name} WHERE {p.is_value};",
        f"SELECT count(id) FROM {t.name} WHERE {p.is_value};",
    )


def count_year(p: Pick) -> Draft:
    t, c = p.table, p.date
    return Draft(
        (f"How many {t.plural} have a {c.noun} in {p.year}?", f"Count the {t.plural} with a {c.noun} in {p.year}."),
        f"SELECT count(*) FROM {t.name} WHERE EXTRACT(YEAR FROM {c.name}) = {p.year};",
        f"SELECT count(*) FROM {t.name} WHERE {c.name} BETWEEN '{p.year}-01-01' AND '{p.year}-12-31';",
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


def total_in_year(p: Pick) -> Draft:
    t, c, d = p.table, p.number, p.date
    return Draft(
        (
            f"What is the sum of {c.noun} of {t.plural} {p.having} with a {d.noun} in {p.year}?",
            f"Add up the {c.noun} of {t.plural} {p.having} for {d.noun} {p.year}.",
        ),
        f"SELECT sum({c.name}) FROM {t.name} WHERE {p.is_value} AND EXTRACT(YEAR FROM {d.name}) = {p.year};",
        f"SELECT sum({c.name}) FROM {t.name} WHERE {p.is_value} AND {d.name} BETWEEN '{p.year}-01-01' AND '{p.year}-12-31';",
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


def distinct_above(p: Pick) -> Draft:
    t, c, n = p.table, p.text, p.number
    return Draft(
        (
            f"Which different {c.noun} values occur for {t.plural} with {n.noun} above {p.n}?",
            f"List each {c.noun} of {t.plural} with more than {p.n} {n.noun} once.",
        ),
        f"SELECT DISTINCT {c.name} FROM {t.name} WHERE {n.name} > {p.n};",
        f"SELECT {c.name} FROM {t.name} WHERE {n.name} > {p.n} GROUP BY {c.name};",
    )


def count_each(p: Pick) -> Draft:
    t, c, n = p.table, p.text, p.number
    return Draft(
        (
            f"How many {t.plural} with {n.noun} above {p.n} are there for each {c.noun}?",
            f"Count the {t.plural} with more than {p.n} {n.noun} by {c.noun}.",
        ),
        f"SELECT {c.name}, count(*) FROM {t.name} WHERE {n.name} > {p.n} GROUP BY {c.name};",
        f"SELECT {c.name}, count(id) FROM {t.name} WHERE {n.name} > {p.n} GROUP BY {c.name};",
    )


def average_each(p: Pick) -> Draft:
    t, c, d = p.table, p.text, p.date
    return Draft(
        (
            f"What is the average {p.number.noun} of {t.plural} per {c.noun} with a {d.noun} after {p.year}?",
            f"Show the mean {p.number.noun} by {c.noun} for {t.plural} with a {d.noun} later than {p.year}.",
        ),
        f"SELECT {c.name}, avg({p.number.name}) FROM {t.name} WHERE {d.name} > '{p.year}-12-31' GROUP BY {c.name};",
        f"SELECT {c.name}, avg({p.number.name}) FROM {t.name} WHERE EXTRACT(YEAR FROM {d.name}) > {p.year} GROUP BY {c.name};",
    )


def groups_with_many(p: Pick) -> Draft:
    t, c = p.table, p.text
    return Draft(
        (f"Which {c.noun} values have more than {p.few} {t.plural}?", f"List each {c.noun} that has over {p.few} {t.plural}."),
        f"SELECT {c.name} FROM {t.name} GROUP BY {c.name} HAVING count(*) > {p.few};",
        f"SELECT {c.name} FROM {t.name} GROUP BY {c.name} HAVING count(id) > {p.few};",
    )
