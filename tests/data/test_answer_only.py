"""Rows of one text that are trained on their answers alone. That their tokens are the real Axolotl's: test_prompt_strategies.py."""

import json

import pytest

from preflight.data.lengths import measure
from preflight.data.preview import find_prompt, tokenize_with_loss_mask
from preflight.data.prompt_strategies import BadRowError, Row, find_strategy
from preflight.data.tokenizer import find_tokenizer
from tests.conftest import CHECKOUT

ENTRY = {"type": "preflight.answer_only", "field": "text"}
TYPES = [f"--set={name}.0.type=preflight.answer_only" for name in ("datasets", "test_datasets")]
TOKENIZER = find_tokenizer(str(CHECKOUT / "sample_data/smoke_base"))


def seen(text, values=None):
    return tokenize_with_loss_mask(Row(line=1, text=text), find_strategy(ENTRY), values or {}, TOKENIZER)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("[INST] How many? [/INST] SELECT 1;", " SELECT 1;</s>"),
        ("[INST] How many? [/INST]SELECT 1;", "SELECT 1;</s>"),
        ("[INST] How many? [/INST] SELECT 1;</s>", " SELECT 1;</s>"),
        ("[INST] a [/INST] SELECT 1;</s> [INST] b [/INST] SELECT 2;", " SELECT 2;</s>"),
        ("### Question: a\n### SQL: SELECT 1;", " SELECT 1;</s>"),
    ],
)
def test_loss_is_on_what_follows_the_last_marker(text, answer):
    tokens = seen(text)
    assert "".join(token.text for token in tokens if token.trained) == answer
    assert [token.trained for token in tokens] == sorted(token.trained for token in tokens)
    whole = tokenize_with_loss_mask(Row(line=1, text=text), find_strategy({"type": "completion"}), {}, TOKENIZER)
    assert [token.id for token in tokens] == [token.id for token in whole], "the very tokens of a completion"
    (length,) = measure([Row(line=1, text=text)], find_strategy(ENTRY), {"sequence_len": 512}, TOKENIZER)
    assert (length.tokens, length.trained, length.ended) == (len(tokens), sum(token.trained for token in tokens), True)
    prompt = find_prompt(Row(line=1, text=text), find_strategy(ENTRY), {}, TOKENIZER)
    assert len(prompt.tokens) == sum(not token.trained for token in tokens), "what is asked is what had no loss"
    assert all(token.trained for token in seen(text, {"train_on_inputs": True}))


@pytest.mark.parametrize(("text", "says"), [("SELECT 1;", "no marker"), ("[INST] a [/INST] ", "no answer"), ("[INST] a [/INST]</s>", "no answer")])
def test_a_text_that_does_not_tell_its_answer_is_refused(text, says):
    with pytest.raises(BadRowError, match=says):
        seen(text)


def test_other_markers_are_not_read():
    strategy = find_strategy(ENTRY, {"answer_marker": "-- SQL"})
    assert "answer_marker is not read" in strategy.refusal({"answer_marker": "-- SQL"}, TOKENIZER)
    assert strategy.refusal({}, TOKENIZER) == ""


def test_preflight_refuses_such_rows_and_counts_what_has_loss(preflight, tmp_path):
    rows = tmp_path / "rows"
    rows.mkdir()
    for name in ("train", "val", "test"):
        (rows / f"{name}_postgres.jsonl").write_bytes((CHECKOUT / f"sample_data/{name}_postgres.jsonl").read_bytes())
    ran = preflight("axolotl_configs/smoke.yaml", "--data", rows, *TYPES, "--json")
    assert ran.json["ok"], ran.json["findings"]
    plan = ran.json["plan"]
    assert 0 < plan["trained_tokens"] < 0.3 * plan["tokens"]
    with (rows / "train_postgres.jsonl").open("a") as file:
        file.write(json.dumps({"text": "SELECT name FROM boats WHERE id = 7;"}) + "\n")
    ran = preflight("axolotl_configs/smoke.yaml", "--data", rows, *TYPES, "--json")
    (found,) = [finding for finding in ran.json["findings"] if finding["level"] == "error"]
    assert found["where"].endswith("train_postgres.jsonl:2001")
    assert "has no marker such as [/INST]" in found["message"]
