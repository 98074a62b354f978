"""Lengths of the rows in tokens, counted with the tokenizer that training will use."""

import importlib.util
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from preflight.findings import Finding
from preflight.rows import Row, Shape, question_and_answer

LONGEST = 64  # Axolotl cuts a completion row at this many sequences (prompt_strategies/completion.py)
SHORTEST = 2  # Axolotl's min_sample_len
# Mistral 7B v0.1 and v0.2, instruct and quantised copies among them, share the tokenizer that mistral_common ships as v1
MISTRAL_V1 = re.compile(r"mistral-7b(-instruct)?(-v0\.[12])?(-bnb-4bit)?$", re.I)


class Token(NamedTuple):
    """One token, and where it stands in the text (characters)."""

    id: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """The tokenizer that training will use. `count` gives the tokens of each text, with BOS and EOS as Axolotl adds them if
    `special`; `encode` the tokens of one text in which an EOS written out counts as one."""

    source: str
    count: Callable[[Sequence[str], bool], list[int]]
    encode: Callable[[str], list[Token]]
    bos: str
    eos: str
    bos_id: int | None  # None for a tokenizer that has none
    eos_id: int | None


class Measured(NamedTuple):
    """One row in tokens: all of them, those with loss, and the lengths of the sequences that training makes of it (none if it
    is dropped)."""

    tokens: int
    trained: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The good rows of one file in tokens, or a sample of them."""

    path: Path
    rows: int  # in the file
    measured: tuple[Measured, ...]
    sampled: bool = False

    def quantile(self, share: float) -> int:
        """The length that this share of the rows does not pass; 0 without rows."""
        ordered = sorted(row.tokens for row in self.measured)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0

    @property
    def histogram(self) -> tuple[tuple[int, int], ...]:
        """(most tokens, rows of so many and of more than half as many), from the shortest to the longest; powers of two."""
        counts = Counter(1 << max(0, row.tokens - 1).bit_length() for row in self.measured)
        most = [1 << power for power in range(min(counts).bit_length() - 1, max(counts).bit_length())] if counts else []
        return tuple((tokens, round(self.scale * counts[tokens])) for tokens in most)

    @property
    def scale(self) -> float:
        """Rows in the file for each that was counted."""
        return self.rows / len(self.measured) if self.sampled and self.measured else 1.0

    @property
    def tokens(self) -> int:
        """Tokens that are trained on or read in an epoch."""
        return round(self.scale * sum(itertools.chain(*(row.sequences for row in self.measured))))


def is_missing(base_model: str) -> bool:
    """Whether base_model is a path, by its form or because its first folder is there, and no model is at its end."""
    if not base_model or Path(base_model, "config.json").is_file():
        return False
    return base_model.startswith((".", "/", "~")) or base_model.count("/") > 1 or Path(base_model.partition("/")[0]).is_dir()


def find_tokenizer(base_model: str) -> Tokenizer | None:
    """The base model's tokenizer where it can be had without a network: its folder, the hub's cache, or mistral_common."""
    folder = Path(base_model)
    if (folder / "tokenizer.json").is_file():
        return _from_json(folder / "tokenizer.json", folder / "tokenizer_config.json", base_model)
    if not folder.is_absolute() and base_model.count("/") == 1:
        from huggingface_hub import try_to_load_from_cache

        cached = [try_to_load_from_cache(base_model, name) for name in ("tokenizer.json", "tokenizer_config.json")]
        if all(isinstance(path, str) for path in cached):
            return _from_json(Path(str(cached[0])), Path(str(cached[1])), f"{base_model} in the hub's cache")
    spec = importlib.util.find_spec("mistral_common") if MISTRAL_V1.search(base_model) else None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (model := Path(place) / "data" / "tokenizer.model.v1").is_file():
            return _from_sentencepiece(model)
    return None


def measure(rows: Sequence[Row], shape: Shape, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Measured]:
    """Each row as Axolotl 0.19 makes it: prompt_strategies/completion.py and chat_template.py, prompt_tokenizers.py for alpaca."""
    limit = int(values.get("sequence_len") or 512)
    strategy = str(values.get("excess_length_strategy") or "drop").lower()
    if shape.kind == "text":
        counts = tokenizer.count([row.text for row in rows], True)
        return [Measured(tokens=count, trained=sum(parts), sequences=parts) for count in counts for parts in [_split(count, limit)]]
    if shape.kind == "instruction":
        # prompt and answer are tokenised apart, each cut at `limit`; the prompt has the BOS, the answer the EOS
        prompts = [min(count, limit) for count in tokenizer.count([_alpaca(row) for row in rows], True)]
        answers = [min(count - 1, limit) for count in tokenizer.count([row.text for row in rows], True)]
        pairs = [(prompt - 1 + answer, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    else:
        # BOS, and an EOS after each answer
        counts = tokenizer.count([rendered(row.messages) for row in rows], False)
        turns = [[content for role, content in row.messages if role == "assistant"] for row in rows]
        answers_of = [sum(tokenizer.count(said, False)) + len(said) for said in turns]
        pairs = [(count + 1 + len(said), answer) for count, said, answer in zip(counts, turns, answers_of, strict=True)]
    everything = bool(values.get("train_on_inputs"))
    return [
        Measured(tokens=count, trained=(count if everything else answer) if parts else 0, sequences=parts)
        for count, answer in pairs
        for parts in [_whole(count, limit, strategy)]
    ]


ALPACA = (
    "Below is an instruction that describes a task{more}. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n{input}### Response:\n"
)


def _alpaca(row: Row) -> str:
    """The prompt of an instruction, as Axolotl's AlpacaPrompter writes it (prompters.py)."""
    instruction, more = row.messages[0][1], row.messages[1][1]
    if not more:
        return ALPACA.format(more="", instruction=instruction, input="")
    paired = ", paired with an input that provides further context"
    return ALPACA.format(more=paired, instruction=instruction, input=f"### Input:\n{more}\n\n")


def prompt_and_answer(row: Row, shape: Shape) -> tuple[str, str]:
    """What the trainer sees up to the last answer, without BOS, and that answer. A text that asks nothing has an empty prompt."""
    if shape.kind == "instruction":
        return _alpaca(row), row.text
    if shape.kind == "messages":
        return rendered(row.messages[:-1]), row.messages[-1][1]
    return question_and_answer(row)


def check_lengths(measured: Lengths, shape: Shape, values: Mapping[str, Any]) -> list[Finding]:
    """`data.too-long` where rows are longer than a sequence: what becomes of them, and what would keep them."""
    limit = int(values.get("sequence_len") or 512)
    long = sum(row.tokens > limit for row in measured.measured)
    if not long:
        return []
    count = f"{'about ' if measured.sampled else ''}{round(long * measured.scale):,}"
    strategy = str(values.get("excess_length_strategy") or "drop").lower()
    fate = {"drop": "dropped", "truncate": "cut off at the end, where the answer is", "raise": "refused when training starts"}.get(strategy, strategy)
    fate = "cut into pieces, and the answer of each is parted from its question" if shape.kind == "text" else fate
    lost = "" if strategy == "raise" else f": {count} answers are lost"
    return [
        Finding(
            code="data.too-long",
            level="warning",
            where=str(measured.path),
            message=f"{count} of {measured.rows:,} rows are longer than sequence_len {limit:,} and are {fate}{lost}",
            fix=f"sequence_len: {measured.quantile(0.99):,} keeps 99% of the rows whole, {measured.quantile(1):,} all of them; "
            "or shorten the schemas in the longest",
        )
    ]


def check_special_tokens(path: Path, written: Sequence[int], token: str, what: str) -> list[Finding]:
    """`data.special-tokens` for the lines where a special token is written out that the tokenizer adds as well."""
    if not written:
        return []
    message = f"{len(written):,} rows have {token} {what}; the first in line {written[0]:,}"
    fix = f"delete {token} from the text: training adds it"
    return [Finding(code="data.special-tokens", level="error", where=f"{path}:{written[0]}", message=message, fix=fix)]


def _split(length: int, limit: int) -> tuple[int, ...]:
    """A completion row is cut into sequences of `limit` tokens."""
    length = min(length, LONGEST * limit)
    parts = [limit] * (length // limit) + [length % limit]
    return tuple(part for part in parts if part >= SHORTEST)


def _whole(length: int, limit: int, strategy: str) -> tuple[int, ...]:
    """Any other row that is too long is dropped, or truncated where the config says so."""
    if length > limit:
        return (limit,) if strategy == "truncate" else ()
    return (length,) if length >= SHORTEST else ()


def rendered(messages: Iterable[tuple[str, str]], eos: str = "") -> str:
    """The conversation in Mistral's own markup (Axolotl's mistral_v1), without BOS. Others differ by a few tokens a turn."""
    return "".join(f" {content}{eos}" if role == "assistant" else f" [INST] {content} [/INST]" for role, content in messages)


def _from_json(path: Path, settings: Path, source: str) -> Tokenizer | None:
    from tokenizers import Tokenizer as FastTokenizer

    try:
        tokenizer = FastTokenizer.from_file(str(path))
        named = json.loads(settings.read_text(encoding="utf-8"))
    except Exception:  # tokenizers raises a bare Exception for a file it can't read
        return None
    tokenizer.no_truncation()
    bos, eos = (token["content"] if isinstance(token, dict) else str(token or "") for token in (named.get("bos_token"), named.get("eos_token")))
    bos_id, eos_id = (tokenizer.token_to_id(token) for token in (bos, eos))

    def count(texts: Sequence[str], special: bool) -> list[int]:
        return [
            len(encoding) + (special and (not encoding.ids or encoding.ids[-1] != eos_id))
            for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
        ]

    def encode(text: str) -> list[Token]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return [Token(id, *place) for id, place in zip(encoding.ids, encoding.offsets, strict=True)]

    return Tokenizer(source=source, count=count, encode=encode, bos=bos, eos=eos, bos_id=bos_id, eos_id=eos_id)


def _from_sentencepiece(path: Path) -> Tokenizer | None:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        return None
    processor = SentencePieceProcessor(model_file=str(path))
    bos, eos = "<s>", "</s>"

    def count(texts: Sequence[str], special: bool) -> list[int]:
        return [len(ids) + 2 * special for ids in processor.encode(list(texts))]

    def encode(text: str) -> list[Token]:
        found, start = list[Token](), 0
        for part in re.split(f"({eos})", text):
            pieces = processor.encode(part, out_type="immutable_proto").pieces if part != eos else ()
            found += [Token(piece.id, start + piece.begin, start + piece.end) for piece in pieces]
            found += [Token(processor.eos_id(), start, start + len(eos))] * (part == eos)
            start += len(part)
        return found

    source = "Mistral 7B v0.1, as mistral_common ships it"
    return Tokenizer(source=source, count=count, encode=encode, bos=bos, eos=eos, bos_id=processor.bos_id(), eos_id=processor.eos_id())
