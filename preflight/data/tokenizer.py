"""The tokenizer that training will use, where it can be had without a network and without torch."""

import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from preflight.config.base_model import MISTRAL_V1, cached

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer

ORDER = ("bos_token", "eos_token", "pad_token", "unk_token")  # in which Axolotl adds special_tokens, whatever the YAML's (schemas/model.py)
# of a config: what Axolotl changes in the tokenizer that it loads (loaders/tokenizer.py of axolotl 0.19)
WITHOUT_TEMPLATE = "mistralai/Mistral-7B-v0.1"  # its tokenizer_config.json has no chat template; that of a copy may
NAMED = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))  # what transformers gives to templates
SETTINGS = ("tokenizer_config", "special_tokens", "tokens", "added_tokens_overrides")


class Encoded(NamedTuple):
    """The tokens of a text: their numbers, and where each is in it (characters)."""

    ids: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer:
    """The tokenizer that training will use. `count` gives the tokens of each text, `encode` what they are and where; neither adds any, and
    a special token that is written out is one token."""

    source: str
    count: Callable[[Sequence[str]], list[int]]
    encode: Callable[[Sequence[str]], list[Encoded]]
    bos: str
    eos: str
    bos_id: int | None  # None for a tokenizer that has none
    eos_id: int | None
    adds_bos: bool  # whether it puts a BOS before a text by itself
    name: str = ""  # the folder or the model that it was loaded as
    special: Mapping[str, str] = field(default_factory=dict)  # bos_token and the like, as chat templates see them
    template: str = ""  # its own chat template
    untold: str = ""  # why its own chat template is not known here, or ''


def find_tokenizer(base_model: str, values: Mapping[str, Any] | None = None) -> Tokenizer | None:
    """The base model's tokenizer, with what the config's `values` change in it, where it can be had without a network: its folder, the
    hub's cache, or mistral_common."""
    values = values or {}
    name = str(values.get("tokenizer_config") or base_model)
    folder = Path(name)
    if (folder / "tokenizer.json").is_file():
        return _from_json(lambda file: folder / file if (folder / file).is_file() else None, name, values)
    if not folder.is_absolute() and name.count("/") == 1:

        def find(file: str) -> Path | None:
            path = cached(name, file)
            return Path(path) if path else None

        if find("tokenizer.json") and find("tokenizer_config.json"):
            return _from_json(find, name, values)
    spec = importlib.util.find_spec("mistral_common") if MISTRAL_V1.search(name) else None
    changed = any(values.get(key) for key in SETTINGS[1:])  # new tokens can't be added to a SentencePiece model
    for place in (spec.submodule_search_locations or ()) if spec and not changed else ():
        if (model := Path(place) / "data" / "tokenizer.model.v1").is_file():
            return _from_sentencepiece(model, name)
    return None


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a config that `find_tokenizer` reads."""
    return {key: values[key] for key in SETTINGS if values.get(key)}


def _from_json(find: Callable[[str], Path | None], name: str, values: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of a folder, whose files `find` finds."""
    from tokenizers import Tokenizer as FastTokenizer

    try:
        text = Path(str(find("tokenizer.json"))).read_text(encoding="utf-8")
        named = json.loads(Path(str(find("tokenizer_config.json"))).read_text(encoding="utf-8"))
        tokenizer = FastTokenizer.from_str(_renamed(text, values.get("added_tokens_overrides")))
        template, untold = _own_template(find, named)
    except Exception:  # tokenizers raises a bare Exception for a file it can't read
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    special = {key: content(named[key]) for key in NAMED if content(named.get(key))}
    special |= _add_tokens(tokenizer, values)
    if special.get("eos_token"):
        special.setdefault("pad_token", special["eos_token"])
    bos, eos = special.get("bos_token", ""), special.get("eos_token", "")
    bos_id, eos_id = (tokenizer.token_to_id(token) if token else None for token in (bos, eos))

    adds_bos = bos_id is not None and tokenizer.encode("a").ids[:1] == [bos_id]

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode(texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(found.ids, found.offsets) for found in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    return Tokenizer(
        source=name if Path(name).exists() else f"{name} in the hub's cache",
        count=count,
        encode=encode,
        bos=bos,
        eos=eos,
        bos_id=bos_id,
        eos_id=eos_id,
        adds_bos=adds_bos,
        name=name,
        special=special,
        template=template,
        untold=untold,
    )


def content(token: Any) -> str:
    """The text of a token as tokenizer_config.json writes it: text, or an object that holds it."""
    found = token.get("content") if isinstance(token, Mapping) else token
    return found if isinstance(found, str) else ""


def _own_template(find: Callable[[str], Path | None], named: Mapping[str, Any]) -> tuple[str, str]:
    """(the tokenizer's own chat template, why it can't be told): chat_template.jinja, else what tokenizer_config.json holds."""
    if path := find("chat_template.jinja"):
        return path.read_text(encoding="utf-8"), ""
    found = named.get("chat_template")
    if isinstance(found, list | dict):
        return "", "the tokenizer has several chat templates, of which Axolotl takes none"
    return str(found or ""), ""


def _renamed(text: str, overrides: Any) -> str:
    """tokenizer.json with the tokens of `added_tokens_overrides` (number -> new text) renamed. Raises KeyError for a number it has not."""
    if not overrides:
        return text
    whole = json.loads(text)
    added = {token["id"]: token for token in whole["added_tokens"]}
    vocabulary = whole["model"].get("vocab")
    names = {number: name for name, number in vocabulary.items()} if isinstance(vocabulary, dict) else {}
    for number, new in overrides.items():
        added[int(number)]["content"] = new
        if int(number) in names:
            vocabulary[new] = vocabulary.pop(names[int(number)])
    return json.dumps(whole)


def _add_tokens(tokenizer: "FastTokenizer", values: Mapping[str, Any]) -> dict[str, str]:
    """Add the tokens that the config names; what of them is special under which name. The order is Axolotl's: it gives them their numbers."""
    from tokenizers import AddedToken

    named = values.get("special_tokens")
    special = {key: named[key] for key in ORDER if isinstance(named.get(key), str)} if isinstance(named, Mapping) else {}
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special.values()])
    tokens, more = values.get("tokens"), named.get("additional_special_tokens") if isinstance(named, Mapping) else None
    if isinstance(tokens, list):
        tokenizer.add_tokens([AddedToken(str(token), normalized=False) for token in tokens])
    if isinstance(more, list):
        tokenizer.add_special_tokens([AddedToken(str(token), normalized=False) for token in more])
    return special


def _from_sentencepiece(path: Path, name: str) -> Tokenizer | None:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        return None
    processor = SentencePieceProcessor(model_file=str(path))
    bos, eos = "<s>", "</s>"
    special = {bos: processor.bos_id(), eos: processor.eos_id()}

    def encode(texts: Sequence[str]) -> list[Encoded]:
        return [one(text) for text in texts]

    def one(text: str) -> Encoded:
        """Each stretch between special tokens by itself, as the tokenizer.json of this model does."""
        ids, offsets, start = list[int](), list[tuple[int, int]](), 0
        for part in re.split(f"({bos}|{eos})", text):
            if part in special:
                ids.append(special[part])
                offsets.append((start, start + len(part)))
            elif part:
                pieces = processor.encode(part, out_type="immutable_proto").pieces
                ids += [piece.id for piece in pieces]
                # the space that is put before a stretch has the place of its first character
                offsets += [(start + piece.begin, start + max(piece.end, piece.begin + 1)) for piece in pieces]
            start += len(part)
        return Encoded(ids, offsets)

    def count(texts: Sequence[str]) -> list[int]:
        parts = [[part for part in re.split(f"({bos}|{eos})", text) if part] for text in texts]
        sizes = iter(processor.encode([part for split in parts for part in split if part not in special]))
        return [sum(1 if part in special else len(next(sizes)) for part in split) for split in parts]

    return Tokenizer(
        source="Mistral 7B v0.1, as mistral_common ships it",
        count=count,
        encode=encode,
        bos=bos,
        eos=eos,
        bos_id=special[bos],
        eos_id=special[eos],
        adds_bos=True,
        name=name,
        special={"bos_token": bos, "eos_token": eos, "unk_token": "<unk>", "pad_token": eos},
        untold="" if name == WITHOUT_TEMPLATE else "the tokenizer's own chat template is not on this machine",
    )
