"""Which checkpoints are complete, which of them to resume from, and of which run they are."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.checkpoints import copies, manifest
from preflight.checkpoints.pickles import read_pickle_problem
from preflight.checkpoints.weights import read_weights_problem
from preflight.files import MALFORMED, quoted
from preflight.findings import Finding
from preflight.machine.run_folder import WEIGHTS

PICKLES = ("optimizer", "scheduler", "scaler", "rng_state")  # what the trainer of transformers reads with torch.load when it resumes
# what the trainer of transformers 5.16 writes for a LoRA run (seen by running it)
REQUIRED = ("adapter_config.json", WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One `checkpoint-N` folder; complete if `problem` is empty, and `described` if a manifest says what belongs to it."""

    path: Path
    step: int
    max_steps: int = 0
    problem: str = ""
    described: bool = True
    experiment: Mapping[str, Any] | None = None  # of the run that wrote it, where its manifest says so


def inspect_checkpoints(outputs: Path) -> tuple[Checkpoint, ...]:
    """Every checkpoint below `outputs`, newest first, without unpickling anything. Bytes are read of the newest ones, up to the
    first that is complete by its manifest; of older ones only the sizes are compared."""
    found = list[Checkpoint]()
    for path in copies.checkpoints_in(outputs):
        found.append(_inspect(path, hashes=not any(one.described and not one.problem for one in found)))
    return tuple(found)


def inspect_mirrored(folder: Path) -> tuple[Checkpoint, ...]:
    """Every checkpoint on Drive, newest first, by its manifest and the sizes of its files. Raises OSError."""
    return tuple(_inspect_mirrored(path) for path in copies.checkpoints_in(folder))


def latest_complete(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The newest one that is complete by its manifest; as a last resort one without, of which nothing says what it should hold."""
    complete = [checkpoint for checkpoint in checkpoints if not checkpoint.problem]
    return next((checkpoint for checkpoint in complete if checkpoint.described), complete[0] if complete else None)


def is_finished(outputs: Path) -> bool:
    """True if the final adapter of a run that reached its last step lies here, as its manifest describes it.

    An adapter alone proves nothing: Axolotl saves one, and exits 0, when a run is interrupted.
    """
    try:
        held = manifest.read(outputs)
        whole = held and held.step >= held.max_steps > 0 and not manifest.difference(outputs, held, hashes=True)
        return bool(whole) and not content_problem(outputs)
    except OSError:
        return False


def check_checkpoints(checkpoints: Sequence[Checkpoint]) -> list[Finding]:
    """A warning for each checkpoint that is passed over, with the one used in its place, and for one that is used as a last resort."""
    used = latest_complete(checkpoints)
    instead = f"resuming from {used.path.name}" if used else "the run starts from the beginning"
    passed = [checkpoint for checkpoint in checkpoints if not checkpoint.described and not checkpoint.problem]
    undescribed = [
        Finding(
            code="checkpoint.undescribed",
            level="warning",
            where=str(checkpoint.path),
            message=f"{checkpoint.path.name} has no manifest: its save was cut off, or another program wrote it, and nothing says that its bytes are right; "
            + ("it is resumed from all the same, as the last resort" if checkpoint is used else instead),
            fix=f"no action needed; to do without it: rm -r {quoted(checkpoint.path)}",
        )
        for checkpoint in passed
        if used is None or checkpoint.step >= used.step
    ]
    return undescribed + [
        Finding(
            code="checkpoint.corrupt",
            level="warning",
            where=str(checkpoint.path),
            message=f"{checkpoint.path.name} is incomplete ({checkpoint.problem}); {instead}",
            fix=f"no action needed; delete it with: rm -r {quoted(checkpoint.path)}",
        )
        for checkpoint in checkpoints
        if checkpoint.problem
    ]


def check_best(checkpoints: Sequence[Checkpoint], *, wanted: bool) -> list[Finding]:
    """`checkpoint.best-lost` where the run is to end with its best adapter, and the best so far is nowhere any more."""
    latest = latest_complete(checkpoints)
    held = manifest.read(latest.path) if latest and wanted else None
    if latest is None or held is None or not held.best_step or any(one.step == held.best_step and not one.problem for one in checkpoints):
        return []
    message = f"the best checkpoint so far, of step {held.best_step}, is neither here nor in the folder for results"
    fix = "no action needed: if no later evaluation is better, the final adapter is that of the last step, not of the best"
    return [Finding(code="checkpoint.best-lost", level="warning", where=str(latest.path), message=message, fix=fix)]


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """What a folder holds of an earlier run: its fingerprint, None where nothing says what it was."""

    folder: Path
    fingerprint: Mapping[str, Any] | None
    fix: str  # how to keep it and begin anew


def inspect_earlier(outputs: Path, fingerprint: Mapping[str, Any] | None) -> EarlierRun | None:
    """The run whose outputs lie here, if there is one; `fingerprint` is that of the run's own YAML."""
    if not any(outputs.glob("checkpoint-*")) and not (outputs / WEIGHTS).exists():
        return None
    folder = outputs.parent
    return EarlierRun(folder=folder, fingerprint=fingerprint, fix=_set_aside(folder))


def earlier_on_drive(mirrored: Sequence[Checkpoint], final: manifest.Manifest | None, to: str) -> EarlierRun | None:
    """The run whose checkpoints, or whose final adapter, lie in the folder for results, if there is one."""
    newest = latest_complete(mirrored)
    if newest is None and final is None:
        return None
    return EarlierRun(
        folder=Path(to),
        fingerprint=newest.experiment if newest else final.experiment if final else None,
        fix=f"--set {quoted(f'output_dir={to}-2')}, or {_set_aside(to)}",
    )


def check_same_run(earlier: Sequence[EarlierRun | None], now: Mapping[str, Any]) -> list[Finding]:
    """`checkpoint.other-run` if one of the folders holds another run than `now`, with what differs."""
    others = [run for run in earlier if run and run.fingerprint != now]
    if not others:
        return []
    before = others[0].fingerprint
    if before is None:
        differing = "its config.yaml is missing or can't be read"
    else:
        keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        differing = "; ".join(f"{key}: {before.get(key)} then, {now.get(key)} now" for key in keys)
    places = " and ".join(str(run.folder) for run in others)
    message = f"{places} {'hold' if len(others) > 1 else 'holds'} a run of another experiment, which would be mixed up with this one ({differing})"
    fix = f"give this one a name of its own: --name NAME; or keep it and start anew: {'; '.join(run.fix for run in others)}; or restore the earlier values"
    return [Finding(code="checkpoint.other-run", level="error", where=str(others[0].folder), message=message, fix=fix)]


def check_resume(latest: Checkpoint | None, *, finished: bool, resume: bool) -> list[Finding]:
    """An error if there is a checkpoint to resume from and colab_setup.yaml says not to."""
    if latest is None or finished or resume:
        return []
    message = f"a run stopped at step {latest.step} of {latest.max_steps}, and session.resume in colab_setup.yaml says not to resume it"
    folder = latest.path.parent.parent
    fix = f"resume: true there; or keep it and start anew: {_set_aside(folder)}"
    return [Finding(code="checkpoint.not-resumed", level="error", where=str(latest.path), message=message, fix=fix)]


def _set_aside(folder: Path | str) -> str:
    """The command that keeps a folder under another name."""
    return f"mv {quoted(folder)} {quoted(folder, '.before')}"


def _inspect(path: Path, *, hashes: bool) -> Checkpoint:
    step = copies.step_of(path)
    try:
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        state_step, max_steps = int(state["global_step"]), int(state["max_steps"])
        held = manifest.read(path)
        problem = f"trainer_state.json is of step {state_step}" if state_step != step else ""
        problem = problem or (manifest.difference(path, held, hashes=hashes) if held else _structural_problem(path))
        problem = problem or (content_problem(path) if hashes else "")
    except FileNotFoundError as error:
        return Checkpoint(path=path, step=step, problem=f"{Path(str(error.filename)).name} is missing")
    except (OSError, *MALFORMED) as error:
        return Checkpoint(path=path, step=step, problem=f"trainer_state.json can't be read: {error}")
    experiment = held.experiment if held else None
    return Checkpoint(path=path, step=step, max_steps=max_steps, problem=problem, described=held is not None, experiment=experiment)


def content_problem(folder: Path) -> str:
    """What is wrong inside the files of a checkpoint, whatever its manifest says: a pickle that torch refuses, weights that are none.
    Raises OSError."""
    for path in filter(Path.is_file, sorted(folder.iterdir())):
        if path.name.startswith(PICKLES) and path.suffix in (".pt", ".pth", ".bin") and (problem := read_pickle_problem(path)):
            return f"{path.name}: {problem}"
        if path.suffix == ".safetensors" and (problem := read_weights_problem(path)):
            return f"{path.name}: {problem}"
    return ""


def _inspect_mirrored(path: Path) -> Checkpoint:
    held = manifest.read(path)
    if held is None or held.step != copies.step_of(path):
        problem = "it has no manifest: its copy was not finished" if held is None else f"its manifest is of step {held.step}"
        return Checkpoint(path=path, step=copies.step_of(path), problem=problem)
    problem = manifest.difference(path, held, hashes=False)
    return Checkpoint(path=path, step=held.step, max_steps=held.max_steps, problem=problem, experiment=held.experiment)


def _structural_problem(path: Path) -> str:
    """What is wrong with a checkpoint that was killed before its manifest was written, as far as its files tell by themselves."""
    if missing := [name for name in REQUIRED if not _size(path / name)]:
        return f"{', '.join(missing)} missing or empty"
    try:
        json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except MALFORMED as error:
        return f"adapter_config.json can't be read: {error}"
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):  # zip archives, with a CRC for each part
        try:
            with zipfile.ZipFile(path / name) as archive:
                if broken := archive.testzip():
                    return f"{name} is damaged at {broken}"
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
            return f"{name} is not a complete archive: {error}"
    return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
