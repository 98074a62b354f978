"""Values of kinds that nobody expects: each is a finding or nothing, never a crash, a traceback or a document that is no JSON."""

import json

import pytest

from preflight.cli.text import render_json, render_text
from preflight.config.layers import UsageError, parse_override
from preflight.pipeline import preflight
from preflight.request import Request

BASE = """base_model: sample_data/smoke_base
device: cpu
learning_rate: 0.001
sequence_len: 512
micro_batch_size: 2
gradient_accumulation_steps: 1
num_epochs: 1
"""
ROWS = """datasets:
  - path: sample_data/val_postgres.jsonl
    type: completion
    field: text
"""
# what takes the place of a line of BASE or ROWS, or is added
LINES = [
    ("seed", "2024-05-05"),
    ("plugins", "0.5"),
    ("lora_r", "2024-05-05"),
    ("plugins", "2024-05-05"),
    ("seed", "!!binary aGVsbG8="),
    ("lora_target_modules", "!!set {a, b}"),
    ("output_dir", r'"a\0b"'),
    ("output_dir", r'"\ud800"'),
    ("output_dir", "~nosuchuser/x"),
    ("output_dir", "7"),
    ("output_dir", "[a]"),
    ("output_dir", ""),
    ("num_epochs", ".inf"),
    ("num_epochs", ".nan"),
    ("num_epochs", "0"),
    ("num_epochs", "-3"),
    ("micro_batch_size", "1" + "0" * 29),
    ("gradient_accumulation_steps", "1" + "0" * 29),
    ("sequence_len", "1" + "0" * 29),
    ("sequence_len", "-5"),
    ("sequence_len", "0"),
    ("save_steps", "1e400"),
    ("save_steps", "nan"),  # to YAML a word, to Axolotl a number: internal.crash (make fuzz, 2026-11-26)
    ("learning_rate", '"-inf"'),
    ("save_steps", "-0.5"),
    ("max_steps", "-1"),
    ("warmup_ratio", ".inf"),
    ("lora_r", "1e30"),
    ("plugins", "x"),
    ("plugins", "[1, null]"),
    ("plugins", "{a: 1}"),
    ("dataset_prepared_path", "{a: 1}"),
    ("test_datasets", "5"),
    ("datasets", "rows.jsonl"),
    ("datasets", "[rows.jsonl]"),
    ("datasets", "{path: a.jsonl, type: completion}"),
    ("datasets", "[null]"),
    ("base_model", '"a b/c d"'),
    ("base_model", "5"),
    ("base_model", '"${ORG}/x"'),
    ("base_model", '"x:main"'),
    ("base_model", '"mistralai/Mistral-7B-v0.1 "'),
    ("? [a, b]\n", "1"),
]
ENTRIES = [
    "path: 5",
    "path: ~nosuchuser/x.jsonl",
    r'path: "a\0.jsonl"',
    "shards: 0",
    "shards: x",
    "shards: 2\n    shards_idx: 99",
    "field: [text]",
    "type: 7",
    'type: {format: "{nope}", field_instruction: text, field_output: text}',
    "type: {format: 5, field_instruction: [1], field_output: text}",
]
SETS = [
    "[/]x=1",
    "datasets=rows.jsonl",
    "datasets.0=x",
    "x.=1",
    ".=1",
    "datasets.99999999999999999999.path=1",
    "sequence_len=.inf",
    "x=\u2028",
    "num_epochs=2024-01-01",
    "micro_batch_size=1e999",
    "datasets.-1.path=a",
]
WRONG_USAGE = [
    "seed=2024-99-99",
    "output_dir=!!python/name:os.system",
    "lora_r=!!timestamp x",
    "base_model=\0",
    'base_model="\\ud800"',
]


def judged(tmp_path, text, *overrides):
    """The codes of what is found, from a report that can be shown as text and as JSON."""
    (tmp_path / "odd.yaml").write_text(text)
    report = preflight(Request(config=tmp_path / "odd.yaml", overrides=overrides, workspace=tmp_path / "ws", plan_only=True))
    json.loads(render_json(report).encode(), parse_constant=pytest.fail)  # NaN and Infinity are no JSON, half a surrogate no UTF-8
    assert render_text(report, "odd", 100, colour=False).encode()
    codes = [finding.code for finding in report.findings]
    assert "internal.crash" not in codes
    return report


@pytest.mark.parametrize(("key", "value"), LINES)
def test_a_value_that_nobody_expects(tmp_path, key, value):
    lines = [line for line in (BASE + ("" if key == "datasets" else ROWS)).splitlines() if not line.startswith(f"{key}:")]
    judged(tmp_path, "\n".join([*lines, f"{key}: {value}"]))


@pytest.mark.parametrize(
    ("key", "value"), [("save_steps", "nan"), ("learning_rate", '"-inf"'), ("num_epochs", "1e400"), ("warmup_ratio", "Infinity")]
)
def test_a_word_for_a_number_that_is_none_is_a_bad_value(tmp_path, key, value):
    report = judged(tmp_path, "\n".join([*(line for line in (BASE + ROWS).splitlines() if not line.startswith(f"{key}:")), f"{key}: {value}"]))
    assert [f.message for f in report.findings if f.code == "config.bad-value"] == [
        f"{key}: {value.strip(chr(34))!r} is no number that a run can be counted with"
    ]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_data_set_that_nobody_expects(tmp_path, entry):
    lines = [line for line in ROWS.splitlines() if not line.strip(" -").startswith(f"{entry.partition(':')[0]}:")]
    text = BASE + "\n".join(lines) + f"\n    {entry}\n"
    judged(tmp_path, text if "- " in text else text.replace("    type", "  - type", 1))


@pytest.mark.parametrize("text", SETS)
def test_an_override_that_nobody_expects(tmp_path, text):
    judged(tmp_path, BASE + ROWS, parse_override(text))


@pytest.mark.parametrize("text", WRONG_USAGE)
def test_an_override_that_can_be_none(text):
    with pytest.raises(UsageError, match="--set "):
        parse_override(text)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("num_epochs", ".inf", "is no number that a run can be counted with"),
        ("micro_batch_size", "1" + "0" * 29, "is no number that a run can be counted with"),
        ("output_dir", r'"a\0b"', "NUL character"),
        ("output_dir", r'"\ud800"', "surrogate"),
        ("? [a, b]\n", "1", "a key is a list"),
        ("base_model", "x" * 300, "base_model: a name of 300 characters, which no file can have"),
        ("output_dir", "a/" * 2500, "which no file can have"),
        ("dataset_prepared_path", "x" * 300, "dataset_prepared_path: a name of 300 characters"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, key, value, says):
    lines = [line for line in (BASE + ROWS).splitlines() if not line.startswith(f"{key}:")]
    report = judged(tmp_path, "\n".join([*lines, f"{key}: {value}"]))
    assert not report.ok
    assert any(says in finding.message for finding in report.findings)
