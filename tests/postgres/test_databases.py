"""Databases made around a query: what their rows meet, and that the same seed makes the same."""

import pytest

from preflight.postgres.conditions import read_conditions
from preflight.postgres.databases import make_databases
from preflight.postgres.ddl import Schema, read_schema
from preflight.postgres.sessions import Session
from preflight.postgres.trees import UnreadableError, read_query, read_statements
from tests.postgres.harder import CASES, SHOP

SHOP_SCHEMA = read_schema(SHOP)
ODD = Schema(
    statements=(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TABLE odd (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a numeric(4,1), b char(2) NOT NULL, c interval, d jsonb, e mood[], f uuid UNIQUE, "
        "g point, h time, i bytea, j int CHECK (j > 5), k int GENERATED ALWAYS AS (j * 2) STORED, l inet, m date, n varchar(3), UNIQUE (b, j))",
    ),
    foreign_keys=(),
)


@pytest.fixture(scope="module")
def session(server):
    session = Session(server)
    yield session
    session.close()


def made(session, schema, query, count=10, seed=0):
    session.load(schema)
    return list(make_databases(session.tables, schema.foreign_keys, read_conditions(read_query(query), session.tables), count, seed))


def values(databases, table, column):
    for database in databases:
        for one, rows in database.rows.items():
            if one.name == table:
                place = [part.name for part in one.columns].index(column)
                yield from (row[place] for row in rows)


def test_the_constants_of_a_query_and_their_neighbours_are_there(session):
    query = "SELECT title FROM product WHERE price BETWEEN 20 AND 30 AND title LIKE 'Lamp%' AND stock = 7"
    databases = made(session, SHOP_SCHEMA, query)
    assert {"20.00", "19.00", "21.00", "30.00", "29.00", "31.00"} <= set(values(databases, "product", "price"))
    assert {"7", "6", "8", None} <= set(values(databases, "product", "stock"))
    titles = set(values(databases, "product", "title"))
    assert any(title.startswith("Lamp") for title in titles)
    assert {"lamp", "zLamp"} & titles
    assert not any(title is None for title in titles), "NOT NULL"


def test_dates_lie_on_both_sides_of_a_year(session):
    databases = made(session, SHOP_SCHEMA, "SELECT name FROM customer WHERE extract(year FROM born) = 1988")
    assert {"1988-01-01", "1988-12-31", "1987-12-31", "1989-01-01"} <= set(values(databases, "customer", "born"))


def test_ten_are_of_several_kinds(session):
    databases = made(session, SHOP_SCHEMA, "SELECT name FROM customer WHERE vip")
    assert [database.has_nulls for database in databases] == [False] * 7 + [True] * 3
    assert all(3 <= len(rows) <= 20 for database in databases for rows in database.rows.values())
    emails = [[row[2] for table, rows in database.rows.items() if table.name == "customer" for row in rows] for database in databases]
    assert not any(None in part for part in emails[:7])
    assert all(None in part for part in emails[7:9])
    assert any(len(set(part)) < len(part) / 2 for part in emails), "ties"


def test_references_are_met_where_the_schema_declares_them(session):
    for database in made(session, SHOP_SCHEMA, "SELECT c.name FROM customer c JOIN purchase p ON p.customer_id = c.id"):
        rows = {table.name: part for table, part in database.rows.items()}
        assert {row[1] for row in rows["purchase"]} <= {row[0] for row in rows["customer"]}
        assert {row[3] for row in rows["customer"]} <= {row[0] for row in rows["region"]} | {None}
        assert {row[2] for row in rows["employee"]} <= {row[0] for row in rows["employee"]} | {None}


def test_joined_columns_meet_without_a_declared_key(session):
    schema = Schema(statements=("CREATE TABLE a (id int PRIMARY KEY, n int)", "CREATE TABLE b (a_id int, m int)"), foreign_keys=())
    databases = made(session, schema, "SELECT 1 FROM a JOIN b ON b.a_id = a.id")
    for database in databases:
        rows = {table.name: part for table, part in database.rows.items()}
        assert {row[0] for row in rows["b"]} & {row[0] for row in rows["a"]}
    assert any(
        {row[0] for row in rows["b"]} - {row[0] for row in rows["a"]} - {None} for rows in [{t.name: p for t, p in d.rows.items()} for d in databases]
    )


def test_groups_have_the_sizes_that_are_compared_with(session):
    databases = made(session, SHOP_SCHEMA, "SELECT state FROM purchase GROUP BY state HAVING count(*) > 4")
    sizes = set()
    for database in databases:
        states = list(values([database], "purchase", "state"))
        sizes |= {states.count(state) for state in states}
    assert {4, 5} <= sizes


def test_more_rows_than_a_limit(session):
    for database in made(session, SHOP_SCHEMA, "SELECT name FROM region ORDER BY name LIMIT 9"):
        assert all(len(rows) >= 12 for table, rows in database.rows.items() if table.name == "region")


def test_the_same_seed_makes_the_same_rows(session):
    query = next(iter(CASES))
    first, again, other = (made(session, SHOP_SCHEMA, query, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    alone = [table for table in session.tables if table.name == "region"]
    (few, *_) = make_databases(alone, SHOP_SCHEMA.foreign_keys, read_conditions(read_query(query), alone), 10, 3)
    assert few.rows[alone[0]] == first[0].rows[alone[0]], "whatever else is filled"


@pytest.mark.parametrize("count", [1, 2, 5, 10, 25])
def test_as_many_as_are_asked_for(session, count):
    assert len(made(session, SHOP_SCHEMA, "SELECT 1", count)) == count


def test_types_of_all_kinds_are_filled_and_constraints_kept(session):
    counts = []
    for database in made(session, ODD, "SELECT a FROM odd WHERE d ->> 'k' = 'v' AND 'ok' = ANY (e) AND j > 5 AND a < 3.5"):
        session.fill(database.rows)
        ((count,),) = session.owner.execute("SELECT count(*) FROM odd").fetchall()
        counts.append(count)
        assert session.owner.execute("SELECT count(*) FROM odd WHERE j <= 5 OR k <> j * 2").fetchall() == [(0,)]
    assert min(counts) > 0
    assert sum(counts) > 30


def test_every_query_of_many_kinds_gives_rows(session):
    for query in CASES:
        databases = made(session, SHOP_SCHEMA, query)
        given = []
        for database in databases:
            session.fill(database.rows)
            given.append(tuple(session.owner.execute(query.encode()).fetchall()))
        assert sum(bool(rows) for rows in given) >= 6, query
        assert len(set(given)) >= 4, query


@pytest.mark.parametrize(
    "text", ["", "SELECT 1; SELECT 2", "DELETE FROM t", "SELECT (", "SELECT 1\0", "x" * 200_000, "SELECT " + "(" * 20_000 + "1" + ")" * 20_000]
)
def test_what_is_no_query(text):
    with pytest.raises(UnreadableError):
        read_query(text)


def test_statements():
    assert [next(iter(tree)) for tree in read_statements("SELECT 1; DROP TABLE t")] == ["SelectStmt", "DropStmt"]
