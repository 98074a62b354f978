"""What PostgreSQL says of an answer, and what is made of it. All by the real one."""

import pytest

from preflight.postgres.causes import MENDS
from preflight.postgres.ddl_text import find_statements
from preflight.postgres.preparing import Question, judge_answers

PROMPT = """[INST] CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE boats (id int PRIMARY KEY, name text, port text, crew int, built date, m mood);
CREATE TABLE trips (id int PRIMARY KEY, boat_id int REFERENCES boats, miles numeric, left_on date, "Odd" text, j jsonb);
CREATE TABLE "Harbours" (id int, name text);
CREATE TABLE sales.orders (id int, total float8);
Which? [/INST] """
MYSQL = "CREATE TABLE `Boats` (`Id` int(11) NOT NULL, `Name` varchar(20), `active` tinyint(1), `built` datetime, PRIMARY KEY (`Id`)) ENGINE=InnoDB;"
# by cause
FAILS = {
    "unknown column": [
        "SELECT ship_name FROM boats",
        "SELECT b.nme FROM boats b",
        "SELECT name FROM boats WHERE nme = 'a' ORDER BY id",
        "UPDATE boats SET nme = 3",
        "INSERT INTO boats (nme) VALUES (1)",
        "WITH x AS (SELECT id FROM boats) SELECT name FROM x",
        "SELECT name FROM boats; SELECT nme FROM boats;",
        "SELECT 'boat' || nme FROM boats",
    ],
    "unknown table": [
        "SELECT ship_name FROM ships",
        "SELECT t.name FROM boats b",
        "SELECT boats.name FROM boats b",
        "SELECT id FROM public.orders",
        "SELECT id FROM nowhere.boats",
        "DELETE FROM ships",
    ],
    "ambiguous name": ["SELECT id FROM boats JOIN trips ON boats.id = boat_id", "SELECT a.id FROM boats a, trips a"],
    "GROUP BY": [
        "SELECT name, count(*) FROM boats",
        "SELECT port, name FROM boats GROUP BY port",
        "SELECT name FROM boats WHERE count(*) > 1",
        "SELECT name FROM boats HAVING crew > 1",
    ],
    "types": [
        "SELECT name FROM boats WHERE crew = 'x'",
        "SELECT name FROM boats WHERE name > 3",
        "SELECT name FROM boats WHERE built = '2020-13-45'",
        "SELECT sum(name) FROM boats",
        "SELECT round(total, 2) FROM sales.orders",
        "SELECT name FROM boats WHERE m = 'glad'",
        "SELECT crew || name::int FROM boats WHERE name",
        "SELECT id FROM boats UNION SELECT name FROM boats",
        "SELECT coalesce(id, 'none') FROM boats",
        "SELECT j->>'a' + 1 FROM trips",
        "SELECT name::nonsense FROM boats",
    ],
    "double-quoted string": ['SELECT name FROM boats WHERE port = "Aru"', 'SELECT name FROM boats WHERE port LIKE "A%"', 'SELECT name FROM boats WHERE port IN ("a", "b")'],
    "case of a name": ["SELECT odd FROM trips", 'SELECT "Name" FROM boats', "SELECT id FROM Harbours", 'SELECT b."Port" FROM boats b'],
    "another dialect": [
        "SELECT YEAR(built) FROM boats",
        "SELECT IFNULL(name, '') FROM boats",
        "SELECT DATEDIFF(NOW(), built) FROM boats",
        "SELECT strftime('%Y', built) FROM boats",
        "SELECT getdate()",
        "SELECT group_concat(name) FROM boats",
        "SELECT nvl(name, 'a') FROM boats",
        "SELECT cast(crew AS unsigned) FROM boats",
        "SELECT isnull(name, 'a') FROM boats",
        "SELECT julianday(built) FROM boats",
        "SELECT date_format(built, '%Y') FROM boats",
        "SELECT len(name) FROM boats",
    ],
    "unknown function": ["SELECT frobnicate(name) FROM boats"],
    "ORDER BY": ["SELECT DISTINCT name FROM boats ORDER BY crew", "SELECT name FROM boats ORDER BY 3"],
    "other": ["SELECT id FROM boats UNION SELECT id, name FROM boats", "SELECT * FROM a.b.boats", "INSERT INTO boats (id) VALUES (1, 2)"],
}  # fmt: skip
UNCHECKED = {
    "SELECT ST_Distance(name, port) FROM boats": "PostGIS",
    "SELECT name::geometry FROM boats": "PostGIS",
    "SELECT similarity(name, port) FROM boats": "pg_trgm",
    "SELECT name FROM boats WHERE name % 'x'": "pg_trgm",
    "SELECT name <-> port FROM boats": "pgvector",
    "SELECT uuid_generate_v4()": "uuid-ossp",
    "SELECT * FROM crosstab('SELECT 1') AS t(a int)": "tablefunc",
    "SELECT unaccent(name) FROM boats": "unaccent",
    "SELECT levenshtein(name, port) FROM boats": "fuzzystrmatch",
    "SELECT crypt(name, port) FROM boats": "pgcrypto",
    "SELECT time_bucket('1 day', built) FROM boats": "TimescaleDB",
    "SELECT query FROM pg_stat_statements": "pg_stat_statements",
    "SELECT nextval('boats_id_seq')": "a sequence",
    "SELECT name FROM boats WHERE id = $1": "a parameter",
    "SELECT name FROM boats WHERE id = %s": "a placeholder (%s)",
    "SELECT name FROM boats WHERE id = %(id)s": "a placeholder (%s)",
    "SELECT name FROM boats WHERE id = @id": "a variable",
    "SELECT name FROM boats; DELETE FROM boats": "several statements",
    "CREATE TABLE x (i int)": "CREATE statement",
    "COPY boats TO PROGRAM 'id'": "COPY statement",
    "DO $$ BEGIN PERFORM 1; END $$": "DO statement",
    "EXPLAIN SELECT nme FROM boats": "EXPLAIN statement",
    "SELECT name COLLATE \"nowhere\" FROM boats": "collation",
    "SELECT 1" + " + 1" * 50_000: "longer than",
}  # fmt: skip
RUNS = [
    "SELECT name FROM boats;",
    "-- all of them\nSELECT name FROM boats -- that's it",
    "(SELECT name FROM boats) UNION ALL (SELECT name FROM boats)",
    "SELECT name, count(*) FROM boats GROUP BY id",
    "SELECT b.*, t.miles FROM boats b LEFT JOIN trips t ON t.boat_id = b.id ORDER BY t.miles DESC NULLS LAST LIMIT 3",
    "SELECT \"Odd\", j->>'a' FROM trips",
    'SELECT name AS "Full name" FROM boats ORDER BY "Full name"',
    "SELECT id FROM \"Harbours\" WHERE name = 'it''s; fine'",
    "SELECT id FROM sales.orders",
    "SELECT id FROM public.boats",
    "SELECT total FROM orders",
    "SELECT table_name FROM information_schema.tables; SELECT relname FROM pg_class",
    "SELECT now() - built, extract(year FROM built), built - interval '1 day' FROM boats",
    "SELECT '$1', '%s', ':x', '@y' FROM boats",
    "SELECT name FROM boats WHERE m = 'sad'",
    "SELECT gen_random_uuid(), date(built), string_agg(name, ',') FROM boats GROUP BY built",
    "INSERT INTO boats (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id",
    "DELETE FROM boats USING trips WHERE boats.id = trips.boat_id",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT i FROM r",
    "VALUES (1), (2)",
    "SELECT pg_sleep(1000)",
    "SELECT array_agg(x) FROM generate_series(1, 1000000000) x, generate_series(1, 1000000000) y",
]


@pytest.fixture(scope="module")
def verdict(server):
    """What becomes of an answer, all being asked at once."""
    answers = [*(one for found in FAILS.values() for one in found), *UNCHECKED, *RUNS]
    ddl = find_statements(PROMPT)
    made = dict(judge_answers(server, (Question(number, ddl, answer) for number, answer in enumerate(answers))))
    return {answer: made[number] for number, answer in enumerate(answers)}


@pytest.mark.parametrize(("cause", "answer"), [(cause, answer) for cause, answers in FAILS.items() for answer in answers])
def test_why_an_answer_fails(verdict, cause, answer):
    found = verdict[answer]
    assert (found.state, found.cause) == ("fails", cause), found
    assert found.message
    assert MENDS[cause]


@pytest.mark.parametrize("answer", UNCHECKED, ids=lambda answer: answer[:60])
def test_what_says_nothing_of_an_answer(verdict, answer):
    assert verdict[answer].state == "not checked"
    assert UNCHECKED[answer] in verdict[answer].cause


@pytest.mark.parametrize("answer", RUNS)
def test_what_runs(verdict, answer):
    assert verdict[answer].state == "runs", verdict[answer]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("SELECT Name FROM Boats WHERE Id = 1", "runs"),
        ("SELECT \"Name\" FROM boats", "not checked"),  # its dialect has no case
        ("SELECT name FROM boats WHERE active", "not checked"),  # nor perhaps these types
        ("SELECT name FROM boats WHERE name = 1", "not checked"),
        ("SELECT nme FROM boats", "fails"),
        ("SELECT name FROM ships", "fails"),
        ("SELECT name FROM boats WHERE name = \"x\"", "fails"),
        ("SELECT name, count(*) FROM boats", "fails"),
    ],
)  # fmt: skip
def test_a_schema_of_another_dialect_leaves_doubts(server, answer, state):
    ((_, found),) = judge_answers(server, [Question(0, find_statements(MYSQL), answer)])
    assert found.state == state, found
