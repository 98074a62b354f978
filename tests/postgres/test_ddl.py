"""Prompts of every kind: the tables that they mean are there, and nothing else has happened."""

import time

import psycopg
import pytest

from preflight.postgres.ddl import ForeignKey, load, read_schema, unload

COLUMNS = """
SELECT coalesce(nullif(table_schema, 'public') || '.', '') || table_name || '(' || string_agg(column_name || ' ' || udt_name, ', ' ORDER BY ordinal_position) || ')'
FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
GROUP BY table_schema, table_name ORDER BY table_schema <> 'public', table_name
"""
# a prompt and the tables that it means
MEANT = {
    "kit": ("[INST] CREATE TABLE a (id int PRIMARY KEY, name text);\nCREATE TABLE b (id int, a_id int REFERENCES a);\n\nHow many?", "a(id int4, name text); b(id int4, a_id int4)"),
    "sql-create-context": ("CREATE TABLE head (age INTEGER)\n\nHow many heads are older than 56?", "head(age int4)"),
    "two in a line": ("CREATE TABLE a (x VARCHAR, y VARCHAR); CREATE TABLE b (z INTEGER) What?", "a(x varchar, y varchar); b(z int4)"),
    "wikisql": ("CREATE TABLE table_2_1 (pos_ VARCHAR, no_s_ INTEGER)", "table_2_1(pos_ varchar, no_s_ int4)"),
    "spider": ('CREATE TABLE "singer" (\n"Singer_ID" int,\n"Name" text,\nPRIMARY KEY ("Singer_ID"),\nFOREIGN KEY ("Singer_ID") REFERENCES "x"("y")\n);', "singer(Singer_ID int4, Name text)"),
    "fence": ("Schema:\n```sql\nCREATE TABLE a (\n  id SERIAL PRIMARY KEY -- the key; of (all)\n);\n```\nAnswer:", "a(id int4)"),
    "sample rows": ("CREATE TABLE a (id int, n text)\n/*\n3 rows from a table:\nid\tn\n1\tit's\n*/\nCREATE TABLE b (i int)", "a(id int4, n text); b(i int4)"),
    "apostrophe in a comment": ("CREATE TABLE a (id int, -- the user's\n n text)", "a(id int4, n text)"),
    "not null and defaults": ("CREATE TABLE a (d timestamp NOT NULL DEFAULT now(), n numeric(10, 2) DEFAULT f(1), CHECK (g(n) > 0), u int UNIQUE)", "a(d timestamp, n numeric, u int4)"),
    "generated": ("CREATE TABLE a (i int GENERATED ALWAYS AS IDENTITY, j int GENERATED ALWAYS AS (i * 2) STORED)", "a(i int4, j int4)"),
    "arrays": ("CREATE TABLE a (t text[], j jsonb, u uuid, n int[3][3])", "a(t _text, j jsonb, u uuid, n _int4)"),
    "dump": (
        "CREATE TABLE public.a (\n    id integer NOT NULL,\n    t timestamp with time zone\n);\nALTER TABLE public.a OWNER TO me;\nALTER TABLE ONLY public.a\n    ADD CONSTRAINT a_pkey PRIMARY KEY (id);\n",
        "a(id int4, t timestamptz)",
    ),
    "schema": ("CREATE SCHEMA sales; CREATE TABLE sales.orders (id int); CREATE TABLE a (i int)", "a(i int4); sales.orders(id int4)"),
    "enum": ("CREATE TYPE mood AS ENUM ('sad', 'it''s (ok)');\nCREATE TABLE a (m mood)", "a(m mood)"),
    "composite": ("CREATE TYPE addr AS (street text, zip text); CREATE TABLE a (x addr)", "a(x addr)"),
    "domain": ("CREATE DOMAIN email AS text CHECK (VALUE ~ '@');\nCREATE TABLE a (m email)", "a(m text)"),
    "like": ("CREATE TABLE b (LIKE a INCLUDING ALL);\nCREATE TABLE a (i int)", "a(i int4); b(i int4)"),
    "inherits": ("CREATE TABLE a (i int); CREATE TABLE b (j int) INHERITS (a);", "a(i int4); b(i int4, j int4)"),
    "partitions": ("CREATE TABLE a (i int, d date) PARTITION BY RANGE (d);\nCREATE TABLE a1 PARTITION OF a FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');", "a(i int4, d date); a1(i int4, d date)"),
    "temporary": ("CREATE TEMPORARY TABLE IF NOT EXISTS a (i int)", "a(i int4)"),
    "unicode": ('CREATE TABLE "größe ""x""" ("列" int, größe text)', 'größe "x"(列 int4, größe text)'),
    "the same twice": ("CREATE TABLE a (i int); CREATE TABLE a (i  INT);", "a(i int4)"),
    "prose": ("You know CREATE TABLE statements (see below). CREATE TABLE a (i int)\nUse no CREATE TABLE here.", "a(i int4)"),
    "mysql": (
        "CREATE TABLE `t` (\n `id` int(11) unsigned NOT NULL AUTO_INCREMENT,\n `Name` varchar(20) COLLATE utf8_bin DEFAULT NULL COMMENT 'a, (b',\n `e` enum('a','b'),\n `d` datetime DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,\n PRIMARY KEY (`id`), KEY `k` (`Name`), UNIQUE KEY `u` (`Name`(10)), FULLTEXT KEY f (`e`),\n CONSTRAINT `c` FOREIGN KEY (`e`) REFERENCES `z` (`q`) ON DELETE CASCADE\n) ENGINE=InnoDB DEFAULT CHARSET=utf8;",
        "t(id int4, name varchar, e text, d timestamp)",
    ),
    "mysql types": ("CREATE TABLE t (a TINYINT(1), b MEDIUMTEXT, c DOUBLE, d BLOB, e YEAR, f DATETIME(6), g DECIMAL(10,2) UNSIGNED, h BIGINT(20))", "t(a int2, b text, c float8, d bytea, e int4, f timestamp, g numeric, h int8)"),
    "sqlite": ("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, n TEXT COLLATE NOCASE, r REAL, b BLOB) WITHOUT ROWID;", "t(id int4, n text, r float4, b bytea)"),
    "sql server": (
        "CREATE TABLE [dbo].[Order Lines] (\n [Id] [int] IDENTITY(1,1) NOT NULL,\n [Text] [nvarchar](50) NULL,\n [m] nvarchar(max),\n [When] datetime2(7),\n [b] [bit] NOT NULL,\n CONSTRAINT [PK] PRIMARY KEY CLUSTERED ([Id] ASC)\n)\nGO",
        "dbo.Order Lines(id int4, text varchar, m varchar, when timestamp, b bit)",
    ),
    "sql server's keys": ("CREATE TABLE [t] ([i] [int] NULL)\nGO\nALTER TABLE [dbo].[t]  WITH CHECK ADD  CONSTRAINT [FK] FOREIGN KEY([i])\nREFERENCES [dbo].[z] ([q])\nGO", None),
    "oracle": ("CREATE TABLE t (id NUMBER(10) NOT NULL ENABLE, n VARCHAR2(20 CHAR), d DATE DEFAULT SYSDATE, c CLOB)", "t(id numeric, n varchar, d date, c text)"),
    "oracle that parses": ("CREATE TABLE t (id NUMBER(10, 2), n VARCHAR2(20))", "t(id numeric, n varchar)"),
    "bigquery": ("CREATE TABLE t (id INT64, n STRING, f FLOAT64)", "t(id int8, n text, f float8)"),
    "snowflake": ("create or replace TABLE T (ID NUMBER(38,0), N VARCHAR(16777216), D TIMESTAMP_NTZ(9))", "t(id numeric, n varchar, d timestamp)"),
    "cut off": ("CREATE TABLE a (id int, name te", None),
    "no types": ("CREATE TABLE a (id, name)", None),
    "lists": ("singer(id, name)\nconcert(id, year)", None),
}  # fmt: skip
# what has to be left alone, and the reason that is given
REFUSED = {
    "nothing": ("How many?", "no CREATE TABLE"),
    "as select": ("CREATE TABLE a AS SELECT pg_read_file('/etc/passwd')", "no list of columns"),
    "as select behind columns": ("CREATE TABLE a (i) AS SELECT 1", "no list of columns"),
    "of a type": ("CREATE TABLE a OF b", "no list of columns"),
    "view": ("CREATE TABLE a (i int); CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
    "materialised view": ("CREATE TABLE a (i int); CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE VIEW"),
    "function": ("CREATE TABLE a (i int); CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE FUNCTION"),
    "sequence": ("CREATE SEQUENCE s; CREATE TABLE a (i int DEFAULT nextval('s'))", "CREATE SEQUENCE"),
    "extension": ("CREATE EXTENSION plpython3u; CREATE TABLE a (i int)", "CREATE EXTENSION"),
    "foreign table": ("CREATE FOREIGN TABLE a (i int) SERVER s OPTIONS (program 'id')", "CREATE FOREIGN TABLE"),
    "virtual table": ("CREATE VIRTUAL TABLE a USING fts5(x)", ""),
    "three parts": ("CREATE TABLE a.b.c (i int)", "three parts"),
    "catalogue": ("CREATE TABLE pg_catalog.pg_class (i int)", "schema pg_catalog"),
    "another's schema": ('CREATE TABLE "x; DROP" . a (i int)', "schema x; DROP"),
    "of another column": ("CREATE TABLE a (i b.c%TYPE)", ""),
    "set of": ("CREATE TABLE a (i SETOF int)", ""),
    "rename": ("CREATE TABLE a (i int); ALTER TABLE a RENAME TO b;", "RENAME"),
    "drop column": ("CREATE TABLE a (i int, j int); ALTER TABLE a DROP COLUMN j;", "ALTER TABLE"),
    "alter without a table": ("ALTER TABLE a ADD COLUMN i int;", "not there"),
    "twice, not alike": ("CREATE TABLE a (i int); CREATE TABLE a (j int)", "defined twice"),
    "too many": ("".join(f"CREATE TABLE t{number} (i int);" for number in range(1001)), "more than 1,000"),
    "too long": ("x" * ((1 << 20) + 1), "longer than"),
    "range type": ("CREATE TYPE r AS RANGE (subtype = int); CREATE TABLE a (x r)", "CreateRange"),
    "open quote": ("CREATE TABLE a (i int, \"j int)", "does not end"),
    "open comment": ("CREATE TABLE a (i int /* )", "does not end"),
    "nested defaults": (f"CREATE TABLE a (i int DEFAULT {'(' * 20000}1{')' * 20000})", "too deeply"),
    "long defaults": (f"CREATE TABLE a (i int DEFAULT 1{' + 1' * 50000})", "too deeply"),
    "calls in calls": (f"CREATE TABLE a (i int DEFAULT {'f(1, ' * 20000}1{')' * 20000})", "too deeply"),
    "nested": ("CREATE TABLE a (" + "(" * 5000 + ")" * 5000 + ")", ""),
}  # fmt: skip
# what loads, since what is hostile in it is left out; or fails and leaves nothing
HOSTILE = [
    "COPY a TO PROGRAM 'touch {mark}'; CREATE TABLE a (i int)",
    "CREATE TABLE a (i int); COPY a FROM PROGRAM 'touch {mark}; echo 1';",
    "CREATE TABLE a (i int); DO $$ BEGIN EXECUTE 'COPY a TO PROGRAM ''touch {mark}'''; END $$;",
    "CREATE TABLE a (i int DEFAULT pg_sleep(100), t text DEFAULT pg_read_file('/etc/passwd'))",
    "CREATE TABLE a (i int CHECK (pg_sleep(100) IS NULL))",
    "CREATE TABLE a (i int) WITH (autovacuum_enabled = false) TABLESPACE x",
    "CREATE TABLE a (i int); DROP DATABASE postgres; ALTER SYSTEM SET x = 1; SELECT pg_sleep(100);",
    "CREATE TABLE a (i int); ALTER ROLE reader SUPERUSER; GRANT ALL ON a TO reader; SET ROLE postgres",
    "CREATE TABLE a (i int); SET statement_timeout = 0; COMMIT; VACUUM FULL;",
    "CREATE TABLE a (i int); CREATE TRIGGER t BEFORE INSERT ON a EXECUTE FUNCTION f(); CREATE RULE r AS ON SELECT TO a DO INSTEAD SELECT 1",
    "CREATE TABLE a (i int); INSERT INTO a SELECT generate_series(1, 100000000);",
    "CREATE TABLE a (i int, EXCLUDE USING gist (i WITH =))",
    "CREATE TABLE a (\"i\"\"); DROP TABLE x; --\" int)",
    "CREATE TABLE a (i int COLLATE \"nowhere\")",
    "CREATE TABLE a (t text DEFAULT $$ ); COPY a TO PROGRAM 'touch {mark}'; $$)",
    "CREATE TABLE a (t text DEFAULT $x$ ' $x$); CREATE TABLE b (i int)",
    "CREATE TABLE a (i int PRIMARY KEY USING INDEX TABLESPACE x)",
    "CREATE UNLOGGED TABLE a (i int)",
]  # fmt: skip


@pytest.fixture(scope="module")
def owner(server):
    with server.connect(server.make_database(), "owner") as connection:
        yield connection


def tables(connection):
    return "; ".join(str(row[0]) for row in connection.execute(COLUMNS))


@pytest.mark.parametrize("name", MEANT)
def test_the_tables_that_a_prompt_means_are_there(owner, name):
    prompt, meant = MEANT[name]
    schema = read_schema(prompt)
    if meant is None:
        assert schema.unusable
        return
    assert schema.unusable == ""
    try:
        load(owner, schema)
        assert tables(owner) == meant
    finally:
        unload(owner)
    assert tables(owner) == ""


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_said(name):
    prompt, reason = REFUSED[name]
    before = time.monotonic()
    assert reason in read_schema(prompt).unusable
    assert read_schema(prompt).unusable
    assert time.monotonic() - before < 2


@pytest.mark.parametrize("prompt", HOSTILE)
def test_nothing_of_a_prompt_runs_but_its_tables(owner, tmp_path, prompt):
    mark = tmp_path / "mark"
    schema = read_schema(prompt.replace("{mark}", str(mark)))
    try:
        load(owner, schema)
        assert tables(owner).startswith("a(")
    finally:
        unload(owner)
    assert not mark.exists()
    assert owner.execute("SHOW statement_timeout").fetchone() == ("2s",)
    assert owner.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'reader'").fetchone() == (False,)


def test_a_table_that_can_not_be_made_leaves_nothing(owner):
    clickhouse = "CREATE TABLE t (id UInt32, n LowCardinality(String)) ENGINE = MergeTree ORDER BY id"
    for prompt in (
        clickhouse,
        "CREATE TABLE a (i int); CREATE TABLE b (g geometry)",
        "CREATE TABLE a (i int, i int)",
        "CREATE TABLE a (PRIMARY KEY (x))",
    ):
        with pytest.raises(psycopg.Error):
            load(owner, read_schema(prompt))
        assert tables(owner) == ""


def test_a_reader_reads_the_tables_and_writes_none(server):
    name = server.make_database()
    with server.connect(name, "owner") as owner, server.connect(name) as reader:
        load(owner, read_schema("CREATE TABLE s.a (i int); CREATE TABLE b (i int)"))
        assert reader.execute("SELECT count(*) FROM s.a, public.b").fetchone() == (0,)
        with pytest.raises(psycopg.Error):
            reader.execute("INSERT INTO b VALUES (1)")


@pytest.mark.parametrize("text", ["CREATE TABLE ", "ALTER TABLE a ADD ", "CREATE DOMAIN a AS b ", "CREATE TABLE a -- b ", "CREATE TYPE a AS (", "a."])
def test_a_prompt_of_a_megabyte_is_read_in_a_moment(text):
    before = time.monotonic()
    read_schema("CREATE TABLE " + text * (1_000_000 // len(text)))
    assert time.monotonic() - before < 5


def test_foreign_keys_are_hints_with_the_names_as_postgresql_reads_them():
    schema = read_schema(
        'CREATE TABLE A (id int PRIMARY KEY, B_id int REFERENCES B, c int REFERENCES "C"(Id));'
        "CREATE TABLE s.d (x int, y int, FOREIGN KEY (x, y) REFERENCES public.a (id, c) ON DELETE CASCADE);"
        "ALTER TABLE s.d ADD CONSTRAINT z FOREIGN KEY (x) REFERENCES s.e(q);"
    )
    assert schema.foreign_keys == (
        ForeignKey(table="a", columns=("b_id",), parent="b"),
        ForeignKey(table="a", columns=("c",), parent="C", parent_columns=("id",)),
        ForeignKey(table="s.d", columns=("x", "y"), parent="a", parent_columns=("id", "c")),
        ForeignKey(table="s.d", columns=("x",), parent="s.e", parent_columns=("q",)),
    )
    assert not any("REFERENCES" in statement for statement in schema.statements)


def test_a_prompt_of_500_tables_is_read_and_made_in_a_few_seconds(owner):
    before = time.monotonic()
    schema = read_schema("\n".join(f"CREATE TABLE t{number} (id int PRIMARY KEY, a text, b numeric(10, 2), c date);" for number in range(500)))
    load(owner, schema)
    unload(owner)
    assert len(schema.statements) == 500
    assert time.monotonic() - before < 10
