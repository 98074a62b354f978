"""The tokenizer that training will use, where it can be had without a network and without torch."""

import importlib.util
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from preflight.config.base_model import MISTRAL_V1, cached


class Token(NamedTuple):
    """One token, and where it is in the text (characters)."""

    id: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """The tokenizer that training will use. `count` gives the tokens of each text, `encode` those of one; neither adds any, and an EOS
    that is written out is one token."""

    source: str
    count: Callable[[Sequence[str]], list[int]]
    encode: Callable[[str], list[Token]]
    bos: str
    eos: str
    bos_id: int | None  # None for a tokenizer that has none
    eos_id: int | None
    adds_bos: bool  # whether it puts a BOS before a text by itself


def find_tokenizer(base_model: str) -> Tokenizer | None:
    """The base model's tokenizer where it can be had without a network: its folder, the hub's cache, or mistral_common."""
    folder = Path(base_model)
    if (folder / "tokenizer.json").is_file():
        return _from_json(folder / "tokenizer.json", folder / "tokenizer_config.json", base_model)
    if not folder.is_absolute() and base_model.count("/") == 1:
        paths = [cached(base_model, name) for name in ("tokenizer.json", "tokenizer_config.json")]
        if all(paths):
            return _from_json(Path(str(paths[0])), Path(str(paths[1])), f"{base_model} in the hub's cache")
    spec = importlib.util.find_spec("mistral_common") if MISTRAL_V1.search(base_model) else None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (model := Path(place) / "data" / "tokenizer.model.v1").is_file():
            return _from_sentencepiece(model)
    return None


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

    adds_bos = bos_id is not None and tokenizer.encode("a").ids[:1] == [bos_id]

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode(text: str) -> list[Token]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return [Token(id, *place) for id, place in zip(encoding.ids, encoding.offsets, strict=True)]

    return Tokenizer(source=source, count=count, encode=encode, bos=bos, eos=eos, bos_id=bos_id, eos_id=eos_id, adds_bos=adds_bos)


def _from_sentencepiece(path: Path) -> Tokenizer | None:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        return None
    processor = SentencePieceProcessor(model_file=str(path))
    bos, eos = "<s>", "</s>"

    def count(texts: Sequence[str]) -> list[int]:
        ends = [text.count(eos) for text in texts]
        bare = [text.replace(eos, "") if end else text for text, end in zip(texts, ends, strict=True)]
        return [len(ids) + end for ids, end in zip(processor.encode(bare), ends, strict=True)]

    def encode(text: str) -> list[Token]:
        found, start = list[Token](), 0
        for part in re.split(f"({eos})", text):
            pieces = processor.encode(part, out_type="immutable_proto").pieces if part != eos else ()
            found += [Token(piece.id, start + piece.begin, start + piece.end) for piece in pieces]
            found += [Token(processor.eos_id(), start, start + len(eos))] * (part == eos)
            start += len(part)
        return found

    source = "Mistral 7B v0.1, as mistral_common ships it"
    ids = {"bos_id": processor.bos_id(), "eos_id": processor.eos_id()}
    return Tokenizer(source=source, count=count, encode=encode, bos=bos, eos=eos, adds_bos=True, **ids)
