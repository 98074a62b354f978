"""The GPU memory that a step takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preflight.config.adapter_size import adapter_parameters
from preflight.config.base_model import MISTRAL_7B, ModelShape
from preflight.config.keys import STEP_KEYS
from preflight.config.layers import Config
from preflight.config.values import sequence_len, sequences_on_each, varlen, whole_number, world_size
from preflight.findings import Finding

# Mistral-7B in 4 bits with LoRA of rank 16, in GiB: what is there before a step, and what a sequence of 2,048 tokens adds, without
# and with gradient checkpointing (peaks allocated at 1, 2 and 4 sequences, H200, 2026-11-24)
LOADED_GIB, SEQUENCE_GIB, CHECKPOINTED_GIB = 4.3, 9.88, 0.92
MEASURED_LORA = {"lora_r": 16, "lora_target_linear": True}
# bytes that are not kept of a token in a layer, without checkpointing, times a width: of the input of q, k and v, and of that of gate and up,
# beside what dropout leaves of it, with stack_lora_products (37.1 GiB allocated in the place of 41.0 for both); of keys and values together for
# heads that share one, with varlen attention and the kit's plugin (41.0 in the place of 44.0; H100, 2026-11-27)
STACKED_BYTES, SHARED_BYTES = 2, 2 * 2
# more with cuda_graphs (H100, 2026-11-27): 38.2 GiB reserved where 37.1 were allocated, 38.8 with fp8_frozen_weights: true; 59.5 where 50.2 were, with kept.
# Of 4 x 2,048 tokens, 2 x 2,048 took 21.7 in all
GRAPHS_GIB, GRAPHS_KEPT_GIB = 1.7, 9.3
CONTEXT_GIB = 0.6  # CUDA itself (H200, 2026-11-24)
NEARLY = 0.95  # of a card's memory
DOUBT = 1.15  # of what was not measured: 8 and 16 bits, whole models, trained embeddings
GIB = 2**30
# bytes of a weight: 4 bits with their scales; 16 bits came to 53.4 GiB where 4 came to 43.8 (H100, 2026-11-23)
WEIGHT_BYTES = {4: 0.516, 8: 1.0, 16: 2.0, 32: 4.0}
FP8_BYTES = 2  # more of a frozen weight of which copies are kept: two in e4m3 (57.1 GiB allocated in the place of 44.0; 44.1 without copies; H100, 2026-11-26)
LOGIT_BYTES = 10  # of a token and an entry of the vocabulary: in 16 bits, in 32, and the gradient
# keys under which a step is another one than those measured, and what it then is
OTHER_STEPS = {
    "rl": "rl trains on pairs, or generates",
    "reward_model": "a reward model trains on pairs",
    "process_reward_model": "a reward model has another head",
    "gptq": "weights in GPTQ",
    "quantization_config": "weights quantised in another way",
    "model_quantization_config": "weights quantised in another way",
    "qat": "training that quantises",
    "relora": "ReLoRA merges and starts anew",
    "relora_steps": "ReLoRA merges and starts anew",
    "unfrozen_parameters": "a part of the weights is trained",
    "lisa_n_layers": "a part of the layers is trained",
    "activation_offloading": "activations go to the machine's memory",
    "processor_type": "a model that sees or hears",
    "is_multimodal": "a model that sees or hears",
}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """An estimate, in GiB."""

    gib: float  # at the peak of a step
    floor: float  # there before a step: weights, and what the optimizer keeps
    measured: bool  # whether steps of this kind were measured

    def fits(self, memory: float) -> bool:
        """Whether it surely fits in a card's memory."""
        return self.gib * (1 if self.measured else DOUBT) <= NEARLY * memory


def why_unjudged(values: Mapping[str, Any], shape: ModelShape | None) -> str:
    """Why a step's memory can't be told, or ''."""
    if shape is None:
        return "the widths of the base model are not known here, or it is a mixture of experts"
    sharded = values.get("deepspeed") and not str(values["deepspeed"]).startswith("axolotl_configs/")
    if sharded or (isinstance(fsdp := values.get("fsdp_config"), Mapping) and fsdp.get("offload_params")):
        return "what DeepSpeed or FSDP moves off the GPU is not counted here"
    if any(whole_number(values.get(f"{kind}_parallel_size"), 1) > 1 for kind in ("tensor", "context")):
        return "parts of a step that GPUs share are not counted here"
    return next((why for key, why in OTHER_STEPS.items() if values.get(key)), "")


def estimate(values: Mapping[str, Any], shape: ModelShape | None) -> Memory | None:
    """GPU memory at the peak of a step; None where `why_unjudged` says why."""
    if shape is None or why_unjudged(values, shape):
        return None
    tokens = whole_number(values.get("micro_batch_size"), 1) * sequence_len(values)
    a_sequence = CHECKPOINTED_GIB if values.get("gradient_checkpointing") else SEQUENCE_GIB
    step = a_sequence * tokens / 2_048 * shape.widths_sum / MISTRAL_7B.widths_sum
    if not values.get("gradient_checkpointing"):
        graphs = GRAPHS_KEPT_GIB if values.get("fp8_frozen_weights") == "kept" else GRAPHS_GIB * tokens / 8_192
        step += (graphs if values.get("cuda_graphs") else 0) - _left_out(values, shape, tokens)
    fused = any("cut_cross_entropy" in str(plugin) for plugin in values.get("plugins") or ()) or values.get("liger_fused_linear_cross_entropy")
    if not fused:
        step += max(0, shape.vocabulary - MISTRAL_7B.vocabulary) * tokens * LOGIT_BYTES / GIB
    loaded = _adapted(values, shape) if values.get("adapter") else _whole(values, shape)
    measured = bool(values.get("adapter")) and _bits(values) == 4 and not values.get("lora_modules_to_save")
    return Memory(gib=round(CONTEXT_GIB + loaded + step, 1), floor=round(CONTEXT_GIB + loaded, 1), measured=measured)


def _left_out(values: Mapping[str, Any], shape: ModelShape, tokens: int) -> float:
    """GiB that the kit's own kernels do without, where every layer keeps what it computes."""
    width = 0
    if values.get("stack_lora_products") and values.get("lora_dropout") and values.get("adapter") and not values.get("peft_use_dora"):
        width += STACKED_BYTES * shape.hidden * sum(bool(values.get(kernel)) for kernel in ("lora_qkv_kernel", "lora_mlp_kernel"))
    if varlen(values):
        width += SHARED_BYTES * (shape.hidden - shape.key_value)
    return shape.layers * tokens * width / GIB


def _bits(values: Mapping[str, Any]) -> int:
    if values.get("load_in_4bit") or "4bit" in str(values.get("base_model")).lower():
        return 4
    if values.get("load_in_8bit"):
        return 8
    return 16 if any(values.get(key) for key in ("bf16", "fp16", "bfloat16", "float16")) else 32


def _state_bytes(values: Mapping[str, Any], each: int) -> float:
    """Bytes that the optimizer keeps for a parameter of so many bytes."""
    name = str(values.get("optimizer") or "adamw")
    if "8bit" in name or "4bit" in name:
        return 2
    return 0 if "adafactor" in name else each if any(part in name for part in ("sgd", "lion", "muon")) else 2 * each


def _adapted(values: Mapping[str, Any], shape: ModelShape) -> float:
    """A frozen model and an adapter in 32 bits: what was measured, and what differs from it."""
    per_parameter = 8 + _state_bytes(values, 4)  # itself and its gradient
    adapter = per_parameter * adapter_parameters(values, shape) - 16 * adapter_parameters(MEASURED_LORA, shape)
    saved = values.get("lora_modules_to_save")
    trained = sum("embed" in str(one) or "head" in str(one) or "wte" in str(one) for one in saved) if isinstance(saved, list) else 0
    size = shape.linear_parameters / MISTRAL_7B.linear_parameters
    more = shape.linear_parameters * (WEIGHT_BYTES[_bits(values)] - WEIGHT_BYTES[4]) / _sharing_weights(values)
    if values.get("fp8_frozen_weights") == "kept" and _bits(values) == 4:
        more += FP8_BYTES * shape.linear_parameters
    more += max(0, shape.embedding_parameters - MISTRAL_7B.embedding_parameters * size) * 2
    return LOADED_GIB * size + (adapter + more + trained * per_parameter * shape.vocabulary * shape.hidden) / GIB


def _whole(values: Mapping[str, Any], shape: ModelShape) -> float:
    """A model all of which is trained, its gradients and its optimizer in the bytes of its weights."""
    each = 2 if _bits(values) <= 16 else 4
    parameters = shape.linear_parameters + shape.embedding_parameters
    kept = parameters * (each + _state_bytes(values, each)) / (world_size(values) if values.get("deepspeed") or values.get("fsdp_config") else 1)
    return (parameters * each / _sharing_weights(values) + kept) / GIB


def _sharing_weights(values: Mapping[str, Any]) -> int:
    """GPUs that share the weights."""
    return world_size(values) if values.get("fsdp_config") else 1


def memory_gib(values: Mapping[str, Any], shape: ModelShape | None) -> float | None:
    """GPU memory at the peak of a step; None where it can't be told."""
    found = estimate(values, shape)
    return found.gib if found else None


def named_gib(values: Mapping[str, Any]) -> float | None:
    """The memory of the weights alone, by the number of parameters that the model's name holds, as 70B does."""
    found = re.findall(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", str(values.get("base_model") or "").rpartition("/")[2].lower())
    if not found:
        return None
    billions = max(float(size) for _, size in found)
    return round(billions * 1e9 * min(WEIGHT_BYTES[_bits(values)], 2) / GIB / world_size(values), 1)


def check_memory(config: Config, shape: ModelShape | None, memory: float | None) -> list[Finding]:
    """`gpu.memory` where a step takes more than the card has, with the split that fits."""
    found, where = estimate(config.values, shape), config.where("micro_batch_size")
    other = "a smaller model, a shorter sequence_len, or a larger GPU"
    if not config.values.get("adapter"):
        other = f"adapter: qlora with load_in_4bit: true; or {other}"
    if memory is None or (found and found.gib <= NEARLY * memory):
        return []
    if found is None:
        weights = named_gib(config.values)
        if weights is None or weights <= memory or config.values.get("deepspeed"):
            return []
        message = f"by the model's name its weights alone take about {weights} GiB of the GPU's {memory:g}"
        return [Finding(code="gpu.memory", level="error", where=config.where("base_model"), message=message, fix=other)]
    doubt = 1 if found.measured else DOUBT
    return [
        Finding(
            code="gpu.memory",
            level="error" if found.gib > memory * doubt or found.floor > memory else "warning",
            where=where,
            message=f"a step takes about {found.gib} GiB of the GPU's {memory:g} (estimated from measured steps of Mistral-7B)",
            fix=" ".join(_split_that_fits(config, shape, memory)) or other,
        )
    ]


def _split_that_fits(config: Config, shape: ModelShape | None, memory: float) -> list[str]:
    """The `--set` of the largest micro batch that fits, with the checkpointing that the config has, or else with it."""
    product = sequences_on_each(config.values)
    keys = (*STEP_KEYS, "gradient_checkpointing")
    for checkpointing in dict.fromkeys([bool(config.values.get("gradient_checkpointing")), True]):
        for micro in range(product, 0, -1):
            values = dict(config.values) | dict(zip(keys, (micro, product // micro, checkpointing), strict=True))
            if product % micro == 0 and (found := estimate(values, shape)) and found.gib <= NEARLY * memory:
                return [f"--set {key}={str(values[key]).lower()}" for key in keys if values[key] != config.values.get(key)]
    return []
