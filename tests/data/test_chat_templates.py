"""Every chat template that comes with Axolotl, and many settings: the very tokens and loss mask that the real one makes of each row."""

import json
import shutil

import pytest
import yaml

from preflight.data.preview import tokenize_with_loss_mask
from preflight.data.prompt_strategies import BadRowError, find_strategy
from preflight.data.prompt_strategies.templates import SHIPPED, message_variables
from preflight.data.rows import read_rows
from preflight.data.tokenizer import find_tokenizer
from tests.conftest import CHECKOUT

SMOKE = yaml.safe_load((CHECKOUT / "axolotl_configs/smoke.yaml").read_text()) | {"lora_modules_to_save": ["embed_tokens", "lm_head"]}
TEMPLATES = json.loads(SHIPPED.read_text())
# tokens that the templates write, so that they are single tokens as with the models that the templates are for
TOKENS = [
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
]
TOKENS += [
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "<|eot|>",
    "<think>",
    "</think>",
]
ENDS = ["<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|eot|>"]


def said(*turns):
    return [{"role": role, "content": content} for role, content in turns]


Q, A = "CREATE TABLE t (id int);\n\nHow many rows has t?", "SELECT count(*) FROM t;"
CALL = {"id": "abcdef123", "type": "function", "function": {"name": "run", "arguments": {"sql": A}}}
TOOL = {"type": "function", "function": {"name": "run", "description": "Runs SQL", "parameters": {"type": "object", "properties": {}}}}
# rows of one file have the same columns: the loader of rows fills those that some lack with nulls, which are not nothing to Axolotl
GROUPS = {
    "turns": [
        {"messages": said(("user", Q), ("assistant", A))},
        {"messages": said(("user", " two  spaces "), ("assistant", f"\n{A}\n"))},
        {"messages": said(("system", "You write SQL."), ("user", Q), ("assistant", A))},
        {"messages": said(("user", Q), ("assistant", A), ("user", "And twice?"), ("assistant", "SELECT 2;"))},
        {"messages": said(("system", "s"), ("user", Q), ("assistant", A), ("user", "Größe 大?"), ("assistant", "SELECT 'é';"))},
        {"messages": said(("user", Q), ("user", "again"), ("assistant", A))},
        {"messages": said(("assistant", "Hello."), ("user", Q), ("assistant", A))},
        {"messages": said(("user", Q), ("assistant", A), ("user", "Thanks."))},
        {"messages": said(("user", Q), ("assistant", A), ("system", "Late."), ("assistant", "SELECT 3;"))},
        {"messages": said(("human", Q), ("gpt", A))},
        {"messages": said(("developer", "d"), ("user", Q), ("assistant", A))},
        {"messages": said(("user", Q), ("assistant", A), ("tool", "3"), ("assistant", "There are 3."))},
        {"messages": said(("user", "SELECT 1;"), ("assistant", "SELECT 1;"))},
        {"messages": said(("user", "x"), ("assistant", "<think>why</think>\n\nSELECT 4;"))},
    ],
    "system column": [
        {"system": "Short.", "messages": said(("user", Q), ("assistant", A))},
        {"system": None, "messages": said(("user", Q), ("assistant", A))},
        {"system": "Short.", "messages": said(("system", "own"), ("user", Q), ("assistant", A))},
    ],
    "tools": [
        {
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": Q},
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
                {"role": "tool", "content": "3", "tool_call_id": "abcdef123", "name": "run"},
                {"role": "assistant", "content": "There are 3."},
            ],
        },
        {"tools": [TOOL], "messages": said(("user", Q), ("assistant", A))},
        {"tools": None, "messages": said(("user", Q), ("assistant", A))},
    ],
    "tool calls as text": [
        {
            "messages": [
                {"role": "user", "content": Q},
                {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "run", "arguments": json.dumps({"sql": A})}}]},
                {"role": "tool", "content": "3", "tool_call_id": "abcdef123"},
                {"role": "assistant", "content": "There are 3."},
            ]
        },
    ],
    "parts": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": Q}]},
                {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, {"type": "text", "text": f" {A}"}]},
            ]
        },
    ],
    "parts with weights": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": Q}]},
                {"role": "assistant", "content": [{"text": "Let me see.", "train": False}, {"text": f" {A}", "train": True}]},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": Q}]},
                {"role": "assistant", "content": [{"text": "Let me see. ", "train": True}, {"text": A, "train": False}, {"text": " Done."}]},
            ]
        },
    ],
    "flags": [
        {"messages": [{"role": "user", "content": Q, "train": True}, {"role": "assistant", "content": A, "train": False}]},
        {"messages": [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]},
        {"messages": [*said(("user", Q), ("assistant", A), ("user", "And?")), {"role": "assistant", "content": "SELECT 2;", "train": False}]},
    ],
    "details": [
        {
            "messages": [
                {"role": "user", "content": Q},
                {"role": "assistant", "content": f"Well. {A} Done.", "parts": [{"begin_offset": 6, "end_offset": 28, "train": True}]},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": Q},
                {
                    "role": "assistant",
                    "content": f"Well. {A}",
                    "parts": [{"begin_offset": 0, "end_offset": 4, "train": False}, {"begin_offset": 7, "end_offset": 17, "train": True}],
                },
            ]
        },
    ],
    "reasoning": [
        {"messages": [{"role": "user", "content": Q}, {"role": "assistant", "content": A, "reasoning_content": "One table."}]},
        {
            "messages": [
                {"role": "user", "content": Q},
                {
                    "role": "assistant",
                    "content": A,
                    "reasoning_content": [{"text": "One table,", "train": False}, {"text": " so count it.", "train": True}],
                },
            ]
        },
    ],
    "sharegpt": [{"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]}],
    "own roles": [{"conversations": [{"from": "client", "value": Q}, {"from": "model", "value": A}]}],
    "as text": [{"messages": json.dumps(said(("user", Q), ("assistant", A)))}],
}
SHAREGPT = {"field_messages": "conversations", "message_property_mappings": {"role": "from", "content": "value"}}
ALL = ("turns", "system column", "tools", "tool calls as text", "parts")
SETTINGS = {
    "all turns": ({"roles_to_train": ["user", "assistant", "system"]}, {}),
    "nobody": ({"roles_to_train": []}, {}),
    "every end": ({"train_on_eos": "all"}, {}),
    "the last end": ({"train_on_eos": "last"}, {}),
    "no end": ({"train_on_eos": "none"}, {}),
    "ends of turns": ({}, {"eot_tokens": ENDS}),
    "every end of turn": ({"train_on_eot": "all", "train_on_eos": "none"}, {"eot_tokens": ENDS}),
    "the last end of turn": ({"train_on_eot": "last"}, {"eot_tokens": ENDS}),
    "an end that is no token": ({}, {"eot_tokens": ["<|im_end|>\n"]}),
    "the EOS and another rule": ({"train_on_eos": "turn", "train_on_eot": "all"}, {"eot_tokens": ["</s>", "<|im_end|>", "[/INST]"]}),
    "the prompt too": ({}, {"train_on_inputs": True}),
    "no system": ({"drop_system_message": True}, {}),
    "another EOS": ({}, {"special_tokens": {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"}}),
    "thinking": ({"split_thinking": True}, {}),
    "an argument": ({}, {"chat_template_kwargs": {"enable_thinking": False}}),
}
WITH = {
    "flags": {"message_field_training": "train"},
    "details": {"message_field_training_detail": "parts"},
    "sharegpt": SHAREGPT,
    "own roles": SHAREGPT | {"roles": {"user": ["client"], "assistant": ["model"]}},
}


def written(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ours(values, path):
    """What the kit makes of each row: [ids, whether each has loss], or what is wrong with it; and why it refuses all."""
    strategy, tokenizer = find_strategy(values["datasets"][0]), find_tokenizer(values["base_model"], values)
    assert strategy.unjudged(values, tokenizer) == ""
    made = []
    if refusal := strategy.refusal(values, tokenizer):
        return made, refusal
    for row in read_rows(path, strategy):
        try:
            tokens = [] if row.problem else tokenize_with_loss_mask(row, strategy, values, tokenizer)
            made.append(row.problem or [[token.id for token in tokens], [token.trained for token in tokens]])
        except BadRowError as problem:
            made.append(str(problem))
    return made, ""


def compare(axolotl, folder, group, entry, changes):
    """Both of them on a group of rows. Returns how many rows both take."""
    path = written(folder, GROUPS[group])
    entry = {"path": str(path), "ds_type": "json", "type": "chat_template"} | WITH.get(group, {}) | entry
    values = SMOKE | {"datasets": [entry], "tokens": TOKENS, "dataset_prepared_path": str(folder / "p"), "output_dir": str(folder / "o")} | changes
    values.pop("test_datasets")
    (folder / "c.yaml").write_text(yaml.safe_dump(values))
    answer = axolotl.ask("tokens", path=str(folder / "c.yaml"), file=str(path))
    made, refusal = ours(values, path)
    assert bool(refusal) == bool(answer["error"]), (refusal, answer["error"])
    if refusal:
        return 0
    for mine, theirs, row in zip(made, answer["rows"], GROUPS[group], strict=True):
        assert isinstance(mine, str) == isinstance(theirs, str), (mine, theirs, row)
        assert isinstance(mine, str) or mine == theirs, row
    return sum(not isinstance(mine, str) for mine in made)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_is_rendered_and_masked_as_axolotl_does(axolotl, tmp_path, monkeypatch, template):
    monkeypatch.chdir(CHECKOUT)
    assert sum(compare(axolotl, tmp_path, group, {"chat_template": template}, {}) for group in ALL)


@pytest.mark.parametrize("template", ["chatml", "llama3", "mistral_v1", "mistral_v7_tekken", "qwen3", "phi_4", "metharme"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_of_the_loss_is_axolotls(axolotl, tmp_path, monkeypatch, template, setting):
    monkeypatch.chdir(CHECKOUT)
    entry, changes = SETTINGS[setting]
    compare(axolotl, tmp_path, "turns", {"chat_template": template} | entry, changes)


@pytest.mark.parametrize("template", ["chatml", "llama3", "mistral_v1", "qwen3", "gemma"])
@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ALL])
def test_every_shape_of_messages_is_axolotls(axolotl, tmp_path, monkeypatch, template, group):
    monkeypatch.chdir(CHECKOUT)
    assert compare(axolotl, tmp_path, group, {"chat_template": template}, {"eot_tokens": ENDS})


OWN = "{{ bos_token }}{% for message in messages %}<{{ message.role }}>{{ message.content }}{{ eos_token }}{% endfor %}"
NAMED = {
    "the tokenizer's own": ({}, {}),
    "the tokenizer's own, by name": ({"chat_template": "tokenizer_default"}, {}),
    "the config's": ({}, {"chat_template": "chatml"}),
    "the entry's": ({"chat_template": "llama3"}, {"chat_template": "chatml"}),
    "the tokenizer's own with a fallback": ({"chat_template": "tokenizer_default_fallback_chatml"}, {}),
    "written": ({}, {"chat_template": "jinja", "chat_template_jinja": OWN.replace("<", "(")}),
    "written, unnamed": ({}, {"chat_template_jinja": OWN.replace("<", "(")}),
    "written in the entry": ({"chat_template": "jinja", "chat_template_jinja": OWN.replace("<", "(")}, {"chat_template": "chatml"}),
    "a file": ({}, {"chat_template": "jinja", "chat_template_jinja": "own.jinja"}),
    "no template": ({}, {"chat_template": "jinja", "chat_template_jinja": "{% for %}"}),
    "an endless one": ({}, {"chat_template": "jinja", "chat_template_jinja": "{% for i in range(10**9) %}{{ i }}{% endfor %}"}),
    "renamed tokens": ({}, {"added_tokens_overrides": {3: "<|im_end|>"}}),
}


NONE = ("no template", "an endless one")
ITS_OWN = ("the tokenizer's own", "the tokenizer's own, by name", "renamed tokens")


@pytest.mark.parametrize("own", [OWN, ""], ids=["with its own", "without"])
@pytest.mark.parametrize("name", NAMED)
def test_the_template_is_the_one_that_axolotl_finds(axolotl, tmp_path, monkeypatch, name, own):
    base = tmp_path / "base"
    shutil.copytree(CHECKOUT / "sample_data/smoke_base", base, ignore=lambda *_: ["model.safetensors"])
    if own:
        (base / "chat_template.jinja").write_text(own)
    if name == "renamed tokens":  # an older tokenizer_config.json lists the tokens
        settings = json.loads((base / "tokenizer_config.json").read_text())
        settings["added_tokens_decoder"] = {"3": {"content": "<pad>", "special": True}}
        (base / "tokenizer_config.json").write_text(json.dumps(settings))
    entry, changes = NAMED[name]
    if "own.jinja" in changes.values():
        (tmp_path / "own.jinja").write_text(OWN)
        changes = changes | {"chat_template_jinja": str(tmp_path / "own.jinja")}
    taken = compare(axolotl, tmp_path, "turns", entry, changes | {"base_model": str(base), "tokens": TOKENS[:2]})
    assert bool(taken) == (name not in NONE and (bool(own) or name not in ITS_OWN))


def plan(preflight, folder, rows, entry, **changes):
    """What preflight says of such rows."""
    path = written(folder, rows)
    entry = {"path": str(path), "ds_type": "json", "type": "chat_template"} | entry
    values = SMOKE | {
        "datasets": [entry],
        "test_datasets": [entry | {"path": str(CHECKOUT / "sample_data/messages/val_postgres.jsonl"), "split": "train"}],
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(values | changes))
    return preflight(folder / "c.yaml", "--plan-only", "--show-example", "--json")


def sample(number):
    return [json.loads(line) for line in (CHECKOUT / "sample_data/messages/train_postgres.jsonl").read_text().splitlines()[:number]]


def test_an_end_that_is_never_trained_is_an_error(tmp_path, preflight):
    """chatml on a tokenizer whose EOS it does not write: the kit showed `</s>` as trained (2026-11-25)."""
    ran = plan(preflight, tmp_path, sample(200), {}, chat_template="chatml")
    (finding,) = [finding for finding in ran.json["findings"] if finding["code"] == "config.eos-untrained"]
    assert (finding["level"], ran.code) == ("error", 1)
    shown = [token["text"] for token in ran.json["example"]["tokens"] if token["trained"]]
    assert "".join(shown).startswith("SELECT")
    assert "</s>" not in shown
    ends = {"chat_template": "chatml", "eot_tokens": ["<|im_end|>"], "tokens": ["<|im_start|>", "<|im_end|>"]}
    assert "config.eos-untrained" not in plan(preflight, tmp_path, sample(200), {}, **ends).codes
    assert "config.eos-untrained" not in plan(preflight, tmp_path, sample(200), {}, chat_template="mistral_v1").codes


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ([("user", "Here is the table."), ("user", Q), ("assistant", A)], "conversation roles must alternate"),
        ([("user", Q), ("assistant", "one moment"), ("tool", "3"), ("assistant", "There are 3.")], "conversation roles must alternate"),
        ([("user", Q), ("assistant", A), ("user", "b"), ("tool", "3")], "Only user and assistant roles are supported"),
        ([("client", Q), ("model", A)], "no assistant turn: there is no answer to learn. Its roles are client, model"),
    ],
)
def test_a_row_at_which_training_would_stop_is_named(tmp_path, preflight, turns, says):
    ran = plan(preflight, tmp_path, [*sample(60), {"messages": said(*turns)}], {}, chat_template="mistral_v1")
    (finding,) = [finding for finding in ran.json["findings"] if finding["code"] == "data.bad-row"]
    assert finding["where"].endswith("rows.jsonl:61")
    assert says in finding["message"]


@pytest.mark.parametrize(
    ("rows", "entry", "codes"),
    [
        ([{"messages": said(("user", f"<s>{Q}"), ("assistant", A))}], {}, ["data.special-tokens"]),
        ([{"messages": said(("user", Q), ("assistant", f"{A}</s>"))}], {}, ["data.special-tokens"]),
        ([{"system": "s", "messages": said(("user", Q), ("assistant", A))}], {}, ["data.mixed-columns"]),
        ([{"instruction": Q, "output": f"{A}</s>"}] * 2, {"type": "alpaca"}, ["data.duplicates"]),  # training adds no second one
        ([{"instruction": Q, "output": f"{A}</s>\n"}], {"type": "alpaca"}, ["data.special-tokens"]),
        ([{"text": f"\n<s>[INST] {Q} [/INST] {A}"}], {"type": "completion"}, ["data.special-tokens"]),
        ([{"text": f"[INST] {Q} [/INST] {A}</s>[INST] a [/INST] SELECT 2;"}], {"type": "completion"}, ["data.special-tokens"]),
        (
            [{"q": Q, "sql": A}],
            {"type": {"field_instruction": "q", "field_output": "sql", "format": "[INST] {instruction}"}},
            ["config.format-unused"],
        ),
        ([{"q": Q, "sql": A}], {"type": {"field_instruction": "q", "field_output": "sqll"}}, ["data.bad-row"]),
        ([{"q": Q, "sql": A}], {"type": "explainchoice"}, ["data.not-judged"]),
    ],
)
def test_what_is_found_in_rows(tmp_path, preflight, rows, entry, codes):
    """Each among good rows of the same kind."""
    good = [row for row in sample(60) if entry.get("type", "chat_template") == "chat_template"]
    ran = plan(preflight, tmp_path, [*good, *rows], entry, chat_template="mistral_v1", test_datasets=None, eval_sample_packing=None, eval_steps=None)
    found = [finding for finding in ran.json["findings"] if finding["where"].startswith((str(tmp_path / "rows"), "datasets.0"))]
    assert [finding["code"] for finding in found if finding["code"] not in ("data.sql", "config.unshuffled", "internal.skipped")] == codes
    if "</s>[INST]" in json.dumps(rows):
        assert found[0]["level"] == "warning", "the template of whoever wrote the text"


def test_a_template_that_is_not_at_hand_is_not_judged(tmp_path, preflight):
    """Mistral's tokenizer is, as mistral_common ships it; the template that its hub folder may hold is not."""
    ran = plan(preflight, tmp_path, sample(60), {}, base_model="mistralai/Mistral-7B-Instruct-v0.2")
    assert ran.codes.count("data.not-judged") == 2
    assert ran.json["plan"].get("steps") is None
    assert ran.json["example"] == {}


def test_mistrals_own_tokenizer_places_tokens_as_its_tokenizer_json_does(axolotl):
    texts = ["<s> [INST] Größe 大?\n\n\tx [/INST] SELECT 'é';</s> [INST] 🙂 [/INST] ok</s>", " two  spaces ", "a", "<|im_start|>user\nHi<|im_end|>\n"]
    texts += [f"<s> [INST] {one['messages'][0]['content']} [/INST] {one['messages'][1]['content']}</s>" for one in sample(100)]
    tokenizer = find_tokenizer("mistralai/Mistral-7B-v0.1")
    ours = [[list(found.ids), [list(place) for place in found.offsets]] for found in tokenizer.encode(texts)]
    assert ours == axolotl.ask("mistral_tokens", texts=texts)
    assert tokenizer.count(texts) == [len(ids) for ids, _ in ours]


def test_the_shipped_templates_are_those_of_the_pinned_axolotl():
    from importlib.util import find_spec
    from pathlib import Path

    folder = Path(find_spec("axolotl").submodule_search_locations[0]) / "utils/chat_templates/templates"
    assert {path.stem: path.read_text() for path in folder.glob("*.jinja")} == TEMPLATES
    assert all(message_variables(text) for name, text in TEMPLATES.items() if "message" in text and name != "command_a_rag")
