"""Questions about two tables."""

from sample_data.questions.pick import Draft, Pick


def join_children(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.parent_text
    return Draft(
        (
            f"List the {child.label.name} of {child.plural} that belong to {parent.plural} {english}.",
            f"Which {child.plural} belong to {parent.plural} {english}?",
        ),
        f"SELECT {child.name}.{child.label.name} {p.join} WHERE {sql};",
        f"SELECT {child.label.name} FROM {child.name} WHERE {child.parent_key} IN (SELECT id FROM {parent.name} WHERE {sql});",
    )


def join_parents(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.child_text
    return Draft(
        (
            f"List the {parent.label.name} of {parent.plural} that have {child.plural} {english}.",
            f"Which {parent.plural} have {child.plural} {english}?",
        ),
        f"SELECT DISTINCT {parent.name}.{parent.label.name} {p.join} WHERE {sql};",
        f"SELECT DISTINCT {parent.label.name} FROM {parent.name} WHERE id IN (SELECT {child.parent_key} FROM {child.name} WHERE {sql});",
    )


def join_count(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.child_text
    return Draft(
        (f"How many {child.plural} {english} does each {parent.singular} have?", f"Count the {child.plural} {english} per {parent.singular}."),
        f"SELECT {parent.name}.{parent.label.name}, count(*) {p.join} WHERE {sql} GROUP BY {parent.name}.{parent.label.name};",
        f"SELECT {parent.name}.{parent.label.name}, count({child.name}.id) {p.join} WHERE {sql} GROUP BY {parent.name}.{parent.label.name};",
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
        f"SELECT sum({c.name}) FROM {child.name} WHERE {child.parent_key} IN (SELECT id FROM {parent.name} WHERE {sql});",
    )


def join_many(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.child_text
    return Draft(
        (
            f"Which {parent.plural} have more than {p.few} {child.plural} {english}?",
            f"List each {parent.singular} with over {p.few} {child.plural} {english}.",
        ),
        f"SELECT {parent.name}.{parent.label.name} {p.join} WHERE {sql} GROUP BY {parent.name}.id HAVING count(*) > {p.few};",
        f"SELECT {parent.label.name} FROM {parent.name} "
        f"WHERE id IN (SELECT {child.parent_key} FROM {child.name} WHERE {sql} GROUP BY {child.parent_key} HAVING count(*) > {p.few});",
    )


def without_children(p: Pick) -> Draft:
    (parent, child), (english, sql) = p.schema.tables, p.child_text
    return Draft(
        (f"Which {parent.plural} have no {child.plural} {english}?", f"List {parent.plural} without {child.plural} {english}."),
        f"SELECT {parent.label.name} FROM {parent.name} WHERE id NOT IN (SELECT {child.parent_key} FROM {child.name} WHERE {sql});",
    )
