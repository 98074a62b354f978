"""How large the files of a LoRA run are, worked out from the config and the model's shape."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.tokens import MISTRAL_V1

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# bytes of optimizer state a parameter: two moments, of 32 or of 8 bits
STATE_BYTES = {"8bit": 2, "": 8}
OTHER_FILES = 8 << 20  # tokenizer, trainer state, README: 3.5 MB seen with Mistral's tokenizer, 2026-11-24


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The widths of a decoder's linear layers, as in its config.json."""

    layers: int
    hidden: int
    intermediate: int
    key_value: int


MISTRAL_7B = ModelShape(layers=32, hidden=4096, intermediate=14336, key_value=1024)  # its config.json


def find_shape(base_model: str) -> ModelShape | None:
    """The shape of a model whose config.json is here, or of Mistral-7B; None for any other."""
    path: Any = Path(base_model, "config.json")
    if not path.is_file() and base_model.count("/") == 1:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(base_model, "config.json")
    if not isinstance(path, str | Path) or not Path(path).is_file():
        return MISTRAL_7B if MISTRAL_V1.search(base_model) else None
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        hidden, heads = int(values["hidden_size"]), int(values["num_attention_heads"])
        head = int(values.get("head_dim") or hidden // heads)
        return ModelShape(
            layers=int(values["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(values["intermediate_size"]),
            key_value=head * int(values.get("num_key_value_heads") or heads),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def linear_parameters(shape: ModelShape) -> int:
    """Weights of the linear layers, which a token is multiplied with."""
    return shape.layers * shape.hidden * (2 * shape.hidden + 2 * shape.key_value + 3 * shape.intermediate)


def widths_sum(shape: ModelShape) -> int:
    """Values that the layers keep of a token, up to a factor: what activation memory grows with."""
    return shape.layers * (4 * shape.hidden + 3 * shape.intermediate)


def adapter_parameters(values: Mapping[str, Any], shape: ModelShape) -> int:
    """Parameters of the LoRA adapter: r x (in + out) for each layer that it changes."""
    widths = {
        "q_proj": (shape.hidden, shape.hidden),
        "k_proj": (shape.hidden, shape.key_value),
        "v_proj": (shape.hidden, shape.key_value),
        "o_proj": (shape.hidden, shape.hidden),
        "gate_proj": (shape.hidden, shape.intermediate),
        "up_proj": (shape.hidden, shape.intermediate),
        "down_proj": (shape.intermediate, shape.hidden),
    }
    named = values.get("lora_target_modules")
    targets = ALL_LINEAR if values.get("lora_target_linear") or not isinstance(named, list) else [name for name in named if name in widths]
    return int(values.get("lora_r") or 0) * shape.layers * sum(sum(widths[name]) for name in targets)


def checkpoint_bytes(values: Mapping[str, Any], shape: ModelShape) -> int:
    """One checkpoint: the adapter in 32 bits, the optimizer's state, and the small files."""
    kind = "8bit" if "8bit" in str(values.get("optimizer")) else ""
    return adapter_parameters(values, shape) * (4 + STATE_BYTES[kind]) + OTHER_FILES
