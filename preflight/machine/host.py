"""The machine itself: its processor, memory, network and disk."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from preflight.files import existing_parent


@dataclass(frozen=True, kw_only=True)
class Host:
    """What is left to know of a machine beside its GPUs."""

    cores: int = 1
    cpu: str = ""  # the processor's name
    memory_gib: float = 0.0
    interfaces: frozenset[str] = frozenset()  # names of the network interfaces
    free_bytes: int = 0  # on the disk of the workspace


def inspect_host(root: Path) -> Host:
    """This machine, with the disk that `root` lies on. Raises OSError."""
    import psutil

    return Host(
        cores=os.cpu_count() or 1,
        cpu=_cpu_name(),
        memory_gib=psutil.virtual_memory().total / 2**30,
        interfaces=frozenset(psutil.net_if_addrs()),
        free_bytes=shutil.disk_usage(existing_parent(root)).free,
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
