import pytest

from preflight.postgres.kinds import kinds_of


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ("SELECT name FROM boats", ("plain",)),
        ("SELECT count(*) FROM boats", ("plain",)),
        ("SELECT b.name FROM boats b JOIN crews c ON c.boat_id = b.id", ("join",)),
        ("SELECT b.name FROM boats b, crews c WHERE c.boat_id = b.id", ("join",)),
        ("SELECT kind, count(*) FROM boats GROUP BY kind", ("group",)),
        ("SELECT name FROM boats WHERE id IN (SELECT boat_id FROM crews)", ("nested",)),
        ("WITH old AS (SELECT * FROM boats) SELECT * FROM old", ("nested",)),
        ("SELECT name FROM (SELECT name FROM boats) b", ("nested",)),
        ("SELECT name FROM boats WHERE built > '2020-01-01'", ("date",)),
        ("SELECT name FROM boats WHERE extract(year FROM built) = 2020", ("date",)),
        ("SELECT name FROM boats WHERE built > CURRENT_DATE - INTERVAL '1 day'", ("date",)),
        ("SELECT name FROM boats WHERE size > '2020'::int", ("plain",)),
        ("SELECT k, max(d) FROM a JOIN b USING (id) WHERE d < date '2020-01-01' AND x = (SELECT 1) GROUP BY k", ("join", "group", "nested", "date")),
        ("SELECT name FROM boats UNION SELECT kind FROM boats GROUP BY kind", ("group",)),
        ("DELETE FROM boats", ()),
        ("there are three", ()),
    ],
)
def test_kinds_are_read_off_the_expected_answer(answer, kinds):
    assert kinds_of(answer) == kinds
