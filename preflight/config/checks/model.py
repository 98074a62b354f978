"""The model, the adapter and how they are computed."""

from collections.abc import Iterator

from preflight.config.checks.situation import Situation, finding
from preflight.config.layers import Config
from preflight.config.values import OLD_ATTENTION, attention, attention_key, first_that_holds, why_no_graph
from preflight.findings import Finding

KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")
ATTENTION_PACKAGES = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash-attn-3", "xformers": "xformers", "sage": "sageattention"}

PACKAGES = {"deepspeed": "deepspeed", "use_ray": "ray"}


def check_complete(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.incomplete` for what no run can do without."""
    for key, example in (("base_model", "mistralai/Mistral-7B-v0.1"), ("learning_rate", "0.0002")):
        if config.values.get(key) in (None, "") and key not in situation.reported:
            yield finding(config, "config.incomplete", "error", key, f"{key} is not set, and Axolotl has no default", f"{key}: {example}")
    if not config.values.get("datasets") and not config.values.get("pretraining_dataset") and "datasets" not in situation.reported:
        message = "no datasets: there is nothing to train on"
        yield finding(config, "config.incomplete", "error", "datasets", message, "copy the datasets of axolotl_configs/mistral_qlora.yaml")


def check_base_model(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.no-base-model` where base_model is a path that does not exist."""
    if situation.base_model_missing:
        name = config.values.get("base_model")
        fix = "correct the path, or name a model of the hub, such as mistralai/Mistral-7B-v0.1"
        yield finding(config, "config.no-base-model", "error", "base_model", f"base_model {name} is a path, and there is no model at it", fix)


def check_trains_to_nan(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.trains-to-nan`: rows padded on the left, on sdpa. Their fully masked positions give NaN (seen on an H100, 2026-11-23)."""
    values = config.values
    sdpa = attention(values) in ("", "sdpa")
    padded = not values.get("sample_packing") or values.get("eval_sample_packing") is False
    if sdpa and padded and values.get("tokenizer_type") == "LlamaTokenizer":
        message = "padded rows on sdpa with tokenizer_type LlamaTokenizer, which pads on the left: the loss is NaN from the first step"
        yield finding(config, "config.trains-to-nan", "error", "tokenizer_type", message, "tokenizer_type: AutoTokenizer")


def check_precision(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.precision-unsupported` for bf16 on a GPU without it."""
    capability = situation.compute_capability
    for key in ("bf16", "bfloat16"):
        value = config.values.get(key)
        if value and capability and capability < (8, 0):
            message = f"{key}: {value} on a GPU of compute capability {capability[0]}.{capability[1]}, which has no bf16 (8.0 and up have)"
            yield finding(config, "config.precision-unsupported", "error", key, message, f"{key}: false and fp16: true, as the tier sets them")


def check_conflicts(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.conflict` for values that Axolotl or transformers refuse together, a minute into the launch."""
    values = config.values
    flags = [flag for flag in OLD_ATTENTION if values.get(flag)]
    conflicts = (
        (values.get("val_set_size") and values.get("test_datasets"), "val_set_size", "val_set_size and test_datasets", "val_set_size: 0"),
        (values.get("warmup_steps") and values.get("warmup_ratio"), "warmup_steps", "warmup_steps and warmup_ratio", "delete one"),
        (values.get("save_steps") and values.get("saves_per_epoch"), "saves_per_epoch", "save_steps and saves_per_epoch", "delete one"),
        (values.get("eval_steps") and values.get("evals_per_epoch"), "evals_per_epoch", "eval_steps and evals_per_epoch", "delete one"),
        (
            values.get("save_steps") and values.get("save_strategy") not in (None, "steps"),
            "save_strategy",
            f"save_strategy {values.get('save_strategy')} and save_steps",
            "save_strategy: steps",
        ),
        (
            values.get("eval_steps") and values.get("eval_strategy") not in (None, "steps"),
            "eval_strategy",
            f"eval_strategy {values.get('eval_strategy')} and eval_steps",
            "eval_strategy: steps",
        ),
        (
            values.get("batch_size") and values.get("gradient_accumulation_steps"),
            "batch_size",
            "batch_size and gradient_accumulation_steps",
            "delete batch_size",
        ),
        (values.get("fp16") and values.get("bf16") is True, "fp16", "fp16 and bf16", "fp16: false"),
        (values.get("attn_implementation") and flags, flags[0] if flags else "", f"attn_implementation and {', '.join(flags)}", "delete the old key"),
        (
            values.get("adapter") == "qlora" and not values.get("load_in_4bit") and not values.get("gptq"),
            "load_in_4bit",
            "adapter qlora without load_in_4bit",
            "load_in_4bit: true, or adapter: lora",
        ),
        (values.get("load_in_4bit") and values.get("load_in_8bit"), "load_in_8bit", "load_in_4bit and load_in_8bit", "delete one"),
    )
    for holds, key, what, fix in conflicts:
        if holds:
            yield finding(config, "config.conflict", "error", key, f"{what}: refused together", fix)


def check_kernels(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.partial-kernels`: one lora_*_kernel turns off Axolotl's automatic choice of the others."""
    chosen = [key for key in KERNELS if config.values.get(key) is not None]
    missing = [key for key in KERNELS if config.values.get(key) is None]
    if chosen and missing and any(config.values.get(key) for key in chosen):
        message = f"{', '.join(chosen)} alone: Axolotl then leaves {', '.join(missing)} off, which costs speed and memory"
        yield finding(config, "config.partial-kernels", "warning", chosen[0], message, ", ".join(f"{key}: true" for key in missing))


def check_fp8(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.fp8-unused`: what keeps every product in bf16 in spite of fp8_frozen_weights."""
    capability = situation.compute_capability
    reasons = {
        "the weights are not loaded in 4 bits": not config.values.get("load_in_4bit"),
        "no lora_*_kernel is on, which is where it works": not any(config.values.get(key) for key in KERNELS),
        "with DoRA the kernels need the weights themselves": config.values.get("peft_use_dora"),
        f"a GPU of compute capability {'.'.join(map(str, capability or ()))} has no 8-bit products (8.9 and up have)": capability
        and capability < (8, 9),
    }
    yield from _unused(config, "config.fp8-unused", "fp8_frozen_weights", first_that_holds(reasons))


def check_graphs(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.graphs-unused`: what has every step started by Python in spite of cuda_graphs."""
    yield from _unused(config, "config.graphs-unused", "cuda_graphs", why_no_graph(config.values))


def _unused(config: Config, code: str, key: str, reason: str) -> Iterator[Finding]:
    """Why a key of the kit's own, which is on, changes nothing."""
    if config.values.get(key) and reason:
        yield finding(config, code, "warning", key, f"{key}: {reason}, so it changes nothing", f"delete it, or --set {key}=false")


def check_attention(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.attention-missing`: an attention whose package is not in the training environment, or that the GPU can't run."""
    chosen, key, capability = attention(config.values), attention_key(config.values), situation.compute_capability
    fix = "attn_implementation: sdpa and sdpa_varlen: true need no package, and no build of many minutes"
    flash, package = chosen.startswith("flash_attention_"), ATTENTION_PACKAGES.get(chosen, "")
    if flash and capability and capability < (8, 0):
        message = f"{chosen} does not run on a GPU of compute capability {capability[0]}.{capability[1]} (8.0 and up do)"
        yield finding(config, "config.attention-missing", "error", key, message, "attn_implementation: sdpa")
    elif package and package not in situation.installed and flash and "kernels" in situation.installed:
        message = (
            f"{chosen}: {package} is not installed, and transformers fetches a kernel of kernels-community from the hub in its place and runs it"
        )
        yield finding(config, "config.fetched-code", "warning", key, message, fix)
    elif package and package not in situation.installed:
        message = f"{key} {config.values[key]} needs the package {package}, which is not installed"
        yield finding(config, "config.attention-missing", "error", key, message, fix)


def check_packages(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.package-missing`: a setting whose package is not in the training environment. What `--scale` sets is judged there."""
    for key, package in PACKAGES.items():
        where = config.where(key)
        if config.values.get(key) and situation.installed and package not in situation.installed and not where.startswith("scale "):
            message = f"{key} needs the package {package}, which the training environment does not have: training would stop"
            fix = f"delete the line: one GPU needs none; for several GPUs docs/scaling.md says how to install {package}"
            yield finding(config, "config.package-missing", "error", key, message, fix)
