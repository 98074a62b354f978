"""The commands that start a run, as data: argument lists and the variables that they need."""

import itertools
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.config.layers import Config
from preflight.config.scale import Scale
from preflight.config.values import attention
from preflight.data.audit import DatasetLengths
from preflight.files import CHECKOUT, quoted
from preflight.findings import Finding
from preflight.machine.answering import answering
from preflight.machine.environment import Environment, near

HERE = "this machine"
TELEMETRY = "AXOLOTL_DO_NOT_TRACK"
PORT = 29_400  # torchrun's own default for a c10d rendezvous
RAY_PORT = 6379  # Ray's own default
PREPARING = 3  # minutes at the start that the GPU may wait for the rows
TOKENISED = 250_000  # tokens a second of Axolotl's own preparation: 8,234 rows of 439 in 14 s, 2 cores, imports left out (2026-11-24)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command, and the machines that it is typed on."""

    argv: tuple[str, ...]
    where: str = HERE


def shell_line(variables: Mapping[str, str], argv: Sequence[str]) -> str:
    """A command and the variables that it needs as one line of shell."""
    return " ".join([*(f"{name}={value and shlex.quote(value)}" for name, value in variables.items()), shlex.join(argv)])


def telemetry_off() -> dict[str, str]:
    """What every child process is told in which Axolotl may run: it sends nothing, unless the user has set the variable."""
    return {} if TELEMETRY in os.environ else {TELEMETRY: "1"}


def launch_variables(config: Config, *, local_rows: bool) -> dict[str, str]:
    """Telemetry off unless the user set it, Ray's too; no GPU for a config that wants none; no hub where nothing comes from it; the
    plugin's place where the launch from the current folder would not find it, nor Ray's from any: Axolotl continues without a plugin."""
    variables = telemetry_off()
    if Path.cwd() != CHECKOUT or config.values.get("use_ray"):
        variables["PYTHONPATH"] = str(CHECKOUT)
    if not config.needs_gpu:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    if config.values.get("use_ray"):  # its workers would start elsewhere, where the base model's path leads nowhere; and it reports its use
        variables |= {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    if local_rows and not _needs_hub(config.values):
        variables["HF_HUB_OFFLINE"] = "1"
    return variables


def _needs_hub(values: Mapping[str, Any]) -> bool:
    """Whether anything but rows comes from the hub, or goes there."""
    named = [values.get(key) for key in ("base_model", "base_model_config", "tokenizer_config", "processor_config", "lora_model_dir")]
    sent = any(values.get(key) for key in ("hub_model_id", "push_dataset_to_hub", "use_kernels"))
    fetched = attention(values).startswith(("flash_attention_", "kernels-community/"))
    return sent or fetched or any(name and not _is_folder(Path(str(name))) for name in named)


def _is_folder(path: Path) -> bool:
    """Whether it is one; so is what lies on a disk that does not answer, which is an error already."""
    try:
        return answering(Path.is_dir, path)(path)
    except OSError:
        return True


def launch_commands(environment: Environment, path: Path, needs_gpu: bool, wanted: Scale | None) -> tuple[Command, ...]:
    """The commands in order; the last one trains. The engine's own launcher, with every flag that it
    would otherwise guess."""
    if wanted is None:
        return (Command(argv=accelerate_command(environment, path, needs_gpu=needs_gpu)),)
    if wanted.engine == "ray":
        command = Command(argv=(environment.beside("axolotl"), "train", near(path), "--use-ray", f"--ray-num-workers={wanted.world}"))
        if wanted.nodes == 1:
            return (command,)
        ray, others = environment.beside("ray"), "each of the others" if wanted.nodes > 2 else "the other"
        head = Command(argv=(ray, "start", "--head", f"--port={RAY_PORT}"))
        return head, Command(where=others, argv=(ray, "start", f"--address={wanted.head}:{RAY_PORT}")), command
    if wanted.nodes == 1 and wanted.world > 1:
        return (Command(argv=accelerate_command(environment, path, needs_gpu=needs_gpu, processes=wanted.world)),)
    torchrun, train = environment.beside("torchrun"), ("-m", "axolotl.cli.train", near(path))
    if wanted.nodes == 1:  # accelerate takes one process for a plain run, and the engine would not start
        return (Command(argv=(torchrun, "--standalone", "--nproc_per_node=1", *train)),)
    meet = ("--rdzv_backend=c10d", f"--rdzv_endpoint={wanted.head}:{PORT}", f"--rdzv_id={path.parent.name}")
    together = (torchrun, f"--nnodes={wanted.nodes}", f"--nproc_per_node={wanted.gpus_per_node}", *meet, *train)
    return (Command(where=f"each of the {wanted.nodes} machines", argv=together),)


def accelerate_command(
    environment: Environment, path: Path, *, needs_gpu: bool, module: str = "axolotl.cli.train", processes: int = 1
) -> tuple[str, ...]:
    """Accelerate's launcher on one machine, with every flag that it would otherwise guess and warn about. On a CPU its own guess is one
    thread; what OMP_NUM_THREADS says goes before all cores."""
    flags = {"--num_processes": str(processes), "--num_machines": "1", "--mixed_precision": "no", "--dynamo_backend": "no"}
    if not needs_gpu:
        wanted = os.environ.get("OMP_NUM_THREADS", "")  # accelerate would put its flag in the place of it
        flags["--num_cpu_threads_per_process"] = wanted if wanted.isdecimal() and int(wanted) else str(os.cpu_count() or 1)
    several = ("--multi_gpu",) if processes > 1 else ()
    return (environment.beside("accelerate"), "launch", *several, *itertools.chain(*flags.items()), "-m", module, near(path))


def preprocess_line(environment: Environment, path: Path, variables: Mapping[str, str]) -> str:
    """The command that tokenises a resolved YAML's rows beforehand, as a line of shell. Not the script `axolotl`, which would not find
    the kit's plugin from the checkout."""
    return shell_line(variables, (environment.beside("python"), "-m", "axolotl.cli.preprocess", near(path)))


def check_preparing(config: Config, lengths: DatasetLengths, command: str) -> list[Finding]:
    """`data.preprocess` where tokenising the rows takes over some minutes, for which the GPU would wait."""
    tokens = lengths.train_tokens
    minutes = tokens / TOKENISED / 60
    if minutes <= PREPARING or not config.needs_gpu:
        return []
    message = f"tokenising {tokens:,} tokens takes about {minutes:,.0f} minutes at the start (an estimate), while the GPU waits"
    fix = f"before it, on a machine without a GPU that sees the same folder: {command}"
    return [Finding(code="data.preprocess", level="info", where=config.where("datasets.0.path"), message=message, fix=fix)]


def check_shared(scale: Scale, run: Path) -> list[Finding]:
    """`scale.shared-path`: how to see that all machines see one folder, which a preflight on one of them can't."""
    if scale.nodes == 1:
        return []
    message = f"each of the {scale.nodes} machines has to see {run}, the staged rows and the base model at the same path: it is written here only"
    fix = f"on each of the others: test -f {quoted(run / 'config.yaml')} && echo shared || echo NOT shared"
    return [Finding(code="scale.shared-path", level="info", where=str(run), message=message, fix=fix)]
