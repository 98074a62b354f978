"""The fourth stage: what earlier sessions left is brought together, verified, and resumed from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.checkpoints import restore, verify
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
from preflight.machine.answering import answering
from preflight.machine.run_folder import RunFolder
from preflight.machine.stage import Machine

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
            "mirrored_to": self.mirror.to or None,
        }


def open_run(config: Config, recipe: Recipe, settings: Settings, machine: Machine, diagnostics: Diagnostics, progress: Progress) -> RunState:
    """The run of this config, with what earlier sessions left of it verified and, unless this is a plan, brought here."""
    workspace = machine.workspace
    run = workspace.run(config.name)
    results = workspace.local(str(config.values["output_dir"])) if config.values.get("output_dir") else None
    config, _ = with_changes(config, _output_changes(config, run))
    fingerprint = run_fingerprint(config.values)
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
    places = [run.outputs, *([results] if results else [])]
    records = tuple(diagnostics.attempt([], answering(read_records, *places), places))
    return RunState(config=config, folder=run, mirror=keeping, kept=kept, records=records, finished=finished)


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
