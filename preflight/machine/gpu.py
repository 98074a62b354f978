"""Which GPUs are here, and whether their driver runs the torch that is installed."""

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
    cuda: tuple[int, int] | None = None  # the newest CUDA that the driver can run, as nvidia-smi shows it


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
