"""Rows for `rl`: what each type reads of them, held to Axolotl's own transforms."""

import json

import pytest
import yaml

from preflight.data.prompt_strategies import BadRowError, find_strategy
from preflight.data.prompt_strategies.preference import PAIRS, TYPES
from tests.conftest import CHECKOUT

Q, GOOD, BAD = "How many rows has t?", "SELECT count(*) FROM t;", "SELECT 1;"
MAPPINGS = {
    "dpo": {"field_prompt": "q", "field_chosen": "good", "field_rejected": "bad", "prompt_format": "[INST] {prompt} [/INST]"},
    "kto": {"field_prompt": "q", "field_completion": "good", "field_label": "bad"},
}
KINDS = [(method, kind) for method, types in TYPES.items() for kind in types if kind] + list(MAPPINGS.items())


def said(*contents):
    return [{"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(contents)]


def row_of(strategy, kind):
    """A row with the columns that a strategy reads: conversations for the types that read those."""
    read = strategy.read
    talk = not read.prompt or kind == "chat_template"
    row = {read.chosen[0]: said(Q, GOOD) if talk else GOOD}
    row |= {read.prompt[0]: said(Q) if talk else Q} if read.prompt else {}
    row |= {read.rejected[0]: said(Q, BAD) if talk else BAD} if read.rejected else {}
    row |= {read.label: True} if read.label else {}
    if isinstance(kind, str) and kind.endswith(".ultra") and strategy.method != "kto":
        row |= {read.chosen[0]: said(Q, GOOD), read.rejected[0]: said(Q, BAD)}
    return row


@pytest.mark.parametrize(("method", "kind"), KINDS, ids=str)
def test_question_and_answers_are_those_that_axolotl_reads(axolotl, method, kind):
    entry = {"path": "x", "type": kind}
    strategy = find_strategy(entry, {"rl": method})
    row = row_of(strategy, kind)
    values = {"base_model": str(CHECKOUT / "sample_data/smoke_base"), "tokenizer_config": str(CHECKOUT / "sample_data/smoke_base")}
    values |= {"rl": method, "chat_template": "chatml", "datasets": [entry], "tokenizer_type": "AutoTokenizer"}
    made = axolotl.ask("prefers", values=values, row=json.loads(json.dumps(row)))
    assert "error" not in made, made
    question, answer = strategy.question_and_answer(strategy.parse(1, row))
    if kind == "passthrough":
        made = made | {"prompt": row["prompt"]}
    assert question in made["prompt"]
    assert answer in (made.get("chosen") or made["completion"])
    assert (question, answer) == (Q, GOOD)
    for missing in row:
        with pytest.raises(BadRowError, match=r"no column|no turn"):
            strategy.parse(1, {key: value for key, value in row.items() if key != missing})


def test_rows_without_a_type_hold_prompt_chosen_and_rejected():
    for method in PAIRS:
        strategy = find_strategy({"path": "x"}, {"rl": method})
        assert strategy.question_and_answer(strategy.parse(1, {"prompt": Q, "chosen": GOOD, "rejected": BAD})) == (Q, GOOD)
        with pytest.raises(BadRowError, match="nothing to prefer"):
            strategy.parse(1, {"prompt": Q, "chosen": GOOD, "rejected": GOOD})


@pytest.mark.parametrize(("method", "kind"), [("grpo", "x.y"), ("orpo", "chat_template"), ("dpo", "alpaca"), ("kto", "chat_template")])
def test_what_axolotl_does_not_read_is_read_by_none(method, kind):
    assert find_strategy({"path": "x", "type": kind}, {"rl": method}) is None


def test_orpo_rows_are_judged_and_their_numbers_are_not_told(tmp_path, preflight):
    """`rl: orpo` with chat_template.argilla was 21 errors: no column messages (2026-11-26)."""
    rows = [{"prompt": f"{Q} {i}", "chosen": said(f"{Q} {i}", f"SELECT {i};"), "rejected": said(f"{Q} {i}", BAD)} for i in range(2, 40)]
    path = tmp_path / "orpo.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    values = yaml.safe_load((CHECKOUT / "axolotl_configs/smoke.yaml").read_text())
    for key in ("test_datasets", "sample_packing", "eval_sample_packing", "eval_steps", "multipack_real_batches", "curriculum_sampling"):
        values.pop(key)
    values |= {"datasets": [{"path": str(path), "ds_type": "json", "type": "chat_template.argilla"}], "rl": "orpo", "chat_template": "chatml"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values | {"remove_unused_columns": False, "orpo_alpha": 0.1}))
    ran = preflight(tmp_path / "c.yaml", "--plan-only", "--json")
    assert [code for code in ran.codes if code.startswith("data.")] == [
        "data.not-judged",
        "data.duplicates",
        "data.sql-not-checked",
    ]  # their prompts hold no tables
    assert ran.json["plan"].get("steps") is None
