"""Ask a trained adapter, and its base with the adapter switched off, the questions of the test rows."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.data.formats import format_of
from preflight.data.preview import Prompt, find_prompt
from preflight.data.prompt_strategies import BadRowError, PromptStrategy
from preflight.data.prompt_strategies.completion import MARKER, without_end
from preflight.data.rows import read_rows
from preflight.data.tokenizer import Tokenizer, find_tokenizer

BATCH = 10


@dataclass(frozen=True, kw_only=True)
class Question:
    """One test row: the tokens that training showed up to the answer, the answer, and what is asked, for people."""

    tokens: tuple[int, ...]
    answer: str
    question: str

    @property
    def shown(self) -> str:
        """The last line of the question that is not markup."""
        bare = MARKER.sub("", self.question.replace("[INST]", ""))
        return bare.strip().rpartition("\n")[2].strip()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What base and adapter answered to each question, in order."""

    questions: Sequence[Question]
    base: Sequence[str]
    adapter: Sequence[str]

    def exact(self, answers: Sequence[str]) -> int:
        """How many answers are the expected text, character for character."""
        return sum(answer == question.answer for question, answer in zip(self.questions, answers, strict=True))

    @property
    def example(self) -> int:
        """The first question that the adapter answers exactly, else the first."""
        return next((i for i, question in enumerate(self.questions) if self.adapter[i] == question.answer), 0)


def trained_tokenizer(config: Mapping[str, Any], adapter: Path) -> Tokenizer | None:
    """The tokenizer that the run trained with, which lies beside its adapter, or else the base model's."""
    return find_tokenizer(str(adapter.absolute())) or find_tokenizer(str(config.get("base_model") or ""), config)


def read_questions(path: Path, strategy: PromptStrategy, config: Mapping[str, Any], limit: int, tokenizer: Tokenizer) -> list[Question]:
    """The first `limit` good rows that ask something, as training showed such rows. Raises OSError."""
    if strategy.refusal(config, tokenizer) or strategy.unjudged(config, tokenizer):
        return []
    rows = (row for row in read_rows(path, strategy, kind=format_of(str(path))) if not row.problem)

    def prompts() -> Iterator[Question]:
        for row in rows:
            with contextlib.suppress(BadRowError):
                if prompt := find_prompt(row, strategy, config, tokenizer):
                    yield _question(prompt, strategy.question_and_answer(row)[0])

    return list(itertools.islice(prompts(), limit))


def _question(prompt: Prompt, question: str) -> Question:
    return Question(tokens=prompt.tokens, answer=without_end(prompt.answer).strip(), question=question)


def ask(config: Mapping[str, Any], adapter: Path, questions: Sequence[Question], progress: Callable[[int, int], None]) -> Answers:
    """Greedy answers of the base and of the adapter on it, both on the quantised weights that were trained on.

    An answer ends where the longest expected one would, with its EOS: whatever runs on is wrong anyway.
    Sorted by length into batches padded on the left, on eager attention: sdpa gives NaN for rows that begin with padding.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    dtype = torch.bfloat16 if config.get("bf16") else torch.float16 if config.get("fp16") else torch.float32
    quantisation = (
        BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
        if config.get("load_in_4bit")
        else None
    )
    tokenizer = AutoTokenizer.from_pretrained(adapter, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    device = "cpu" if config.get("device") == "cpu" else "auto"
    model = AutoModelForCausalLM.from_pretrained(
        config["base_model"], dtype=dtype, quantization_config=quantisation, attn_implementation="eager", device_map=device
    )
    if quantisation and device == "cpu":
        model = model.dequantize()  # the same rounded weights; unpacking them at each token takes most of the time on a CPU
    model = PeftModel.from_pretrained(model, adapter).eval()
    longest = max(len(ids) for ids in tokenizer([question.answer for question in questions])["input_ids"])

    order = sorted(range(len(questions)), key=lambda i: len(questions[i].tokens))
    batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]

    def answer_all(done: int) -> list[str]:
        answers = [""] * len(questions)
        for batch in batches:
            tokens = tokenizer.pad({"input_ids": [list(questions[i].tokens) for i in batch]}, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                output = model.generate(**tokens, max_new_tokens=longest + 1, do_sample=False, pad_token_id=tokenizer.pad_token_id)
            texts = tokenizer.batch_decode(output[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True)
            for i, text in zip(batch, texts, strict=True):
                answers[i] = without_end(text).strip()
            done += len(batch)
            progress(done, 2 * len(questions))
        return answers

    with model.disable_adapter():
        base = answer_all(0)
    return Answers(questions=questions, base=base, adapter=answer_all(len(questions)))
