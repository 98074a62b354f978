"""The fourth stage: what earlier sessions left is brought together, verified, and resumed from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preflight.checkpoints import manifest, restore, verify
from preflight.checkpoints.copies import checkpoints_in
from preflight.checkpoints.drive import check_drive, probe_drive
from preflight.checkpoints.identity import machine_name, run_fingerprint, throughput_key
from preflight.checkpoints.mirror import MirrorSettings
from preflight.checkpoints.records import Record, read_records
from preflight.checkpoints.verify import Checkpoint, latest_complete
from preflight.config.adapter_size import checkpoint_bytes
from preflight.config.layers import Change, Config, with_changes
from preflight.config.settings import Settings
from preflight.config.stage import Recipe
from preflight.config.yaml_file import read_yaml
from preflight.files import Progress
from preflight.findings import Diagnostics, to_plain
from preflight.machine.active import check_active
from preflight.machine.answering import answering
from preflight.machine.run_folder import RunFolder
from preflight.machine.stage import Machine
from preflight.machine.workspace import Workspace

PLUGIN = "preflight.axolotl_plugin.KitPlugin"  # of training/plugin, under the name that YAMLs have carried from the beginning


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The run as far as it has come: the config that continues it, and what there is of it."""

    config: Config
    folder: RunFolder
    mirror: MirrorSettings
    kept: tuple[Checkpoint, ...] = ()  # newest first
    records: tuple[Record, ...] = ()
    finished: bool = False

    @property
    def latest(self) -> Checkpoint | None:
        """The checkpoint that a run resumes from."""
        return latest_complete(self.kept)

    @property
    def done(self) -> int:
        """Steps that are trained already."""
        return self.latest.step if self.latest else 0

    def as_json(self) -> dict[str, object]:
        """The key `checkpoints` of `--json`."""
        latest = self.latest
        return {
            "whole": [str(one.path) for one in self.kept if not one.problem],
            "passed_over": [str(one.path) for one in self.kept if one.problem],
            "resume_from": str(latest.path) if latest and not self.finished else None,
            "step": self.done,
            "max_steps": latest.max_steps if latest else None,
            "finished": self.finished,
            "name": self.config.name,
            "mirrored_to": self.mirror.to or None,
        }


def open_run(config: Config, recipe: Recipe, settings: Settings, machine: Machine, diagnostics: Diagnostics, progress: Progress) -> RunState:
    """The run of this config, with what earlier sessions left of it verified and, unless this is a plan, brought here."""
    workspace = machine.workspace
    fingerprint = run_fingerprint(config.values)
    if not recipe.named and diagnostics.attempt(False, _begun_unnamed, config, fingerprint, workspace, progress):
        config = replace(config, run_name="")
        if diagnostics.writes:
            diagnostics.check(check_active, workspace.run(config.name))
    run = workspace.run(config.name, config.own_name)
    results = results_folder(config, workspace, chosen=any(change.key == "output_dir" for change in recipe.overrides))
    config, _ = with_changes(config, _output_changes(config, run))
    keeping = _mirror_settings(results, settings, machine, fingerprint, throughput_key(config.values, machine_name(recipe, machine)))
    if results and keeping.to and diagnostics.writes and machine.writable:
        needed = checkpoint_bytes(config.values, recipe.shape) if recipe.shape else None
        if probe := diagnostics.attempt(None, answering(probe_drive, results, progress=progress), results, keeping.mount):
            diagnostics.check(check_drive, probe, needed, workspace.platform)
    kept = _gather(run, keeping, fingerprint, machine, diagnostics, progress)
    latest, finished = latest_complete(kept), diagnostics.attempt(False, verify.is_finished, run.outputs)
    diagnostics.check(verify.check_checkpoints, kept)
    diagnostics.check(verify.check_best, kept, wanted=bool(config.values.get("load_best_model_at_end")) and not finished)
    if diagnostics.may_write:
        diagnostics.check(verify.check_resume, latest, finished=finished, resume=settings.session.resume)
    if latest and not finished:
        config, _ = with_changes(config, _resume_changes(config, latest.path))
    places = [run.outputs, *sorted(workspace.runs.glob("*/outputs")), *([results] if results else [])]
    places += [results.parent] if results and config.run_name else []
    records = tuple(diagnostics.attempt([], answering(read_records, *places), list(dict.fromkeys(places))))
    return RunState(config=config, folder=run, mirror=keeping, kept=kept, records=records, finished=finished)


def results_folder(config: Config, workspace: Workspace, *, chosen: bool) -> Path | None:
    """Where results end up: the config's output_dir, or below it where the run is not called as the config is; just there where `--set` has
    `chosen` it."""
    if not config.values.get("output_dir"):
        return None
    folder = workspace.local(str(config.values["output_dir"]))
    return folder if chosen or config.name == config.own_name else folder / config.name


def _begun_unnamed(config: Config, fingerprint: Mapping[str, Any], workspace: Workspace, progress: Progress) -> bool:
    """Whether this very experiment lies in the place of the config's own name, here or on Drive, and not in that of its name: an earlier
    kit had one place for all of a config's runs."""
    if config.name == config.own_name or workspace.run(config.name).config.exists():
        return False
    before, _ = read_yaml(workspace.run(config.own_name).config)
    if before:
        return run_fingerprint(before.values) == fingerprint
    if not config.values.get("output_dir"):
        return False
    results = workspace.local(str(config.values["output_dir"]))
    return fingerprint in answering(_experiments, results, progress=progress)(results)


def _experiments(results: Path) -> list[Mapping[str, Any]]:
    """The fingerprints in the folder for results; none where it can't be read, which its probe says."""
    try:
        held = [manifest.read(folder) for folder in (results, *checkpoints_in(results))]
    except OSError:
        return []
    return [one.experiment for one in held if one]


def _gather(
    run: RunFolder, keeping: MirrorSettings, fingerprint: Mapping[str, Any], machine: Machine, diagnostics: Diagnostics, progress: Progress
) -> tuple[Checkpoint, ...]:
    """Every checkpoint of the run, newest first. A plan fetches nothing: it counts what lies on Drive as if it were here."""
    platform = machine.workspace.platform
    before, _ = read_yaml(run.config)
    local = verify.inspect_earlier(run.outputs, run_fingerprint(before.values) if before else None) if diagnostics.may_write else None
    if diagnostics.may_write:
        diagnostics.check(restore.mirror_leftovers, run, progress)
    results, found = diagnostics.attempt(
        (restore.DriveContents(), []), answering(restore.inspect_results, keeping.to, progress=progress), keeping, platform
    )
    diagnostics.add(*(() if diagnostics.writes else found))  # else the probe has said it
    mirrored = results.checkpoints
    diagnostics.check(verify.check_same_run, [local, verify.earlier_on_drive(mirrored, results.final, keeping.to)], fingerprint)
    diagnostics.check(restore.check_foreign, results, keeping.to)
    here = diagnostics.attempt((), verify.inspect_checkpoints, run.outputs)
    if diagnostics.may_write and keeping.to:
        return diagnostics.take(here, answering(restore.restore, keeping.to, progress=progress), run, keeping, here, mirrored, platform, progress)
    if diagnostics.writes:
        return here
    return tuple(sorted((*here, *mirrored), key=lambda one: one.step, reverse=True))


def _output_changes(config: Config, run: RunFolder) -> list[Change]:
    """Training writes to the local disk, and the kit's plugin describes what it wrote."""
    plugins = config.values.get("plugins")
    changed = {"output_dir": str(run.outputs), "plugins": [*(plugins if isinstance(plugins, list) else ()), PLUGIN]}
    return [Change(key=key, value=value, layer="preflight") for key, value in changed.items()]


def _resume_changes(config: Config, checkpoint: Path) -> list[Change]:
    """Resume from this very checkpoint: Axolotl's own search takes the newest, complete or not."""
    changes = [Change(key="resume_from_checkpoint", value=str(checkpoint), layer="preflight")]
    if config.values.get("auto_resume_from_checkpoints"):
        changes.append(Change(key="auto_resume_from_checkpoints", value=False, layer="preflight"))
    return changes


def _mirror_settings(
    results: Path | None, settings: Settings, machine: Machine, fingerprint: Mapping[str, Any], depends: Mapping[str, Any]
) -> MirrorSettings:
    """What the plugin is told: where results end up, and which mount that needs on a cloud."""
    mount = machine.workspace.local(settings.drive.mount)
    on_drive = machine.workspace.platform.is_cloud and results is not None and results.is_relative_to(mount)
    to = str(results) if results and settings.drive.backup else ""
    return MirrorSettings(to=to, mount=str(mount) if on_drive else "", experiment=to_plain(dict(fingerprint)), depends=to_plain(dict(depends)))
