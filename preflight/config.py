"""YAML <- tier <- --set <- preflight's own paths, with where each value came from."""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from preflight.findings import Finding
from preflight.workspace import CHECKOUT
from preflight.yaml_file import YamlFile, read_yaml

CONFIGS = CHECKOUT / "axolotl_configs"

# How a step is computed, not what is learnt: all that a GPU tier may change, and what a resumed run may change too
TIER_KEYS = frozenset(
    [
        "micro_batch_size",
        "eval_batch_size",
        "bf16",
        "fp16",
        "tf32",
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
STEP_KEYS = ("micro_batch_size", "gradient_accumulation_steps")


class UsageError(Exception):
    """The command line itself is wrong; the message says how to write it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One value that a layer sets, by its dotted key."""

    key: str
    value: Any
    layer: str


@dataclass(frozen=True, kw_only=True)
class Config:
    """An Axolotl config after its layers, and the changes that made it from the user's file."""

    file: YamlFile
    values: Mapping[str, Any]
    changes: tuple[Change, ...] = ()

    @property
    def name(self) -> str:
        return self.file.path.stem

    @property
    def needs_gpu(self) -> bool:
        """False for a config that says `device: cpu`, as smoke.yaml does."""
        return self.values.get("device") != "cpu"

    def where(self, key: str) -> str:
        """The place to edit: the file's line, or the layer that set the key."""
        layers = [change.layer for change in self.changes if change.key == key]
        return f"{layers[-1]} $.{key}" if layers else self.file.where(key)


def parse_override(text: str) -> Change:
    """`--set KEY=VALUE`, the value read as YAML. Raises UsageError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: write it as KEY=VALUE, for example --set learning_rate=0.0001")
    try:
        return Change(key=key.strip(), value=yaml.safe_load(value), layer="--set")
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value is not YAML: {getattr(error, 'problem', None) or error}") from None


def read_tier(name: str) -> tuple[YamlFile | None, list[Finding]]:
    """What axolotl_configs/tiers/<name>.yaml changes."""
    return read_yaml(CONFIGS / "tiers" / f"{name}.yaml")


def with_changes(config: Config, changes: Iterable[Change]) -> tuple[Config, list[Finding]]:
    """The config with each change applied, in order; one that has no place to go is a finding."""
    values = copy.deepcopy(dict(config.values))
    applied, findings = [], []
    for change in changes:
        before = lookup(values, change.key)
        problem = _assign(values, change)
        if problem:
            findings.append(
                Finding(
                    code="config.bad-value",
                    level="error",
                    where=f"{change.layer} $.{change.key}",
                    message=problem,
                    fix="name an entry that the YAML has",
                )
            )
        elif change.value != before:
            applied.append(change)
    replaced = {change.key for change in applied}
    kept = tuple(change for change in config.changes if change.key not in replaced)
    return Config(file=config.file, values=values, changes=(*kept, *applied)), findings


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


def step_size(values: Mapping[str, Any]) -> int:
    """Sequences in one optimizer step: micro_batch_size x gradient_accumulation_steps (Axolotl's default is 1 for both)."""
    micro, accumulation = (whole_number(values.get(key), 1) for key in STEP_KEYS)
    return micro * accumulation


def whole_number(value: Any, default: int) -> int:
    """The value as Axolotl takes it ("4" is 4), or the default where it is none; schema.py says that it is wrong."""
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        return default


def experiment(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is learnt, as a flat mapping: two configs that agree here may continue each other's checkpoints.

    Local paths are left out, since the same rows lie elsewhere on another machine: the name of the prepared rows' folder,
    a hash of the rows themselves, stands for them.
    """
    kept = {key: value for key, value in values.items() if key not in TIER_KEYS | KEEPING_KEYS | {*STEP_KEYS, "dataset_prepared_path"}}
    for key in ("datasets", "test_datasets"):
        kept[key] = [{k: v for k, v in entry.items() if k != "path"} for entry in kept.get(key) or ()]
    kept["rows in a step"] = step_size(values)
    kept["sha256 of the rows"] = Path(str(values.get("dataset_prepared_path"))).name
    return kept


def render(config: Config, command: str) -> str:
    """The resolved YAML: a comment that says which layer set each changed value, then the values."""
    origin = os.path.relpath(config.file.path)
    head = [f"# Written by preflight from {origin}. Edit that file, not this one.", f"# Launched by: {command}", "#"]
    head += [f"# {change.layer + ':':<16} {change.key} = {shown(change.value)}" for change in config.changes]
    return "\n".join(head) + "\n\n" + yaml.safe_dump(dict(config.values), sort_keys=False, allow_unicode=True, width=1000)


def shown(value: Any) -> str:
    """A value on one line, as YAML writes it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return str(text).removesuffix("\n").removesuffix("\n...")


def lookup(values: Any, key: str) -> Any:
    """The value at a dotted key, or None."""
    for part in key.split("."):
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def _assign(values: dict[str, Any], change: Change) -> str:
    """Set the value at its dotted key, making mappings on the way; return what is in the way, or ''."""
    target: Any = values
    *parents, last = change.key.split(".")
    for depth, part in enumerate(parents):
        if isinstance(target, dict):
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
        elif isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        else:
            return f"{'.'.join(parents[: depth + 1])} is not there to hold {change.key}"
    if isinstance(target, dict):
        target[last] = change.value
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = change.value
    else:
        return f"{'.'.join(parents)} holds {shown(target)}, which has no {last}"
    return ""
