import json
import subprocess
import sys
from dataclasses import replace

import pytest

from preflight.data.preview import tokenize_with_loss_mask
from preflight.data.prompt_strategies import find_strategy
from preflight.data.prompt_strategies.completion import Completion
from preflight.data.rows import read_rows
from preflight.data.tokenizer import find_tokenizer
from preflight.machine.run_folder import RunFolder
from preflight.training.evaluation.answers import Answers, Question, draw, read_questions
from preflight.training.evaluation.result import FILE, answers_what_is_asked, as_text, eval_losses, read_result, summarise
from tests.conftest import CHECKOUT, run

STATE = {"global_step": 30, "log_history": [{"step": 0, "eval_loss": 3.0}, {"step": 10, "loss": 2.0}, {"step": 30, "eval_loss": 1.5}]}
QUESTIONS = [
    Question(tokens=(1,), answer="SELECT 1;", question="[INST] ddl\n\nHow many? [/INST]"),
    Question(tokens=(1,), answer="SELECT 2;", question="[INST] Which? [/INST]"),
]
TOKENIZER = find_tokenizer(str(CHECKOUT / "sample_data/smoke_base"))


def asked(path, entry, values, limit=9, tokenizer=TOKENIZER):
    """(the prompt as text, the answer) of each question."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(CHECKOUT / "sample_data/smoke_base/tokenizer.json"))
    questions = read_questions(path, find_strategy(entry), values, tokenizer, limit)
    return [(backend.decode(question.tokens, skip_special_tokens=False), question.answer) for question in questions]


def test_losses_come_from_the_trainers_log():
    assert eval_losses(STATE) == (3.0, 1.5)
    assert eval_losses({"log_history": [{"step": 10, "loss": 2.0}]}) == (None, None)


def rows(path, *values):
    path.write_text("".join(json.dumps(row) + "\n" for row in values))
    return path


def test_questions_are_the_texts_up_to_their_marker(tmp_path):
    texts = [
        "[INST] a [/INST] SELECT 1;",
        "no marker",
        "[INST] b [/INST] SELECT 2; ",
        "### Question: c\n### SQL: d",
        "[INST] e [/INST] SELECT 5;</s>",
    ]
    path = rows(tmp_path / "t.jsonl", *({"text": text} for text in texts))
    assert asked(path, {"type": "completion"}, {}) == [
        ("<s>[INST] a [/INST]", "SELECT 1;"),
        ("<s>[INST] b [/INST]", "SELECT 2;"),
        ("<s>### Question: c\n### SQL:", "d"),
        ("<s>[INST] e [/INST]", "SELECT 5;"),  # an EOS that is written out is no part of what can be answered
    ]
    assert len(asked(path, {"type": "completion"}, {}, 1)) == 1
    assert QUESTIONS[0].shown == "How many?"


def test_conversations_and_instructions_are_asked_as_they_were_trained(tmp_path):
    turns = [{"role": role, "content": content} for role, content in (("system", "s"), ("user", "ddl\n\nHow many?"), ("assistant", "SELECT 1;"))]
    more = [*turns, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "SELECT 2;"}, {"role": "user", "content": "Thanks."}]
    path = rows(tmp_path / "m.jsonl", {"messages": turns}, {"messages": more})
    first, second = asked(path, {"type": "chat_template"}, {"chat_template": "mistral_v1"})
    assert first == ("<s> [INST] s\n\nddl\n\nHow many? [/INST] ", "SELECT 1;")  # the space is a token by itself, and the template's
    assert second == ("<s> [INST] s\n\nddl\n\nHow many? [/INST] SELECT 1;</s> [INST] And? [/INST] ", "SELECT 2;")
    prompt = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nddl\n\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    first, second = asked(path, {"type": "chat_template"}, {"chat_template": "chatml"})
    assert first == (prompt, "SELECT 1;")
    assert second == (f"{prompt}SELECT 1;<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n", "SELECT 2;")
    row = {"instruction": "Which?", "input": "", "output": "SELECT 2;"}
    ((prompt, answer),) = asked(rows(tmp_path / "i.jsonl", row), {"type": "alpaca"}, {})
    assert prompt.endswith("### Instruction:\nWhich?\n\n### Response:\n")
    assert answer == "SELECT 2;"


@pytest.mark.parametrize(
    ("entry", "row"),
    [
        ({"type": "completion"}, {"text": "[INST] a [/INST] SELECT 1;</s>"}),
        ({"type": "completion"}, {"text": "### Question: a\n### SQL: SELECT 1;"}),
        ({"type": "alpaca"}, {"instruction": "a", "input": "", "output": "SELECT 1;"}),
        ({"type": "input_output"}, {"segments": [{"label": False, "text": "<s>a "}, {"label": True, "text": "SELECT 1;</s>"}]}),
        *(
            (
                {"type": "chat_template", "chat_template": name},
                {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "SELECT 1;"}]},
            )
            for name in ("chatml", "llama3", "mistral_v1", "mistral_v2v3", "gemma", "phi_3", "qwen3", "metharme", "phi_4")
        ),
    ],
)
def test_a_prompt_is_the_beginning_of_what_training_showed(tmp_path, entry, row):
    path, strategy = rows(tmp_path / "r.jsonl", row), find_strategy(entry)
    (question,) = read_questions(path, strategy, {}, TOKENIZER, 1)
    (parsed,) = read_rows(path, strategy)
    seen = tokenize_with_loss_mask(parsed, strategy, {}, TOKENIZER)
    size = len(question.tokens)
    assert question.tokens == tuple(token.id for token in seen[:size])
    assert "".join(token.text for token in seen[size:]).strip().startswith("SELECT 1;")
    assert question.answer == "SELECT 1;"
    assert isinstance(strategy, Completion) or not any(token.trained for token in seen[:size])


def test_some_of_the_questions_are_a_draw_and_not_the_first(tmp_path):
    questions = [replace(QUESTIONS[0], line=line) for line in range(1, 201)]
    few, more = (draw(questions, limit) for limit in (50, 100))
    assert draw(questions, None) == draw(questions, 500) == questions
    assert len(few) == 50
    lines = [question.line for question in few]
    assert lines == sorted(set(lines))
    assert max(lines) > 150
    assert draw(questions, 50) == few
    assert set(lines) < {question.line for question in more}, "another run that is asked more is asked these too"


def test_figures_count_exact_answers_only(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    answers = Answers(questions=QUESTIONS, base=["", "select 2;"], adapter=["SELECT 1", "SELECT 2;"])
    result = summarise(answers, STATE, tmp_path)
    assert (result.questions, result.base_exact, result.adapter_exact) == (2, 0, 1)
    assert result.example == {"question": "Which?", "expected": "SELECT 2;", "base": "select 2;", "adapter": "SELECT 2;"}


def test_a_result_of_another_adapter_is_not_shown(tmp_path):
    adapter = tmp_path / "outputs"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"x")
    result = summarise(None, STATE, adapter)
    (tmp_path / FILE).write_text(as_text(result))
    assert read_result(RunFolder(folder=tmp_path)) == result
    (adapter / "adapter_model.safetensors").write_bytes(b"y")
    assert read_result(RunFolder(folder=tmp_path)) is None


@pytest.mark.parametrize(
    ("asked", "available", "wanted", "enough"),
    [(50, 200, None, True), (50, 200, 50, True), (50, 200, 100, False), (50, 200, 20, False), (200, 200, 500, True), (50, 0, 100, False)],
)
def test_a_result_is_kept_where_it_answers_what_is_asked(asked, available, wanted, enough, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    result = replace(summarise(None, STATE, tmp_path, available=available), questions=asked)
    assert answers_what_is_asked(result, wanted) is enough


@pytest.mark.parametrize("number", ["0", "-3", "many", "1.5"])
def test_a_number_of_questions_that_is_none_is_said(number, tmp_path):
    ran = run(sys.executable, "-m", "preflight.evaluation", "axolotl_configs/smoke.yaml", "--workspace", tmp_path, f"--questions={number}")
    assert ran.code == 2
    assert "is no number of questions, such as 50" in ran.err


def test_no_run_yet_says_how_to_make_one(tmp_path):
    ran = run(sys.executable, "-m", "preflight.evaluation", "axolotl_configs/smoke.yaml", "--workspace", tmp_path)
    assert ran.code == 1
    assert "make train CONFIG=axolotl_configs/smoke.yaml" in ran.err


def test_every_shell_script_is_one_that_bash_can_read():
    for script in (CHECKOUT / "scripts").glob("*.sh"):
        subprocess.run(["bash", "-n", script], check=True)
        assert script.stat().st_mode & 0o100
