"""The GPU tiers: which one a card is, and what its settings change in a config."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.config.base_model import ModelShape
from preflight.config.keys import STEP_KEYS, TIER_KEYS
from preflight.config.layers import Change, Config, check_layer
from preflight.config.memory import Memory, estimate
from preflight.config.values import step_size, whole_number
from preflight.config.yaml_file import YamlFile, read_yaml
from preflight.files import CONFIGS
from preflight.findings import Finding
from preflight.machine.gpu import Gpu, GpuReading


@dataclass(frozen=True)
class Tier:
    """A kind of GPU that axolotl_configs/tiers/<name>.yaml is written for.

    Names and memory as Colab's runtimes show them (colabtools issues, 2026-08); memory is what NVML reports, in GiB.
    """

    name: str
    title: str
    device: str  # regular expression on the device name
    memory_gib: float
    compute_capability: tuple[int, int]
    bf16_tflops: float  # dense peak of the tensor cores, from NVIDIA's data sheets (fp16 where there is no bf16)
    # of a large matrix product: H100 and H200 measured, 2026-11; others 0.69 of the peak as those, L4 and T4 half of it (70 W)
    sustained_tflops: float
    bandwidth_tb_s: float  # of the memory, from NVIDIA's data sheets


CPU = "cpu"
# fmt: off
TIERS: tuple[Tier, ...] = (
    Tier("t4", "Tesla T4", r"\bT4\b", 15, (7, 5), 65, 32, 0.3),
    Tier("v100", "Tesla V100", r"\bV100\b", 16, (7, 0), 125, 86, 0.9),
    Tier("l4", "NVIDIA L4", r"\bL4\b", 22, (8, 9), 121, 60, 0.3),
    Tier("a100-40gb", "NVIDIA A100 40 GB", r"\bA100\b", 40, (8, 0), 312, 215, 1.55),
    Tier("a100-80gb", "NVIDIA A100 80 GB", r"\bA100\b", 80, (8, 0), 312, 215, 2.04),
    Tier("h100", "NVIDIA H100", r"\bH100\b", 80, (9, 0), 989, 681, 3.35),
    Tier("rtx-pro-6000", "NVIDIA RTX PRO 6000 (Colab's G4)", r"\bRTX PRO 6000\b", 96, (12, 0), 503, 347, 1.79),
    Tier("h200", "NVIDIA H200", r"\bH200\b", 141, (9, 0), 989, 680, 4.8),
)
# fmt: on
OLDEST = (7, 5)  # compute capability that CUDA 13 still knows (facts of torch 2.11 to 2.13 wheels, 2026-11)
SPACE = ("micro_batch_size", "gradient_checkpointing")  # what of a tier decides whether a step fits
MEMORY_SLACK = 0.9  # NVML reports up to a tenth less than the name says: reserved and ECC memory, GB against GiB


def planned_gpu(tier: Tier) -> Gpu:
    """The GPU that `--gpu NAME` plans for, as its tier describes it."""
    return Gpu(name=tier.title, memory_gib=tier.memory_gib, compute_capability=tier.compute_capability)


def tier_of(gpu: Gpu) -> Tier | None:
    """The tier written for this card: its name matches, and it has the memory. None if no tier names it."""
    named = [tier for tier in TIERS if re.search(tier.device, gpu.name) and gpu.memory_gib >= MEMORY_SLACK * tier.memory_gib]
    return max(named, key=lambda tier: tier.memory_gib, default=None)


def nearest_tier(gpu: Gpu) -> Tier | None:
    """For a card that no tier names: the largest tier that it can't fall short of, in memory and in compute capability."""
    within = [tier for tier in TIERS if gpu.memory_gib >= MEMORY_SLACK * tier.memory_gib and gpu.compute_capability >= tier.compute_capability]
    return max(within, key=lambda tier: (tier.memory_gib, tier.compute_capability), default=None)


def check_gpu(reading: GpuReading, tier: Tier | None, *, needs_gpu: bool) -> list[Finding]:
    """`gpu.none` where a config needs a GPU and none is here; `gpu.unknown` where no tier describes the one that is."""
    if not needs_gpu:
        return []
    if not reading.gpus:
        message = f"no NVIDIA GPU on this machine ({reading.reason}), and this config needs one"
        fix = (
            "run the full pipeline on this CPU: make train; or open notebooks/train_colab.ipynb in Colab with a GPU runtime; "
            "or plan without one: python -m preflight --gpu a100-40gb"
        )
        return [Finding(code="gpu.none", level="error", message=message, fix=fix)]
    gpu = reading.gpus[0]
    seen = f"{gpu.name}, {gpu.memory_gib} GiB, compute capability {gpu.compute_capability[0]}.{gpu.compute_capability[1]}"
    if gpu.compute_capability < OLDEST:
        message = f"torch built for CUDA 13, which requirements.txt installs, does not run on this GPU ({seen}); Colab no longer offers it"
        return [Finding(code="gpu.unsupported", level="warning", where=gpu.name, message=message, fix="choose a T4, an L4 or an A100")]
    if tier_of(gpu):
        return []
    if tier is None:
        message = f"no tier describes this GPU ({seen}); the config is used as it is"
        fix = "choose a GPU that axolotl_configs/tiers/ names"
    else:
        message = f"no tier names this GPU ({seen}); the settings of {tier.title} are used, which asks for no more than it has"
        fix = f"to tune it, copy axolotl_configs/tiers/{tier.name}.yaml and add a line to TIERS in preflight/config/tiers.py"
    return [Finding(code="gpu.unknown", level="warning", where=gpu.name, message=message, fix=fix)]


def check_expected(tier: Tier | None, expected: str, units_per_hour: Mapping[str, float]) -> list[Finding]:
    """`gpu.slower-tier` where the GPU is slower than the one that the plan was made for, with what both take an hour."""
    planned = next((one for one in TIERS if one.name == expected), None)
    if tier is None or planned is None or tier.bf16_tflops >= planned.bf16_tflops:
        return []
    rates = [f"{one.title} takes {units_per_hour[one.name]} compute units an hour" for one in (tier, planned) if one.name in units_per_hour]
    message = f"the plan was made for an {planned.title}; this {tier.title} is up to {planned.bf16_tflops / tier.bf16_tflops:.1f} times slower"
    message += f" (peak of the data sheets); {', '.join(rates)}" if rates else " (peak of the data sheets)"
    fix = "in Colab: Runtime > Change runtime type, or try again later; the run can resume on another GPU at the same step"
    return [Finding(code="gpu.slower-tier", level="warning", where=tier.title, message=message, fix=fix)]


def read_tier(name: str) -> tuple[YamlFile | None, list[Finding]]:
    """What axolotl_configs/tiers/<name>.yaml changes."""
    return read_yaml(CONFIGS / "tiers" / f"{name}.yaml")


def check_tier(tier: YamlFile) -> list[Finding]:
    """`config.not-for-a-tier` for each key of a tier file that would change what is learnt."""
    return check_layer(tier, TIER_KEYS, "a tier may change how a step is computed")


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the settings of a tier have to fit in."""

    shape: ModelShape | None
    memory_gib: float


def tier_changes(config: Config, tier: YamlFile, overrides: Sequence[Change], room: Room | None = None) -> list[Change]:
    """What the tier sets. What an optimizer step holds stays: its `micro_batch_size` is the most that fits, and the
    product with `gradient_accumulation_steps` is the config's. `--set` of either is the user's own split, left alone; so is, given a room,
    whatever of the user's the tier would make not fit."""
    values = dict(tier.values)
    if room:
        values |= within(config, tier, overrides, room)
    layer = f"tier {tier.path.stem}"
    changes = [Change(key=key, value=value, layer=layer) for key, value in values.items() if key != "micro_batch_size" and value is not None]
    chosen = any(change.key in STEP_KEYS for change in overrides)
    if values.get("micro_batch_size") and not chosen:
        product = step_size(config.values)
        micro = max((n for n in range(1, values["micro_batch_size"] + 1) if product % n == 0), default=1)
        changes += [Change(key=key, value=value, layer=layer) for key, value in zip(STEP_KEYS, (micro, product // micro), strict=True)]
        if config.values.get("batch_size"):  # the same step in other words, which Axolotl refuses beside these
            changes.append(Change(key="batch_size", value=None, layer=layer))
    return changes


def within(config: Config, tier: YamlFile, overrides: Sequence[Change], room: Room) -> dict[str, Any]:
    """The micro batch and the checkpointing that take the place of the tier's where a step of those would not fit, or its memory can't be
    told: None for what stays as the user wrote it. The tier's are measured on steps of the plan; others may take more."""
    own, wanted = config.values, {key: tier.values.get(key) for key in SPACE}
    product, chosen = step_size(own), {change.key: change.value for change in overrides}
    fixed = [whole_number(own.get("micro_batch_size"), 1)] if chosen.keys() & set(STEP_KEYS) else None
    most = whole_number(wanted["micro_batch_size"], 1)
    sizes = fixed or [n for n in range(most, 0, -1) if product % n == 0]

    def taken(micro: int, checkpointing: Any) -> Memory | None:
        return estimate({**own, **tier.values, **chosen, "micro_batch_size": micro, "gradient_checkpointing": checkpointing}, room.shape)

    saved = chosen.get("gradient_checkpointing", own.get("gradient_checkpointing"))
    if taken(sizes[0], saved) is None:  # not judged: nothing is asked that takes more than the user's own
        written = whole_number(own.get("micro_batch_size"), 1) if own.get("micro_batch_size") else most
        kept: dict[str, Any] = {"gradient_checkpointing": None} if saved and not wanted["gradient_checkpointing"] else {}
        return kept | ({} if written >= most or wanted["micro_batch_size"] is None else {"micro_batch_size": written})
    ways = [saved] if "gradient_checkpointing" in chosen else list(dict.fromkeys([wanted["gradient_checkpointing"], saved or True]))
    for checkpointing in ways:
        for micro in sizes:
            if (found := taken(micro, checkpointing)) and found.fits(room.memory_gib):
                return {
                    **({"micro_batch_size": micro} if wanted["micro_batch_size"] else {}),
                    **({} if checkpointing == wanted["gradient_checkpointing"] else {"gradient_checkpointing": checkpointing}),
                }
    return dict.fromkeys(SPACE)


def check_left(config: Config, tier: YamlFile, overrides: Sequence[Change], room: Room) -> list[Finding]:
    """`config.tier-left` for what of a tier's settings is not taken, and why."""
    plain = {change.key: change.value for change in tier_changes(config, tier, overrides)}
    kept = {change.key: change.value for change in tier_changes(config, tier, overrides, room)}
    chosen = {change.key for change in overrides}
    left = {key: plain[key] for key in (*STEP_KEYS, SPACE[1]) if key in plain and key not in chosen and kept.get(key) != plain[key]}
    if not left or all(config.values.get(key) == value for key, value in left.items()):
        return []
    found = estimate({**config.values, **plain}, room.shape)
    why = f"a step would take about {found.gib} GiB of the GPU's {room.memory_gib:g}" if found else "the memory of such a step is not judged here"
    now = {key: kept.get(key, config.values.get(key)) for key in left}
    said = [", ".join(f"{key}: {str(value).lower()}" for key, value in values.items()) for values in (left, now)]
    message = f"of tier {tier.path.stem} {said[0]} was left out, since {why}; it is {said[1]}"
    fix = "no action needed; what you set with --set is always taken"
    return [Finding(code="config.tier-left", level="info", where=config.where(next(iter(left))), message=message, fix=fix)]
