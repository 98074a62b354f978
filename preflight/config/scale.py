"""The same run on several GPUs or machines: what an engine changes, how a step is split, and what would stop it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.config.keys import SCALE_KEYS, STEP_KEYS
from preflight.config.layers import Change, Config, check_layer
from preflight.config.values import whole_number
from preflight.config.yaml_file import YamlFile, read_yaml
from preflight.files import CONFIGS
from preflight.findings import Finding
from preflight.machine.gpu import Gpu

# engine -> the distributions that it needs beside requirements.txt, as pip asks for them (extras of axolotl 0.19.0)
ENGINES: Mapping[str, Mapping[str, str]] = {
    "ddp": {},
    "fsdp2": {},
    "deepspeed_zero2": {"deepspeed": "deepspeed>=0.18.6,<0.19"},
    "ray": {"ray": "ray[train]>=2.52.1"},
}
HOST_GIB = 6  # of the machine's memory for each process: its imports, and a file of the model's weights on its way to the GPU

# variables of NCCL and torch under which a run is known to hang, at once or after a failure, and why
HANGS: Mapping[str, tuple[frozenset[str], str]] = {
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": (frozenset("0"), "if one rank fails, the others hang"),
    "NCCL_ASYNC_ERROR_HANDLING": (frozenset("0"), "if one rank fails, the others hang"),
    "CUDA_LAUNCH_BLOCKING": (frozenset("1"), "NCCL kernels that wait for each other are launched one at a time and can deadlock"),
    "NCCL_LAUNCH_MODE": (frozenset(["GROUP"]), "with one rank per GPU it only adds waiting, and it deadlocks beside other kernels"),
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What `--scale`, `--nodes`, `--gpus-per-node` and `--head` ask for."""

    engine: str
    nodes: int = 1
    gpus_per_node: int = 1  # 0: as many as preflight finds, which takes its place
    head: str = ""  # the host name of the first node, where the others find it

    @property
    def world(self) -> int:
        """Ranks, one per GPU."""
        return self.nodes * self.gpus_per_node


def read_overlay(engine: str) -> tuple[YamlFile | None, list[Finding]]:
    """What axolotl_configs/scale/<engine>.yaml changes."""
    return read_yaml(CONFIGS / "scale" / f"{engine}.yaml")


def scale_changes(config: Config, overlay: YamlFile, scale: Scale, step: int) -> list[Change]:
    """What the engine sets, and the split that keeps `step` sequences in an optimizer step: the largest micro batch that the config,
    after its tier, allows. Where they can't be shared out evenly it is the next larger step, and `check_step` says so."""
    layer = f"scale {scale.engine}"
    each = max(1, -(-step // scale.world))
    most = whole_number(config.values.get("micro_batch_size"), 1)
    micro = max(n for n in range(1, min(most, each) + 1) if each % n == 0)
    values: dict[str, Any] = dict(overlay.values) | dict(zip(STEP_KEYS, (micro, each // micro), strict=True)) | {"world_size": scale.world}
    if values.get("use_ray"):
        values["ray_num_workers"] = scale.world
    if config.values.get("batch_size"):  # the same step in other words, which Axolotl refuses beside these
        values["batch_size"] = None
    return [Change(key=key, value=value, layer=layer) for key, value in values.items()]


def check_step(config: Config, scale: Scale, step: int) -> list[Finding]:
    """`scale.uneven` where a step's sequences can't be shared out evenly, with the numbers of GPUs and the steps that can."""
    if step % scale.world == 0:
        return []
    fitting = [str(n) for n in range(1, step + 1) if step % n == 0]
    below, above = step // scale.world * scale.world, -(-step // scale.world) * scale.world
    steps = " or ".join(f"--set micro_batch_size={size} --set gradient_accumulation_steps=1" for size in (below, above) if size)
    return [
        Finding(
            code="scale.uneven",
            level="error",
            where=config.where("micro_batch_size"),
            message=f"a step of {step} sequence{'s' * (step > 1)} can't be shared out evenly among {scale.world} GPUs",
            fix=f"use {', '.join(fitting)} GPU{'s' * (step > 1)}; or change the step: {steps}",
        )
    ]


def check_overlay(overlay: YamlFile) -> list[Finding]:
    """`config.not-for-a-tier` for each key of an overlay that would change what is learnt."""
    return check_layer(overlay, SCALE_KEYS, "an overlay of scale/ may change how the work is shared out")


def check_device(config: Config, scale: Scale) -> list[Finding]:
    """`scale.needs-gpus` for a config that wants no GPU: Axolotl 0.19.0 places each of several processes on a GPU by its number."""
    if config.needs_gpu or scale.world == 1:
        return []
    message = f"{scale.world} processes can't share a CPU: Axolotl gives each a GPU by its number"
    fix = "--set device=null on a machine with GPUs, or leave --scale out"
    return [Finding(code="scale.needs-gpus", level="error", where=config.where("device"), message=message, fix=fix)]


def check_engine(scale: Scale, installed: frozenset[str]) -> list[Finding]:
    """`scale.engine-missing` for each package of the engine that the training environment lacks."""
    return [
        Finding(
            code="scale.engine-missing",
            level="error",
            where=f"--scale {scale.engine}",
            message=f"{scale.engine} needs the package {name}, which the training environment does not have",
            fix=f".venv/bin/python -m pip install '{asked}' -c constraints.txt, on every machine",
        )
        for name, asked in ENGINES[scale.engine].items()
        if name not in installed
    ]


def check_gpus(scale: Scale, gpus: Sequence[Gpu]) -> list[Finding]:
    """`scale.too-few-gpus`, and `scale.mixed-gpus` where those of this machine differ: all wait for the slowest at each step."""
    findings = []
    if 0 < len(gpus) < scale.gpus_per_node:
        message = f"{scale.gpus_per_node} GPUs are asked for and this machine has {len(gpus)}"
        fix = f"--gpus-per-node {len(gpus)}"
        findings.append(Finding(code="scale.too-few-gpus", level="error", where=f"--scale {scale.engine}", message=message, fix=fix))
    used = gpus[: scale.gpus_per_node]
    kinds = {(gpu.name, gpu.memory_gib, gpu.compute_capability): gpu for gpu in used}
    if len(kinds) > 1:
        names = ", ".join(f"GPU {i}: {gpu.name} ({gpu.memory_gib} GiB)" for i, gpu in enumerate(used))
        alike = [i for i, gpu in enumerate(gpus) if gpu.name == gpus[0].name]
        findings.append(
            Finding(
                code="scale.mixed-gpus",
                level="error",
                where=names,
                message="the GPUs of this machine differ: the settings of the first would not fit the others, and all wait for the slowest",
                fix=f"use those that are alike: CUDA_VISIBLE_DEVICES={','.join(map(str, alike))} and --gpus-per-node {len(alike)}",
            )
        )
    return findings


def check_nccl(environ: Mapping[str, str], interfaces: frozenset[str], scale: Scale) -> list[Finding]:
    """`scale.hangs` for each variable under which ranks are known to hang."""
    found = [(name, why) for name, (values, why) in HANGS.items() if environ.get(name) in values]
    if scale.nodes > 1:
        for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
            named = environ.get(name, "").lstrip("^=")
            chosen = [part for part in named.split(",") if part]
            if environ.get(name, "").startswith("^") or not chosen:
                continue
            if all(part.startswith("lo") for part in chosen):
                found.append((name, "the loopback interface does not reach another machine"))
            elif not any(interface.startswith(part) for part in chosen for interface in interfaces):
                found.append((name, f"this machine has no such interface ({', '.join(sorted(interfaces))})"))
    return [
        Finding(
            code="scale.hangs",
            level="error",
            where=f"{name}={environ[name]}",
            message=f"{name}={environ[name]}: {why}",
            fix=f"unset {name}",
        )
        for name, why in found
    ]


def check_host_memory(scale: Scale, memory_gib: float) -> list[Finding]:
    """`scale.host-memory` where the processes of a machine would not fit in its memory beside one another."""
    need = HOST_GIB * scale.gpus_per_node
    if need <= memory_gib:
        return []
    message = (
        f"{scale.gpus_per_node} processes take about {need} GiB of this machine's memory, and it has {memory_gib:.0f} (an estimate: {HOST_GIB} each)"
    )
    fix = f"--gpus-per-node {max(1, int(memory_gib // HOST_GIB))}, or a machine with more memory"
    return [Finding(code="scale.host-memory", level="warning", where="memory", message=message, fix=fix)]


def engine_of(values: Mapping[str, Any]) -> str:
    """The engine that shares a config's steps out among GPUs."""
    if values.get("use_ray"):
        return "ray"
    return "fsdp2" if values.get("fsdp_config") else "deepspeed_zero2" if values.get("deepspeed") else "ddp"


def checkpoint_format(values: Mapping[str, Any]) -> str:
    """The engine whose files a checkpoint of this config holds; '' for those that any run on one GPU or under DDP can resume."""
    engine = engine_of(values)
    return engine if engine in ("fsdp2", "deepspeed_zero2") else ""
