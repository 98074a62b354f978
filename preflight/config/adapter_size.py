"""How large the files of a LoRA run are, worked out from the config and the model's shape."""

from collections.abc import Mapping
from typing import Any

from preflight.config.base_model import ModelShape

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# bytes of optimizer state a parameter: two moments, of 32 or of 8 bits
STATE_BYTES = {"8bit": 2, "": 8}
OTHER_FILES = 8 << 20  # tokenizer, trainer state, README: 3.5 MB seen with Mistral's tokenizer, 2026-11-24


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
    targets = (
        ALL_LINEAR
        if values.get("lora_target_linear") or not isinstance(named, list)
        else [name for name in named if isinstance(name, str) and name in widths]
    )
    return int(values.get("lora_r") or 0) * shape.layers * sum(sum(widths[name]) for name in targets)


def checkpoint_bytes(values: Mapping[str, Any], shape: ModelShape) -> int:
    """One checkpoint: the adapter in 32 bits, the optimizer's state, and the small files."""
    kind = "8bit" if "8bit" in str(values.get("optimizer")) else ""
    return adapter_parameters(values, shape) * (4 + STATE_BYTES[kind]) + OTHER_FILES
