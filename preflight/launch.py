"""The command that starts training, what its environment must say, and the YAML it starts from."""

import hashlib
import itertools
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight import scale
from preflight.config import Change, Config
from preflight.findings import to_plain
from preflight.mirror import Settings as MirrorSettings
from preflight.packages import Environment
from preflight.scale import Scale
from preflight.staging import DataFile, Staged
from preflight.workspace import CHECKOUT, Run, Workspace

PLUGIN = "preflight.axolotl_plugin.KitPlugin"


def launch_variables(resolved: Config, files: Sequence[DataFile]) -> dict[str, str]:
    """What the environment of a training command must say."""
    entries = sum(len(resolved.values.get(name) or ()) for name in ("datasets", "test_datasets"))
    return variables_for(resolved, local_rows=entries == sum(bool(file.key) for file in files))


def variables_for(resolved: Config, *, local_rows: bool) -> dict[str, str]:
    """Telemetry off unless the user set it, Ray's too; no GPU for a config that wants none; no hub where nothing comes from it; the
    plugin's place where the launch from the current folder would not find it."""
    variables = {} if "AXOLOTL_DO_NOT_TRACK" in os.environ else {"AXOLOTL_DO_NOT_TRACK": "1"}
    if Path.cwd() != CHECKOUT:
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
    """(on which machines, argv) of each command; the last one trains."""
    launcher = environment.accelerate
    if wanted:
        return scale.launch_commands(wanted, Path(_near(launcher)).parent if launcher else None, _near(path))
    return (("this machine", accelerate_command(environment, path, needs_gpu=needs_gpu)),)


def accelerate_command(environment: Environment, path: Path, *, needs_gpu: bool, module: str = "axolotl.cli.train") -> tuple[str, ...]:
    """Accelerate's launcher on one process, with every flag that it would otherwise guess and warn about. On a CPU its own guess is one
    thread."""
    flags = {"--num_processes": "1", "--num_machines": "1", "--mixed_precision": "no", "--dynamo_backend": "no"}
    if not needs_gpu:
        flags["--num_cpu_threads_per_process"] = str(os.cpu_count() or 1)
    accelerate = _near(environment.accelerate) if environment.accelerate else "accelerate"
    return (accelerate, "launch", *itertools.chain(*flags.items()), "-m", module, _near(path))


def preprocess_line(environment: Environment, path: Path) -> str:
    """The command that tokenises a resolved YAML's rows beforehand, as a line of shell."""
    axolotl = _near(environment.accelerate.with_name("axolotl")) if environment.accelerate else "axolotl"
    return shlex.join(["AXOLOTL_DO_NOT_TRACK=1", axolotl, "preprocess", _near(path)])


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
