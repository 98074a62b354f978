"""What a tier of GPU may change in a config, and what stays the experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight.config import CONFIGS, STEP_KEYS, Change, Config, check_layer, step_size
from preflight.findings import Finding
from preflight.scale import SCALE_KEYS, checkpoint_format
from preflight.yaml_file import YamlFile, read_yaml

# How a step is computed, not what is learnt: all that a GPU tier may change, and what a resumed run may change too
TIER_KEYS = frozenset(
    [
        "micro_batch_size",
        "eval_batch_size",
        "bf16",
        "fp16",
        "tf32",
        "accelerator_config",
        "attn_implementation",
        "sdpa_varlen",
        "overrides_of_model_config",
        "gradient_checkpointing",
        "gradient_checkpointing_kwargs",
        "activation_offloading",
        "lora_mlp_kernel",
        "lora_qkv_kernel",
        "lora_o_kernel",
        "plugins",
        "liger_rope",
        "liger_rms_norm",
        "liger_glu_activation",
        "liger_fused_linear_cross_entropy",
        "dataloader_num_workers",
        "dataloader_pin_memory",
        "dataloader_prefetch_factor",
        "dataset_num_proc",
    ]
)
# What is written down and when, and where it lies: a resumed run may change these as well
KEEPING_KEYS = frozenset(
    [
        "logging_steps",
        "save_steps",
        "saves_per_epoch",
        "save_strategy",
        "save_total_limit",
        "save_first_step",
        "eval_steps",
        "evals_per_epoch",
        "eval_strategy",
        "output_dir",
        "resume_from_checkpoint",
        "auto_resume_from_checkpoints",
        "use_tensorboard",
        "device",
    ]
)


def read_tier(name: str) -> tuple[YamlFile | None, list[Finding]]:
    """What axolotl_configs/tiers/<name>.yaml changes."""
    return read_yaml(CONFIGS / "tiers" / f"{name}.yaml")


def check_tier(tier: YamlFile) -> list[Finding]:
    """`config.not-for-a-tier` for each key of a tier file that would change what is learnt."""
    return check_layer(tier, TIER_KEYS, "a tier may change how a step is computed")


def tier_changes(config: Config, tier: YamlFile, overrides: Sequence[Change]) -> list[Change]:
    """What the tier sets. What an optimizer step holds stays: its `micro_batch_size` is the most that fits, and the
    product with `gradient_accumulation_steps` is the config's. `--set` of either is the user's own split, left alone."""
    layer = f"tier {tier.path.stem}"
    changes = [Change(key=key, value=value, layer=layer) for key, value in tier.values.items() if key != "micro_batch_size"]
    chosen = any(change.key in STEP_KEYS for change in overrides)
    if "micro_batch_size" in tier.values and not chosen:
        product = step_size(config.values)
        micro = max((n for n in range(1, tier.values["micro_batch_size"] + 1) if product % n == 0), default=1)
        changes += [Change(key=key, value=value, layer=layer) for key, value in zip(STEP_KEYS, (micro, product // micro), strict=True)]
    return changes


def experiment(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is learnt, as a flat mapping: two configs that agree here may continue each other's checkpoints.

    Local paths are left out, since the same rows lie elsewhere on another machine: the name of the prepared rows' folder,
    a hash of the rows themselves, stands for them.
    """
    passed_over = TIER_KEYS | KEEPING_KEYS | SCALE_KEYS | {*STEP_KEYS, "dataset_prepared_path"}
    kept = {key: value for key, value in values.items() if key not in passed_over}
    for key in ("datasets", "test_datasets"):
        kept[key] = [{k: v for k, v in entry.items() if k != "path"} for entry in kept.get(key) or ()]
    kept["rows in a step"] = step_size(values)
    if engine := checkpoint_format(values):
        kept["format of the checkpoints"] = engine
    kept["sha256 of the rows"] = Path(str(values.get("dataset_prepared_path"))).name
    return kept
