import json
import subprocess
import sys

from preflight.data.prompt_strategies import find_strategy
from preflight.machine.run_folder import RunFolder
from preflight.training.evaluation.answers import Answers, Question, prompts, read_questions
from preflight.training.evaluation.result import FILE, as_text, eval_losses, read_result, summarise
from tests.conftest import CHECKOUT, run

STATE = {"global_step": 30, "log_history": [{"step": 0, "eval_loss": 3.0}, {"step": 10, "loss": 2.0}, {"step": 30, "eval_loss": 1.5}]}
QUESTIONS = [Question(prompt="[INST] ddl\n\nHow many? [/INST]", answer="SELECT 1;"), Question(prompt="[INST] Which? [/INST]", answer="SELECT 2;")]


def test_losses_come_from_the_trainers_log():
    assert eval_losses(STATE) == (3.0, 1.5)
    assert eval_losses({"log_history": [{"step": 10, "loss": 2.0}]}) == (None, None)


def rows(path, *values):
    path.write_text("".join(json.dumps(row) + "\n" for row in values))
    return path


def test_questions_are_the_texts_up_to_their_marker(tmp_path):
    texts = ["[INST] a [/INST] SELECT 1;", "no marker", "[INST] b [/INST] SELECT 2; ", "### Question: c\n### SQL: d"]
    path = rows(tmp_path / "t.jsonl", *({"text": text} for text in texts))
    asked = read_questions(path, find_strategy({"type": "completion"}), {}, 3)
    assert [(question.prompt, question.answer) for question in asked] == [
        ("[INST] a [/INST]", "SELECT 1;"),
        ("[INST] b [/INST]", "SELECT 2;"),
        ("### Question: c\n### SQL:", "d"),
    ]
    assert len(read_questions(path, find_strategy({"type": "completion"}), {}, 1)) == 1
    assert QUESTIONS[0].shown == "How many?"


def test_conversations_and_instructions_are_asked_as_they_were_trained(tmp_path):
    turns = [{"role": "user", "content": "ddl\n\nHow many?"}, {"role": "assistant", "content": "SELECT 1;"}]
    (asked,) = read_questions(
        rows(tmp_path / "m.jsonl", {"messages": turns}), find_strategy({"type": "chat_template"}), {"chat_template": "mistral_v1"}, 9
    )
    assert (asked.prompt, asked.answer, asked.shown) == (" [INST] ddl\n\nHow many? [/INST]", "SELECT 1;", "How many?")
    row = {"instruction": "Which?", "input": "", "output": "SELECT 2;"}
    (asked,) = read_questions(rows(tmp_path / "i.jsonl", row), find_strategy({"type": "alpaca"}), {}, 9)
    assert asked.prompt.endswith("### Instruction:\nWhich?\n\n### Response:\n")
    assert (asked.answer, asked.shown) == ("SELECT 2;", "Which?")


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


def test_a_conversation_of_another_template_is_asked_as_that_template_writes_it(tmp_path):
    """An adapter trained with chatml was asked in Mistral's markup (2026-11-25)."""
    from transformers import AutoTokenizer

    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "How many?"}, {"role": "assistant", "content": "SELECT 1;"}]
    path = rows(tmp_path / "m.jsonl", {"messages": turns})
    (asked,) = read_questions(path, find_strategy({"type": "chat_template"}), {"chat_template": "chatml"}, 9)
    assert asked.turns == (("system", "s"), ("user", "How many?"))
    chatml = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    tokenizer = AutoTokenizer.from_pretrained(CHECKOUT / "sample_data/smoke_base")
    tokenizer.chat_template = chatml + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    (prompt,) = prompts([asked], tokenizer)
    assert prompt == "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    (mistral,) = read_questions(path, find_strategy({"type": "chat_template"}), {"chat_template": "mistral_v1"}, 9)
    assert prompts([mistral], tokenizer) == [mistral.prompt]


def test_no_run_yet_says_how_to_make_one(tmp_path):
    ran = run(sys.executable, "-m", "preflight.evaluation", "axolotl_configs/smoke.yaml", "--workspace", tmp_path)
    assert ran.code == 1
    assert "make train CONFIG=axolotl_configs/smoke.yaml" in ran.err


def test_every_shell_script_is_one_that_bash_can_read():
    for script in (CHECKOUT / "scripts").glob("*.sh"):
        subprocess.run(["bash", "-n", script], check=True)
        assert script.stat().st_mode & 0o100
