"""Ask a trained adapter, and its base with the adapter switched off, in batches as large as the memory takes."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import find_executable_batch_size
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils.logging import disable_progress_bar

from preflight.data.prompt_strategies.completion import ENDS, without_end
from preflight.training.evaluation.answers import Answers, Question, shuffled

LARGEST_BATCH = {"cuda": 128, "cpu": 64}
SPARE = 0.7  # of the free memory is planned with: torch's own buffers and rounding take the rest
LONGER = 1.5  # times the longest expected answer: another right one may be longer
MARGIN = 8  # tokens
SMALL = 100_000_000  # parameters: below, threads on a CPU wait for one another longer than they work (7 times as long beside other work, 2026-11-26)


class Answer(NamedTuple):
    """What was answered, and whether it ran on to the limit."""

    text: str
    cut: bool


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model that is asked: greedy answers of at most `longest` tokens, each ended by any of the `stops`."""

    model: Any
    tokenizer: Any
    stops: Sequence[int]
    longest: int

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to one batch, padded on the left."""
        tokens = self.tokenizer.pad({"input_ids": [list(question.tokens) for question in questions]}, return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            output = self.model.generate(
                **tokens, max_new_tokens=self.longest, do_sample=False, eos_token_id=list(self.stops), pad_token_id=self.tokenizer.pad_token_id
            )
        answers = output[:, tokens["input_ids"].shape[1] :]
        ended = torch.isin(answers, torch.tensor(self.stops, device=answers.device)).any(dim=1).tolist()
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [Answer(without_end(text).strip(), not end) for text, end in zip(texts, ended, strict=True)]

    def batch_size(self, questions: Sequence[Question]) -> int:
        """How many questions the memory that is free takes at once, by the keys and values of their tokens and eager attention's scores."""
        device = self.model.device.type
        if device != "cuda":
            return LARGEST_BATCH["cpu"]
        shape, longest = self.model.config, max(len(question.tokens) for question in questions)
        head = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
        kept = 2 * shape.num_hidden_layers * shape.num_key_value_heads * head * 2 * (longest + self.longest)
        scores = shape.num_attention_heads * longest**2 * (4 + 2 + 2)  # in 32 bits for the softmax, and twice in 16
        return max(1, min(LARGEST_BATCH["cuda"], int(SPARE * torch.cuda.mem_get_info()[0] / (2 * kept + scores))))  # the cache is copied as it grows


def ask(asked: LoadedModel, questions: Sequence[Question], progress: Callable[[int, int], None], seconds: float | None = None) -> Answers:
    """What base and adapter answer, both on the quantised weights that were trained on; in `seconds`, as many questions as fit, chosen by a seed.

    An answer that is longer than any expected one by half is cut: it runs on, and whatever runs on is wrong.
    """
    voices = {"base": asked.model.disable_adapter, "adapter": contextlib.nullcontext}
    kept, given = _ask_each(asked, voices, questions, progress, seconds)
    texts = {name: [answer.text for answer in answers] for name, answers in given.items()}
    cut = {name: sum(answer.cut for answer in answers) for name, answers in given.items()}
    return Answers(questions=kept, base=texts["base"], adapter=texts["adapter"], cut=cut)


def ask_candidates(
    asked: LoadedModel, adapters: Mapping[str, Path], questions: Sequence[Question], progress: Callable[[int, int], None], seconds: float | None
) -> tuple[list[Question], dict[str, list[str]]]:
    """The questions that were asked, and each adapter's answers: on one base, which holds them all."""
    for name, folder in adapters.items():
        asked.model.load_adapter(str(folder), adapter_name=name)
    asked.model.eval()
    kept, given = _ask_each(asked, {name: partial(_speaking, asked, name) for name in adapters}, questions, progress, seconds)
    return kept, {name: [answer.text for answer in answers] for name, answers in given.items()}


def use(asked: LoadedModel, name: str) -> None:
    """Have the model speak with this adapter, of those that it was asked with, from here on."""
    asked.model.set_adapter(name)


@contextlib.contextmanager
def _speaking(asked: LoadedModel, name: str) -> Iterator[None]:
    use(asked, name)
    yield


def _ask_each(
    asked: LoadedModel,
    voices: Mapping[str, Callable[[], contextlib.AbstractContextManager[Any]]],
    questions: Sequence[Question],
    progress: Callable[[int, int], None],
    seconds: float | None,
) -> tuple[list[Question], dict[str, list[Answer]]]:
    """The questions that there was time for, in their order, and what each voice answered."""
    order = list(range(len(questions))) if seconds is None else shuffled(len(questions))
    answered: dict[int, list[Answer]] = {}
    wanted, begun = len(questions), time.monotonic()

    def answer_all(size: int) -> None:
        nonlocal wanted
        while left := [i for i in order[:wanted] if i not in answered]:
            if seconds is not None and not answered:
                left = left[:size]  # whose time tells how many more there is time for
            left.sort(key=lambda i: len(questions[i].tokens))
            for start in range(0, len(left), size):
                batch = left[start : start + size]
                these = [questions[i] for i in batch]
                given = list[list[Answer]]()
                for voice in voices.values():
                    with voice():
                        given.append(asked.answer(these))
                answered.update(zip(batch, map(list, zip(*given, strict=True)), strict=True))
                if seconds is not None and start == 0:
                    each = (time.monotonic() - begun) / len(answered)
                    wanted = min(wanted, max(len(answered), int(seconds / each)))
                progress(len(voices) * len(answered), len(voices) * wanted)

    find_executable_batch_size(answer_all, starting_batch_size=min(wanted, asked.batch_size(questions)))()
    kept = sorted(answered)
    return [questions[i] for i in kept], {name: [answered[i][which] for i in kept] for which, name in enumerate(voices)}


def load_model(config: Mapping[str, Any], adapter: Path, questions: Sequence[Question]) -> LoadedModel:
    """The base with the adapter on it, on eager attention: sdpa gives NaN for rows that begin with padding."""
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
    if quantisation and _fits_unpacked(model):
        model = model.dequantize()  # the same rounded weights; unpacking them at each token takes most of the time
    if model.device.type == "cpu" and model.num_parameters() < SMALL:
        torch.set_num_threads(1)
    model = PeftModel.from_pretrained(model, adapter).eval()
    ends = tokenizer.convert_tokens_to_ids([*ENDS, *(str(token) for token in config.get("eot_tokens") or ())])
    stops = {tokenizer.eos_token_id, *ends} - {None, tokenizer.unk_token_id}
    longest = max(len(ids) for ids in tokenizer([question.answer for question in questions])["input_ids"])
    return LoadedModel(model=model, tokenizer=tokenizer, stops=sorted(stops), longest=int(LONGER * longest) + MARGIN)


def _fits_unpacked(model: Any) -> bool:
    """Whether the weights in 16 bits leave half of the memory that is free now."""
    return model.device.type == "cpu" or bool(2 * model.num_parameters() < torch.cuda.mem_get_info()[0] / 2)
