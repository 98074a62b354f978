"""The command that starts training, what its environment must say, and the YAML it starts from."""

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight.config import Change, Config
from preflight.findings import shell_line, to_plain
from preflight.mirror import Settings as MirrorSettings
from preflight.packages import Environment
from preflight.scale import Scale
from preflight.staging import DataFile, Staged
from preflight.workspace import CHECKOUT, Run, Workspace

PLUGIN = "preflight.axolotl_plugin.KitPlugin"
PORT = 29_400  # torchrun's own default for a c10d rendezvous
RAY_PORT = 6379  # Ray's own default


def launch_variables(resolved: Config, files: Sequence[DataFile]) -> dict[str, str]:
    """What the environment of a training command must say."""
    entries = sum(len(resolved.values.get(name) or ()) for name in ("datasets", "test_datasets"))
    return variables_for(resolved, local_rows=entries == sum(bool(file.key) for file in files))


def variables_for(resolved: Config, *, local_rows: bool) -> dict[str, str]:
    """Telemetry off unless the user set it, Ray's too; no GPU for a config that wants none; no hub where nothing comes from it; the
    plugin's place where the launch from the current folder would not find it, nor Ray's from any: Axolotl goes on without a plugin."""
    variables = {} if "AXOLOTL_DO_NOT_TRACK" in os.environ else {"AXOLOTL_DO_NOT_TRACK": "1"}
    if Path.cwd() != CHECKOUT or resolved.values.get("use_ray"):
        variables["PYTHONPATH"] = str(CHECKOUT)
    if not resolved.needs_gpu:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    if resolved.values.get("use_ray"):  # its workers would start elsewhere, where the base model's path leads nowhere; and it reports its use
        variables |= {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    if local_rows and Path(str(resolved.values.get("base_model"))).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    return variables


def path_changes(resolved: Config, files: Sequence[DataFile], staged: Sequence[Staged], run: Run) -> list[Change]:
    """The paths of this machine, and the kit's plugin. The prepared rows lie in a folder named by their content: Axolotl's
    own cache key holds only the path, so new rows at an old path would train on the old."""
    hashes = {record.source: record.sha256 for rows in staged for record in rows.files}
    content = hashlib.sha256("".join(hashes.get(str(file.source), "") for file in files if file.key).encode()).hexdigest()[:16]
    values: dict[str, object] = {file.key: str(file.staged) for file in files if file.key}
    values |= {"dataset_prepared_path": str(run.prepared / content)} if hashes else {}
    values["output_dir"] = str(run.outputs)
    plugins = resolved.values.get("plugins")
    values["plugins"] = [*(plugins if isinstance(plugins, list) else ()), PLUGIN]
    return [Change(key=key, value=value, layer="preflight") for key, value in values.items()]


def resume_changes(resolved: Config, checkpoint: Path) -> list[Change]:
    """Go on from this very checkpoint: Axolotl's own search takes the newest, whole or not."""
    changes = [Change(key="resume_from_checkpoint", value=str(checkpoint), layer="preflight")]
    if resolved.values.get("auto_resume_from_checkpoints"):
        changes.append(Change(key="auto_resume_from_checkpoints", value=False, layer="preflight"))
    return changes


def mirror_settings(
    results: Path | None, settings: Mapping[str, Any], workspace: Workspace, experiment: Mapping[str, Any], depends: Mapping[str, Any]
) -> MirrorSettings:
    """What the plugin is told: where results end up, and which mount that needs on Colab."""
    mount = workspace.local(settings["drive"]["mount"])
    on_drive = workspace.colab.found and results is not None and results.is_relative_to(mount)
    to = str(results) if results and settings["drive"]["backup"] else ""
    return MirrorSettings(to=to, mount=str(mount) if on_drive else "", experiment=to_plain(dict(experiment)), depends=to_plain(dict(depends)))


def launch_commands(environment: Environment, path: Path, needs_gpu: bool, wanted: Scale | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(on which machines, argv) of each command, in order; the last one trains. The engine's own launcher, with every flag that it
    would otherwise guess."""
    here = "this machine"
    if wanted is None:
        return ((here, accelerate_command(environment, path, needs_gpu=needs_gpu)),)
    if wanted.engine == "ray":
        command = (here, (_beside(environment, "axolotl"), "train", _near(path), "--use-ray", f"--ray-num-workers={wanted.world}"))
        if wanted.nodes == 1:
            return (command,)
        ray, others = _beside(environment, "ray"), "each of the others" if wanted.nodes > 2 else "the other"
        return (here, (ray, "start", "--head", f"--port={RAY_PORT}")), (others, (ray, "start", f"--address={wanted.head}:{RAY_PORT}")), command
    if wanted.nodes == 1 and wanted.world > 1:
        return ((here, accelerate_command(environment, path, needs_gpu=needs_gpu, processes=wanted.world)),)
    torchrun, train = _beside(environment, "torchrun"), ("-m", "axolotl.cli.train", _near(path))
    if wanted.nodes == 1:  # accelerate takes one process for a plain run, and the engine would not start
        return ((here, (torchrun, "--standalone", "--nproc_per_node=1", *train)),)
    meet = ("--rdzv_backend=c10d", f"--rdzv_endpoint={wanted.head}:{PORT}", f"--rdzv_id={path.parent.name}")
    together = (torchrun, f"--nnodes={wanted.nodes}", f"--nproc_per_node={wanted.gpus_per_node}", *meet, *train)
    return ((f"each of the {wanted.nodes} machines", together),)


def accelerate_command(
    environment: Environment, path: Path, *, needs_gpu: bool, module: str = "axolotl.cli.train", processes: int = 1
) -> tuple[str, ...]:
    """Accelerate's launcher on one machine, with every flag that it would otherwise guess and warn about. On a CPU its own guess is one
    thread."""
    flags = {"--num_processes": str(processes), "--num_machines": "1", "--mixed_precision": "no", "--dynamo_backend": "no"}
    if not needs_gpu:
        flags["--num_cpu_threads_per_process"] = str(os.cpu_count() or 1)
    several = ("--multi_gpu",) if processes > 1 else ()
    return (_beside(environment, "accelerate"), "launch", *several, *itertools.chain(*flags.items()), "-m", module, _near(path))


def preprocess_line(environment: Environment, path: Path, variables: Mapping[str, str]) -> str:
    """The command that tokenises a resolved YAML's rows beforehand, as a line of shell. Not the script `axolotl`, which would not find
    the kit's plugin from the checkout."""
    return shell_line(variables, (_beside(environment, "python"), "-m", "axolotl.cli.preprocess", _near(path)))


def _beside(environment: Environment, name: str) -> str:
    """A command of the training environment; where there is none, whatever the shell finds."""
    return _near(environment.accelerate.with_name(name)) if environment.accelerate else name


def _near(path: Path) -> str:
    """The path as seen from the current folder, if it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def write_whole(path: Path, text: str) -> None:
    """Write the file so that a kill leaves the old one or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
