"""Rows in the shapes that people really bring, on which an earlier kit was wrong, and what is right to say of each.

Other formats of file are in test_formats.py, rows that are too long in test_rows.py, answers that don't run on their own schema are judged
by PostgreSQL itself.
"""

import json

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
