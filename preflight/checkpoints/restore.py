"""Bring back what earlier sessions left: to Drive what is only here, from Drive what is only there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from preflight.checkpoints import copies, manifest, mirror
from preflight.checkpoints.copies import FINAL
from preflight.checkpoints.drive import check_drive, unreachable
from preflight.checkpoints.manifest import Manifest
from preflight.checkpoints.mirror import MirrorSettings
from preflight.checkpoints.verify import Checkpoint, content_problem, inspect_mirrored, latest_complete
from preflight.files import Progress, exclusive_lock, quoted, require_mount
from preflight.findings import Finding
from preflight.machine.answering import answering
from preflight.machine.platforms.base import Platform
from preflight.machine.run_folder import WEIGHTS, RunFolder


def mirror_leftovers(run: RunFolder, progress: Progress) -> list[Finding]:
    """Mirror what an earlier session could not. Whatever goes wrong is a warning: the rows and the GPU are judged all the same."""
    settings = mirror.read_settings(run.folder)
    if settings is None or not settings.to or not run.outputs.is_dir():
        return []
    try:
        with exclusive_lock(run.folder / mirror.LOCK, wait=False) as free:
            bring = answering(mirror.mirror, settings.to, progress=progress)
            brought = [name for name in bring(run.outputs, settings, progress) if not mirror.is_small(name)] if free else []
    except OSError as error:
        message = f"what an earlier session left is not on Drive yet: {error.strerror or error} (Errno {error.errno})"
        fix = f"when Drive is back: python -m preflight.mirror {quoted(run.outputs)}"
        return [Finding(code="drive.not-mirrored", level="warning", where=settings.to, message=message, fix=fix)]
    if not brought:
        return []
    named = ", ".join(map(copies.title, brought))
    return [Finding(code="drive.mirrored", level="ok", where=settings.to, message=f"{named}: left by an earlier session, now on Drive")]


# what Axolotl's final adapter always brings: where one of these lies already and is of no run, it would never be copied there
ADAPTER_FILES = ("adapter_config.json", WEIGHTS, "config.json")


@dataclass(frozen=True, kw_only=True)
class DriveContents:
    """What the folder for results holds."""

    checkpoints: tuple[Checkpoint, ...] = ()  # newest first
    final: Manifest | None = None  # of the final adapter
    foreign: tuple[str, ...] = ()  # files of no run, in the place of the adapter's


def inspect_results(settings: MirrorSettings, platform: Platform) -> tuple[DriveContents, list[Finding]]:
    """The folder for results, or what keeps it from being read."""
    if not settings.to:
        return DriveContents(), []
    to = Path(settings.to)
    try:
        require_mount(settings.mount)
        final = manifest.read(to)
        foreign = () if final else tuple(copies.occupied(to, ADAPTER_FILES, settings.experiment))
        return DriveContents(checkpoints=inspect_mirrored(to), final=final, foreign=foreign), []
    except OSError as error:
        return DriveContents(), check_drive(unreachable(to, settings.mount, error), None, platform)


def check_foreign(results: DriveContents, to: str) -> list[Finding]:
    """`drive.occupied`: files that the final adapter would have to replace, and that no run of the kit has put there."""
    if not results.foreign:
        return []
    message = f"{to} holds {', '.join(results.foreign)}, which no run of the kit has put there: the adapter would not be copied over them"
    fix = f"another folder: --set {quoted(f'output_dir={to}/run-1')}; or move these files elsewhere"
    return [Finding(code="drive.occupied", level="error", where=to, message=message, fix=fix)]


def restore(
    run: RunFolder, settings: MirrorSettings, here: Sequence[Checkpoint], mirrored: Sequence[Checkpoint], platform: Platform, progress: Progress
) -> tuple[tuple[Checkpoint, ...], list[Finding]]:
    """Fetch the latest complete checkpoint on Drive if it is newer than those `here`, the best one, the final adapter, the curves.

    Returns the checkpoints that are here then. A copy that does not agree with its manifest is passed over for the one before it.
    """
    to, fetched, findings = Path(settings.to), list[Checkpoint](), list[Finding]()
    latest = latest_complete(here)
    try:
        vouched = latest.step if latest and latest.described else -1  # one without a manifest is the last resort: Drive's are before it
        fetched += _fetch_newer(run, to, vouched, mirrored, findings, progress)
        latest = latest_complete(fetched) or latest
        fetched += _fetch_best(run, to, latest, mirrored, progress)
        final = manifest.read(to)
        if final and latest and final.step >= latest.step and manifest.read(run.outputs) is None:
            copies.bring(to, run.outputs, FINAL, progress)
            findings.append(_restored(to, "the final adapter"))
        mirror.restore_small(to, run.outputs)
    except copies.DamagedError as error:
        message = f"{error.filename} is incomplete: {error.strerror}"
        findings.append(Finding(code="checkpoint.corrupt", level="warning", where=str(error.filename), message=message, fix="no action needed"))
    except OSError as error:
        findings += check_drive(unreachable(to, settings.mount, error), None, platform)
    names = {one.path.name for one in fetched}
    kept = [*fetched, *(one for one in here if one.path.name not in names)]
    return tuple(sorted(kept, key=lambda one: one.step, reverse=True)), findings


def _fetch_newer(
    run: RunFolder, to: Path, step: int, mirrored: Sequence[Checkpoint], findings: list[Finding], progress: Progress
) -> list[Checkpoint]:
    """The newest one after `step` that arrives as its manifest says, after those that did and are no use; none if there is none.
    Raises OSError."""
    fetched = list[Checkpoint]()
    for one in mirrored:
        if one.problem or one.step <= step:
            continue
        try:
            copies.bring(to, run.outputs, one.path.name, progress)
        except copies.DamagedError as error:
            message = f"{one.path.name} on Drive is incomplete ({error.strerror}); an earlier one is used"
            findings.append(
                Finding(code="checkpoint.corrupt", level="warning", where=str(one.path), message=message, fix=f"rm -r {quoted(one.path)}")
            )
            continue
        local = run.outputs / one.path.name
        fetched.append(replace(one, path=local, problem=content_problem(local)))
        if not fetched[-1].problem:
            findings.append(_restored(one.path, f"step {one.step} of {one.max_steps}"))
            break
    return fetched


def _fetch_best(run: RunFolder, to: Path, latest: Checkpoint | None, mirrored: Sequence[Checkpoint], progress: Progress) -> list[Checkpoint]:
    """The best checkpoint that the latest one names, if it is only on Drive. Raises OSError."""
    held = manifest.read(latest.path) if latest else None
    best = next((one for one in mirrored if held and one.step == held.best_step), None)
    if best is None or manifest.read(run.outputs / best.path.name) or manifest.read(best.path) is None:
        return []
    copies.bring(to, run.outputs, best.path.name, progress)
    return [replace(best, path=run.outputs / best.path.name)]


def _restored(path: Path, what: str) -> Finding:
    return Finding(code="checkpoint.restored", level="ok", where=str(path), message=f"{what} was only on Drive; restored here and verified")
