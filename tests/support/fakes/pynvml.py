"""Stands for NVIDIA's driver, which CI does not have: FAKE_GPUS is a JSON list of [name, GiB, [major, minor]]."""

import json
import os
from types import SimpleNamespace


class NVMLError(Exception):
    pass


GPUS = json.loads(os.environ.get("FAKE_GPUS", "null"))


def nvmlInit():  # noqa: N802
    if GPUS is None:
        raise NVMLError("NVML Shared Library Not Found")


def nvmlShutdown():  # noqa: N802
    pass


def nvmlSystemGetCudaDriverVersion_v2():  # noqa: N802
    return int(os.environ.get("FAKE_CUDA", "13000"))


def nvmlDeviceGetCount():  # noqa: N802
    return len(GPUS)


def nvmlDeviceGetHandleByIndex(index):  # noqa: N802
    return index


def nvmlDeviceGetName(handle):  # noqa: N802
    return GPUS[handle][0]


def nvmlDeviceGetMemoryInfo(handle):  # noqa: N802
    return SimpleNamespace(total=int(GPUS[handle][1] * 2**30))


def nvmlDeviceGetCudaComputeCapability(handle):  # noqa: N802
    return GPUS[handle][2]
