"""What each strategy says of a row: whether it is one, how it is asked, and the very tokens that Axolotl makes of it."""

import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from preflight.data.lengths import measure
from preflight.data.preview import tokenize_with_loss_mask
from preflight.data.prompt_strategies import STRATEGIES, find_strategy, guess_strategy
from preflight.data.prompt_strategies.alpaca import STYLES
from preflight.data.rows import read_rows
from preflight.data.tokenizer import find_tokenizer
from tests.conftest import CHECKOUT

SMOKE = yaml.safe_load((CHECKOUT / "axolotl_configs/smoke.yaml").read_text())
MAPPING = {
    "field_instruction": "question",
    "field_input": "context",
    "field_output": "sql",
    "format": "### Schema\n{input}\n### Question\n{instruction}\n### SQL\n",
    "no_input_format": "### Question\n{instruction}\n### SQL\n",
    "system_prompt": "You write PostgreSQL.",
    "system_format": "{system}\n\n",
}
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "SELECT 1;"}]
SEGMENTS = [{"label": False, "text": "<s>a "}, {"label": True, "text": "SELECT 1;</s>"}]
# name -> (the entry, a good row)
KINDS = {
    "completion": ({"type": "completion"}, {"text": "a"}),
    "another field": ({"type": "completion", "field": "sql"}, {"sql": "a"}),
    "answer_only": ({"type": "preflight.answer_only"}, {"text": "[INST] a [/INST] b"}),
    "chat_template": ({"type": "chat_template"}, {"messages": TURNS}),
    "alpaca": ({"type": "alpaca"}, {"instruction": "a", "input": "b", "output": "c"}),
    "alpaca_chat.load_no_prompt": ({"type": "alpaca_chat.load_no_prompt"}, {"instruction": "a", "input": "b", "output": "c"}),
    "alpaca_w_system": ({"type": "alpaca_w_system"}, {"instruction": "a", "input": "b", "output": "c", "system": "d"}),
    "context_qa.load_v2": ({"type": "context_qa.load_v2"}, {"question": "a", "context": "b", "answer": "c"}),
    "user_defined": ({"type": MAPPING}, {"question": "a", "context": "b", "sql": "c", "system": "d"}),
    "input_output": ({"type": "input_output"}, {"segments": SEGMENTS}),
}
VALUES = [None, 0, True, "", " ", "SELECT 1;", [], {}, [{}], [None], ["user"]]
LISTS = {"messages": ("role", "content"), "segments": ("label", "text")}


def variants(good):
    """A good row, and rows with a column or a part of a list's last item taken away or replaced."""
    yield good
    for name in good:
        yield {key: value for key, value in good.items() if key != name}
        yield from (good | {name: value} for value in VALUES)
    for name, parts in LISTS.items():
        if name in good:
            first, last = good[name]
            yield {name: [first]}
            for part in parts:
                yield {name: [first, {key: value for key, value in last.items() if key != part}]}
                yield from ({name: [first, last | {part: value}]} for value in VALUES)


def written(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_and_the_reader_agree(tmp_path, kind):
    entry, good = KINDS[kind]
    strategy = find_strategy(entry)
    rows = list(variants(good))
    read = [not row.problem for row in read_rows(written(tmp_path, rows), strategy)]
    schema = Draft202012Validator(strategy.schema)
    assert read == [schema.is_valid(row) for row in rows]
    assert any(read)
    assert not all(read)


def test_every_strategy_is_tried_here():
    assert {type(find_strategy(entry)) for entry, _ in KINDS.values()} == set(STRATEGIES)
    assert all(find_strategy({"type": style}) for style in STYLES)


@pytest.mark.parametrize("kind", ["completion", "chat_template", "alpaca", "input_output"])
def test_a_row_that_no_config_describes_is_read_by_its_columns(kind):
    entry, good = KINDS[kind]
    assert guess_strategy(good) == find_strategy(entry)
    assert guess_strategy({"nothing": "known"}) is None


@pytest.mark.parametrize("entry", [{"type": "sharegpt"}, {"type": None}, {}, {"type": "alpaca:nothing"}, {"type": "explainchoice"}])
def test_what_is_not_judged_is_read_by_none(entry):
    assert find_strategy(entry) is None


def samples():
    """(question with its schema, question, schema, answer) of the sample rows."""
    for line in (CHECKOUT / "sample_data/messages/train_postgres.jsonl").read_text().splitlines():
        question, answer = (turn["content"] for turn in json.loads(line)["messages"])
        schema, _, asked = question.rpartition("\n\n")
        yield question, asked, schema, answer


def rows_of(kind):
    """The sample rows, 200 of them, in this shape; every third without a schema of its own."""
    for number, (question, asked, schema, answer) in enumerate(samples()):
        asked, schema = (asked, schema) if number % 3 else (question, "")
        if number >= 200:
            return
        if kind == "mapping":
            yield {"question": asked, "context": schema, "sql": answer}
        elif kind == "mapping and system":
            yield {"question": asked, "context": schema, "sql": answer, "system": "Short." if number % 2 else ""}
        elif kind == "texts":
            yield {"text": f"[INST] {question} [/INST]{' ' * (number % 3 > 0)}{answer}{'</s>' * (number % 4 == 0)}"}
        elif kind == "segments":
            ends = [{"label": False, "text": " ok?"}] if number % 4 == 0 else []
            yield {"segments": [{"label": False, "text": f"<s>{question}\n"}, {"label": True, "text": f"{answer}</s>"}, *ends]}
        elif kind == "questions":
            yield (
                {"question": asked, "article": f"{schema} ", "context": f"{schema} ", "answer": answer}
                if schema
                else {
                    "question": asked,
                    "article": "none",
                    "context": "none",
                    "answer": answer,
                }
            )
        elif kind == "system prompts":
            system = "Short." if number % 2 else None
            named = {"instruction": asked, "input": schema, "output": answer, "question": asked, "response": answer}
            yield named | {"system": system, "system_prompt": system}
        elif kind == "odd names":
            names = ("INSTRUCTION", "RESPONSE"), ("message_1", "message_2"), ("article", "summary"), ("instruction", "response")
            yield {name: text for pair in names for name, text in zip(pair, (asked, answer), strict=True)}
        else:
            yield {"instruction": asked, "input": schema, "output": answer}


def shape_of(style):
    kind = STYLES[style]
    if kind.system:
        return "system prompts"
    if "question" in kind.instruction:
        return "questions"
    return "odd names" if kind.instruction != "{instruction}" or kind.output != "{output}" else "instructions"


CASES = {
    "mapping": ("mapping", {"type": MAPPING}, {}),
    "mapping with a system column": ("mapping and system", {"type": MAPPING}, {}),
    "mapping with Axolotl's defaults": ("mapping", {"type": {"field_instruction": "question", "field_output": "sql"}}, {}),
    "mapping, trained on the prompt too": ("mapping", {"type": MAPPING}, {"train_on_inputs": True}),
    "mapping, long rows dropped": ("mapping", {"type": MAPPING}, {"sequence_len": 130}),
    "texts": ("texts", {"type": "preflight.answer_only"}, {}),
    "texts, trained on the prompt too": ("texts", {"type": "preflight.answer_only", "field": "text"}, {"train_on_inputs": True}),
    "texts, long rows dropped": ("texts", {"type": "preflight.answer_only"}, {"sequence_len": 110}),
    "segments": ("segments", {"type": "input_output"}, {}),
    "segments, long rows dropped": ("segments", {"type": "input_output"}, {"sequence_len": 90}),
    "a style that the entry names": ("instructions", {"type": "alpaca_chat", "conversation": "chatml"}, {}),
} | {style: (shape_of(style), {"type": style}, {}) for style in STYLES if style != "alpaca"}  # alpaca: tests/plan/test_steps.py


@pytest.mark.parametrize("case", CASES)
def test_tokens_and_loss_are_those_that_axolotl_makes(axolotl, tmp_path, monkeypatch, case):
    monkeypatch.chdir(CHECKOUT)
    kind, entry, changes = CASES[case]
    path = written(tmp_path, rows_of(kind))
    entry = {"path": str(path), "ds_type": "json"} | entry
    values = SMOKE | {"datasets": [entry], "dataset_prepared_path": str(tmp_path / "prepared"), "output_dir": str(tmp_path / "out")} | changes
    values.pop("test_datasets")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    answer = axolotl.ask("tokens", path=str(tmp_path / "c.yaml"), file=str(path))

    strategy, tokenizer = find_strategy(entry), find_tokenizer(values["base_model"], values)
    assert (strategy.unjudged(values, tokenizer), strategy.refusal(values, tokenizer), answer["error"]) == ("", "", "")
    rows = list(read_rows(path, strategy))
    assert [row.problem for row in rows if row.problem] == []
    made = [tokenize_with_loss_mask(row, strategy, values, tokenizer) for row in rows]
    assert [[[token.id for token in row], [token.trained for token in row]] for row in made] == answer["rows"]
    lengths = measure(rows, strategy, values, tokenizer)
    assert [row.tokens for row in lengths] == [len(ids) for ids, _ in answer["rows"]]
    kept = [mask for _, mask in answer["rows"] if len(mask) <= values["sequence_len"]]
    assert sum(row.trained for row in lengths) == sum(map(sum, kept))
    assert len(kept) > 20
