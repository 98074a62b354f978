"""Rows that mean the same are the same, however they are written; and a split that leaves no database on both sides."""

import json
from pathlib import Path

import pytest

from preflight.cli.package import NAMES, main
from preflight.data.audit import check_overlap
from preflight.data.duplicates import RowDigests
from preflight.data.meaning import folded, tables_and_rest
from preflight.data.prompt_strategies import find_strategy
from preflight.data.scan import Chunk, scan_file

BOATS, TRIPS = "CREATE TABLE boats (id int PRIMARY KEY, name varchar(20), crew int);", "CREATE TABLE trips (boat_id int, miles numeric(5, 2));"
ASK, SQL = "How many boats of port 'Aru' have a crew above 0?", "SELECT count(*) FROM boats WHERE port = 'Aru' AND crew > 0;"


def row(schema=f"{BOATS}\n{TRIPS}", ask=ASK, sql=SQL, begin="[INST] ", end=" [/INST] "):
    return f"{begin}{schema}\n\n{ask}{end}{sql}"


SAME = {
    "to the letter": row(),
    "end marker": row(sql=SQL + "</s>"),
    "semicolon": row(sql=SQL.removesuffix(";")),
    "two semicolons": row(sql=SQL + " ;\n"),
    "line end": row(sql=SQL + "\n"),
    "windows": row(schema=f"{BOATS}\r\n{TRIPS}", sql=SQL),
    "blanks before the answer": row(end=" [/INST]  "),
    "no blank behind the marker": row(begin="[INST]"),
    "blanks within": row(sql="SELECT  count( * )\nFROM boats\n\tWHERE port='Aru' AND crew>0;"),
    "case": row(sql="select COUNT(*) from Boats where port = 'Aru' and crew > 0"),
    "fence": row(sql=f"```sql\n{SQL}\n```"),
    "order of the tables": row(schema=f"{TRIPS}\n{BOATS}"),
    "order and case of the tables": row(schema=f"{TRIPS.lower()} {BOATS.removesuffix(';')}\n"),
}
OTHER = {
    "another literal": row(sql=SQL.replace("'Aru'", "'aru'")),
    "a blank in a literal": row(sql=SQL.replace("'Aru'", "'Aru '")),
    "another table": row(schema=BOATS),
    "another column": row(schema=f"{BOATS.replace('crew int', 'crew text')}\n{TRIPS}"),
    "another number": row(sql=SQL.replace("0", "1")),
    "a quoted name": row(sql=SQL.replace("boats", '"Boats"')),
}


def written(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def overlap(*files):
    """What repeats in (group, path of text rows): `datasets`, `test_datasets` or '' for the test rows."""
    strategy = find_strategy({"type": "completion"})
    return check_overlap([(group, scan_file(Chunk(path=path, strategy=strategy), None, "", lambda *_: None).digests) for group, path in files])


def codes(*files):
    return [(finding.code, finding.level) for finding in overlap(*files)]


@pytest.mark.parametrize("name", SAME)
def test_what_means_the_same_leaks_and_repeats(tmp_path, name):
    train, held_out = written(tmp_path / "a.jsonl", row()), written(tmp_path / "b.jsonl", SAME[name])
    assert codes(("datasets", train), ("test_datasets", held_out)) == [("data.leakage", "error")]
    assert codes(("datasets", train), ("", held_out)) == [("data.leakage", "error")]
    assert codes(("datasets", written(tmp_path / "c.jsonl", row(), SAME[name]))) == [("data.duplicates", "warning")]


@pytest.mark.parametrize("name", OTHER)
def test_what_means_something_else_does_not(tmp_path, name):
    train, held_out = written(tmp_path / "a.jsonl", row()), written(tmp_path / "b.jsonl", OTHER[name])
    assert {code for code, _ in codes(("datasets", train), ("test_datasets", held_out))} <= {"data.same-question"}


def test_validation_rows_in_the_test_are_a_warning(tmp_path):
    train = written(tmp_path / "a.jsonl", row(ask="How many trips?", sql="SELECT count(*) FROM trips;"))
    both = [written(tmp_path / name, row()) for name in ("b.jsonl", "c.jsonl")]
    assert codes(("datasets", train), ("test_datasets", both[0]), ("", both[1])) == [("data.leakage", "warning")]


def test_the_same_sql_asked_in_other_words_is_counted_with_its_databases(tmp_path):
    train = written(tmp_path / "a.jsonl", row(), row(ask="All boats?", sql="SELECT * FROM boats;"))
    others = [row(ask="Count the manned boats of Aru."), row(schema=f"{TRIPS}{BOATS}", ask="What is each boat?", sql="select * from boats")]
    val = written(tmp_path / "b.jsonl", *others, row(ask="Which crews?", sql="SELECT crew FROM boats;"), row(schema="CREATE TABLE x (y int);"))
    (finding,) = overlap(("datasets", train), ("test_datasets", val))
    assert (finding.code, finding.level, finding.where) == ("data.same-sql", "warning", f"{val}:1")
    assert finding.message.startswith("2 of 4 rows of b.jsonl")
    assert "line 1 and line 1 of a.jsonl. 1 of its 2 databases are trained on" in finding.message
    assert "--split-by-schema" in finding.fix


def test_two_answers_to_one_question_are_found_within_a_file_and_across(tmp_path):
    one = written(tmp_path / "a.jsonl", row(), row(ask="x"), row(sql="SELECT 1;"), row(sql="SELECT 2;"))
    (finding,) = overlap(("datasets", one))
    assert (finding.code, finding.where) == ("data.same-question", f"{one}:3")
    assert finding.message.startswith("1 questions are trained on with more than one answer; for example, line 3 of a.jsonl and line 1")
    two = written(tmp_path / "b.jsonl", row(ask="X", sql="SELECT 3;"))
    (finding,) = overlap(("datasets", written(tmp_path / "c.jsonl", row(ask="x"))), ("datasets", two))
    assert finding.where == f"{two}:1"
    assert codes(("datasets", written(tmp_path / "d.jsonl", row(), row(ask="x")))) == []


def test_the_parts_of_a_text():
    assert folded("  SELECT  'A  b' ,\n x ; ") == "select'A  b',x"
    assert tables_and_rest(folded(f"{TRIPS} {BOATS} Who?")) == tables_and_rest(folded(f"{BOATS}\n{TRIPS}\nwho?"))
    assert tables_and_rest(folded("CREATE TABLE t (a int")) == ("t(a int", " ")


@pytest.fixture
def many(tmp_path):
    """Rows of 20 databases of 3 to 22 rows, split at random into three files."""
    texts = [row(schema=f"CREATE TABLE t{i} (x int);", ask=f"Row {j}?", sql=f"SELECT {j % 3} FROM t{i};") for i in range(20) for j in range(3 + i)]
    parts = [texts[2::10], texts[5::10]]
    for name, part in zip(NAMES, [[text for text in texts if text not in parts[0] + parts[1]], *parts], strict=True):
        written(tmp_path / "rows" / name, *part)
    return tmp_path / "rows"


def databases(path: Path):
    return {json.loads(line)["text"].split()[3] for line in path.read_text().splitlines()}


def test_a_split_by_schema_leaves_no_database_on_two_sides(many, tmp_path, capsys):
    import zipfile

    before = {name: (many / name).read_bytes() for name in NAMES}
    assert main([str(many), str(tmp_path / "a.zip")]) == 0
    assert "data.same-sql" in capsys.readouterr().err
    assert main([str(many), str(tmp_path / "b.zip"), "--split-by-schema"]) == 0
    out, err = capsys.readouterr()
    assert "data.same-sql" not in err
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        archive.extractall(tmp_path / "anew")
    found = [databases(tmp_path / "anew" / name) for name in NAMES]
    assert sum(map(len, found)) == len(set.union(*found)) == 20
    lines = [sorted(line for name in NAMES for line in (folder / name).read_bytes().splitlines()) for folder in (many, tmp_path / "anew")]
    assert lines[0] == lines[1], "rows were lost or made"
    counts = [len((tmp_path / "anew" / name).read_bytes().splitlines()) for name in NAMES]
    for part, count, names in zip(("train", "validation", "test"), counts, found, strict=True):
        assert f"{part:<11}{count:>12,} rows ({count / 250:.2%}) of {len(names):,} databases" in out
    assert {name: (many / name).read_bytes() for name in NAMES} == before
    assert main([str(many), str(tmp_path / "c.zip"), "--split-by-schema"]) == 0
    assert main([str(many), str(tmp_path / "d.zip"), "--split-by-schema", "--seed", "7"]) == 0
    packed = [(tmp_path / f"{name}.zip").read_bytes() for name in "bcd"]
    assert packed[0] == packed[1] != packed[2]


def test_rows_of_one_database_are_not_split(tmp_path, capsys):
    for name in NAMES:
        written(tmp_path / name, row(ask=name))
    assert main([str(tmp_path), str(tmp_path / "a.zip"), "--split-by-schema"]) == 1
    assert "data.one-schema" in capsys.readouterr().err
    assert not (tmp_path / "a.zip").exists()


def test_a_row_keeps_40_bytes(tmp_path):
    digests = RowDigests(path=tmp_path)
    digests.add(1, *row().rsplit(" ", 1))
    columns = (digests.lines, digests.examples, digests.questions, digests.databases, digests.answers)
    assert sum(len(column.tobytes()) for column in columns) == 40
