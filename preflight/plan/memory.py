"""The GPU memory that a step takes."""

from collections.abc import Mapping
from typing import Any

from preflight.config.base_model import MISTRAL_7B, ModelShape
from preflight.config.keys import STEP_KEYS
from preflight.config.layers import Config
from preflight.config.values import sequence_len, sequences_on_each, whole_number
from preflight.findings import Finding

# Mistral-7B in 4 bits with LoRA of rank 16, in GiB: what is there before a step, and what a sequence of 2,048 tokens adds, without
# and with gradient checkpointing (peaks allocated at 1, 2 and 4 sequences, H200, 2026-11-24)
LOADED_GIB, SEQUENCE_GIB, CHECKPOINTED_GIB = 4.3, 9.88, 0.92
FP8_BYTES = 2  # for each frozen weight: two copies of e4m3 (57.1 GiB allocated in the place of 44.0, H100, 2026-11-26)
CONTEXT_GIB = 0.6  # CUDA itself (H200, 2026-11-24)
NEARLY = 0.95  # of a card's memory


def memory_gib(values: Mapping[str, Any], shape: ModelShape | None) -> float | None:
    """GPU memory at the peak of a step; None for what was never measured: other than 4-bit LoRA."""
    if shape is None or not values.get("load_in_4bit"):
        return None
    tokens = whole_number(values.get("micro_batch_size"), 1) * sequence_len(values)
    a_sequence = CHECKPOINTED_GIB if values.get("gradient_checkpointing") else SEQUENCE_GIB
    loaded = LOADED_GIB * shape.linear_parameters / MISTRAL_7B.linear_parameters
    if values.get("fp8_frozen_weights"):
        loaded += FP8_BYTES * shape.linear_parameters / 2**30
    return round(CONTEXT_GIB + loaded + a_sequence * tokens / 2_048 * shape.widths_sum / MISTRAL_7B.widths_sum, 1)


def check_memory(config: Config, shape: ModelShape | None, memory: float | None) -> list[Finding]:
    """`gpu.memory` where a step takes more than the card has, with the split that fits."""
    need = memory_gib(config.values, shape)
    if need is None or memory is None or need <= NEARLY * memory:
        return []
    product = sequences_on_each(config.values)
    splits = [
        values
        for checkpointing in dict.fromkeys([bool(config.values.get("gradient_checkpointing")), True])
        for micro in range(product, 0, -1)
        if product % micro == 0
        and (values := dict(config.values) | dict(zip(STEP_KEYS, (micro, product // micro), strict=True)) | {"gradient_checkpointing": checkpointing})
        and (memory_gib(values, shape) or 0) <= NEARLY * memory
    ]
    keys = (*STEP_KEYS, "gradient_checkpointing")
    changed = [f"--set {key}={str(splits[0][key]).lower()}" for key in keys if splits[0][key] != config.values.get(key)] if splits else []
    return [
        Finding(
            code="gpu.memory",
            level="error" if need > memory else "warning",
            where=config.where("micro_batch_size"),
            message=f"a step takes about {need} GiB of the GPU's {memory:g} (estimated from measured steps of Mistral-7B)",
            fix=" ".join(changed) or "a smaller model, a shorter sequence_len, or a larger GPU",
        )
    ]
