import json
import random
import re
import tracemalloc
from dataclasses import replace

import pytest
import yaml

from preflight.data import rows, scan
from preflight.data.audit import audit_rows
from preflight.data.duplicates import RowDigests, check_duplicates, check_leakage
from preflight.data.prompt_strategies import find_strategy
from preflight.data.prompt_strategies.base import Row
from preflight.data.prompt_strategies.completion import bare
from preflight.data.rows import Problems, check_rows, read_rows
from preflight.data.scan import Chunk, scan_chunk, scan_file
from preflight.data.sql import find_parser
from preflight.data.staging import DataFile, bring, inspect_source
from preflight.data.tokenizer import find_tokenizer
from tests.conftest import CHECKOUT

EXAMPLES = CHECKOUT / "tests/examples/rows"
ENTRIES = {"text": {"type": "completion"}, "messages": {"type": "chat_template", "chat_template": "mistral_v1"}, "instruction": {"type": "alpaca"}}
EXPECTED = dict(line.split(" ", 1) for line in (EXAMPLES / "rejected/EXPECTED").read_text().splitlines())
TEXT = find_strategy({"type": "completion"})


def quiet(what, done, total):
    pass


def findings_of(train, held_out=(), kind="text", entry=None, **changes):
    """What is found in files of rows, read where they lie, as the pipeline does."""
    names = [("datasets", train), *(("test_datasets", path) for path in held_out)]
    counts = {"datasets": 0, "test_datasets": 0}
    files, staged, values = [], [], {"datasets": [], "test_datasets": []}
    for name, path in names:
        files.append(DataFile(key=f"{name}.{counts[name]}.path", source=path, staged=path))
        values[name].append((entry or ENTRIES[kind]) | {"path": str(path)})
        counts[name] += 1
        staged.append(bring([inspect_source(path)], path.parent, copy=False, missing="error", progress=quiet)[0])
    values |= {"base_model": str(CHECKOUT / "sample_data/smoke_base"), "sequence_len": 512} | changes
    return audit_rows(values, files, staged, quiet)[1]


def shown(findings):
    """Codes and lines of what is wrong; most of the examples are too short to hold a question."""
    wrong = [finding for finding in findings if finding.level not in ("ok", "info") and finding.code != "data.no-answer"]
    return " ".join(f"{finding.code}:{finding.where.rpartition(':')[2]}" for finding in wrong)


@pytest.mark.parametrize("path", sorted((EXAMPLES / "rejected").glob("*.jsonl")), ids=lambda path: path.name)
def test_rejected(path):
    findings = findings_of(path, kind=path.suffixes[0][1:])
    assert shown(findings) == EXPECTED[path.name]
    assert all(finding.message and finding.fix for finding in findings if finding.level != "ok")


def test_every_rejected_example_is_expected():
    assert EXPECTED.keys() == {path.name for path in (EXAMPLES / "rejected").glob("*.jsonl")}


@pytest.mark.parametrize("path", sorted((EXAMPLES / "accepted").glob("*.jsonl")), ids=lambda path: path.name)
def test_accepted(path):
    kind = path.suffixes[0][1:]
    assert shown(findings_of(path, kind=kind)) == ""
    assert all(not row.problem for row in read_rows(path, find_strategy(ENTRIES[kind])))


def test_the_sample_rows_are_clean():
    for kind, folder in (("text", "sample_data"), ("messages", "sample_data/messages")):
        train, *held_out = (CHECKOUT / folder / f"{name}_postgres.jsonl" for name in ("train", "val", "test"))
        assert [finding.code for finding in findings_of(train, held_out, kind) if finding.level == "error"] == []


def test_a_row_of_322_mb_is_refused_without_being_held(tmp_path):
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "a"}\n{"text": "')
        file.truncate(322_000_000)
        file.seek(0, 2)
        file.write(b'"}\n{"text": "b"}\n')
    tracemalloc.start()
    read = list(read_rows(path, TEXT))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row.line, row.huge, row.text) for row in read] == [(1, False, "a"), (2, True, ""), (3, False, "b")]
    assert peak < 4 * rows.HUGE
    assert [(finding.code, finding.where) for finding in check_rows(path, problems([row for row in read if row.problem]), 1)] == [
        ("data.huge-row", f"{path}:2")
    ]


@pytest.mark.parametrize("shared", [1 << 30, 0], ids=["in this process", "by several processes"])
def test_a_file_scanned_in_chunks_gives_what_one_scan_gives(tmp_path, monkeypatch, shared):
    """Every kind of row, blank lines and a row longer than a chunk: the same findings, at the same lines, wherever the cuts fall."""
    rng = random.Random(5)
    good = [json.dumps({"text": f"[INST] {i} [/INST] SELECT {i};" + " " * rng.randint(0, 300)}) for i in range(400)]
    odd = ["", "   ", "SELECT", json.dumps({"text": "[INST] x [/INST] ;"}), json.dumps({"text": "<s>[INST] y [/INST] SELEC 1;"}), good[7]]
    lines = good + odd * 9 + [json.dumps({"text": "z" * 9_000})]
    rng.shuffle(lines)
    path = tmp_path / "train.jsonl"
    path.write_bytes("\n".join(lines).encode())
    tokenizer = find_tokenizer(str(CHECKOUT / "sample_data/smoke_base"))
    whole = Chunk(path=path, strategy=TEXT, values={"sequence_len": 512}, measured=True)
    expected = scan_chunk(whole, tokenizer, find_parser())
    monkeypatch.setattr(scan, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr(scan, "SHARED", shared)
    seen = scan_file(whole, tokenizer, str(CHECKOUT / "sample_data/smoke_base"), quiet)
    assert replace(seen, end=0) == expected
    assert (expected.rows, expected.bad, len(expected.near_empty), len(expected.bos), expected.not_sql) == (437, 9, 9, 9, 9)
    assert len(expected.measured) == 428


def test_only_the_first_bad_rows_are_named_and_all_are_counted():
    findings = check_rows(CHECKOUT, problems(Row(line=i, problem=f"x{i}") for i in range(1, 101)), 100)
    assert len(findings) == rows.SHOWN + 1
    assert "100 bad rows" in findings[-1].message
    (finding,) = check_rows(CHECKOUT, problems(Row(line=i, problem="x") for i in range(3, 103)), 100)
    assert (finding.message, finding.where) == ("100 rows, the first in line 3: x", f"{CHECKOUT}:3")


SHAPES = {
    "messages": {"messages": [{"role": "user", "content": "q{i}"}, {"role": "assistant", "content": "SELECT {i};"}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q{i}"}, {"from": "gpt", "value": "SELECT {i};"}]},
    "question, context, answer": {"question": "q{i}", "context": "CREATE TABLE t (i int);", "answer": "SELECT {i};"},
    "prompt, completion": {"prompt": "q{i}", "completion": "SELECT {i};"},
    "instruction, input, output": {"instruction": "q{i}", "input": "", "output": "SELECT {i};"},
    "instruction, input, response": {"instruction": "q{i}", "input": "CREATE TABLE t (i int);", "response": "SELECT {i};"},
    "spider": {"db_id": "x", "query": "SELECT {i};", "question": "q{i}", "sql": {"select": [1]}},
    "gretel": {"id": 1, "sql_prompt": "q{i}", "sql_context": "CREATE TABLE t (i int);", "sql": "SELECT {i};"},
    "text": {"text": "[INST] q{i} [/INST] SELECT {i};"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_another_shape_are_one_finding_with_the_lines_that_read_them(tmp_path, shape):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(SHAPES[shape]).replace("{i}", str(i)) + "\n" for i in range(10, 40)))
    wrong = ENTRIES["messages" if shape == "text" else "text"]
    (finding,) = [finding for finding in findings_of(path, entry=wrong) if finding.level == "error"]
    assert (finding.code, finding.where) == ("data.wrong-columns", f"{path}:1")
    lines = finding.fix.partition("in the place of its type: ")[2].partition(", as in")[0]
    entry = yaml.safe_load(f"{{{lines}}}")
    assert [finding for finding in findings_of(path, entry=entry) if finding.level == "error"] == []
    (first, *_) = read_rows(path, find_strategy(entry))
    question, answer = find_strategy(entry).question_and_answer(first)
    assert ("q10" in question, answer.strip()) == (True, "SELECT 10;")


def problems(found):
    kept = Problems()
    for row in found:
        kept.add(row)
    return kept


def write(path, *texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


DDL, ASK, SQL = "CREATE TABLE boats (id int, crew int);\n### SQL: is what you write.", "How many boats?", "SELECT count(*) FROM boats;"
MARKED = {
    "mistral": f"<s>[INST] {DDL}\n{ASK} [/INST] {SQL}</s>",
    "mistral, several turns": f"[INST] {DDL}\n{ASK} [/INST] SELECT 1;</s>[INST] And? [/INST] {SQL}</s>",
    "mistral, and a heading": f"[INST] {DDL}\n{ASK} [/INST]\n### SQL:\n{SQL}",
    "a heading": f"### Question:\n{ASK}\n\n### SQL:\n{SQL}",
    "a heading without a colon": f"### Question\n{ASK}\n### SQL\n{SQL}",
    "another heading": f"{DDL}\n### Question:\n{ASK}\n### SQL Query:\n{SQL}",
    "response": f"### Instruction:\n{ASK}\n### Response:\n{SQL}",
    "output": f"{ASK}\n### Output:\n{SQL}",
    "assistant": f"### Human: {ASK}### Assistant: {SQL}",
    "answer": f"Question: {ASK}\nAnswer: {SQL}",
    "a": f"Q: {ASK}\nA: {SQL}",
    "sql": f"Question: {ASK}\nSQL: {SQL}",
    "sqlcoder": f"[QUESTION]{ASK}[/QUESTION]\n[SQL]\n{SQL}\n[/SQL]",
    "chatml": f"<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n{SQL}<|im_end|>\n",
    "llama 3": f"{ASK}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{SQL}<|eot_id|>",
    "zephyr": f"<|user|>\n{ASK}</s>\n<|assistant|>\n{SQL}</s>",
    "a fence": f"[INST] {ASK} [/INST] ```sql\n{SQL}\n```",
}


@pytest.mark.parametrize("name", MARKED)
def test_where_an_answer_begins_and_ends(name):
    question, answer = TEXT.question_and_answer(Row(line=1, text=MARKED[name]))
    assert ASK in question or "And?" in question
    assert bare(answer).strip() == SQL


def test_what_ends_the_question_can_be_named(tmp_path):
    path = write(tmp_path / "train.jsonl", *[f"-- How many are {i}?\n-- my sql\nSELECT {i};" for i in range(20)], "-- q\n-- my sql\n;")
    (before,) = [finding for finding in findings_of(path) if finding.level == "warning"]
    assert (before.code, "--set 'answer_marker=" in before.fix) == ("data.no-answer", True)
    (after,) = [finding for finding in findings_of(path, answer_marker="-- my sql\n") if finding.level == "warning"]
    assert (after.code, after.where) == ("data.empty-answer", f"{path}:21")
    usual = write(tmp_path / "train.jsonl", *[f"[INST] {i} [/INST] SELECT {i};" for i in range(20)])
    assert findings_of(usual, answer_marker="-- my sql") == findings_of(usual)


def test_rows_in_which_no_answer_is_found_are_one_warning(tmp_path):
    path = write(
        tmp_path / "train.jsonl", *[f"-- How many are {i}?\nSELECT {i};" for i in range(6)], *[f"[INST] {i} [/INST] SELECT {i};" for i in range(94)]
    )
    (finding,) = [finding for finding in findings_of(path) if finding.code == "data.no-answer"]
    assert (finding.level, finding.where) == ("warning", f"{path}:1")
    assert "in 6 of 100 rows" in finding.message
    path = write(tmp_path / "train.jsonl", *["no question"] * 5, *[f"[INST] {i} [/INST] SELECT {i};" for i in range(95)])
    assert "data.no-answer" not in [finding.code for finding in findings_of(path)]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (";", "data.empty-answer"),
        ("SELECT", "data.empty-answer"),
        ("SELECT ;", "data.empty-answer"),
        ("-- no answer\n", "data.empty-answer"),
        ("/* nothing */;", "data.empty-answer"),
        ("SELECT 1\0;", "data.odd-characters"),
        ("SELECT \u2018a\u2019 FROM t;", "data.odd-characters"),
        ("SELECT\u00a01 FROM t;", "data.odd-characters"),
        ("SELECT a\uff0c b FROM t;", "data.odd-characters"),
        ("```sql\nSELEC a FORM t;\n```", "data.sql"),
        ("-- how many\nSELECT '\u2019\uff0c' FROM t;", ""),
        ("SELECT 'O''Neil\u2019' FROM t;", ""),
        ("```\nSELECT 1 FROM t;\n```", ""),
    ],
)
def test_what_is_found_in_answers(tmp_path, answer, code):
    path = write(tmp_path / "train.jsonl", "[INST] a [/INST] SELECT 1 FROM t;", f"[INST] b [/INST] {answer}")
    found = [finding for finding in findings_of(path) if finding.level != "info"]
    codes = [finding.code for finding in found if not (finding.code == "data.sql" and code == "data.odd-characters")]
    assert codes == ([code] if code else [])
    assert not code or found[0].where == f"{path}:2"


def test_examples_that_are_trained_on_and_asked(tmp_path):
    train = write(tmp_path / "train.jsonl", "[INST] a [/INST] SELECT 1", "[INST] b [/INST] SELECT 2", "[INST] c [/INST] SELECT 3")
    val = write(tmp_path / "val.jsonl", "[INST] x [/INST] SELECT 9", "[INST] b [/INST] SELECT 2", "[INST] c [/INST] SELECT 4")
    found = [finding for finding in findings_of(train, [val]) if finding.code in ("data.leakage", "data.same-question")]
    assert [(finding.code, finding.level, finding.where) for finding in found] == [
        ("data.leakage", "error", f"{val}:2"),
        ("data.same-question", "warning", f"{val}:3"),
    ]
    assert "1 examples of val.jsonl" in found[0].message
    assert "1 questions of val.jsonl" in found[1].message


def test_duplicates_and_leakage_of_seen_rows(tmp_path):
    one, other = RowDigests(path=tmp_path / "a"), RowDigests(path=tmp_path / "b")
    for line, text in enumerate("xyxzx", 1):
        one.add(line, "", text)
    other.add(1, "", "w")
    (finding,) = check_duplicates([one, other])
    assert finding.message.startswith("2 rows in a are duplicates; for example, line 3 repeats line 1")
    assert check_leakage([one], [other]) == []


def test_rows_that_are_too_long(tmp_path):
    path = write(tmp_path / "train.jsonl", *(f"[INST] {i} [/INST] " + "SELECT " * (i + 1) for i in range(100)))
    (finding,) = [finding for finding in findings_of(path, sequence_len=64) if finding.code == "data.too-long"]
    assert finding.level == "warning"
    assert "longer than sequence_len 64 and are split across sequences" in finding.message
    whole, every = (int(part.replace(",", "")) for part in __import__("re").findall(r"([\d,]+) (?:keeps 99%|all of them)", finding.fix))
    assert whole < every
    assert [finding.code for finding in findings_of(path, sequence_len=every) if finding.code == "data.too-long"] == []


def alpaca(words, answer=3):
    return {"instruction": "q " * words, "input": "", "output": "SELECT " * answer}


def chat(*turns):
    said = [{"role": role, "content": f"{word} " * words} for role, word, words in turns]
    return {"messages": said}


LONG = {
    "alpaca": ("instruction", [*[alpaca(5)] * 98, alpaca(300), alpaca(20, 400)], 2),
    "a prompt and an answer too long": ("instruction", [*[alpaca(5)] * 9, alpaca(900, 700)], 1),
    "several turns": (
        "messages",
        [
            *[chat(("user", "q", 5), ("assistant", "SELECT", 3))] * 9,
            chat(*[("user", "q", 40), ("assistant", "SELECT", 30)] * 4),
        ],
        4,
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_the_advised_length_keeps_all_rows_and_lost_answers_are_counted(tmp_path, name):
    kind, made, lost = LONG[name]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))

    def too_long(limit):
        found = [finding for finding in findings_of(path, kind=kind, sequence_len=limit) if finding.code == "data.too-long"]
        return [(finding.message, int(re.search(r"([\d,]+) all of them", finding.fix)[1].replace(",", ""))) for finding in found]

    ((message, every),) = too_long(128)
    assert message.endswith(f": {lost} answers are lost")
    assert too_long(every) == []
    ((_, again),) = too_long(every - 1)
    assert again == every
    assert too_long(100)[0][1] == every


def test_a_text_that_is_split_loses_no_answer(tmp_path):
    path = write(tmp_path / "train.jsonl", "[INST] a [/INST] SELECT 1", "[INST] b [/INST] " + "SELECT " * 90)
    (finding,) = [finding for finding in findings_of(path, sequence_len=64) if finding.code == "data.too-long"]
    assert "lost" not in finding.message


def test_mutations_of_good_rows_never_give_a_traceback(tmp_path):
    rng = random.Random(3)
    good = [path.read_bytes() for path in sorted((EXAMPLES / "accepted").glob("*.jsonl"))]
    kinds = [find_strategy(entry) for entry in ENTRIES.values()]
    path = tmp_path / "mutated.jsonl"
    problems = 0
    for _ in range(1000):
        raw = bytearray(rng.choice(good) * 2)
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(raw))
            match rng.randrange(4):
                case 0:
                    raw[place] = rng.randrange(256)
                case 1:
                    del raw[place : place + rng.randint(1, 20)]
                case 2:
                    raw[place:place] = rng.choice([b"{", b"]", b'"', b"\n", b"\x00", b"null", b"\xff", b"\\u", b"1e999"])
                case 3:
                    raw += raw[place:]
            raw = raw or bytearray(b"x")
        path.write_bytes(bytes(raw))
        strategy = rng.choice(kinds)
        read = list(read_rows(path, strategy))
        problems += any(row.problem for row in read)
        seen = RowDigests(path=path)
        for row in read:
            if not row.problem:
                seen.add(row.line, *strategy.question_and_answer(row))
    assert problems > 500
