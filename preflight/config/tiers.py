"""The GPU tiers: which one a card is, and what its settings change in a config."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preflight.config.keys import STEP_KEYS, TIER_KEYS
from preflight.config.layers import Change, Config, check_layer
from preflight.config.values import step_size
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
