"""Which GPU is here, which tier it is."""

import re
from dataclasses import dataclass

from preflight.findings import Finding


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU as its driver describes it."""

    name: str
    memory_gib: float
    compute_capability: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """The GPUs of this machine, or why none was seen."""

    gpus: tuple[Gpu, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A kind of GPU that axolotl_configs/tiers/<name>.yaml is written for.

    Names and memory as Colab's runtimes show them (colabtools issues, 2026-08); memory is what NVML reports, in GiB.
    """

    name: str
    title: str
    device: str  # regular expression on the device name
    memory_gib: float
    compute_capability: tuple[int, int]


CPU = "cpu"
TIERS: tuple[Tier, ...] = (
    Tier(name="t4", title="Tesla T4", device=r"\bT4\b", memory_gib=15, compute_capability=(7, 5)),
    Tier(name="v100", title="Tesla V100", device=r"\bV100\b", memory_gib=16, compute_capability=(7, 0)),
    Tier(name="l4", title="NVIDIA L4", device=r"\bL4\b", memory_gib=22, compute_capability=(8, 9)),
    Tier(name="a100-40gb", title="NVIDIA A100 40 GB", device=r"\bA100\b", memory_gib=40, compute_capability=(8, 0)),
    Tier(name="a100-80gb", title="NVIDIA A100 80 GB", device=r"\bA100\b", memory_gib=80, compute_capability=(8, 0)),
    Tier(name="h100", title="NVIDIA H100", device=r"\bH100\b", memory_gib=80, compute_capability=(9, 0)),
    Tier(name="rtx-pro-6000", title="NVIDIA RTX PRO 6000 (Colab's G4)", device=r"\bRTX PRO 6000\b", memory_gib=96, compute_capability=(12, 0)),
    Tier(name="h200", title="NVIDIA H200", device=r"\bH200\b", memory_gib=141, compute_capability=(9, 0)),
)
MEMORY_SLACK = 0.9  # NVML reports up to a tenth less than the name says: reserved and ECC memory, GB against GiB


def inspect_gpus() -> GpuReading:
    """Ask the NVIDIA driver; no CUDA context is made and no library of the training stack is imported."""
    try:
        import pynvml
    except ImportError:
        return GpuReading(reason="the Python package nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return GpuReading(reason=f"the NVIDIA driver does not answer: {error}")
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        gpus = tuple(
            Gpu(
                name=pynvml.nvmlDeviceGetName(handle),
                memory_gib=round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30, 1),
                compute_capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
            )
            for handle in handles
        )
    except pynvml.NVMLError as error:
        return GpuReading(reason=f"the NVIDIA driver answers with an error: {error}")
    finally:
        pynvml.nvmlShutdown()
    return GpuReading(gpus=gpus, reason="" if gpus else "the driver lists no GPU")


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
        return [
            Finding(
                code="gpu.none",
                level="error",
                message=f"no NVIDIA GPU on this machine ({reading.reason}), and this config needs one",
                fix="try the whole road on this CPU: make train; or open notebooks/train_colab.ipynb in Colab with a GPU runtime; "
                "or plan without one: python -m preflight --gpu a100-40gb",
            )
        ]
    gpu = reading.gpus[0]
    if tier_of(gpu):
        return []
    seen = f"{gpu.name}, {gpu.memory_gib} GiB, compute capability {gpu.compute_capability[0]}.{gpu.compute_capability[1]}"
    if tier is None:
        return [
            Finding(
                code="gpu.unknown",
                level="warning",
                where=gpu.name,
                message=f"no tier describes this GPU ({seen}); the config is used as it stands",
                fix="choose a GPU that axolotl_configs/tiers/ names",
            )
        ]
    return [
        Finding(
            code="gpu.unknown",
            level="warning",
            where=gpu.name,
            message=f"no tier names this GPU ({seen}); the settings of {tier.title} are used, which asks for no more than it has",
            fix=f"to tune it, copy axolotl_configs/tiers/{tier.name}.yaml and add a line to TIERS in preflight/gpu.py",
        )
    ]
