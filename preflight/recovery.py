"""Bring back what earlier sessions left: to Drive what is only here, from Drive what is only there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight import manifest, mirror
from preflight.checkpoints import Checkpoint, inspect_checkpoints, inspect_mirrored, newest_whole
from preflight.drive import DriveReading, check_drive
from preflight.findings import Finding
from preflight.mirror import FINAL, Settings
from preflight.workspace import Run


def mirror_leftovers(run: Run, progress: mirror.Report) -> list[Finding]:
    """Mirror what an earlier session could not. Whatever goes wrong is a warning: the rows and the GPU are judged all the same."""
    settings = mirror.read_settings(run.folder)
    if settings is None or not settings.to or not run.outputs.is_dir():
        return []
    try:
        with mirror.alone(run.outputs, wait=False) as free:
            brought = [name for name in mirror.mirror(run.outputs, settings, progress) if not mirror.is_small(name)] if free else []
    except OSError as error:
        message = f"what an earlier session left is not on Drive yet: {error.strerror or error} (Errno {error.errno})"
        fix = f"when Drive is back: python -m preflight.mirror {run.outputs}"
        return [Finding(code="drive.not-mirrored", level="warning", where=settings.to, message=message, fix=fix)]
    if not brought:
        return []
    named = ", ".join("the final adapter" if name == FINAL else name for name in brought)
    return [Finding(code="drive.mirrored", level="ok", where=settings.to, message=f"{named}: left by an earlier session, now on Drive")]


def inspect_drive_checkpoints(settings: Settings) -> tuple[tuple[Checkpoint, ...], list[Finding]]:
    """The checkpoints in the folder for results."""
    if not settings.to:
        return (), []
    try:
        mirror.check_mount(settings.mount)
        return inspect_mirrored(Path(settings.to)), []
    except OSError as error:
        reading = DriveReading(folder=Path(settings.to), mount=settings.mount, error=error.errno or 0, reason=error.strerror or str(error))
        return (), check_drive(reading, None)


def check_drive_run(mirrored: Sequence[Checkpoint], now: Mapping[str, Any], to: str) -> list[Finding]:
    """`checkpoint.other-run` if the folder for results holds the checkpoints of another experiment."""
    whole = newest_whole(mirrored)
    if whole is None or whole.experiment == now:
        return []
    before = whole.experiment or {}
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    differing = "; ".join(f"{key}: {before.get(key)} then, {now.get(key)} now" for key in keys)
    message = f"the folder for results holds a run of another experiment, which would be mixed up with this one ({differing})"
    fix = f"keep both: --set output_dir={to}-2; or move the earlier: mv {to} {to}.before; or go back to its values"
    return [Finding(code="checkpoint.other-run", level="error", where=str(whole.path), message=message, fix=fix)]


def restore(run: Run, settings: Settings, mirrored: Sequence[Checkpoint], progress: mirror.Report) -> list[Finding]:
    """Fetch the newest whole checkpoint on Drive if it is newer than those here, the best one, the final adapter, the curves.

    A copy that does not agree with its manifest is passed over for the one before it.
    """
    here = newest_whole(inspect_checkpoints(run.outputs))
    to, findings = Path(settings.to), list[Finding]()
    used = here
    try:
        for one in mirrored:
            if one.problem or (here and one.step <= here.step):
                continue
            try:
                mirror.bring(to, run.outputs, one.path.name, progress)
            except mirror.DamagedError as error:
                message = f"{one.path.name} on Drive is not whole ({error.strerror}); an older one is used"
                findings.append(Finding(code="checkpoint.corrupt", level="warning", where=str(one.path), message=message, fix=f"rm -r {one.path}"))
                continue
            used = one
            findings.append(_restored(one.path, f"step {one.step} of {one.max_steps}"))
            break
        held = manifest.read(run.outputs / used.path.name) if used else None
        best = f"checkpoint-{held.best_step}" if held and held.best_step else ""
        if best and manifest.read(run.outputs / best) is None and manifest.read(to / best):
            mirror.bring(to, run.outputs, best, progress)
        final = manifest.read(to)
        if final and used and final.step == used.step and manifest.read(run.outputs) is None:
            mirror.bring(to, run.outputs, FINAL, progress)
            findings.append(_restored(to, "the final adapter"))
        mirror.restore_small(to, run.outputs)
    except mirror.DamagedError as error:
        message = f"{error.filename} is not whole: {error.strerror}"
        findings.append(Finding(code="checkpoint.corrupt", level="warning", where=str(error.filename), message=message, fix="nothing to do"))
    except OSError as error:
        reading = DriveReading(folder=to, mount=settings.mount, error=error.errno or 0, reason=error.strerror or str(error))
        findings += check_drive(reading, None)
    return findings


def _restored(path: Path, what: str) -> Finding:
    return Finding(code="checkpoint.restored", level="ok", where=str(path), message=f"{what} was only on Drive; it is here again, verified")
