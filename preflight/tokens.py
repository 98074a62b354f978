"""Lengths of the rows in tokens, counted with the tokenizer that training will use."""

import importlib.util
import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.findings import Finding
from preflight.rows import Row, check_rows, read_rows, shape_of
from preflight.staging import DataFile, Progress, Staged

MOST_ROWS = 50_000  # above this, lengths are those of a seeded sample
BATCH = 500  # rows tokenised at once: enough for every core, little enough to hold
LONGEST = 64  # Axolotl cuts a completion row at this many sequences (prompt_strategies/completion.py)
SHORTEST = 2  # Axolotl's min_sample_len
# Mistral 7B v0.1 and v0.2, instruct and quantised copies among them, share the tokenizer that mistral_common ships as v1
MISTRAL_V1 = re.compile(r"mistral-7b(-instruct)?(-v0\.[12])?(-bnb-4bit)?$", re.I)


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """Counts tokens. `count` gives one number a text: its tokens, with the BOS and EOS that Axolotl adds if `special`."""

    source: str
    count: Callable[[Sequence[str], bool], list[int]]


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """What training makes of one file: for each row, in order, the lengths of the sequences it becomes (none if it is dropped)."""

    path: Path
    rows: int
    sequences: tuple[tuple[int, ...], ...]
    problems: tuple[Row, ...] = ()
    sampled: bool = False

    @property
    def scale(self) -> float:
        """Rows in the file for each that was counted."""
        return self.rows / len(self.sequences) if self.sequences else 1.0

    @property
    def tokens(self) -> int:
        return round(self.scale * sum(itertools.chain(*self.sequences)))


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The rows of a config, counted: one Lengths for each entry of `datasets` and of `test_datasets`."""

    train: tuple[Lengths, ...] = ()
    held_out: tuple[Lengths, ...] = ()
    tokenizer: str = ""  # where it comes from


def count_data(values: Mapping[str, Any], files: Sequence[DataFile], staged: Sequence[Staged], progress: Progress) -> tuple[Counted, list[Finding]]:
    """The lengths of all rows, read where they were staged. Empty, with a finding that says why, where they can't be counted."""
    records = {record.source: (rows.folder / record.name, record.rows) for rows in staged for record in rows.files}
    places = {file.key: records[str(file.source)] for file in files if file.key and str(file.source) in records}
    entries = [
        (f"{name}.{i}", entry)
        for name in ("datasets", "test_datasets")
        for i, entry in enumerate(values.get(name) or ())
        if isinstance(entry, Mapping)
    ]
    local = {file.key for file in files}
    if not places or values.get("rl") or any(f"{key}.path" in local and f"{key}.path" not in places for key, _ in entries):
        return Counted(), []  # what is missing is a finding already
    if any(f"{key}.path" not in places or not shape_of(entry) for key, entry in entries):
        return Counted(), [_skipped("rows that are not local JSONL of text or messages")]
    base_model = str(values.get("base_model") or "")
    tokenizer = find_tokenizer(base_model)
    if tokenizer is None:
        return Counted(), [_skipped(f"the tokenizer of {base_model} is not on this machine")]
    findings: list[Finding] = []
    lengths: dict[str, list[Lengths]] = {"datasets": [], "test_datasets": []}
    for key, entry in entries:
        path, rows = places[f"{key}.path"]
        counted = count_rows(path, entry, values, tokenizer, rows, progress)
        findings += check_rows(path, list(counted.problems))
        lengths[key.partition(".")[0]].append(counted)
    return Counted(train=tuple(lengths["datasets"]), held_out=tuple(lengths["test_datasets"]), tokenizer=tokenizer.source), findings


def _skipped(reason: str) -> Finding:
    return Finding(code="internal.skipped", level="info", message=f"steps were not counted: {reason}")


def is_missing(base_model: str) -> bool:
    """Whether base_model is a path, by its form or because its first folder is there, and no model is at its end."""
    if not base_model or Path(base_model, "config.json").is_file():
        return False
    return base_model.startswith((".", "/", "~")) or base_model.count("/") != 1 or Path(base_model.partition("/")[0]).is_dir()


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


def count_rows(path: Path, entry: Mapping[str, Any], values: Mapping[str, Any], tokenizer: Tokenizer, rows: int, progress: Progress) -> Lengths:
    """The lengths of the `rows` rows of a file, as its dataset entry trains on them. Raises OSError."""
    limit = int(values.get("sequence_len") or 512)
    sampled = rows > MOST_ROWS
    chosen = set(random.Random(0).sample(range(rows), MOST_ROWS)) if sampled else None  # noqa: S311
    problems: list[Row] = []
    sequences: list[tuple[int, ...]] = []
    text = shape_of(entry) == "text"
    strategy = str(values.get("excess_length_strategy") or "drop").lower()
    good = (row for index, row in enumerate(read_rows(path, entry)) if _kept(row, problems) and (chosen is None or index in chosen))
    for batch in _batches(good):
        texts = [row.text if text else _rendered(row) for row in batch]
        for row, length in zip(batch, tokenizer.count(texts, text), strict=True):
            if not text:
                length += 1 + sum(turn.get("role") == "assistant" for turn in row.messages)
            sequences.append(_split(length, limit) if text else _whole(length, limit, strategy))
        progress(f"counting the tokens of {path.name}", batch[-1].line, rows)
    return Lengths(path=path, rows=rows, sequences=tuple(sequences), problems=tuple(problems), sampled=sampled)


def _kept(row: Row, problems: list[Row]) -> bool:
    if row.problem:
        problems.append(row)
    return not row.problem


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield batch


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


def _rendered(row: Row) -> str:
    """The conversation in Mistral's own markup (Axolotl's mistral_v1), without BOS and EOS. Others differ by a few tokens a turn."""
    return "".join(
        f" [INST] {turn.get('content')} [/INST]" if turn.get("role") != "assistant" else f" {turn.get('content')}" for turn in row.messages
    )


def _from_json(path: Path, settings: Path, source: str) -> Tokenizer | None:
    from tokenizers import Tokenizer as FastTokenizer

    try:
        tokenizer = FastTokenizer.from_file(str(path))
        eos = json.loads(settings.read_text(encoding="utf-8")).get("eos_token")
    except Exception:  # tokenizers raises a bare Exception for a file it can't read
        return None
    tokenizer.no_truncation()
    eos_id = tokenizer.token_to_id(eos["content"] if isinstance(eos, dict) else str(eos))

    def count(texts: Sequence[str], special: bool) -> list[int]:
        return [
            len(encoding) + (special and (not encoding.ids or encoding.ids[-1] != eos_id))
            for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
        ]

    return Tokenizer(source=source, count=count)


def _from_sentencepiece(path: Path) -> Tokenizer | None:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        return None
    processor = SentencePieceProcessor(model_file=str(path))

    def count(texts: Sequence[str], special: bool) -> list[int]:
        return [len(ids) + 2 * special for ids in processor.encode(list(texts))]

    return Tokenizer(source="Mistral 7B v0.1, as mistral_common ships it", count=count)
