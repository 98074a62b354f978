"""Which GPU is here, which tier it is."""

import re
from collections.abc import Mapping
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
    cuda: tuple[int, int] | None = None  # the newest CUDA that the driver can run, as nvidia-smi shows it


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
    bf16_tflops: float  # dense peak of the tensor cores, from NVIDIA's data sheets (fp16 where there is no bf16)
    sustained_tflops: (
        float  # of a large matrix product: H100 and H200 measured, 2026-11; others 0.69 of the peak as those, L4 and T4 half of it (70 W)
    )
    bandwidth_tb_s: float  # of the memory, from NVIDIA's data sheets


CPU = "cpu"
TIERS: tuple[Tier, ...] = (
    Tier(
        name="t4",
        title="Tesla T4",
        device=r"\bT4\b",
        memory_gib=15,
        compute_capability=(7, 5),
        bf16_tflops=65,
        sustained_tflops=32,
        bandwidth_tb_s=0.3,
    ),
    Tier(
        name="v100",
        title="Tesla V100",
        device=r"\bV100\b",
        memory_gib=16,
        compute_capability=(7, 0),
        bf16_tflops=125,
        sustained_tflops=86,
        bandwidth_tb_s=0.9,
    ),
    Tier(
        name="l4",
        title="NVIDIA L4",
        device=r"\bL4\b",
        memory_gib=22,
        compute_capability=(8, 9),
        bf16_tflops=121,
        sustained_tflops=60,
        bandwidth_tb_s=0.3,
    ),
    Tier(
        name="a100-40gb",
        title="NVIDIA A100 40 GB",
        device=r"\bA100\b",
        memory_gib=40,
        compute_capability=(8, 0),
        bf16_tflops=312,
        sustained_tflops=215,
        bandwidth_tb_s=1.55,
    ),
    Tier(
        name="a100-80gb",
        title="NVIDIA A100 80 GB",
        device=r"\bA100\b",
        memory_gib=80,
        compute_capability=(8, 0),
        bf16_tflops=312,
        sustained_tflops=215,
        bandwidth_tb_s=2.04,
    ),
    Tier(
        name="h100",
        title="NVIDIA H100",
        device=r"\bH100\b",
        memory_gib=80,
        compute_capability=(9, 0),
        bf16_tflops=989,
        sustained_tflops=681,
        bandwidth_tb_s=3.35,
    ),
    Tier(
        name="rtx-pro-6000",
        title="NVIDIA RTX PRO 6000 (Colab's G4)",
        device=r"\bRTX PRO 6000\b",
        memory_gib=96,
        compute_capability=(12, 0),
        bf16_tflops=503,
        sustained_tflops=347,
        bandwidth_tb_s=1.79,
    ),
    Tier(
        name="h200",
        title="NVIDIA H200",
        device=r"\bH200\b",
        memory_gib=141,
        compute_capability=(9, 0),
        bf16_tflops=989,
        sustained_tflops=680,
        bandwidth_tb_s=4.8,
    ),
)
OLDEST = (7, 5)  # compute capability that CUDA 13 still knows (facts of torch 2.11 to 2.13 wheels, 2026-11)
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
        cuda = divmod(pynvml.nvmlSystemGetCudaDriverVersion_v2() // 10, 100)
    except pynvml.NVMLError as error:
        return GpuReading(reason=f"the NVIDIA driver answers with an error: {error}")
    finally:
        pynvml.nvmlShutdown()
    return GpuReading(gpus=gpus, reason="" if gpus else "the driver lists no GPU", cuda=cuda)


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
            "try the whole road on this CPU: make train; or open notebooks/train_colab.ipynb in Colab with a GPU runtime; "
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
        message = f"no tier describes this GPU ({seen}); the config is used as it stands"
        fix = "choose a GPU that axolotl_configs/tiers/ names"
    else:
        message = f"no tier names this GPU ({seen}); the settings of {tier.title} are used, which asks for no more than it has"
        fix = f"to tune it, copy axolotl_configs/tiers/{tier.name}.yaml and add a line to TIERS in preflight/gpu.py"
    return [Finding(code="gpu.unknown", level="warning", where=gpu.name, message=message, fix=fix)]


def check_driver(reading: GpuReading, installed: frozenset[str]) -> list[Finding]:
    """`gpu.old-driver` where the installed torch is built for a newer CUDA than the driver runs: it would see no GPU at all."""
    built = {int(name[-2:]) for name in installed if re.search(r"^nvidia-.*-cu\d\d$", name)}
    if reading.cuda is None or not reading.gpus or not built or max(built) <= reading.cuda[0]:
        return []
    message = (
        f"torch is built for CUDA {max(built)}, and this machine's driver runs up to CUDA {reading.cuda[0]}.{reading.cuda[1]}: torch would see no GPU"
    )
    fix = f"a newer driver; or a torch of the versions in requirements.txt that is built for CUDA {reading.cuda[0]} (uv pip install --torch-backend=auto torch)"
    return [Finding(code="gpu.old-driver", level="error", where=reading.gpus[0].name, message=message, fix=fix)]


def check_expected(tier: Tier | None, expected: str, units_per_hour: Mapping[str, float]) -> list[Finding]:
    """`gpu.slower-tier` where the GPU is slower than the one that the plan was made for, with what both take an hour."""
    planned = next((one for one in TIERS if one.name == expected), None)
    if tier is None or planned is None or tier.bf16_tflops >= planned.bf16_tflops:
        return []
    rates = [f"{one.title} takes {units_per_hour[one.name]} compute units an hour" for one in (tier, planned) if one.name in units_per_hour]
    message = f"the plan was made for an {planned.title}; this {tier.title} is up to {planned.bf16_tflops / tier.bf16_tflops:.1f} times slower"
    message += f" (peak of the data sheets); {', '.join(rates)}" if rates else " (peak of the data sheets)"
    fix = "in Colab: Runtime > Change runtime type, or try again later; the run can go on on another GPU at the same step"
    return [Finding(code="gpu.slower-tier", level="warning", where=tier.title, message=message, fix=fix)]
