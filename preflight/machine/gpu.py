"""Which GPUs are here, and whether their driver runs the torch that is installed."""

import shlex
from dataclasses import dataclass

from preflight.findings import Finding
from preflight.machine.environment import INSTALL, Environment, near, read_requirements


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


def check_driver(reading: GpuReading, environment: Environment) -> list[Finding]:
    """`gpu.old-driver` where the installed torch is built for a newer CUDA than the driver runs: it would see no GPU at all.

    Only the first number counts: any driver of CUDA 12 runs what is built for 12.6.
    """
    built, runs = environment.torch_cuda, reading.cuda
    if not (reading.gpus and built and runs) or built[0] <= runs[0]:
        return []
    message = f"torch is built for CUDA {built[0]}.{built[1]}, and this machine's driver runs up to CUDA {runs[0]}.{runs[1]}: torch would see no GPU"
    fix = _torch_for(runs, reading.gpus[0], environment)
    return [Finding(code="gpu.old-driver", level="error", where=reading.gpus[0].name, message=message, fix=fix)]


def _torch_for(cuda: tuple[int, int], gpu: Gpu, environment: Environment) -> str:
    """How to come by a torch of requirements.txt that this driver runs. What is built for CUDA 12.6 (torch 2.13.0 is, as of 2026-11) has no
    kernels for Blackwell; for 12.8, torch 2.11.0 is the last."""
    if cuda[0] < 12:
        return "a newer driver, or another GPU: no torch that requirements.txt allows is built for this one"
    if environment.accelerate is None or not (environment.accelerate.parent.parent / "pyvenv.cfg").exists():
        return f"an environment of its own, whose torch can be replaced: {INSTALL}, then preflight again by .venv/bin/python"
    python = near(environment.accelerate.with_name("python"))
    torch = next(str(requirement) for requirement in read_requirements() if requirement.name == "torch")
    backend = "cu128" if gpu.compute_capability >= (10, 0) else "cu126"
    install = ["-m", "uv", "pip", "install", "--python", python, f"--torch-backend={backend}", "--reinstall-package", "torch", torch]
    return f"a newer driver, or a torch for this one: {shlex.join([python, '-m', 'pip', 'install', 'uv'])} && {shlex.join([python, *install])}"
