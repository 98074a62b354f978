"""Rows in the shapes that people really bring, on which an earlier kit was wrong, and what is right to say of each.

Other formats of file are in test_formats.py, rows that are too long in test_rows.py, answers that don't run on their own schema are judged
by PostgreSQL itself.
"""

import json
import re

import pytest

from preflight.data.audit import audit_rows
from preflight.data.staging import DataFile, bring, inspect_source
from tests.conftest import CHECKOUT
from tests.data.test_rows import ENTRIES, quiet

BROUGHT = json.loads((CHECKOUT / "tests/examples/rows/brought.json").read_text())
ENTRY = {"text": ENTRIES["text"], "alpaca": ENTRIES["instruction"], "chat": ENTRIES["messages"]}
GROUPS = {"train": "datasets.0.path", "val": "test_datasets.0.path", "test": ""}


def found_in(folder, rows, kind):
    """What is found in these rows, but for what is no fault."""
    files, staged, values = [], [], {"base_model": str(CHECKOUT / "sample_data/smoke_base"), "sequence_len": 512}
    for name, lines in rows.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
        files.append(DataFile(key=GROUPS[name], source=path, staged=path))
        staged.append(bring([inspect_source(path)], folder, copy=False, missing="error", progress=quiet)[0])
        if GROUPS[name]:
            values[GROUPS[name].partition(".")[0]] = [ENTRY[kind] | {"path": str(path)}]
    return [finding for finding in audit_rows(values, files, staged, quiet)[1] if finding.level in ("error", "warning")]


def shown(findings, folder):
    return [f"{finding.level} {finding.code} {finding.where.removeprefix(f'{folder}/').replace('.jsonl', '')}" for finding in findings]


@pytest.mark.parametrize("name", BROUGHT)
def test_what_is_said_of_them(tmp_path, name):
    case = BROUGHT[name]
    findings = found_in(tmp_path, case["rows"], case["kind"])
    assert shown(findings, tmp_path) == case["finds"]
    if advice := case.get("advice"):
        assert advice in findings[0].fix
    if "as chat" in case:
        assert shown(found_in(tmp_path, case["rows"], "chat"), tmp_path) == case["as chat"]


def shapes():
    """The table of docs/training_colab_setup.md: columns, config, and the lines to set."""
    text = (CHECKOUT / "docs/training_colab_setup.md").read_text().partition("| columns | config |")[2].partition("\n\n")[0]
    for line in text.splitlines()[2:]:
        columns, config, lines = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|"))
        yield columns, config[0], [found.split(": ", 1) for found in lines]


SCHEMA, ASKED, SQL = "CREATE TABLE boats (id int, crew int);", "How many boats have a crew above {}?", "SELECT count(*) FROM boats WHERE crew > {};"


def a_row(columns, number):
    asked, answer = ASKED.format(number), SQL.format(number)
    if columns[0] == "text":
        return {"text": f"[INST] {SCHEMA}\n\n{asked} [/INST] {answer}"}
    if len(columns) == 3 and columns[0] in ("messages", "conversations"):
        said = [("user", f"{SCHEMA}\n\n{asked}"), ("assistant", answer)]
        return {columns[0]: [{columns[1]: role, columns[2]: content} for role, content in said]}
    if len(columns) == 2:
        return {columns[0]: f"{SCHEMA}\n\n{asked}", columns[1]: answer}
    found = {"question": asked, "instruction": asked, "sql_prompt": asked, "sql": answer, "answer": answer, "output": answer, "query": answer}
    return {column: found.get(column, SCHEMA) for column in columns}


@pytest.mark.parametrize(
    ("columns", "config", "lines"),
    list(shapes()),
    ids=lambda value: " ".join(value) if isinstance(value, list) and value and isinstance(value[0], str) else "",
)
def test_the_table_of_columns_is_right(preflight, tmp_path, columns, config, lines):
    """Each shape is trained on as the same text, token for token, whatever its columns are called."""
    for name, numbers in (("train", range(60)), ("val", range(60, 70))):
        (tmp_path / f"{name}_postgres.jsonl").write_text("".join(json.dumps(a_row(columns, number)) + "\n" for number in numbers))
    sets = [part for key, value in lines for entry in ("datasets", "test_datasets") for part in ("--set", f"{entry}.0.{key}={value}")]
    more = ("--gpu", "a100-40gb", "--data", tmp_path, "--plan-only", "--show-example", "1", "--json")
    ran = preflight(f"axolotl_configs/{config}", *sets, *more)
    assert [code for code in ran.codes if code.startswith(("data.", "config.unk", "config.bad", "config.row", "config.eos"))] == []
    tokens = ran.json["example"]["tokens"]
    whole = "".join(token["text"] for token in tokens)
    trained = "".join(token["text"] for token in tokens if token["trained"])
    assert whole.replace(" ", "") == f"<s>[INST] {SCHEMA}\n\n{ASKED} [/INST] {SQL}</s>".format(0, 0).replace(" ", "")
    assert trained.strip() == (whole if columns == ["text"] else f"{SQL}</s>".format(0)).strip()
