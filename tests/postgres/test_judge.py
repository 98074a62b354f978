"""Mutants are told apart, rewrites are not called wrong, and a proof proves."""

import itertools
import random
import re
from collections import Counter

import pytest

from preflight.postgres.ddl import Schema, read_schema
from preflight.postgres.judge import Judgement, Pair
from preflight.postgres.judging import Judge
from tests.postgres.harder import CASES, SHOP
from tests.postgres.rewrites import rewrites
from tests.postgres.samples import columns_of, sample_rows, schema_of
from tests.postgres.variants import is_equivalent, mutants

SHOP_SCHEMA = read_schema(SHOP)
PETS = Schema(
    statements=(
        "CREATE TABLE pets (id int PRIMARY KEY, name text, kind text, age int, weight real)",
        "CREATE TABLE vets (id int PRIMARY KEY, name text)",
    ),
    foreign_keys=(),
)


@pytest.fixture(scope="module")
def answers(server):
    with Judge(server) as answers:
        yield answers


def test_mutants_of_sample_rows_are_told_apart(answers):
    """A seventh of them; all in benchmarks/executed_accuracy.py."""
    cases = [
        (kind, Pair(schema_of(prompt), answer, mutant)) for prompt, answer in sample_rows() for kind, mutant in mutants(answer, columns_of(prompt))
    ]
    cases = random.Random(0).sample(cases, len(cases) // 7)
    found = answers.judge_all([pair for _, pair in cases])
    other = [(kind, pair, one) for (kind, pair), one in zip(cases, found, strict=True) if not is_equivalent(kind, pair.expected, pair.given)]
    missed = [(kind, pair.expected, pair.given) for kind, pair, one in other if one.verdict != "wrong"]
    assert len(missed) <= 0.01 * len(other), missed
    assert len({kind for kind, _ in cases}) >= 11
    same = [one.verdict for (kind, pair), one in zip(cases, found, strict=True) if is_equivalent(kind, pair.expected, pair.given)]
    assert "wrong" not in same


def test_no_rewrite_of_sample_rows_is_called_wrong(answers):
    by_kind: dict[str, list[Pair]] = {}
    for prompt, answer in sample_rows():
        for kind, rewrite in rewrites(answer):
            by_kind.setdefault(kind, []).append(Pair(schema_of(prompt), answer, rewrite))
    chosen = [pair for pairs in by_kind.values() for pair in random.Random(1).sample(pairs, min(len(pairs), 30))]
    found = answers.judge_all(chosen)
    assert [(pair.expected, pair.given, one) for pair, one in zip(chosen, found, strict=True) if one.verdict != "right"] == []
    assert len(by_kind) >= 15
    assert len(chosen) >= 300


def test_queries_of_many_kinds(answers):
    pairs = [("right", Pair(SHOP_SCHEMA, expected, given)) for expected, (same, _) in CASES.items() for given in same]
    pairs += [("wrong", Pair(SHOP_SCHEMA, expected, given)) for expected, (_, others) in CASES.items() for given in others]
    found = answers.judge_all([pair for _, pair in pairs])
    wrong = [(verdict, pair.expected, pair.given, one) for (verdict, pair), one in zip(pairs, found, strict=True) if one.verdict != verdict]
    assert [case for case in wrong if case[0] == "right"] == []
    assert len(wrong) <= 2, wrong
    assert {one.cause for one in found} <= {"", "other rows", "other order", "differs only at NULLs"}


@pytest.mark.parametrize(
    ("expected", "given", "verdict", "cause"),
    [
        ("SELECT name FROM pets", "SELECT name FROM pets;", "right", ""),
        ("SELECT name FROM pets", "  SELECT\n name   FROM pets ;\n", "right", ""),
        ("SELECT name FROM pets WHERE kind = 'a  b'", "SELECT name FROM pets WHERE kind = 'a b'", "wrong", "other rows"),
        ("SELECT name FROM pets", "SELEC name FROM pets", "wrong", "does not parse"),
        ("SELECT name FROM pets", "", "wrong", "does not parse"),
        ("SELECT name FROM pets", "-- nothing", "wrong", "does not parse"),
        ("SELECT name FROM pets", "SELECT nom FROM pets", "wrong", "does not run"),
        ("SELECT name FROM pets", "DELETE FROM pets", "wrong", "does not run"),
        ("SELECT name FROM pets", "SELECT name, id FROM pets", "wrong", "other columns"),
        ("SELECT name FROM pets WHERE false", "SELECT name, id FROM pets WHERE false", "wrong", "other columns"),
        ("SELECT name, kind FROM pets", "SELECT kind, name FROM pets", "right", ""),
        ("SELECT name AS a FROM pets", "SELECT name AS b FROM pets", "right", ""),
        ("SELECT name FROM pets", "SELECT kind FROM pets", "wrong", "other rows"),
        ("SELECT name FROM pets", "SELECT DISTINCT name FROM pets", "wrong", "other rows"),
        ("SELECT name FROM pets", "SELECT name FROM pets ORDER BY id", "right", ""),
        ("SELECT name FROM pets ORDER BY age", "SELECT name FROM pets ORDER BY age, id DESC", "right", ""),
        ("SELECT name FROM pets ORDER BY age, id", "SELECT name FROM pets ORDER BY age, id DESC", "wrong", "other order"),
        ("SELECT name FROM pets ORDER BY age", "SELECT name FROM pets", "wrong", "other order"),
        ("SELECT name FROM pets LIMIT 2", "SELECT name FROM pets ORDER BY id LIMIT 2", "right", ""),
        ("SELECT name FROM pets LIMIT 2", "SELECT name FROM pets LIMIT 3", "wrong", "other rows"),
        ("SELECT count(*) FROM pets", "SELECT count(age) FROM pets", "wrong", "differs only at NULLs"),
        ("SELECT name FROM pets WHERE age <> 3", "SELECT name FROM pets WHERE age IS DISTINCT FROM 3", "wrong", "differs only at NULLs"),
        ("SELECT avg(age) FROM pets", "SELECT sum(age) / count(age) FROM pets", "wrong", "other rows"),
        ("SELECT avg(age) FROM pets", "SELECT avg(age::float8) FROM pets", "right", ""),
        ("SELECT avg(weight) FROM pets", "SELECT avg(weight::numeric) FROM pets", "right", ""),
        ("SELECT age FROM pets", "SELECT age * 1.00 FROM pets", "right", ""),
        ("SELECT age FROM pets", "SELECT age::text FROM pets", "right", ""),
        ("SELECT 1", "SELECT 2 - 1", "undecided", ""),
        ("SELECT 1", "SELECT 2", "wrong", "other rows"),
        ("SELECT 1", "SELECT 1", "right", ""),
        ("SELECT name FROM pets WHERE 1 = 0", "SELECT kind FROM pets WHERE 0 = 1", "undecided", ""),
        ("SELECT random()", "SELECT random() + 1", "not checked", ""),
        ("SELECT id, now() FROM pets", "SELECT id, now() + interval '1 day' FROM pets", "not checked", ""),
        ("INSERT INTO pets VALUES (1)", "INSERT INTO pets VALUES (1)", "not checked", ""),
        ("UPDATE pets SET age = 1", "SELECT 1", "not checked", ""),
        ("SELECT nom FROM pets", "SELECT nom FROM pets", "not checked", ""),
        ("SELECT 1 / 0", "SELECT 1", "not checked", ""),
        ("SELECT name FROM pets", "SELECT name FROM pets WHERE 1 / (age - age) = 1", "wrong", "does not run"),
        ("SELECT name FROM pets WHERE id = (SELECT max(id) FROM pets)", "SELECT name FROM pets ORDER BY id DESC LIMIT 1", "right", ""),
        (
            "SELECT kind, count(*) FROM pets GROUP BY kind ORDER BY count(*) DESC",
            "SELECT kind, count(*) AS n FROM pets GROUP BY kind ORDER BY n DESC",
            "right",
            "",
        ),
        (
            "SELECT name FROM pets UNION ALL SELECT name FROM vets ORDER BY name LIMIT 4",
            "SELECT name FROM (TABLE vets UNION ALL SELECT id, name FROM pets) x ORDER BY 1 LIMIT 4",
            "right",
            "",
        ),
    ],
)
def test_the_rules(answers, expected, given, verdict, cause):
    judgement = answers.judge(PETS, expected, given)
    assert (judgement.verdict, judgement.cause) == (verdict, cause), judgement


def test_columns_in_another_order_are_said(answers):
    assert "another order" in answers.judge(PETS, "SELECT name, kind FROM pets", "SELECT kind, name FROM pets").detail
    swapped = answers.judge(
        PETS,
        "SELECT id, age FROM pets WHERE age < 9",
        "SELECT CASE WHEN age < 3 THEN id ELSE age END, CASE WHEN age < 3 THEN age ELSE id END FROM pets WHERE age < 9",
    )
    assert swapped.verdict == "wrong", "each row has the same values, and no order of the columns is right"


def test_a_schema_that_is_not_read_judges_nothing(answers):
    assert answers.judge("Which pets are old?", "SELECT 1", "SELECT 1") == Judgement(verdict="not checked", detail="the prompt holds no CREATE TABLE")
    broken = Schema(statements=("CREATE TABLE t (a nothing)",), foreign_keys=())
    judgement = answers.judge(broken, "SELECT a FROM t", "SELECT a FROM t")
    assert (judgement.verdict, "does not load" in judgement.detail) == ("not checked", True)
    assert answers.judge(PETS, "SELECT name FROM pets", "SELECT name FROM pets").verdict == "right"


def test_a_proof_is_small_and_is_one(answers, server):
    """Its rows, put into tables by hand, give what it says they do."""
    expected, given = (
        "SELECT kind FROM pets GROUP BY kind HAVING count(*) > 2 ORDER BY kind",
        "SELECT kind FROM pets GROUP BY kind HAVING count(*) > 1 ORDER BY kind",
    )
    proof = answers.judge(PETS, expected, given).proof
    assert proof
    assert proof.most_rows <= 2
    name = server.make_database()
    with server.connect(name, "owner") as connection:
        for statement in PETS.statements:
            connection.execute(statement)
        for table in proof.tables:
            for row in table.rows:
                connection.execute(f"INSERT INTO {table.name} VALUES ({', '.join(['%s'] * len(row))})", row)
        assert connection.execute(expected).fetchall() == list(proof.expected.rows)
        assert connection.execute(given).fetchall() == list(proof.given.rows)


def test_proofs_of_sample_rows_are_small(answers):
    cases = [
        Pair(schema_of(prompt), answer, mutant)
        for prompt, answer in sample_rows()[::9]
        for _, mutant in itertools.islice(mutants(answer, columns_of(prompt)), 4)
    ]
    proofs = [(pair, one.proof) for pair, one in zip(cases, answers.judge_all(cases), strict=True) if one.verdict == "wrong" and one.proof]
    large = [(pair.expected, proof.most_rows) for pair, proof in proofs if proof.most_rows > 5 and not re.search(r"LIMIT|HAVING", pair.expected)]
    assert len(proofs) > 30
    assert large == []


def test_the_same_pair_is_judged_the_same(answers, server):
    pairs = [
        Pair(schema_of(prompt), answer, mutant, 7) for prompt, answer in sample_rows()[::30] for _, mutant in mutants(answer, columns_of(prompt))
    ]
    with Judge(server, workers=1) as other:
        assert answers.judge_all(pairs) == other.judge_all(list(reversed(pairs)))[::-1]


def test_many_are_judged_in_their_order(answers):
    given = ["SELECT name FROM pets", "SELECT 1 FROM pets", "no"] * 20
    seen: list[int] = []
    found = answers.judge_all([Pair(PETS, "SELECT name FROM pets", one) for one in given], lambda done, total: seen.append(done))
    assert [one.verdict for one in found] == ["right", "wrong", "wrong"] * 20
    assert seen == list(range(1, 61))
    assert Counter(one.cause for one in found)["does not parse"] == 20


def test_five_hundred_tables_are_one_schema(answers):
    wide = Schema(statements=tuple(f"CREATE TABLE t{i} (id int PRIMARY KEY, a int, b text)" for i in range(500)), foreign_keys=())
    assert answers.judge(wide, "SELECT a FROM t7 WHERE b = 'x'", "SELECT a FROM t8 WHERE b = 'x'").verdict == "wrong"
    assert answers.judge(wide, "SELECT a FROM t7 WHERE b = 'x'", "SELECT t.a FROM t7 t WHERE 'x' = b").verdict == "right"


def test_names_with_quotes_and_other_scripts(answers):
    odd = Schema(statements=('''CREATE TABLE "Заказ ""х""" ("id" int PRIMARY KEY, "Größe; DROP" text, "a'b" int)''',), foreign_keys=())
    query = '''SELECT "Größe; DROP" FROM "Заказ ""х""" WHERE "a'b" > 3'''
    assert answers.judge(odd, query, query.replace('WHERE "a\'b" > 3', 'WHERE NOT "a\'b" <= 3')).verdict == "right"
    assert answers.judge(odd, query, query.replace(">", ">=")).cause == "other rows"
