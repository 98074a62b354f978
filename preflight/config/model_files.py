"""What the small files of the base model say: its family, the names of its modules, and which tokens it knows. No weights are read."""

import importlib.util
import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflight.config.base_model import MISTRAL_V1, find_file
from preflight.files import MALFORMED

SMALL = ("config.json", "tokenizer_config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors.index.json")
LONGEST_HEADER = 100 << 20  # bytes, the format's own limit
# decoders whose layers have the modules of DENSE, by `model_type` of config.json
DENSE_FAMILIES = frozenset(["gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3"])
DENSE = frozenset(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head"])


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The base model, as far as its small files are here."""

    name: str = ""
    architectures: tuple[str, ...] = ()
    modules: frozenset[str] = frozenset()  # the last part of each module's name; empty where they can't be told
    knows: Callable[[str], bool] | None = field(default=None, compare=False)  # whether a text is one token of the vocabulary

    @property
    def seen(self) -> bool:
        return bool(self.architectures)


def read_model(base_model: str, tokenizer: str = "") -> ModelFiles:
    """What is here of the model: in its folder, or in the hub's cache."""
    values = _read_json(find_file(base_model, "config.json"))
    if not values and MISTRAL_V1.search(base_model) and not Path(base_model).is_dir():
        values = {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    named = values.get("architectures")
    architectures = tuple(str(one) for one in named) if isinstance(named, list) else ()
    return ModelFiles(name=base_model, architectures=architectures, modules=_modules(base_model, values), knows=_vocabulary(tokenizer or base_model))


def why_unjudged(files: ModelFiles) -> str:
    """What was not judged where nothing is known of the model, or ''."""
    if files.seen or not files.name:
        return ""
    return f"config.json of {files.name} is not on this machine: target modules, model_type and new tokens were not judged"


def fetch_small(base_model: str, names: Sequence[str] = SMALL) -> None:
    """Bring small files into the hub's cache, where training looks for them too. What can't be had stays away."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        for name in names:
            try:
                hf_hub_download(base_model, name)
            except Exception:  # noqa: S112  # the client passes on what its transport raises; the model may not have the file
                continue
    finally:
        if shown:
            enable_progress_bars()


def _modules(base_model: str, values: Mapping[str, Any]) -> frozenset[str]:
    """The modules that have weights. Not of a mixture of experts: transformers joins theirs into others."""
    if any("expert" in str(key) for key in values):
        return frozenset()
    weights = _read_json(find_file(base_model, "model.safetensors.index.json")).get("weight_map")
    names = list(weights) if isinstance(weights, dict) else list(_header(find_file(base_model, "model.safetensors")))
    found = {parts[-2] for name in names if len(parts := str(name).split(".")) > 1}
    if not found and values.get("model_type") in DENSE_FAMILIES:
        return DENSE
    return frozenset(found | {"lm_head"}) if found else frozenset()  # tied to the embeddings, it has no weights of its own


def _header(path: Path | None) -> Iterator[str]:
    """The names of the tensors in a safetensors file."""
    if path is None:
        return
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            yield from json.loads(file.read(size)) if size <= LONGEST_HEADER else ()
    except (OSError, struct.error, *MALFORMED):
        return


def _vocabulary(name: str) -> Callable[[str], bool] | None:
    """Whether the tokenizer has a text as one token; None where it is not here."""
    if path := find_file(name, "tokenizer.json"):
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception:  # the library raises a bare Exception for a file that it can't read
            return None
        return lambda token: tokenizer.token_to_id(token) is not None
    spec = importlib.util.find_spec("mistral_common") if MISTRAL_V1.search(name) and not Path(name).is_dir() else None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        model = Path(place) / "data" / "tokenizer.model.v1"
        if model.is_file() and importlib.util.find_spec("sentencepiece"):
            from sentencepiece import SentencePieceProcessor

            processor = SentencePieceProcessor(model_file=str(model))
            return lambda token: token == "<unk>" or processor.piece_to_id(token) != processor.unk_id()  # noqa: S105
    return None


def _read_json(path: Path | None) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, *MALFORMED):
        return {}
    return found if isinstance(found, dict) else {}


def family(cls: str) -> str:
    """The family of a class of transformers: `mistral` of MistralForCausalLM."""
    return re.split(r"For(?=[A-Z])|LMHead|Model$", cls)[0].lower()
